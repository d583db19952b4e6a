"""Feature maps at two strides from a network of timm, torchvision or one's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from lwdna.errors import ModelError
from lwdna.models.common import initialise
from lwdna.models.registry import create_model, resolve_name

PROBED = 128
"""Side of the image, in pixels, on which strides and channels of an unknown network are found."""


class Backbone(nn.Module):
    """A network that gives two maps; what lies behind the deep one is not part of it.

    Args:
        body: maps images to two maps, in a list, a tuple or a dict, the shallow one first.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) to the shallow and the deep map, (N, C, H, W) and (N, C, h, w)."""
        maps = self.body(images)
        shallow, deep = maps.values() if isinstance(maps, Mapping) else maps
        return shallow, deep


class TinyBody(nn.Module):
    """A stem and two stages of one basic block, at strides 4 and 8."""

    def __init__(self, widths: tuple[int, int]) -> None:
        super().__init__()
        first, second = widths
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        shortcut = nn.Sequential(nn.Conv2d(first, second, 1, 2, bias=False), nn.BatchNorm2d(second))
        self.stage1 = BasicBlock(first, first)
        self.stage2 = BasicBlock(first, second, 2, shortcut)
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        shallow = self.stage1(self.stem(images))
        return shallow, self.stage2(shallow)


def make_backbone(
    name: str,
    strides: tuple[int, int],
    args: Mapping[str, Any] | None = None,
    *,
    pretrained: bool = False,
) -> Backbone:
    """Build a backbone by the name of a network.

    Args:
        name: as ``timm:resnet50``. Of a network of timm or torchvision the last maps at the two
            strides are taken; one of lwdna or registered from outside must return two maps.
        strides: pixels per cell of the shallow and the deep map.
        args: for the network.
        pretrained: ask timm or torchvision for trained weights.

    Raises:
        ModelError: there is no such network, or it has no maps at these strides.
    """
    full, args = resolve_name(name), dict(args or {})
    if pretrained:
        args["pretrained"] = True
    source = full.partition(":")[0]
    if source == "timm":
        return Backbone(_timm_body(full, strides, args))
    body = create_model(full, **args)
    return Backbone(_torchvision_body(full, body, strides) if source == "torchvision" else body)


def channels_of(backbone: Backbone, strides: tuple[int, int], name: str) -> tuple[int, int]:
    """Return the channels of both maps, once sure that they are at the strides they should be.

    Raises:
        ModelError: the network does not give two maps at these strides.
    """
    training = backbone.training
    try:
        with torch.no_grad():
            maps = backbone.eval()(torch.zeros(1, 3, PROBED, PROBED))
    except (TypeError, ValueError) as error:  # more maps than two, or something else
        raise ModelError(
            f"{name} must return two maps of features, the shallow one first: {error}"
        ) from error
    finally:
        backbone.train(training)
    found = [(one.shape[-1], one.shape[-2]) for one in maps]
    if found != [(-(-PROBED // stride),) * 2 for stride in strides]:
        raise ModelError(
            f"{name} makes maps of {found} cells from {PROBED} pixels, which are not at strides "
            f"{strides[0]} and {strides[1]}; name other strides"
        )
    return maps[0].shape[1], maps[1].shape[1]


def _timm_body(full: str, strides: tuple[int, int], args: dict[str, Any]) -> nn.Module:
    """Build a network of timm up to its last map at the deep stride."""
    known = {name: value for name, value in args.items() if name != "pretrained"}
    with torch.device("meta"):
        plan: Any = create_model(full, features_only=True, **known)
    found: list[int] = plan.feature_info.reduction()
    levels = [_last(found, stride, full) for stride in strides]
    return create_model(full, features_only=True, out_indices=levels, **args)


def _torchvision_body(full: str, body: nn.Module, strides: tuple[int, int]) -> nn.Module:
    """Cut a network of torchvision behind its last stage at the deep stride."""
    from torchvision.models.feature_extraction import create_feature_extractor

    names: list[str] = []
    found: list[int] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, result: Any) -> None:
            if isinstance(result, Tensor) and result.ndim == 4:
                names.append(name)
                found.append(PROBED // result.shape[-1])

        return hook

    plan = copy.deepcopy(body).to("meta").eval()
    for name, module in plan.named_modules():
        if name and name.count(".") < 2:  # stages; inside of a block there are other maps
            module.register_forward_hook(note(name))
    plan(torch.zeros(1, 3, PROBED, PROBED, device="meta"))
    levels = [names[_last(found, stride, full)] for stride in strides]
    cut: nn.Module = create_feature_extractor(body, levels)
    return cut


def _last(found: Sequence[int], stride: int, name: str) -> int:
    """Return the position of the last map at a stride."""
    if stride not in found:
        raise ModelError(
            f"{name} has maps at strides {sorted(set(found))}, none at {stride}; name others, or "
            "a network that has one"
        )
    return max(i for i, one in enumerate(found) if one == stride)
