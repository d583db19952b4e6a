"""timm's ImageNet networks for images of 32 and 64 pixels.

They are timm's own networks, with fewer early strides, so that the last feature map does not
shrink to a single pixel:

- ``*_64px``: the stem has stride 1; the last map of a 64-pixel image is 4x4 instead of 2x2.
- ``*_32px``: the stem and the first stage that halves the image have stride 1; the last map of a
  32-pixel image is 4x4. This is the usual CIFAR form of MobileNetV2 (its 24-channel stage) and of
  RegNet (its first stage). For MobileNetV1, MobileNetV3, MNASNet and EfficientNet the literature
  varies between this, a stride of 1 in the stem alone (last map 2x2), and one stage more (8x8);
  we take the same form for all, so that they compare.
- ResNets: in both sizes a 3x3 stem of stride 1 and no max-pooling, as is usual for CIFAR and
  Tiny-ImageNet; the last map is 4x4 of 32 pixels and 8x8 of 64.

Everything else, weight initialisation included, is timm's, and so are further arguments such as
``drop_rate``. ``width_mult`` chooses among the widths that timm has; for any other width use
:func:`lwdna.widen`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lwdna.errors import ModelError
from lwdna.models.registry import create_model, register_model

MOBILENETV1 = {1.0: "mobilenetv1_100", 1.25: "mobilenetv1_125"}
MOBILENETV2 = {
    0.35: "mobilenetv2_035",
    0.5: "mobilenetv2_050",
    0.75: "mobilenetv2_075",
    1.0: "mobilenetv2_100",
    1.4: "mobilenetv2_140",
}
MOBILENETV3_LARGE = {0.75: "mobilenetv3_large_075", 1.0: "mobilenetv3_large_100"}
MOBILENETV3_SMALL = {
    0.5: "mobilenetv3_small_050",
    0.75: "mobilenetv3_small_075",
    1.0: "mobilenetv3_small_100",
}
MNASNET = {0.5: "mnasnet_050", 0.75: "mnasnet_075", 1.0: "mnasnet_100", 1.4: "mnasnet_140"}


@register_model
def mobilenetv1_32px(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MobileNetV1 (Howard et al. 2017, arXiv 1704.04861) for 32x32 pixels."""
    return _small(
        _of_width(MOBILENETV1, width_mult), 32, num_classes, in_chans, args, stage="blocks.1"
    )


@register_model
def mobilenetv1_64px(
    num_classes: int = 200, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MobileNetV1 (Howard et al. 2017, arXiv 1704.04861) for 64x64 pixels."""
    return _small(_of_width(MOBILENETV1, width_mult), 64, num_classes, in_chans, args)


@register_model
def mobilenetv2_32px(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MobileNetV2 (Sandler et al., CVPR 2018, arXiv 1801.04381) for 32x32 pixels."""
    return _small(
        _of_width(MOBILENETV2, width_mult), 32, num_classes, in_chans, args, stage="blocks.1"
    )


@register_model
def mobilenetv2_64px(
    num_classes: int = 200, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MobileNetV2 (Sandler et al., CVPR 2018, arXiv 1801.04381) for 64x64 pixels."""
    return _small(_of_width(MOBILENETV2, width_mult), 64, num_classes, in_chans, args)


@register_model
def mobilenetv3_large_32px(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MobileNetV3-Large (Howard et al., ICCV 2019, arXiv 1905.02244) for 32x32 pixels."""
    return _small(
        _of_width(MOBILENETV3_LARGE, width_mult), 32, num_classes, in_chans, args, stage="blocks.1"
    )


@register_model
def mobilenetv3_large_64px(
    num_classes: int = 200, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MobileNetV3-Large (Howard et al., ICCV 2019, arXiv 1905.02244) for 64x64 pixels."""
    return _small(_of_width(MOBILENETV3_LARGE, width_mult), 64, num_classes, in_chans, args)


@register_model
def mobilenetv3_small_32px(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MobileNetV3-Small (Howard et al., ICCV 2019, arXiv 1905.02244) for 32x32 pixels.

    Its first block loses its stride but, as in the original, has no shortcut.
    """
    return _small(
        _of_width(MOBILENETV3_SMALL, width_mult), 32, num_classes, in_chans, args, stage="blocks.0"
    )


@register_model
def mobilenetv3_small_64px(
    num_classes: int = 200, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MobileNetV3-Small (Howard et al., ICCV 2019, arXiv 1905.02244) for 64x64 pixels."""
    return _small(_of_width(MOBILENETV3_SMALL, width_mult), 64, num_classes, in_chans, args)


@register_model
def mnasnet_32px(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MNASNet-B1 (Tan et al., CVPR 2019, arXiv 1807.11626) for 32x32 pixels."""
    return _small(_of_width(MNASNET, width_mult), 32, num_classes, in_chans, args, stage="blocks.1")


@register_model
def mnasnet_64px(
    num_classes: int = 200, in_chans: int = 3, width_mult: float = 1.0, **args: Any
) -> nn.Module:
    """MNASNet-B1 (Tan et al., CVPR 2019, arXiv 1807.11626) for 64x64 pixels."""
    return _small(_of_width(MNASNET, width_mult), 64, num_classes, in_chans, args)


@register_model
def efficientnet_b0_32px(num_classes: int = 10, in_chans: int = 3, **args: Any) -> nn.Module:
    """EfficientNet-B0 (Tan and Le, ICML 2019, arXiv 1905.11946) for 32x32 pixels."""
    return _small("efficientnet_b0", 32, num_classes, in_chans, args, stage="blocks.1")


@register_model
def efficientnet_b0_64px(num_classes: int = 200, in_chans: int = 3, **args: Any) -> nn.Module:
    """EfficientNet-B0 (Tan and Le, ICML 2019, arXiv 1905.11946) for 64x64 pixels."""
    return _small("efficientnet_b0", 64, num_classes, in_chans, args)


@register_model
def regnetx_002_32px(num_classes: int = 10, in_chans: int = 3, **args: Any) -> nn.Module:
    """RegNetX-200MF (Radosavovic et al., CVPR 2020, arXiv 2003.13678) for 32x32 pixels."""
    return _small("regnetx_002", 32, num_classes, in_chans, args, stage="s1")


@register_model
def regnetx_002_64px(num_classes: int = 200, in_chans: int = 3, **args: Any) -> nn.Module:
    """RegNetX-200MF (Radosavovic et al., CVPR 2020, arXiv 2003.13678) for 64x64 pixels."""
    return _small("regnetx_002", 64, num_classes, in_chans, args)


@register_model
def regnetx_004_32px(num_classes: int = 10, in_chans: int = 3, **args: Any) -> nn.Module:
    """RegNetX-400MF (Radosavovic et al., CVPR 2020, arXiv 2003.13678) for 32x32 pixels."""
    return _small("regnetx_004", 32, num_classes, in_chans, args, stage="s1")


@register_model
def regnetx_004_64px(num_classes: int = 200, in_chans: int = 3, **args: Any) -> nn.Module:
    """RegNetX-400MF (Radosavovic et al., CVPR 2020, arXiv 2003.13678) for 64x64 pixels."""
    return _small("regnetx_004", 64, num_classes, in_chans, args)


@register_model
def regnety_002_32px(num_classes: int = 10, in_chans: int = 3, **args: Any) -> nn.Module:
    """RegNetY-200MF (Radosavovic et al., CVPR 2020, arXiv 2003.13678) for 32x32 pixels."""
    return _small("regnety_002", 32, num_classes, in_chans, args, stage="s1")


@register_model
def regnety_002_64px(num_classes: int = 200, in_chans: int = 3, **args: Any) -> nn.Module:
    """RegNetY-200MF (Radosavovic et al., CVPR 2020, arXiv 2003.13678) for 64x64 pixels."""
    return _small("regnety_002", 64, num_classes, in_chans, args)


@register_model
def regnety_004_32px(num_classes: int = 10, in_chans: int = 3, **args: Any) -> nn.Module:
    """RegNetY-400MF (Radosavovic et al., CVPR 2020, arXiv 2003.13678) for 32x32 pixels."""
    return _small("regnety_004", 32, num_classes, in_chans, args, stage="s1")


@register_model
def regnety_004_64px(num_classes: int = 200, in_chans: int = 3, **args: Any) -> nn.Module:
    """RegNetY-400MF (Radosavovic et al., CVPR 2020, arXiv 2003.13678) for 64x64 pixels."""
    return _small("regnety_004", 64, num_classes, in_chans, args)


@register_model
def resnet18_32px(num_classes: int = 10, in_chans: int = 3, **args: Any) -> nn.Module:
    """ResNet-18 (He et al., CVPR 2016, arXiv 1512.03385) for 32x32 pixels."""
    return _small_resnet("resnet18", 32, num_classes, in_chans, args)


@register_model
def resnet18_64px(num_classes: int = 200, in_chans: int = 3, **args: Any) -> nn.Module:
    """ResNet-18 (He et al., CVPR 2016, arXiv 1512.03385) for 64x64 pixels."""
    return _small_resnet("resnet18", 64, num_classes, in_chans, args)


@register_model
def resnet50_32px(num_classes: int = 10, in_chans: int = 3, **args: Any) -> nn.Module:
    """ResNet-50 (He et al., CVPR 2016, arXiv 1512.03385) for 32x32 pixels."""
    return _small_resnet("resnet50", 32, num_classes, in_chans, args)


@register_model
def resnet50_64px(num_classes: int = 200, in_chans: int = 3, **args: Any) -> nn.Module:
    """ResNet-50 (He et al., CVPR 2016, arXiv 1512.03385) for 64x64 pixels."""
    return _small_resnet("resnet50", 64, num_classes, in_chans, args)


def _of_width(widths: Mapping[float, str], width_mult: float) -> str:
    if width_mult not in widths:
        allowed = ", ".join(map(str, widths))
        raise ModelError(
            f"width_mult is {width_mult}; timm has this network at {allowed}: "
            "take one of these, or widen the network afterwards"
        )
    return widths[width_mult]


def _timm(
    name: str, size: int, num_classes: int, in_chans: int, args: Mapping[str, Any]
) -> tuple[nn.Module, str]:
    """Return timm's network, and the name of its first convolution."""
    model = create_model(
        f"timm:{name}",
        num_classes=num_classes,
        in_chans=in_chans,
        pretrained_cfg_overlay={"input_size": (in_chans, size, size)},
        **args,
    )
    description: Any = model.pretrained_cfg
    return model, description["first_conv"]


def _small(
    name: str,
    size: int,
    num_classes: int,
    in_chans: int,
    args: Mapping[str, Any],
    stage: str | None = None,
) -> nn.Module:
    """Build timm's network and take the stride from its stem and, if named, from one stage."""
    model, first_conv = _timm(name, size, num_classes, in_chans, args)
    for part in (first_conv, stage):
        if part is not None:
            _take_stride(model.get_submodule(part))
    return model


def _take_stride(part: nn.Module) -> None:
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)


def _small_resnet(
    name: str, size: int, num_classes: int, in_chans: int, args: Mapping[str, Any]
) -> nn.Module:
    """Build timm's ResNet with a 3x3 stem of stride 1 and without max-pooling."""
    model, first_conv = _timm(name, size, num_classes, in_chans, args)
    stem = model.get_submodule(first_conv)
    assert isinstance(stem, nn.Conv2d)
    smaller = nn.Conv2d(stem.in_channels, stem.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(smaller.weight, mode="fan_out", nonlinearity="relu")
    model.set_submodule(first_conv, smaller)
    model.set_submodule("maxpool", nn.Identity())
    return model
