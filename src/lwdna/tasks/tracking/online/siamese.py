"""A Siamese tracker frame by frame: one pass of the network, then the best of all cells.

After SiamRPN (Li et al., CVPR 2018) and SiamFC++ (Xu et al., AAAI 2020, arXiv 1911.06188).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lwdna.errors import ModelError, TrainingError
from lwdna.models.tracking.siamese import Siamese, places
from lwdna.tasks.tracking.crops import crop_about
from lwdna.tasks.tracking.normalise import normalised
from lwdna.tasks.tracking.online.tracker import (
    Box,
    Found,
    Image,
    bounded,
    checked_box,
)
from lwdna.tasks.tracking.settings import TrackingSettings
from lwdna.tasks.tracking.siamese_crops import with_context
from lwdna.tasks.tracking.siamese_settings import SiameseSettings

Map = NDArray[np.float64]


@dataclass(frozen=True)
class Best:
    """What the best of all cells says of the target."""

    box: Box
    """x, y, w, h in pixels of the crop."""
    probability: float
    penalty: float
    """1 where size and aspect ratio are those of the last frame, less where they are not."""


class SiameseTracker:
    """Follows a target whose features are those of the first frame.

    The box's centre stays inside the frame, and a target that is not found keeps its box. Nothing
    is random.

    Args:
        network: in eval mode, on the device to use.
        settings: crops (``template_size``, ``template_area``, ``image_size``, ``area``,
            ``border``) and rules (``siamese``).

    Raises:
        ModelError: the network is no Siamese one.
    """

    def __init__(self, network: nn.Module, settings: TrackingSettings) -> None:
        if not isinstance(network, Siamese):
            raise ModelError(
                f"this tracker needs a Siamese network, not a {type(network).__name__}; choose "
                "siamese or siamese_tiny, or data.tracker=dimp"
            )
        self._network = network
        self._settings = settings
        self._device = next(network.parameters()).device
        self._features: Tensor | None = None
        self._box = self._first = np.zeros(4)
        self._frame = 0

    @torch.no_grad()
    def start(self, image: Image, box: Any) -> None:
        """Keep the target's features; see :meth:`Tracker.start`."""
        self._first = self._box = checked_box(box, image)
        self._frame = 0
        data = self._settings
        crop, window = crop_about(
            image, self._box, data.template_area, data.template_size, data.border
        )
        crop = with_context(crop, window.into(self._box), data.siamese.context)
        self._features = self._network.template(self._input(crop))
        self._check(self._features.cpu().numpy())

    @torch.no_grad()
    def track(self, image: Image) -> Found:
        """Find the target in the next frame; see :meth:`Tracker.track`."""
        if self._features is None:
            raise RuntimeError("start() comes before track()")
        self._frame += 1
        data, rules = self._settings, self._settings.siamese
        crop, window = crop_about(image, self._box, data.area, data.image_size, data.border)
        scores, boxes = self._network.search(self._features, self._input(crop))
        probabilities, reach = (
            one[0].double().cpu().numpy() for one in (scores.float().sigmoid(), boxes)
        )
        self._check(probabilities)
        self._check(reach)
        at = places(data.image_size, self._network.stride, len(probabilities)).double().numpy()
        best = best_cell(probabilities, reach, at, window.into(self._box)[2:], rules)
        if best.probability < rules.not_found:
            return Found(self._box.copy(), best.probability, "not_found")
        rate = rules.size_rate * best.penalty * best.probability
        found = window.out_of(best.box)
        centre, size = found[:2] + found[2:] / 2, self._box[2:] * (1 - rate) + found[2:] * rate
        self._box = bounded(np.concatenate([centre - size / 2, size]), image, self._first)
        return Found(self._box.copy(), best.probability, "normal")

    def _input(self, crop: Image) -> Tensor:
        return normalised(torch.from_numpy(crop).to(self._device).permute(2, 0, 1)[None])

    def _check(self, values: NDArray[Any]) -> None:
        if not np.isfinite(values).all():
            raise TrainingError(
                f"what the network makes of frame {self._frame} is not finite; train it again, or "
                "load other weights"
            )


def best_cell(
    probabilities: Map, reach: Map, at: Map, size: NDArray[np.float64], rules: SiameseSettings
) -> Best:
    """Return the cell that is most like the target, near its last place and of its last size.

    With r(w, h) = sqrt((w + p) (h + p)), p = (w + h) / 2, and c(q) = max(q, 1 / q), the penalty is
    exp(-k (c(r / r') c(aspect / aspect') - 1)) (Li et al. 2018).

    Args:
        probabilities: of the cells, (h, h).
        reach: distances of the target's left, upper, right and lower ends from the cells, in pixels
            of the crop, (4, h, h).
        at: where rows and columns of cells lie in the crop, in pixels, (h,).
        size: width and height of the target in the last frame, in pixels of the crop.
        rules: weights of window and penalty.
    """
    left, upper, right, lower = reach
    wide, high = left + right, upper + lower
    change = _change(_mean_side(wide, high) / _mean_side(*size))
    change = change * _change((wide / high) / (size[0] / size[1]))
    penalty = np.exp(-rules.penalty * (change - 1))
    along = np.hanning(len(at) + 2)[1:-1]
    judged = (1 - rules.window) * penalty * probabilities + rules.window * np.outer(along, along)
    row, column = np.unravel_index(judged.argmax(), judged.shape)
    x, y = at[column] - left[row, column], at[row] - upper[row, column]
    return Best(
        np.array([x, y, wide[row, column], high[row, column]]),
        float(probabilities[row, column]),
        float(penalty[row, column]),
    )


def _mean_side(width: Any, height: Any) -> Any:
    padding = (width + height) / 2
    return np.sqrt((width + padding) * (height + padding))


def _change(ratio: Map) -> Map:
    return np.maximum(ratio, 1 / ratio)
