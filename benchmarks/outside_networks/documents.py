"""Networks that read documents: doctr."""

from __future__ import annotations

from typing import Any

from .spec import Network, Uniform, call


def _doctr(kind: str, name: str, height: int, width: int, **options: Any) -> Network:
    build = call(f"doctr.models.{kind}:{name}", pretrained=False, **options)
    return Network("doctr", name, build, Uniform((1, 3, height, width)))


_DETECTOR = {"pretrained_backbone": False, "exportable": True}
_READER = {"pretrained_backbone": False, "exportable": True}

NETWORKS = [
    _doctr("detection", "db_resnet50", 64, 64, **_DETECTOR),
    _doctr("detection", "db_mobilenet_v3_large", 64, 64, **_DETECTOR),
    _doctr("detection", "linknet_resnet18", 64, 64, **_DETECTOR),
    _doctr("detection", "fast_tiny", 64, 64, **_DETECTOR),
    _doctr("recognition", "crnn_vgg16_bn", 32, 128, **_READER),
    _doctr("recognition", "crnn_mobilenet_v3_small", 32, 128, **_READER),
    _doctr("recognition", "sar_resnet31", 32, 128, **_READER),
    _doctr("recognition", "master", 32, 128, **_READER),
    _doctr("recognition", "vitstr_small", 32, 128, **_READER),
    _doctr("recognition", "parseq", 32, 128, **_READER),
    _doctr("recognition", "viptr_tiny", 32, 128, **_READER),
    _doctr("classification", "magc_resnet31", 32, 32),
    _doctr("classification", "textnet_tiny", 32, 32),
    _doctr("classification", "mobilenet_v3_small_r", 64, 64),
]
