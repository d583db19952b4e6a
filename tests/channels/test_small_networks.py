"""Small hand-written networks; every expectation is read off the network by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lwdna.channels import ChannelGraph, resize, trace
from lwdna.errors import GraphError

from . import hard, small
from .proof import assert_holds, assert_resizes, outputs_of

IMAGE = (2, 3, 6, 8)

# Network: for each group its name, width and member axes; "!" marks a group that is not exact.
EXPECTED: dict[str, dict[str, tuple[int, str]]] = {
    "Chain": {
        "a": (
            5,
            "a.weight.0 a.bias.0 norm.weight.0 norm.bias.0 norm.running_mean.0 "
            "norm.running_var.0 b.weight.1",
        ),
        "b": (7, "b.weight.0 head.weight.1"),
    },
    "Cat": {"b": (7, "b.weight.0 b.bias.0 c.weight.1"), "a": (5, "a.weight.0 a.bias.0 c.weight.1")},
    "Chunk": {"a": (7, "a.weight.0 a.bias.0 b.weight.1")},
    "SplitRejoin": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0 b.bias.0 d.weight.1"),
        "a#2": (7, "a.weight.0 a.bias.0 c.weight.0 c.bias.0 d.weight.1"),
    },
    "FlattenLinear": {
        "a": (5, "a.weight.0 a.bias.0 head.weight.1"),
        "head": (11, "head.weight.0 head.bias.0 last.weight.1"),
    },
    "View": {"a": (7, "a.weight.0 a.bias.0 b.weight.1")},
    "PixelShuffle": {"a": (7, "a.weight.0 a.bias.0 b.weight.1")},
    "PixelUnshuffle": {"a": (5, "a.weight.0 a.bias.0 b.weight.1")},
    "SharedModule": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0 b.bias.0 one.weight.1"),
        "one": (7, "one.weight.0 one.bias.0 c.weight.1"),
    },
    "SharedWeight": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 c.bias.0 d.weight.1"),
    },
    "CalledTwice": {"a": (5, "a.weight.0 a.bias.0 b.weight.0 b.weight.1 b.bias.0 c.weight.1")},
    "TwoSizes": {"a": (5, "a.weight.0 a.bias.0 b.weight.1")},
    "ChannelShuffle": {
        "a": (7, "a.weight.0 a.bias.0 b.weight.1"),
        "b!": (11, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "Grouped": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "Depthwise": {"a": (5, "a.weight.0 a.bias.0 b.weight.0 b.bias.0 c.weight.1")},
    "Transposed": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0"),
        "b": (7, "b.weight.1 b.bias.0 c.weight.1"),
    },
    "GroupedTransposed": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0"),
        "b": (7, "b.weight.1 b.bias.0 c.weight.1"),
    },
    "DepthwiseTransposed": {"a": (5, "a.weight.0 a.bias.0 b.weight.0 b.bias.0 c.weight.1")},
    "ZeroPadded": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0 b.weight.1 b.bias.0 head.weight.1"),
    },
    "PaddedToFit": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0 b.weight.1 b.bias.0 head.weight.1"),
        "b": (6, "b.weight.0 b.bias.0 head.weight.1"),
    },
    "Residual": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.1 c.weight.0 c.bias.0 head.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "SqueezeExcite": {
        "a": (5, "a.weight.0 a.bias.0 down.weight.1 up.weight.0 up.bias.0 c.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 down.weight.1 up.weight.0 up.bias.0 c.weight.1"),
        "down": (3, "down.weight.0 down.bias.0 up.weight.1"),
    },
    "HardView": {"a": (5, "a.weight.0 a.bias.0 b.weight.1")},
    "Scale": {"a": (5, "gamma.0 a.weight.0 a.bias.0 b.weight.1")},
    "Norms": {
        "a!": (7, "a.weight.0 a.bias.0 norm.weight.0 norm.bias.0 b.weight.1"),
        "b": (11, "b.weight.0 b.bias.0 act.weight.0 c.weight.1"),
    },
    "ECA": {"a!": (7, "a.weight.0 a.bias.0 b.weight.1")},
    "UnknownOp": {"a": (5, "a.weight.0 a.bias.0 b.weight.1")},
    "PartialResidual": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0 b.weight.1 b.bias.0 c.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "SelectiveKernel": {
        "a": (
            5,
            "a.weight.0 a.bias.0 b.weight.0 b.bias.0 down.weight.1 up.weight.0 up.bias.0 "
            "c.weight.1",
        ),
        "down": (7, "down.weight.0 down.bias.0 up.weight.1"),
    },
    "BlurPool": {"a": (5, "a.weight.0 a.bias.0 filter.0 b.weight.1")},
    "MixedConvolution": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0 b.bias.0 e.weight.1"),
        "a#2": (7, "a.weight.0 a.bias.0 c.weight.0 c.bias.0 e.weight.1"),
    },
    "EqualSplits": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.0 b.bias.0 e.weight.1"),
        "a#2": (5, "a.weight.0 a.bias.0 c.weight.0 c.bias.0 e.weight.1"),
    },
    "HierarchicalResidual": {
        "a": (
            7,
            "a.weight.0 a.bias.0 e.weight.1 convs.0.weight.0 convs.0.weight.1 convs.0.bias.0 "
            "convs.1.weight.1",
        ),
        "convs.1": (7, "convs.1.weight.0 convs.1.bias.0 e.weight.1"),
    },
    "CutElsewhere": {
        "a": (3, "a.weight.0 a.bias.0 c.weight.0 c.bias.0 e.weight.1"),
        "a#2": (2, "a.weight.0 a.bias.0 d.weight.0 d.bias.0 f.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 d.weight.0 d.bias.0 f.weight.1"),
    },
    "StandardisedWeight": {
        "a!": (5, "a.weight.0 a.bias.0 b.weight.1"),
        "convolution": (7, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "Einsum": {"a": (5, "mix.1 a.weight.0 a.bias.0"), "mix": (7, "mix.0 b.weight.1")},
    "Unbind": {"a": (5, "a.weight.0 a.bias.0 b.weight.1")},
    "Attention": {
        "a": (
            7,
            "a.weight.0 a.bias.0 q.weight.1 k.weight.1 v.weight.1 out.weight.0 out.bias.0 "
            "head.weight.1",
        ),
        "q!": (3, "q.weight.0 q.bias.0 k.weight.0 k.bias.0"),
        "v": (5, "v.weight.0 v.bias.0 out.weight.1"),
    },
    "LayerNormed": {
        "a!": (
            5,
            "gamma.0 a.weight.0 a.bias.0 norm.weight.0 norm.bias.0 up.weight.1 down.weight.0 "
            "down.bias.0 c.weight.1",
        ),
        "up": (7, "up.weight.0 up.bias.0 down.weight.1"),
    },
    "Branching": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "Pyramid": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.1 fine.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 coarse.weight.1"),
        "coarse": (11, "coarse.weight.0 coarse.bias.0 fine.weight.0 fine.bias.0 head.weight.1"),
    },
    "OneDimensional": {
        "a": (
            5,
            "a.weight.0 a.bias.0 norm.weight.0 norm.bias.0 norm.running_mean.0 "
            "norm.running_var.0 b.weight.0",
        ),
        "b": (7, "b.weight.1 b.bias.0 head.weight.1"),
    },
    "ThreeDimensional": {
        "a": (
            5,
            "a.weight.0 a.bias.0 norm.weight.0 norm.bias.0 norm.running_mean.0 "
            "norm.running_var.0 b.weight.1",
        ),
        "b": (7, "b.weight.0 b.bias.0 head.weight.1"),
    },
    "SpatialGate": {"a!": (5, "a.weight.0 a.bias.0 b.weight.1")},
}


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    source = small if hasattr(small, name) else hard
    return getattr(source, name)(), torch.randn(IMAGE)


def summary(graph: ChannelGraph) -> dict[str, tuple[int, list[str]]]:
    return {
        group.name + "!" * (not group.exact): (
            group.width,
            sorted(f"{tensor}.{axis}" for tensor, axis in group.members),
        )
        for group in graph.groups
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_are_those_read_off_the_network(name):
    model, image = network(name)
    graph = trace(model, image)
    expected = {key: (width, sorted(text.split())) for key, (width, text) in EXPECTED[name].items()}
    assert summary(graph) == expected
    assert_holds(model, image, graph)


def test_every_small_network_has_its_expectation():
    networks = {
        name
        for source in (small, hard)
        for name, value in vars(source).items()
        if isinstance(value, type) and value.__module__ == source.__name__
    }
    assert networks - set(EXPECTED) == {"ManyInOut", "TiedEmbedding"}
    assert len(networks) >= 40


def test_a_tied_embedding_is_read_and_written_with_one_width():
    torch.manual_seed(0)
    model, words = hard.TiedEmbedding(), torch.randint(11, (2, 4))
    graph = trace(model, words)
    assert graph.widths == {"table": 5, "mix": 7}
    assert ("table.weight", 1) in graph.groups[0].members
    assert_holds(model, words, graph)


def macs_and_params(name: str) -> tuple[int, int]:
    model, image = network(name)
    cost = trace(model, image[:1]).cost()
    return cost.macs, cost.params


def test_costs_are_the_products_read_off_the_networks():
    pixels = 6 * 8
    assert macs_and_params("Chain") == (
        pixels * (3 * 5 * 9 + 5 * 7 * 9) + 7 * 10,
        3 * 5 * 9 + 5 + 5 + 5 + 5 * 7 * 9 + 7 * 10 + 10,
    )
    assert macs_and_params("Grouped") == (
        pixels * (3 * 15 + 3 * 5 * 7 * 9 + 21 * 11),
        3 * 15 + 15 + 3 * 5 * 7 * 9 + 21 + 21 * 11 + 11,
    )
    assert macs_and_params("Depthwise")[0] == pixels * (3 * 5 + 15 * 9 + 15 * 11)
    # a transposed convolution multiplies once per input position
    assert macs_and_params("Transposed")[0] == pixels * (3 * 5 + 5 * 7 * 9) + 13 * 17 * 7 * 11
    assert macs_and_params("CalledTwice")[0] == pixels * (3 * 5 + 2 * 5 * 5 * 9 + 5 * 7)
    assert macs_and_params("TwoSizes")[0] == pixels * (2 * 135 + 315) + pixels // 4 * 315
    assert macs_and_params("SharedWeight")[1] == 15 + 5 + 315 + 7 + 7 + 14 + 2


def test_cost_follows_the_widths():
    model, image = network("Chain")
    graph = trace(model, image[:1])
    cost = graph.cost({"a": 4, "b": 13})
    assert cost.macs == 6 * 8 * (3 * 4 * 9 + 4 * 13 * 9) + 13 * 10
    assert cost.params == 3 * 4 * 9 + 3 * 4 + 4 * 13 * 9 + 13 * 10 + 10
    layers = {layer.name: (layer.macs, layer.params) for layer in graph.layers({"a": 4, "b": 13})}
    assert layers == {
        "a": (6 * 8 * 108, 108 + 4),
        "b": (6 * 8 * 468, 468),
        "head": (130, 140),
        "norm": (0, 8),
    }


def test_several_inputs_and_outputs_as_dictionaries():
    torch.manual_seed(0)
    model = small.ManyInOut()
    inputs = {"image": torch.randn(2, 3, 4, 4), "depth": torch.randn(2, 2, 4, 4)}
    graph = trace(model, inputs)
    assert graph.widths == {"a": 5}
    assert_holds(model, inputs, graph)
    assert trace(model, (inputs["image"], inputs["depth"])).widths == {"a": 5}


def reasons(graph: ChannelGraph, tensor: str, axis: int) -> str:
    return "; ".join(
        str(reason)
        for pinned in graph.pinned
        if (pinned.tensor, pinned.axis) == (tensor, axis)
        for reason in pinned.reasons
    )


@pytest.mark.parametrize(
    ("name", "tensor", "axis", "words"),
    [
        ("Chain", "a.weight", 1, ["network input"]),
        ("Chain", "head.weight", 0, ["network output"]),
        ("HardView", "b.weight", 0, ["written into the network's code", "view"]),
        ("ZeroPadded", "b.weight", 0, ["written into the network's code"]),
        ("UnknownOp", "b.weight", 0, ["operator without a rule", "_foreach_neg", "small.py:"]),
    ],
)
def test_what_is_pinned_says_why_and_where(name, tensor, axis, words):
    model, image = network(name)
    graph = trace(model, image)
    for word in words:
        assert word in reasons(graph, tensor, axis)
        assert word in graph.report()


def test_operators_without_a_rule_are_named():
    model, image = network("UnknownOp")
    graph = trace(model, image)
    assert graph.unknown_ops == ("_foreach_neg",)
    assert "operators without a rule: _foreach_neg" in graph.report()


def test_sizes_kept_in_attributes_follow():
    """``sizes = [5, 7]`` is no size of a layer, yet the split needs it."""
    model, image = network("SplitRejoin")
    graph = trace(model, image)
    other = resize(model, graph, {"a": 3, "a#2": 19})
    assert other.sizes == [3, 19]
    assert model.sizes == [5, 7]
    assert outputs_of(other, image)[0].shape == (2, 11, 6, 8)


@pytest.mark.parametrize(
    ("name", "group", "why"),
    [
        ("Norms", "a", "normalised over the channels of a group"),
        ("ECA", "a", "a kernel slides along the channels"),
        ("ChannelShuffle", "b", "cut across channels"),
    ],
)
def test_slicing_what_is_not_exact_is_refused_with_the_reason(name, group, why):
    model, image = network(name)
    graph = trace(model, image)
    with pytest.raises(GraphError, match=why):
        resize(model, graph, {group: 3}, init="slice")
    assert f"slices are not exact: {why}" in graph.report()
    assert_resizes(model, image, graph)


def layer_attributes(model: nn.Module, name: str) -> dict[str, Any]:
    return {
        key: getattr(model.get_submodule(name), key)
        for key in ("in_channels", "out_channels", "groups", "num_features", "num_channels",
                    "num_parameters", "in_features", "out_features")
        if hasattr(model.get_submodule(name), key)
    }  # fmt: skip


def test_attributes_of_layers_follow_their_tensors():
    def resized(name: str, **widths: int) -> nn.Module:
        model, image = network(name)
        return resize(model, trace(model, image), widths)

    chain = resized("Chain", a=11, b=2)
    assert layer_attributes(chain, "a") == {"in_channels": 3, "out_channels": 11, "groups": 1}
    assert layer_attributes(chain, "norm") == {"num_features": 11}
    assert layer_attributes(chain, "head") == {"in_features": 2, "out_features": 10}
    assert layer_attributes(resized("Grouped", a=4, b=2), "b") == {
        "in_channels": 12, "out_channels": 6, "groups": 3,
    }  # fmt: skip
    assert layer_attributes(resized("Depthwise", a=4), "b") == {
        "in_channels": 4, "out_channels": 12, "groups": 4,
    }  # fmt: skip
    assert layer_attributes(resized("GroupedTransposed", a=4, b=2), "b") == {
        "in_channels": 12, "out_channels": 6, "groups": 3,
    }  # fmt: skip
    assert layer_attributes(resized("DepthwiseTransposed", a=4), "b") == {
        "in_channels": 4, "out_channels": 8, "groups": 4,
    }  # fmt: skip
    norms = resized("Norms", a=4, b=2)
    assert layer_attributes(norms, "norm") == {"num_channels": 8}
    assert layer_attributes(norms, "act") == {"num_parameters": 2}
