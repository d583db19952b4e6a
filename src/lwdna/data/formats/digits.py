"""scikit-learn's digits, which come with it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwdna.data.classes import rank_in_class
from lwdna.data.data_format import DataFormat, Defaults, Half, register_format
from lwdna.data.images import ArrayImages, ListedHalf


@register_format("digits")
class Digits(DataFormat):
    """1797 digits of 8x8 pixels; every fifth of each class is for validation."""

    needs_root = False
    defaults = Defaults(8, 1.0, "pad", 0.0, (0.3053,) * 3, (0.3761,) * 3)

    def open(self, root: Path) -> tuple[Half, Half]:
        pixels, labels = _digits()
        classes = tuple(str(digit) for digit in range(10))
        held_out = rank_in_class(labels) % 5 == 4

        def half(split: str, part: NDArray[np.bool_]) -> Half:
            title = f"digits ({split})"
            return ListedHalf(title, classes, ArrayImages(title, pixels[part], labels[part]))

        return half("train", ~held_out), half("val", held_out)


@cache  # a table of text, which a comparison would read again for each of its trainings
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all images, (1797, 8, 8), and their classes, (1797,); nobody may change them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return pixels, digits.target.astype(np.int64)
