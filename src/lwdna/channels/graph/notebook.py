"""Small tables that notebooks show of graphs and architectures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

MOST_ROWS = 40
"""A table in a notebook has no more: the rest is counted."""


def table(caption: str, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as HTML; the first column is of names, all others are of numbers."""
    lines = [*rows]
    body = "".join(_row(line, "td") for line in lines[:MOST_ROWS])
    if len(lines) > MOST_ROWS:
        body += f'<tr><td colspan="{len(heading)}">and {len(lines) - MOST_ROWS} more</td></tr>'
    return (
        f'<table><caption style="text-align: left">{escape(caption)}</caption>'
        f"<thead>{_row(heading, 'th')}</thead><tbody>{body}</tbody></table>"
    )


def _row(cells: Sequence[str], kind: str) -> str:
    texts = (
        f'<{kind} style="text-align: {"right" if place else "left"}">{escape(cell)}</{kind}>'
        for place, cell in enumerate(cells)
    )
    return f"<tr>{''.join(texts)}</tr>"
