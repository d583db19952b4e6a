"""COCO's layout: images, and one file of all objects in them. Each object is a still sequence."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lwdna.data.sequences.folders import safe_name
from lwdna.data.sequences.layout import Annotated, Read, SequenceLayout, register_layout
from lwdna.data.sequences.sequence import FileFrames
from lwdna.errors import DataError

_PREFIX = "instances_"
_LEAST_SIDE = 10
"""Pixels; there is little to see of an object that is smaller."""
_MOST = 1e5
_ONE = np.ones(1, dtype=np.bool_)


@register_layout("coco")
class Coco(SequenceLayout):
    """COCO (Lin et al. 2014): every object but crowds and those of less than 10 pixels a side.

    They are called ``<half>/<category>/<image>-<object>``, so that patterns choose halves and
    categories (``train2017/person/*``).
    """

    layout = "annotations/instances_<half>.json and <half>/<image>.jpg"

    def detect(self, root: Path) -> bool:
        return bool(_listings(root))

    def find(self, root: Path) -> Iterator[tuple[str, Read]]:
        for listing in _listings(root):
            half = listing.stem.removeprefix(_PREFIX)
            places = [root / half, root / "images" / half, root / "images"]
            folder = next(filter(Path.is_dir, places), None)
            if folder is None:
                raise DataError(
                    f"there is no folder of images for {listing}; expected one of "
                    f"{', '.join(map(str, places))}"
                )
            yield from _objects(listing, half, folder)


def _listings(root: Path) -> list[Path]:
    return sorted((root / "annotations").glob(f"{_PREFIX}*.json"))


def _objects(listing: Path, half: str, folder: Path) -> Iterator[tuple[str, Read]]:
    content = _load(listing)
    try:
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        files = {one["id"]: safe_name(one["file_name"], listing) for one in content["images"]}
        objects = list(content["annotations"])
        frames = {key: FileFrames(folder, np.array([os.fsencode(f)])) for key, f in files.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed(listing, "its categories, images or annotations", error) from None
    for place, one in enumerate(objects):
        try:
            box = _box(one)
            if one.get("iscrowd", 0) or min(box[2:]) < _LEAST_SIDE:
                continue
            image = one["image_id"]
            name = f"{half}/{names[one['category_id']]}/{Path(files[image]).stem}-{one['id']}"
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _malformed(listing, f"annotation {place}", error) from None
        yield name, partial(Annotated, np.array([box]), _ONE, frames[image], still=True)


def _load(listing: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(listing.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {listing}: {error.strerror or error}; restore it") from error
    except (ValueError, RecursionError) as error:
        raise _malformed(listing, "the file", error) from error
    if not isinstance(content, dict):
        raise DataError(f"{listing} is no listing of COCO; it should hold an object")
    return content


def _box(one: Mapping[str, Any]) -> list[float]:
    """Return the box of an annotation.

    Raises:
        ValueError: it is none.
    """
    box = [float(value) for value in one["bbox"]]
    if len(box) != 4 or not all(abs(value) <= _MOST for value in box):
        raise ValueError(f"the box {box}")
    return box


def _malformed(listing: Path, what: str, error: Exception) -> DataError:
    missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return DataError(f"{listing} is no listing of COCO: {what} cannot be read ({missing})")
