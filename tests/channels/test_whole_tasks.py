"""Segmentation, feature pyramids, video and sound: exact cost and exact slices as for images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone

from lwdna.channels import resize, trace

from .proof import (
    assert_resizes,
    assert_slices,
    make_nontrivial,
    outputs_of,
    random_units,
    relative_error,
    silenced,
)


def segmentation(name: str) -> nn.Module:
    return torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=5, aux_loss=name.startswith("fcn")
    )


def video(name: str) -> nn.Module:
    return torchvision.models.get_model(name, weights=None, num_classes=5)


def small_s3d() -> nn.Module:
    """S3D for frames of 64 pixels, of which 2 x 2 positions come to its last pooling, not 7 x 7."""
    model = video("s3d")
    model.avgpool.kernel_size = (2, 2, 2)
    return model


class Pyramid(nn.Module):
    """10 and 14 channels, brought to a common width and added from coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 10, 3, padding=1)
        self.b = nn.Conv2d(10, 14, 3, stride=2, padding=1)
        self.fpn = torchvision.ops.FeaturePyramidNetwork([10, 14], 18)
        self.head = nn.Conv2d(18, 5, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        a = self.a(x)
        levels = self.fpn({"fine": a, "coarse": self.b(a)})
        return [self.head(level) for level in levels.values()]


class Sound(nn.Module):
    """A 1-D encoder and decoder with a depthwise convolution and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv1d(2, 7, 5, padding=2), nn.BatchNorm1d(7)
        self.depthwise = nn.Conv1d(7, 7, 5, padding=2, groups=7)
        self.down = nn.Conv1d(7, 11, 4, stride=2, padding=1)
        self.up = nn.ConvTranspose1d(11, 7, 4, stride=2, padding=1)
        self.head = nn.Conv1d(7, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.norm(self.a(x)).relu())
        return self.head(x + self.up(self.down(x).relu()))


QUICK = {
    "feature pyramid": (Pyramid, (1, 3, 16, 16), 4),
    "sound": (Sound, (1, 2, 32), 2),
}
SLOW = {
    "fcn_resnet50": (lambda: segmentation("fcn_resnet50"), (1, 3, 64, 64), 39),
    "deeplabv3": (lambda: segmentation("deeplabv3_mobilenet_v3_large"), (1, 3, 64, 64), 36),
    "lraspp": (lambda: segmentation("lraspp_mobilenet_v3_large"), (1, 3, 64, 64), 30),
    "resnet18 fpn": (
        lambda: resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5),
        (1, 3, 64, 64),
        13,
    ),
    "mobilenet fpn": (
        lambda: mobilenet_backbone(
            backbone_name="mobilenet_v3_large", weights=None, fpn=True, trainable_layers=6
        ),
        (1, 3, 64, 64),
        30,
    ),
    "r3d_18": (lambda: video("r3d_18"), (1, 3, 4, 32, 32), 12),
    "mc3_18": (lambda: video("mc3_18"), (1, 3, 4, 32, 32), 12),
    "s3d": (small_s3d, (1, 3, 16, 64, 64), 77),
}


@pytest.mark.parametrize(
    ("make", "shape", "groups"),
    [
        *(pytest.param(*case, id=name) for name, case in QUICK.items()),
        *(pytest.param(*case, id=name, marks=pytest.mark.slow) for name, case in SLOW.items()),
    ],
)
def test_exact_cost_and_exact_slices(make, shape, groups):
    torch.manual_seed(0)
    model, inputs = make(), torch.randn(shape)
    graph = trace(model, inputs)
    assert len(graph.groups) == groups
    assert graph.unknown_ops == ()
    assert all(group.exact for group in graph.groups)
    assert {r.why for p in graph.pinned for r in p.reasons} == {"network input", "network output"}
    assert_resizes(model, inputs, graph, rounds=1)
    assert_slices(model, inputs, graph, double=False)


def test_the_levels_of_a_pyramid_share_a_width():
    """Inner and outer layers of all levels: 1 x 1 laterals are summed, 3 x 3 read the sum."""
    graph = trace(Pyramid(), torch.zeros(1, 3, 16, 16))
    sums = graph.groups[graph.index["fpn.inner_blocks.1.0"]]
    assert {(m.tensor, m.axis) for m in sums.members} == {
        (f"fpn.{kind}_blocks.{level}.0.{tensor}", axis)
        for level in (0, 1)
        for kind, tensor, axis in (
            ("inner", "weight", 0),
            ("inner", "bias", 0),
            ("layer", "weight", 1),
        )
    }
    assert sums.width == 18


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        pytest.param("fasterrcnn_mobilenet_v3_large_320_fpn", 34, marks=pytest.mark.long),
        pytest.param("retinanet_resnet50_fpn", 47, marks=pytest.mark.slow),
    ],
)
def test_a_detector_as_it_is_called(name, groups):
    """Boxes are chosen by value: what they are chosen from is compared, and their number."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=5, min_size=64, max_size=64
    ).eval()
    graph = trace(model, ([torch.rand(3, 64, 64)],))
    assert len(graph.groups) == groups
    assert graph.unknown_ops == ()
    model = model.double()
    make_nontrivial(model)
    kept = random_units(graph, seed=7)
    small, masked = resize(model, graph, kept, "slice"), silenced(model, graph, kept)
    image = torch.rand(3, 64, 64).double()

    def scores(network: Any) -> list[Tensor]:
        with torch.no_grad():
            levels = list(network.backbone(network.transform([image])[0].tensors).values())
            head = network.rpn.head if hasattr(network, "rpn") else network.head
            return [leaf for leaf in tree_flatten(head(levels))[0] if isinstance(leaf, Tensor)]

    assert relative_error(scores(small), scores(masked)) < 1e-9
    found = [outputs_of(network, ([image],)) for network in (small, masked)]
    assert [one.shape for one in found[0]] == [one.shape for one in found[1]]
    widths = {key: max(1, width // 2) for key, width in graph.widths.items()}
    outputs_of(resize(model, graph, widths, seed=0), ([image],))
