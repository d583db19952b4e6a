"""A feed-forward Siamese tracker: features of the target are kept, every frame is one pass.

After SiamFC++ (Xu et al., AAAI 2020, arXiv 1911.06188), whose heads need no anchors, and FEAR
(Borsuk et al., ECCV 2022, arXiv 2112.07957), for devices with little power, which compares every
cell of the target with every cell of the frame by a matrix product (pixel-wise correlation, Yan et
al., CVPR 2021, arXiv 2012.06815). Here each cell's map is moved, too, so that all of them say at
one place how well the target's parts fit if its centre is there; and the heads see nothing but
these maps, so that they cannot learn by heart how the targets of few sequences look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lwdna.errors import ModelError
from lwdna.models.common import conv3x3
from lwdna.models.registry import register_model
from lwdna.models.tracking.backbones import Backbone, TinyBody, channels_of, make_backbone

_USUAL_REACH = 2.0
"""How many cells the target reaches to each side, before training: it does where a crop of 16 cells
is four times as long as the target."""
_MOST = 3.0
"""No target reaches further than 2 exp(3) = 40 cells."""


class Located(NamedTuple):
    """Where the target may be, for each cell of a map of h x w."""

    scores: Tensor
    """Logits, (B, h, w): whether the cell is at the target's centre."""
    boxes: Tensor
    """(B, 4, h, w): how far the target's left, upper, right and lower ends are from the cell
    (:func:`places`), in pixels of the image."""


class Correlation(nn.Module):
    """How well each part of the target fits if the target's centre is at a place.

    Args:
        cells: k, side of the square of the target's cells; odd.
    """

    moves: Tensor

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells
        count = cells**2
        moves = torch.eye(count).view(count, 1, cells, cells)
        self.register_buffer("moves", moves, persistent=False)
        self.norm = nn.BatchNorm2d(count)

    def forward(self, target: Tensor, searched: Tensor) -> Tensor:
        """Cells (B, k k, C) and features (B, C, h, w) to (B, k k, h, w)."""
        products = torch.bmm(target, searched.flatten(2))
        maps = products.view(*products.shape[:2], *searched.shape[2:])
        moved = F.conv2d(maps, self.moves, padding=self.cells // 2, groups=self.cells**2)
        normalised: Tensor = self.norm(moved)
        return normalised


def _head(channels: int, width: int, depth: int, outputs: int) -> nn.Sequential:
    """Return ``depth`` convolutions of 3x3, each normalised and rectified, and a last one."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [conv3x3(channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, outputs, 3, padding=1))


class Siamese(nn.Module):
    """Backbone and neck for both images, correlation, and two heads.

    Args:
        backbone: gives two maps, of which the deep one is used.
        channels: of the deep one.
        stride: of the deep one, in pixels.
        width: of the features that are compared.
        head_width: of the heads.
        depth: convolutions of each head before its last.
        cells: side of the square of the target's cells, about the centre of the template; odd.
    """

    def __init__(
        self,
        backbone: Backbone,
        channels: int,
        *,
        stride: int,
        width: int,
        head_width: int,
        depth: int,
        cells: int,
    ) -> None:
        super().__init__()
        if cells < 1 or cells % 2 == 0:
            raise ModelError(f"cells is {cells}; it must be odd, so that the target has a centre")
        if depth < 0 or width < 1 or head_width < 1:
            raise ModelError(
                f"depth is {depth}, width {width}, head_width {head_width}; they must be at least "
                "0, 1 and 1"
            )
        self.stride = stride
        self.cells = cells
        self.backbone = backbone
        self.neck = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        self.correlation = Correlation(cells)
        self.classify = _head(cells**2, head_width, depth, 1)
        self.measure = _head(cells**2, head_width, depth, 4)

    def forward(self, template: Tensor, search: Tensor) -> Located:
        """Find the target of each template in the image beside it.

        Args:
            template: (B, 3, t, t), normalised, the target in the middle.
            search: (B, 3, s, s), normalised.
        """
        return self.search(self.template(template), search)

    def template(self, image: Tensor) -> Tensor:
        """Return what is kept of the target, (B, k k, C), of an image (B, 3, t, t)."""
        x = self._features(image)
        top, left = ((side - self.cells) // 2 for side in x.shape[2:])
        middle = x[:, :, top : top + self.cells, left : left + self.cells]
        return middle.flatten(2).transpose(1, 2)

    def search(self, features: Tensor, image: Tensor) -> Located:
        """Find the target of which :meth:`template` gave ``features`` in an image (B, 3, s, s)."""
        maps = self.correlation(features, self._features(image))
        reach = self.measure(maps).clamp(max=_MOST).exp() * (_USUAL_REACH * self.stride)
        return Located(self.classify(maps).squeeze(1), reach)

    def parts(self, inputs: Mapping[str, Tensor]) -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
        """Return what a tracker runs, each a network of its own, with inputs: ``template`` for the
        first frame, ``search`` for every other.

        Args:
            inputs: of :meth:`forward`.
        """
        with torch.no_grad():
            features = self.template(inputs["template"])
        return {
            "template": (TemplatePart(self), {"template": inputs["template"]}),
            "search": (SearchPart(self), {"features": features, "search": inputs["search"]}),
        }

    def _features(self, image: Tensor) -> Tensor:
        x: Tensor = self.neck(self.backbone(image)[1])
        return x


def places(size: int, stride: int, cells: int) -> Tensor:
    """Return where the cells of a map lie along one axis of its image, in pixels, (cells,).

    They lie ``stride`` apart, about the middle. Convolutions that halve a map with a padding of one
    look at a place a little before that, unless the size is a multiple of the stride and one more.

    Args:
        size: of the image.
        stride: pixels per cell.
        cells: of the map.
    """
    return stride * torch.arange(cells) + (size - stride * (cells - 1)) / 2


class TemplatePart(nn.Module):
    """What is used of a :class:`Siamese` once, for the first frame."""

    def __init__(self, network: Siamese) -> None:
        super().__init__()
        self.network = network

    def forward(self, template: Tensor) -> Tensor:
        """(B, 3, t, t) to features (B, k k, C)."""
        return self.network.template(template)


class SearchPart(nn.Module):
    """What is used of a :class:`Siamese` for every frame but the first."""

    def __init__(self, network: Siamese) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, search: Tensor) -> Located:
        """Features (B, k k, C) and images (B, 3, s, s) to scores and boxes."""
        return self.network.search(features, search)


@register_model
def siamese(
    backbone: str = "timm:mobilenetv3_small_100",
    backbone_args: Mapping[str, Any] | None = None,
    stride: int = 16,
    width: int = 96,
    head_width: int = 96,
    depth: int = 2,
    cells: int = 7,
    pretrained_backbone: bool = False,
) -> Siamese:
    """A Siamese tracker on any backbone (after FEAR, Borsuk et al. 2022, arXiv 2112.07957).

    Args:
        backbone: the name of a network, see
            :func:`lwdna.models.tracking.backbones.make_backbone`.
        backbone_args: for that network.
        stride: of the map that is used, in pixels.
        width: of the features that are compared.
        head_width: of the heads.
        depth: convolutions of each head before its last.
        cells: side of the square of the target's cells.
        pretrained_backbone: load trained weights of the backbone from timm or torchvision.
    """
    strides = (stride // 2, stride)
    made = make_backbone(backbone, strides, backbone_args, pretrained=pretrained_backbone)
    channels = channels_of(made, strides, backbone)[1]
    return Siamese(
        made,
        channels,
        stride=stride,
        width=width,
        head_width=head_width,
        depth=depth,
        cells=cells,
    )


@register_model
def siamese_tiny(
    widths: tuple[int, int] = (16, 32),
    width: int = 32,
    head_width: int = 32,
    depth: int = 2,
    cells: int = 7,
) -> Siamese:
    """A small Siamese tracker for crops of 129 pixels, maps at stride 8.

    Args:
        widths: of the two stages of its backbone.
        width: of the features that are compared.
        head_width: of the heads.
        depth: convolutions of each head before its last.
        cells: side of the square of the target's cells.
    """
    first, second = (int(one) for one in widths)
    return Siamese(
        Backbone(TinyBody((first, second))),
        second,
        stride=8,
        width=width,
        head_width=head_width,
        depth=depth,
        cells=cells,
    )
