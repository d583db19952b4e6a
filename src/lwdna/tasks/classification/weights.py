"""What an image of each class counts in the training loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lwdna.data.images import Labels
from lwdna.errors import DataError, nearest

Given = str | Sequence[float] | Mapping[str, float]
"""``balanced``, a weight per class in their order, or weights by name."""


def class_weights(given: Given | None, classes: Sequence[str], labels: Labels) -> Tensor | None:
    """Return the weight of every class, float32, shape (classes,); None if there are none.

    Args:
        given: as the recipe has it.
        classes: their names in order.
        labels: class of every training image, shape (N,).

    Returns:
        Weights whose mean over the training images is 1, so that the learning rate keeps its
        meaning.

    Raises:
        DataError: there are other classes than weights.
    """
    if given is None:
        return None
    counts = np.bincount(labels, minlength=len(classes)).astype(np.float64)
    raw = 1 / np.maximum(counts, 1) if given == "balanced" else _listed(given, classes)
    mean = float(raw @ counts) / counts.sum()
    return torch.tensor(raw / mean, dtype=torch.float32)


class WeightedLoss:
    """The mean over the examples of their weighted cross-entropy.

    torch's own mean divides by the weights that happen to be in a batch, so that the parts of a
    batch on several processes would not add up to it.

    Args:
        weights: of the classes, shape (classes,).
        smoothing: of the labels; 0 where targets are probabilities, which have theirs.
    """

    def __init__(self, weights: Tensor, smoothing: float) -> None:
        self._weights = weights
        self._smoothing = smoothing

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return a scalar.

        Args:
            output: (B, classes).
            targets: classes, shape (B,), or probabilities, shape (B, classes).
        """
        self._weights = self._weights.to(output.device)  # once: a recorded step cannot copy
        each = F.cross_entropy(
            output, targets, self._weights, reduction="none", label_smoothing=self._smoothing
        )
        return each.mean()


def weights_note(weights: Tensor, classes: Sequence[str]) -> str:
    """Return the sentence that says which classes count most and least."""
    least, most = int(weights.argmin()), int(weights.argmax())
    return (
        f"the training loss counts an image of {classes[least]} {weights[least]:.3g} times and one "
        f"of {classes[most]} {weights[most]:.3g} times (data.class_weights); metrics stay "
        "unweighted"
    )


def _listed(given: Given, classes: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if isinstance(given, Mapping):
        for name in given:
            if name not in classes:
                raise DataError(
                    f"data.class_weights names no class of this data set: {name}"
                    f"{nearest(name, classes) or '; use names of its classes'}"
                )
        return np.array([given.get(name, 1.0) for name in classes])
    if len(given) != len(classes):
        raise DataError(
            f"data.class_weights has {len(given)} weights, the data set has {len(classes)} "
            "classes; give one for each in their order, or {name: weight}"
        )
    return np.array(list(given), dtype=np.float64)
