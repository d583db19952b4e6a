"""The examples in the documentation run, and print what the pages say they print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from lwdna.channels import rules
from lwdna.transforms import TRANSFORMS

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["channel-graph.md", "slim.md", "transforms.md"])
def test_examples_of(page):
    """The blocks of a page are one program; a text after one is what it prints."""
    before = set(rules.RULES)
    names: dict = {"__name__": "__docs__"}
    printed = ""
    try:
        for kind, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
            if kind == "text":
                assert printed == text
                continue
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(text, page, "exec", dont_inherit=True), names)
            printed = output.getvalue()
    finally:
        for name in set(rules.RULES) - before:
            del rules.RULES[name]
        TRANSFORMS._entries.pop("smooth", None)
