"""Networks of timm and torchvision: exact cost at random widths, sliced equals silenced."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from lwdna.channels import trace
from networks import with_small_classifier

from .proof import assert_resizes, assert_slices

# Name, side of the images, arguments that keep the test quick.
TIMM = [
    ("resnet18", 64, {}),
    ("resnet26", 64, {}),
    ("resnetv2_50", 64, {"layers": (2, 2, 2, 2)}),  # later blocks of a stage are all alike
    ("resnext50_32x4d", 64, {"layers": (2, 2, 2, 2)}),
    ("regnetx_002", 64, {}),
    ("regnety_002", 64, {}),
    ("mobilenetv1_100", 64, {}),
    ("mobilenetv2_050", 64, {}),
    ("mobilenetv3_small_050", 64, {}),
    ("mnasnet_small", 64, {}),
    ("efficientnet_b0", 64, {}),
    ("densenet121", 64, {}),
    ("vgg11_bn", 64, {"mlp_ratio": 0.0625}),
    ("inception_v3", 96, {}),
]
TORCHVISION = [
    ("resnet18", 64, {}),
    ("googlenet", 64, {"init_weights": False, "aux_logits": True}),
    ("inception_v3", 96, {"init_weights": False}),
    ("mnasnet0_5", 64, {}),
    ("mobilenet_v3_small", 64, {}),
    ("shufflenet_v2_x0_5", 64, {}),
    ("squeezenet1_1", 64, {}),
]
QUICK = {"resnet18", "mobilenetv3_small_050", "regnetx_002", "shufflenet_v2_x0_5"}
LONG = {"resnet26", "vgg11_bn", "densenet121", "inception_v3", "googlenet"}


def _marks(library: str, name: str) -> list[pytest.MarkDecorator]:
    if name in LONG:
        return [pytest.mark.long]
    quick = name in QUICK and (library, name) != ("torchvision", "resnet18")
    return [] if quick else [pytest.mark.slow]


CASES = [
    pytest.param(
        library, name, side, arguments, id=f"{library}:{name}", marks=_marks(library, name)
    )
    for library, table in (("timm", TIMM), ("torchvision", TORCHVISION))
    for name, side, arguments in table
]  # fmt: skip


def build(library: str, name: str, arguments: dict) -> nn.Module:
    torch.manual_seed(0)
    if library == "timm":
        return timm.create_model(name, num_classes=10, **arguments)
    return torchvision.models.get_model(name, weights=None, num_classes=10, **arguments)


@pytest.mark.parametrize(("library", "name", "side", "arguments"), CASES)
def test_exact_cost_and_exact_slices(library, name, side, arguments):
    model = build(library, name, arguments)
    image = torch.randn(1, 3, side, side)
    graph = trace(model, image)
    assert graph.unknown_ops == ()
    assert graph.attributes == ()
    reasons = {reason.why for pinned in graph.pinned for reason in pinned.reasons}
    assert reasons <= {"network input", "network output"}
    assert_resizes(model, image, graph)
    assert_slices(model, image, graph)


# Networks that keep sizes in attributes, cut and re-join channels or reorder them.
HARD = ["dpn48b", "ghostnet_050", "mixnet_s", "nf_regnet_b0", "rexnet_100", "skresnet18"]


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_families_on_which_others_fail(name):
    model = build("timm", name, {})
    image = torch.randn(1, 3, 64, 64)
    graph = trace(model, image)
    assert graph.unknown_ops == ()
    assert len(graph.groups) > 10
    assert_resizes(model, image, graph, rounds=2)
    assert_slices(model, image, graph)


# Hybrids and transformers: name, side, arguments, and what else but input and output is pinned.
HYBRID = [
    ("vit_tiny_patch16_224", 32, {"img_size": 32, "depth": 2}, {"meets a fixed axis"}),
    ("xcit_nano_12_p16_224", 32, {"depth": 2}, {"meets a fixed axis"}),
    ("efficientvit_b0", 64, {}, set()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side", "arguments", "pins"), HYBRID, ids=lambda v: str(v)[:30])
def test_attention_with_a_given_number_of_heads(name, side, arguments, pins):
    """Every multiply-accumulate moves: embedding, queries, keys, values and hidden layers."""
    model = build("timm", name, arguments)
    image = torch.randn(1, 3, side, side)
    graph = trace(model, image)
    assert graph.unknown_ops == ()
    reasons = {reason.why for pinned in graph.pinned for reason in pinned.reasons}
    assert reasons - {"network input", "network output"} == pins
    assert all(term.groups for operator in graph.operators for term in operator.terms)
    assert_resizes(model, image, graph, rounds=1)
    assert_slices(model, image, graph, double=False)


@pytest.mark.slow
def test_vgg_with_its_flatten_to_linear():
    """7 x 7 positions of each of 512 channels feed a linear layer, here of 96 units, not 4096."""
    model = with_small_classifier(build("torchvision", "vgg11", {"init_weights": False}))
    image = torch.randn(1, 3, 64, 64)
    graph = trace(model, image)
    assert graph.widths["features.18"] == 512
    assert ("classifier.0.weight", 1) in graph.groups[graph.index["features.18"]].members
    assert_resizes(model, image, graph, rounds=1)
    assert_slices(model, image, graph)


def test_shuffled_channels_are_free_and_exact():
    """Each half of a unit passes or goes through a branch: exact slices of all but the tails."""
    graph = trace(build("torchvision", "shufflenet_v2_x0_5", {}), torch.randn(1, 3, 64, 64))
    assert sum(group.exact for group in graph.groups) > len(graph.groups) / 2
