"""Docstrings as Markdown, and what stands in the source but not in the objects."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType

_ROLE = re.compile(r":(?:py:)?(?:class|func|meth|attr|mod|data|exc):`~?([^`]+)`")


def roles_as_code(text: str) -> str:
    """Roles of reStructuredText, such as ``:func:`lwdna.trace```, become code."""
    return _ROLE.sub(r"`\1`", text)


def markdown(text: str) -> str:
    """A docstring as Markdown that may stand in a table."""
    return roles_as_code(text).replace("``", "`").replace("|", "\\|")


def line(text: str) -> str:
    """The same for the cell of a table."""
    return "<br>".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", markdown(text)))


def described_fields(kind: type) -> dict[str, str]:
    """The docstrings of a class's fields, by name, those that it inherits included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):  # made while the program runs, or built in
            continue
        (body,) = tree.body
        assert isinstance(body, ast.ClassDef)
        found |= dict(_described(body.body))
    return found


def described_names(module: ModuleType) -> dict[str, str]:
    """The docstrings of a module's constants, by name."""
    return dict(_described(ast.parse(inspect.getsource(module)).body))


def _described(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for one, following in pairwise(body):
        match one, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                yield name, inspect.cleandoc(text)
