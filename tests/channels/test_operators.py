"""Operators as data: what the rules say of their arguments at other widths, and their MACs."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

import lwdna
from lwdna.channels import register_rule, rules
from lwdna.channels.graph.operators import Slot
from lwdna.errors import GraphError
from tests.channels import small
from tests.channels.proof import random_widths
from tests.networks import Branches


def operators(model: nn.Module, image: Tensor) -> dict[str, lwdna.channels.ChannelGraph]:
    return {f"{one.module}:{one.op}": one for one in lwdna.trace(model, image).operators}


def argument(operator, name: str, *shapes: tuple[int, ...]):
    names = [one.name for one in operator.overload._schema.arguments]
    return operator.arguments_at(shapes)[names.index(name)]


class Kinds(nn.Module):
    """Convolutions of all kinds, each 6 channels wide, on 6 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 6, 1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.grouped = nn.Conv2d(6, 6, 1, groups=2)
        self.up = nn.ConvTranspose2d(6, 6, 2, groups=6)
        self.joined = nn.ConvTranspose2d(6, 6, 1, groups=2)
        self.norm, self.last = nn.GroupNorm(3, 6), nn.LayerNorm([6, 7, 9])

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.grouped(self.depthwise(self.plain(x))))
        return self.last(self.norm(self.joined(x)))


def test_arguments_follow_the_widths_where_they_are_sizes():
    found = operators(Kinds(), torch.zeros(1, 3, 6, 8))
    image, op = (1, 10, 6, 8), ":convolution"
    assert argument(found["plain" + op], "groups", (1, 3, 6, 8), (10, 3, 1, 1), (10,)) == 1
    assert argument(found["depthwise" + op], "groups", image, (10, 1, 3, 3), (10,)) == 10
    assert argument(found["grouped" + op], "groups", image, (10, 5, 1, 1), (10,)) == 2
    assert argument(found["up" + op], "groups", image, (10, 1, 2, 2), (10,)) == 10
    assert argument(found["joined" + op], "groups", image, (10, 7, 1, 1), (14,)) == 2
    assert argument(found["norm:native_group_norm"], "C", image, (10,), (10,)) == 10
    wide = (1, 10, 7, 9)
    assert argument(found["last:native_layer_norm"], "normalized_shape", wide) == (10, 7, 9)
    assert argument(found["norm:native_group_norm"], "input", image) == Slot(0)


def test_every_normalisation_over_trailing_axes_follows():
    norm = nn.RMSNorm(7)
    found = [
        one
        for one in lwdna.trace(nn.Sequential(nn.Linear(3, 7), norm), torch.zeros(2, 3)).operators
        if "rms_norm" in one.op
    ]
    for one in found:  # older versions of torch write it out
        assert argument(one, "normalized_shape", (2, 11), (11,)) == (11,)


def test_all_operators_run_alone_at_other_widths():
    """Arguments and shapes fit together: an operator without its network gives what is said."""
    model = Kinds()
    graph = lwdna.trace(model, torch.zeros(1, 3, 6, 8))
    for seed in range(3):
        widths = graph.in_order(random_widths(graph, seed))
        for one in graph.operators:
            if "norm" in one.op or "convolution" in one.op:
                shapes = [tuple(a.length(widths) for a in form.axes) for form in one.inputs]
                tensors = [torch.zeros(shape) for shape in shapes]
                arguments = [
                    tensors[value.index] if isinstance(value, Slot) else value
                    for value in one.arguments_at(shapes)
                ]
                result = one.overload(*arguments)
                first = result[0] if isinstance(result, tuple) else result
                assert list(first.shape) == [axis.length(widths) for axis in one.outputs[0]]


def test_operators_say_what_they_do():
    """Branches on 16 x 16 pixels: a depthwise convolution, which changes nobody's order."""
    graph = lwdna.trace(Branches(), torch.zeros(1, 3, 16, 16))
    (one,) = (o for o in graph.operators if o.module == "stem" and o.terms)
    assert (one.full_name, one.op) == ("aten.convolution.default", "convolution")
    assert one.overload is torch.ops.aten.convolution.default
    assert [form.constant for form in one.inputs][:2] == [False, True]
    assert {form.dtype for form in one.inputs} == {"float32"}
    assert [axis.length([8]) for axis in one.produces] == [8]
    assert one.groups == {graph.index["stem"]}
    widths = graph.in_order(graph.widths)
    assert one.macs(widths) == 27 * 8 * 256
    assert sum(o.macs(widths) for o in graph.operators) == graph.cost().macs
    assert any(not o.terms and o.op.startswith("relu") for o in graph.operators)


@torch.library.custom_op("lwdna_tests::repeat_to", mutates_args=())
def repeat_to(x: Tensor, size: int) -> Tensor:
    """(B, C) to itself; the number of channels is an argument, as in a group norm."""
    assert x.shape[1] == size
    return x.clone()


@repeat_to.register_fake
def _(x: Tensor, size: int) -> Tensor:
    return torch.empty_like(x)


class Told(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(repeat_to(y, y.shape[1]))


def test_a_rule_of_ones_own_says_how_its_arguments_follow():
    @register_rule("lwdna_tests::repeat_to", adapt=lambda named, s: {**named, "size": s[0][1]})
    def rule(call):
        return call.axes(call["x"])

    try:
        found = operators(Told(), torch.zeros(1, 3))
        assert found[":repeat_to"].arguments == (Slot(0), 5)
        assert found[":repeat_to"].arguments_at([(1, 11)]) == (Slot(0), 11)
        assert found["a:addmm"].arguments_at([(7,), (1, 3), (3, 7)]) == found["a:addmm"].arguments
    finally:
        del rules.RULES["lwdna_tests::repeat_to"]


def test_widths_are_put_in_order_and_completed():
    graph = lwdna.trace(small.Chain(), torch.zeros(1, 3, 6, 8))
    assert graph.in_order({"b": 11, "a": 13}) == [13, 11]
    assert graph.complete({"b": 11}) == {"a": 5, "b": 11}
    with pytest.raises(GraphError, match="cannot have width 0"):
        graph.complete({"a": 0})
    assert graph.complete({"a": 1}) == {"a": 1, "b": 7}


def test_costs_of_many_candidates_are_exact_beyond_floats():
    """Products of large widths: doubles would round, 24 bits of a float even more."""
    graph = lwdna.trace(timm.create_model("test_resnet"), torch.zeros(1, 3, 160, 160))
    rows = [[width * 37 + 11 for width in graph.widths.values()], list(graph.widths.values())]
    macs, params = graph.costs(rows)
    for row, found, size in zip(rows, macs, params, strict=True):
        assert found == sum(one.macs(row) for one in graph.operators)
        names = dict(zip(graph.widths, row, strict=True))
        shapes = [graph.shape(name, names) for name in graph.parameters]
        assert size == sum(torch.Size(shape).numel() for shape in shapes)
