"""The picture of what criteria find: a row per criterion, a column per network, a bar per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

LABEL, WIDE, HIGH, GAP, TOP = 132, 200, 40, 12, 58
MOST = 2.0
"""Widths are drawn up to twice the baseline's."""

STYLE = """
svg { color-scheme: light dark; font: 11px system-ui, "DejaVu Sans", sans-serif;
  --page: #ffffff; --ink: #1b1f24; --soft: #59636e; --rule: #9aa4ae; --bar: #7db8ee;
  --line: #c2410c; --own: #15803d; }
@media (prefers-color-scheme: dark) { svg { --page: #14171b; --ink: #e6e9ec; --soft: #9aa5b1;
  --rule: #7b8590; --bar: #2b5f96; --line: #ff9d5c; --own: #6ee7a0; } }
.page { fill: var(--page); } text { fill: var(--ink); } .soft { fill: var(--soft); }
.bars { fill: var(--bar); } .line { fill: none; stroke: var(--line); stroke-width: 1.2; }
.own { fill: none; stroke: var(--own); stroke-width: 1.6; }
.rule { stroke: var(--rule); stroke-width: 0.7; stroke-dasharray: 3 2; }
"""


def draw(networks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return an SVG of widths relative to the baseline's, in execution order from left to right."""
    longest = max(networks.values(), key=lambda one: len(one["found"]))
    criteria = list(longest["found"])
    width = LABEL + len(networks) * (WIDE + GAP)
    height = TOP + len(criteria) * (HIGH + GAP) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>Widths that each criterion finds, relative to the baseline</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        '<rect class="bars" x="8" y="9" width="14" height="9"/><text x="26" y="17">one threshold'
        '</text><path class="line" d="M112 13h16"/><text x="132" y="17">knapsack</text>'
        '<path class="own" d="M196 13h16"/><text x="216" y="17">in proportion (the default)</text>'
        '<path class="rule" d="M374 13h16"/><text x="394" y="17">baseline; the top of a panel is '
        "twice the baseline</text>",
    ]
    for row, name in enumerate(criteria):
        y = TOP + row * (HIGH + GAP)
        parts.append(f'<text x="8" y="{y + HIGH / 2 + 4:g}">{escape(name)}</text>')
    for column, (name, network) in enumerate(networks.items()):
        x = LABEL + column * (WIDE + GAP)
        parts.append(f'<text x="{x}" y="{TOP - 24}">{escape(name)}</text>')
        parts.append(
            f'<text class="soft" x="{x}" y="{TOP - 10}">{len(network["baseline"])} groups</text>'
        )
        for row, criterion in enumerate(criteria):
            if criterion in network["found"]:
                y = TOP + row * (HIGH + GAP)
                parts.append(_panel(x, y, name, criterion, network))
    return "\n".join([*parts, "</svg>", ""])


def _panel(x: int, y: int, name: str, criterion: str, network: Mapping[str, Any]) -> str:
    found = network["found"][criterion]
    base = list(network["baseline"].values())
    ratios = {
        rule: [width / one for width, one in zip(found[rule]["widths"], base, strict=True)]
        for rule in ("threshold", "knapsack", "proportional")
        if rule in found
    }
    middle = y + HIGH * (1 - 1 / MOST)
    title = f"{criterion} on {name}: {found['threshold']['params'] / 1e6:.2f} M parameters"
    own = ratios.get("proportional")  # not for scores that are places in an order
    line = f'<path class="own" d="{_outline(x, y, own, closed=False)}"/>' if own else ""
    return (
        f"<g><title>{escape(title)}</title>"
        f'<path class="bars" d="{_outline(x, y, ratios["threshold"], closed=True)}"/>'
        f'<path class="rule" d="M{x} {middle:g}h{WIDE}"/>'
        f'<path class="line" d="{_outline(x, y, ratios["knapsack"], closed=False)}"/>{line}</g>'
    )


def _outline(x: int, y: int, ratios: Sequence[float], *, closed: bool) -> str:
    """Return the path along the tops of bars that fill a panel."""
    step = WIDE / len(ratios)
    tops = [y + HIGH * (1 - min(ratio, MOST) / MOST) for ratio in ratios]
    path = f"M{x} {y + HIGH if closed else round(tops[0], 1):g}"
    for number, top in enumerate(tops):
        path += f"V{top:.1f}H{x + (number + 1) * step:.1f}"
    return path + (f"V{y + HIGH}Z" if closed else "")
