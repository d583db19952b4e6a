"""The documentation: its examples run and print what pages say, and it builds as a site."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import lwdna
from lwdna.cli.app import VERBS
from lwdna.recipe import _known_keys, _recipe_kind
from lwdna.tasks import TASKS
from tests.registries import as_before

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN = (
    "README.md",
    "docs/channel-graph.md",
    "docs/edits.md",
    "docs/extending.md",
    "docs/slim.md",
    "docs/transforms.md",
    "docs/tutorial/your-network.md",
)
ELSEWHERE = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=[\"']?https?://[^>]*"
)


@pytest.mark.parametrize("page", RUN)
def test_examples_of(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page are one program; a text after one is what it prints."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__docs__"}
    printed = ""
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert blocks
    with as_before():
        for kind, text in blocks:
            if kind == "text":
                assert printed == text
                continue
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(text, page, "exec", dont_inherit=True), names)
            printed = output.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site; a warning, such as one about a link or an anchor, is an error."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


@pytest.mark.slow
def test_the_site_needs_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        assert not ELSEWHERE.search(page.read_text(encoding="utf-8")), page
    assert (site / "search" / "search_index.json").stat().st_size > 100_000
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_no_list_is_lost_in_a_paragraph(site: Path) -> None:
    """Markdown that GitHub takes for a list and the site does not."""
    lost = re.compile(r"<p>(?:(?!</p>).)*?\n *(?:- |\d\. |\| )", re.DOTALL)
    for page in site.rglob("*.html"):
        article = page.read_text(encoding="utf-8").partition("<article")[2]
        found = lost.search(article)
        assert not found, (page, found and found[0][-200:])


@pytest.mark.slow
def test_the_reference_has_every_key_command_and_name(site: Path) -> None:
    keys, commands, names = (
        (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
        for name in ("recipe", "cli", "python")
    )
    sections = re.findall(r"<h[23] id=\"([a-z_]+)\"", keys)
    assert {"train", "shrink", "slim", "compare", "distill"} <= set(sections)
    for task in TASKS:
        if not TASKS[task].settings.__module__.startswith("lwdna."):
            continue  # of another test
        for key in _known_keys(_recipe_kind(TASKS[task].settings)):
            # what stands in several sections is described in one of them
            last = key.rpartition(".")[2]
            assert key in sections or re.search(rf"<code>(?:[a-z_]+\.)*{last}</code>", keys), key
    assert "<code>train.ema</code>" in keys
    assert "Decay of a moving average of the weights" in keys
    for verb in VERBS:
        assert f'id="lwdna-{verb}"' in commands
    assert "<code>--macs FRACTION</code>" in commands
    for name in lwdna.__all__:
        assert f'id="lwdna.{name}"' in names
