"""Networks of timm and torchvision with their convolutions split: traced, resized exactly."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

import lwdna
from lwdna.errors import ModelError
from networks import with_small_classifier

from ..channels.proof import assert_resizes, assert_slices

# Name, side of the images, and how many convolutions are split by default.
ZOO = [
    ("timm:resnet18", 64, 16),
    ("torchvision:densenet", 64, 10),
    ("timm:tf_efficientnetv2_b0", 64, 5),
    ("timm:convnext_atto", 64, 3),
    ("timm:inception_v3", 96, 53),
    ("torchvision:vgg11_bn", 64, 7),
]
QUICK = {"timm:resnet18", "timm:convnext_atto"}
LONG = {"timm:inception_v3": "long"}


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "torchvision:densenet":  # two or three layers of a block are all alike
        return torchvision.models.DenseNet(32, (3, 3, 2, 2), num_classes=10)
    if name == "torchvision:vgg11_bn":
        return with_small_classifier(torchvision.models.vgg11_bn(init_weights=False))
    return lwdna.create_model(name, num_classes=10)


@pytest.mark.parametrize(
    ("name", "side", "count"),
    [
        pytest.param(
            *case,
            marks=[] if case[0] in QUICK else getattr(pytest.mark, LONG.get(case[0], "slow")),
        )
        for case in ZOO
    ],
    ids=[case[0] for case in ZOO],
)
def test_factorised_networks_trace_and_resize_exactly(name, side, count):
    model = make(name)
    split = lwdna.factorize(model)
    image = torch.randn(1, 3, side, side)
    before, graph = lwdna.trace(model, image), lwdna.trace(split, image)
    ranks = [name for name in graph.widths if name.endswith(".basis")]
    assert len(ranks) == count
    assert len(graph.groups) == len(before.groups) + count
    assert graph.unknown_ops == ()
    assert_resizes(split, image, graph, rounds=2)
    assert_slices(split, image, graph, double=False)


@pytest.mark.parametrize("name", ["timm:efficientnet_b0", "timm:regnetx_002"])
def test_networks_whose_kernels_are_all_in_groups_have_nothing_to_split(name):
    with pytest.raises(ModelError, match=r"no convolution that can be split.*name some \(layers\)"):
        lwdna.factorize(lwdna.create_model(name))


def test_convolutions_of_kernel_one_are_split_where_they_are_named():
    model = lwdna.create_model("timm:regnetx_002", num_classes=10)
    split = lwdna.factorize(model, layers="s[34].*.conv[13].conv", rank=0.5)
    assert isinstance(split.s4.b1.conv1.conv, nn.Sequential)
    image = torch.randn(1, 3, 64, 64)
    assert lwdna.trace(split, image).cost().macs < lwdna.trace(model, image).cost().macs
