"""What a Siamese tracker is shown of its target."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def with_context(crop: NDArray[np.uint8], box: ArrayLike, share: float) -> NDArray[np.uint8]:
    """Return a crop whose pixels around the target's box are mixed with its mean colour.

    Args:
        crop: (S, S, 3).
        box: of the target, x, y, w, h in pixels of the crop.
        share: of the pixels themselves in the mixture; 1 changes nothing.
    """
    if share == 1:
        return crop
    x, y, w, h = np.asarray(box, dtype=np.float64)
    left, top = np.rint([x, y]).astype(int).clip(0)
    right, bottom = np.rint([x + w, y + h]).astype(int).clip(0)
    mean = crop.mean((0, 1))
    mixed: NDArray[np.uint8] = np.rint(mean + share * (crop - mean)).astype(np.uint8)
    mixed[top:bottom, left:right] = crop[top:bottom, left:right]
    return mixed
