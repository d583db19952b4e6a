"""What a notebook and a prompt show of a graph and an architecture is short, and safe as HTML."""

from __future__ import annotations

import torch
from torch import nn

import lwdna


class Named(nn.Sequential):
    """Two convolutions and a layer between whose name is no good HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("<b>", nn.Conv2d(3, 7, 3))
        self.add_module("last", nn.Conv2d(7, 5, 1))


INPUTS = torch.zeros(1, 3, 13, 11)
# 11 x 9 pixels of output: 99 * (7 * 3 * 9 + 5 * 7) MACs, 7 * 27 + 7 + 35 + 5 parameters
COSTS = "22,176 MACs, 236 parameters"


def test_a_graph_is_a_row_for_each_group() -> None:
    graph = lwdna.trace(Named(), INPUTS)
    assert repr(graph) == f"<ChannelGraph: 1 group, {COSTS}; .report() tells more>"
    html = graph._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert f"Channel graph: 1 group, {COSTS}" in html
    cells = [part.partition("</td>")[0].partition(">")[2] for part in html.split("<td")[1:]]
    assert cells == ["&lt;b&gt;", "7", "100.0%", "3"]


def test_an_architecture_says_what_both_networks_cost() -> None:
    graph = lwdna.trace(Named(), INPUTS)
    same = lwdna.Architecture.of(graph, (3, 13, 11), None)
    assert repr(same) == f"<Architecture: a network of your own, {COSTS}>"
    narrow = lwdna.Architecture.of(graph, (3, 13, 11), None, {"<b>": 2})
    # 99 * (2 * 27 + 5 * 2) MACs, 2 * 27 + 2 + 10 + 5 parameters
    costs = "6,336 MACs, 71 parameters (baseline: 22,176 and 236)"
    assert str(narrow) == f"<Architecture: a network of your own, {costs}>"
    assert costs in narrow._repr_html_()
    assert '&lt;b&gt;</td><td style="text-align: right">2</td>' in narrow._repr_html_()


def test_a_long_table_is_cut() -> None:
    layers = [nn.Conv2d(2, 2, 1) for _ in range(44)]
    html = lwdna.trace(nn.Sequential(*layers), torch.zeros(1, 2, 2, 2))._repr_html_()
    assert html.count("<tr>") == 42  # a heading, 40 groups, the rest
    assert "and 3 more" in html
