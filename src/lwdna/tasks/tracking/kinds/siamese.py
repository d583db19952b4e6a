"""Siamese trackers: the target is shown in one crop and looked for in another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lwdna.data.draws import Draws, Stream
from lwdna.data.sequences import Sequence
from lwdna.tasks.tracking.crops import crop_about, jittered
from lwdna.tasks.tracking.kinds.kind import register_tracker
from lwdna.tasks.tracking.normalise import normalised
from lwdna.tasks.tracking.online.tracker import Tracker
from lwdna.tasks.tracking.sampling import choose_frames, showing
from lwdna.tasks.tracking.settings import Jitter, TrackingSettings
from lwdna.tasks.tracking.siamese_crops import with_context
from lwdna.tasks.tracking.siamese_losses import box_loss, score_loss

_SPREAD = 0.4
"""Standard deviation of the logarithm of size and aspect ratio of any part of a frame, compared
with the target."""
_LARGEST = 0.6
"""No such part is longer than this fraction of the frame."""


@register_tracker("siamese")
class SiameseKind:
    """Feed-forward Siamese trackers without anchors (Xu et al., AAAI 2020, arXiv 1911.06188).

    An example holds ``template`` (3, t, t) and ``search`` (3, s, s), uint8, and ``box`` (4,), the
    target's x, y, w, h in pixels of the search crop. The frames are one, visible, and another at
    most ``gap`` from it. ``train_jitter`` is that of the template, ``test_jitter`` that of the
    search crop.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self._settings = settings

    def example_inputs(self) -> dict[str, Tensor]:
        """Return a template and a search crop of noise."""
        generator = torch.Generator().manual_seed(0)
        sides = {"template": self._settings.template_size, "search": self._settings.image_size}
        return {
            name: torch.randn((1, 3, side, side), generator=generator)
            for name, side in sides.items()
        }

    def model_args(self) -> dict[str, Any]:
        """Return nothing: the crops' sizes do not change the network."""
        return {}

    def sample(self, sequence: Sequence, draws: Draws) -> dict[str, NDArray[Any]]:
        """Make an example of two frames of a sequence, or of one.

        Raises:
            DataError: a frame cannot be read.
        """
        data, frames = self._settings, draws.generator(Stream.FRAMES)
        shown, searched = self._frames(sequence, frames)
        boxes = sequence.boxes[shown], sequence.boxes[searched]
        if frames.random() < data.siamese.any_part:
            searched = shown
            boxes = (any_part(boxes[0], sequence.frame(shown), frames),) * 2
        places, colours = draws.generator(Stream.CROP), draws.generator(Stream.COLOUR)

        def crop(
            number: int, box: NDArray[np.float64], jitter: Jitter, area: float, size: int
        ) -> Any:
            about = jittered(box, jitter, places)
            return crop_about(sequence.frame(number), about, area, size, data.border)

        template, about = crop(
            shown, boxes[0], data.train_jitter, data.template_area, data.template_size
        )
        template = with_context(template, about.into(boxes[0]), data.siamese.context)
        search, window = crop(searched, boxes[1], data.test_jitter, data.area, data.image_size)
        box = window.into(boxes[1])
        mirrored = draws.generator(Stream.FLIP).random() < 0.5
        if mirrored and data.siamese.mirror:
            template, search = template[:, ::-1], search[:, ::-1]
            box = np.array([data.image_size - box[0] - box[2], *box[1:]])
        grey = colours.random() < data.greyscale
        images = {"template": template, "search": search}
        return {
            **{
                name: np.ascontiguousarray(self._seen(one, grey, colours).transpose(2, 0, 1))
                for name, one in images.items()
            },
            "box": box.astype(np.float32),
        }

    def _frames(self, sequence: Sequence, generator: np.random.Generator) -> tuple[int, int]:
        """Draw two frames that show the target; either may come first."""
        one, other = choose_frames(showing(sequence), 1, 1, self._settings.gap, generator)
        pair = (one[0], other[0])
        return pair if generator.random() < 0.5 else pair[::-1]

    def _seen(
        self, crop: NDArray[np.uint8], grey: bool, generator: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return a crop in other light and perhaps out of focus."""
        data = self._settings
        bright, sharp = generator.uniform(-1, 1, 2)
        tints = 1 + data.siamese.tint * generator.uniform(-1, 1, 3)
        blurred, factor = generator.random() < data.siamese.blur, int(generator.integers(2, 4))
        if blurred:
            small = Image.fromarray(np.ascontiguousarray(crop)).reduce(factor)
            crop = np.array(small.resize(crop.shape[1::-1], Image.Resampling.BILINEAR))
        if grey:
            crop = np.repeat(np.array(Image.fromarray(crop).convert("L"))[..., None], 3, axis=2)
        level = crop.mean()
        values = (np.arange(256) - level) * (1 + data.siamese.contrast * sharp) + level
        values = values * (1 + data.brightness * bright)
        tables = np.clip(np.rint(values[:, None] * tints), 0, 255).astype(np.uint8)
        return np.stack([tables[crop[..., c], c] for c in range(3)], axis=-1)

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return both images normalised."""
        return {name: normalised(batch[name]) for name in ("template", "search")}

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of scores plus that of boxes, a scalar.

        Raises:
            ModelError: the network's stride is no power of 2.
        """
        data = self._settings
        scores, boxes = (output.float() for output in outputs)
        truth, size = batch["box"].float(), data.image_size
        about_boxes = box_loss(boxes, truth, size, data.siamese.core)
        return score_loss(scores, truth, size, data.siamese.core) + (
            data.loss_weights.box * about_boxes
        )

    def tracker(self, network: nn.Module, seed: int) -> Tracker:
        """Return the online tracker of Siamese networks, in which nothing is random.

        Raises:
            ModelError: the network is no Siamese one.
        """
        from lwdna.tasks.tracking.online.siamese import SiameseTracker

        return SiameseTracker(network, self._settings)


def any_part(
    target: NDArray[np.float64], image: NDArray[np.uint8], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return a box anywhere in an image, about as large as a target's, x, y, w, h.

    Args:
        target: its box.
        image: (H, W, 3).
        generator: draws.
    """
    frame = np.array([image.shape[1], image.shape[0]], dtype=np.float64)
    scale, aspect = np.exp(generator.normal(0.0, _SPREAD, 2))
    size = np.sqrt(target[2:].prod()) * scale * np.array([aspect, 1 / aspect])
    size = np.minimum(size, _LARGEST * frame)
    return np.concatenate([generator.random(2) * (frame - size), size])
