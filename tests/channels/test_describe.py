"""The graph in words: members, shares of MACs worked out by hand, pins with their source line."""

from __future__ import annotations

import pytest
import torch
import torchvision

from lwdna.channels import trace
from lwdna.channels.graph.describe import MemberLine, macs_by_group, member_lines, pin_lines
from tests.channels import small
from tests.networks import Branches


def graph_of(name: str):
    torch.manual_seed(0)
    return trace(getattr(small, name)(), torch.randn(1, 3, 6, 8))


def test_members_of_one_module_share_a_line():
    graph = graph_of("Chain")
    assert member_lines(graph, 0) == [
        MemberLine("a", ("weight", "bias"), 0, "all 5"),
        MemberLine("norm", ("weight", "bias", "running_mean", "running_var"), 0, "all 5"),
        MemberLine("b", ("weight",), 1, "all 5"),
    ]
    assert member_lines(graph, 0)[0].axes == "weight, bias axis 0"


def test_a_parameter_of_the_network_itself_has_no_module():
    assert member_lines(graph_of("Scale"), 0)[0] == MemberLine("", ("gamma",), 0, "all 5")


@pytest.mark.parametrize(
    ("name", "group", "module", "axis", "layout"),
    [
        ("Cat", "b", "c", 1, "0 to 6 of 12"),
        ("Cat", "a", "c", 1, "7 to 11 of 12"),
        ("Chunk", "a", "a", 0, "all 14 (2 times 7 units)"),
        ("PixelShuffle", "a", "a", 0, "all 28 (7 units of 4 neighbours each)"),
    ],
)
def test_a_layout_says_which_entries_are_the_groups(name, group, module, axis, layout):
    graph = graph_of(name)
    lines = member_lines(graph, graph.index[group])
    assert [(line.axis, line.layout) for line in lines if line.module == module] == [(axis, layout)]


def test_share_of_macs_counts_an_operator_for_each_group_it_depends_on():
    """Branches on 16 x 16 pixels: products of kernel, input and output channels, and positions."""
    graph = trace(Branches(), torch.zeros(1, 3, 16, 16))
    area = 16 * 16
    stem, left, right = 27 * 8 * area, 72 * 12 * area, 8 * 6 * area
    depthwise, grouped = 9 * 18 * area, 9 * 9 * 18 * area
    hidden, head = 18 * 10, 10 * 5
    touched, anything = macs_by_group(graph)
    by_name = {group.name: macs for group, macs in zip(graph.groups, touched, strict=True)}
    assert by_name["stem"] == stem + left + right
    assert by_name["hidden"] == hidden + head
    assert anything == stem + left + right + depthwise + grouped + hidden + head
    assert anything == graph.cost().macs


def test_macs_that_no_group_can_change_are_not_counted():
    graph = graph_of("HardView")  # the width of b is written into the code, so only a is free
    touched, anything = macs_by_group(graph)
    assert graph.cost().macs > anything == touched[0]


def test_pins_are_gathered_by_reason_with_operator_module_and_line():
    pins = {line.reason.why: line for line in pin_lines(graph_of("UnknownOp"))}
    reason = pins["an operator without a rule"].reason
    assert reason.op == "_foreach_neg"
    assert reason.line.startswith("small.py:")
    assert pins["network input"].axes == ("a.weight axis 1 (3)",)


def test_source_lines_in_torchvision_are_the_users_not_torchs():
    network = torchvision.models.shufflenet_v2_x0_5()
    graph = trace(network, torch.zeros(1, 3, 64, 64))
    lines = {group.inexact.line.split(":")[0] for group in graph.groups if group.inexact}
    assert lines == {"shufflenetv2.py"}


def test_operators_say_which_channels_they_produce():
    """Also where a weight's axes are the other way round."""
    graph = graph_of("GroupedTransposed")
    produced = {
        operator.module: [graph.groups[group].name for group in operator.produces[0].groups]
        for operator in graph.operators
        if operator.module in ("a", "b") and operator.produces
    }
    assert produced == {"a": ["a"], "b": ["b"]}


def test_the_report_reads_from_top_to_bottom():
    lines = graph_of("Chain").report().splitlines()
    macs = 27 * 5 * 48 + 45 * 7 * 48 + 7 * 10
    params = (27 + 1) * 5 + 2 * 5 + 45 * 7 + (7 + 1) * 10
    assert lines[0] == (
        f"2 groups, {macs:,} MACs, {params} parameters; "
        "100.0% of the MACs depend on the width of a group"
    )
    assert "a: width 5, 99.7% of the MACs" in lines
    assert "    norm  weight, bias, running_mean, running_var axis 0  all 5" in lines
    assert lines[-5:] == [
        "    network input:",
        "        a.weight axis 1 (3)",
        "    network output:",
        "        head.weight axis 0 (10)",
        "        head.bias axis 0 (10)",
    ]
