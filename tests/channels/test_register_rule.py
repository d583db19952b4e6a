"""Rules of one's own operators, through the function that registers the built-in ones."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lwdna.channels import register_rule, rules, trace
from lwdna.channels.algebra.layout import divide_inner
from lwdna.registry import declared

from .proof import assert_holds


@torch.library.custom_op("lwdna_tests::pair_max", mutates_args=())
def pair_max(x: Tensor) -> Tensor:
    """(B, 2 C, H, W) to (B, C, H, W): the larger of every two neighbouring channels."""
    return torch.maximum(x[:, ::2], x[:, 1::2])


@pair_max.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] // 2, *x.shape[2:])


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 10, 1), nn.Conv2d(5, 7, 1), nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(pair_max(self.a(x))))


def test_an_operator_of_ones_own():
    model, image = Pairs(), torch.randn(2, 3, 4, 4)
    without = trace(model, image)
    assert without.unknown_ops == ("pair_max",)
    assert without.widths == {"b": 7}

    @register_rule("lwdna_tests::pair_max")
    def rule(call):
        batch, channels, *space = call.axes(call["x"])
        return (batch, divide_inner(channels, 2, call.blame), *space)

    try:
        graph = trace(model, image)
        assert graph.unknown_ops == ()
        assert graph.widths == {"a": 5, "b": 7}
        assert_holds(model, image, graph)
    finally:
        del rules.RULES["lwdna_tests::pair_max"]


@pytest.mark.parametrize(
    "name", ["celu_", "elu_", "hardsigmoid_", "hardtanh_", "leaky_relu", "leaky_relu_", "selu_"]
)
def test_activations_have_a_rule_whatever_their_tags(name):
    """Torch up to 2.11 does not tag them pointwise; without a rule MobileNetV2 is pinned."""
    operator = getattr(torch.ops.aten, name).default
    untagged = SimpleNamespace(
        _schema=operator._schema, _overloadname=operator._overloadname, tags=[]
    )
    assert rules.rule_of(untagged) is not None


def test_a_name_is_taken_only_once():
    with pytest.raises(ValueError, match="operator convolution already has the rule convolution"):
        register_rule("convolution")(lambda call: ())


def test_every_rule_that_a_file_declares_is_in_the_table():
    found = declared("lwdna.channels.rules", "register_rule")
    assert len(found) > 100
    assert {name: rules.RULES[name].layouts.__module__ for name in found} == {
        name: declaration.module for name, declaration in found.items()
    }
