"""How images are prepared, in timm's words: the ``pretrained_cfg`` of its networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lwdna.errors import ModelError
from lwdna.interface import Interface, Preprocessing


def as_timm(interface: Interface) -> dict[str, Any]:
    """Return how images are prepared, and names of classes, as a ``pretrained_cfg``."""
    known: dict[str, Any] = {}
    if interface.classes is not None:
        known["label_names"] = list(interface.classes)
    how = interface.preprocessing
    if how is not None:
        known |= {
            "input_size": (how.in_chans, how.image_size, how.image_size),
            "interpolation": how.interpolation,
            # timm divides by it and rounds down: a hair less gives back the very number of pixels
            "crop_pct": math.nextafter(how.image_size / how.resize, 0),
            "crop_mode": "center",
            "mean": how.mean,
            "std": how.std,
        }
    return known


def preprocessing_of(name: str) -> Preprocessing:
    """Return how timm prepares images for a network of its own.

    Args:
        name: ``timm:resnet50``, or with the tag of a set of weights, ``timm:resnet50.a1_in1k``.

    Raises:
        ModelError: timm does not say, or says what cannot be done here.
    """
    from timm.models import resolve_pretrained_cfg

    cfg: Mapping[str, Any] = resolve_pretrained_cfg(name.removeprefix("timm:")).to_dict()
    channels, height, width = cfg["input_size"]
    if height != width:
        raise ModelError(f"{name} takes images of {height}x{width} pixels, not square ones")
    try:
        return Preprocessing(
            in_chans=channels,
            image_size=height,
            resize=int(height / cfg["crop_pct"]),
            interpolation=cfg["interpolation"],
            mean=tuple(cfg["mean"]),
            std=tuple(cfg["std"]),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(
            f"how timm prepares images for {name} cannot be written down: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error
