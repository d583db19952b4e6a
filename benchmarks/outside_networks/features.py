"""Networks of kornia: descriptors, detectors of points and edges, and vision models."""

from __future__ import annotations

from typing import Any

from .spec import Network, Uniform, call, image


def _kornia(path: str, inputs: Any, *args: Any, by_value: str = "", **kwargs: Any) -> Network:
    name = path.rpartition(":")[2].replace(".from_config", "")
    return Network("kornia", name, call(f"kornia.{path}", *args, **kwargs), inputs, by_value)


_PATCHES = Uniform((2, 1, 32, 32))

NETWORKS = [
    _kornia("feature:HardNet", _PATCHES, False),
    _kornia("feature:HardNet8", _PATCHES, False),
    _kornia("feature:HyNet", _PATCHES, False),
    _kornia("feature:SOSNet", _PATCHES, False),
    _kornia("feature:TFeat", _PATCHES, False),
    _kornia("feature:OriNet", _PATCHES, False),
    _kornia("feature:KeyNet", Uniform((1, 1, 64, 64)), False),
    _kornia("feature:DISK", Uniform((1, 3, 64, 64)), by_value="points are chosen by value"),
    _kornia("feature:ALIKED", Uniform((1, 3, 64, 64)), by_value="points are chosen by value"),
    _kornia("feature.xfeat:XFeatModel", Uniform((1, 3, 64, 64))),
    _kornia("feature:DeFMO", Uniform((1, 6, 64, 64)), False),
    _kornia("feature:SOLD2_detector", Uniform((1, 1, 64, 64)), False,
            by_value="points are chosen by value"),
    _kornia(
        "feature:LoFTR",
        ({"image0": Uniform((1, 1, 64, 64)), "image1": Uniform((1, 1, 64, 64))},),
        None,
        by_value="matches are chosen by value",
    ),
    _kornia("models:RRDBNet", Uniform((1, 3, 24, 24)), 3, 3, num_feat=32, num_block=2),
    _kornia("models.dexined:DexiNed", Uniform((1, 3, 64, 64)), False),
    _kornia("models.tiny_vit:TinyViT.from_config", image(64), "5m", img_size=64),
    _kornia("models.vit_mobile:MobileViT", image(64), "xxs"),
    _kornia("models.yunet:YuNet", image(64), "test", False),
]  # fmt: skip
