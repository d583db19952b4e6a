"""What a recipe may say about tracking data and trackers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from lwdna.settings import Place, Settings
from lwdna.tasks.tracking.kinds.kind import TRACKERS
from lwdna.tasks.tracking.online.settings import OnlineSettings
from lwdna.tasks.tracking.siamese_settings import SiameseSettings

Toolkit = Literal[
    "otb", "got10k", "lasot", "lasot_got10k", "pytracking", "pytracking_valid", "trackingnet"
]
"""See :func:`lwdna.tasks.tracking.metrics.evaluate`."""
Border = Literal["replicate", "inside", "inside_major"]


class SequenceSet(Settings):
    """Sequences in one folder, or some of them."""

    root: Path = Path()
    """The folder; a relative one lies below ``data.root``."""
    layout: str = "auto"
    """How the folder is laid out; ``auto`` looks at the files in it."""
    sequences: tuple[str, ...] = ("*",)
    """Shell patterns of the names of sequences to use."""
    exclude: tuple[str, ...] = ()
    """Shell patterns of the names of sequences to leave out."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """How often training takes an example from this set, compared with the others."""


class Jitter(Settings):
    """By how much the box that a crop is made about differs from the target's own."""

    centre: float = Field(ge=0, allow_inf_nan=False)
    """Its centre lies anywhere in a square of this side about the target's, in units of
    sqrt(w h)."""
    size: float = Field(ge=0, le=2)
    """Standard deviation of the logarithm of its width and of its height."""


class LossWeights(Settings):
    """Factors of the parts of the training loss."""

    last: float = Field(default=100.0, ge=0)
    """Scores by the last filter."""
    initial: float = Field(default=100.0, ge=0)
    """Scores by the initial filter."""
    steps: float = Field(default=400.0, ge=0)
    """Mean over the filters between the initial and the last one."""
    box: float = Field(default=1.0, ge=0)
    """Overlaps of boxes, or boxes."""


class TrackingSettings(Settings):
    """The ``data`` section of a recipe: sequences, how examples are made of them, the tracker."""

    tracker: str = "dimp"
    """One of :data:`lwdna.tasks.tracking.kinds.kind.TRACKERS`."""
    kind: Literal["folders", "photos"] = "folders"
    """``photos`` are sequences made of scikit-learn's two images; no files of one's own are
    needed."""
    root: Place | None = None
    """Folder that holds those of ``train`` and ``val``, or its address in a storage, from which it
    is fetched; ``photos`` need none."""
    train: tuple[SequenceSet, ...] = ()
    """Sequences to train on; by default those in the folder ``train`` below ``root``."""
    val: tuple[SequenceSet, ...] = ()
    """The same for validation; by default those in the folder ``val``."""
    val_limit: int | None = Field(default=None, ge=1)
    """Validate on the first so many sequences only."""
    photo_sequences: int = Field(default=8, ge=1)
    """How many sequences ``photos`` make for training; half as many are made for validation."""
    photo_frames: int = Field(default=40, ge=2)
    """How many frames each of them has."""

    image_size: int = Field(default=288, ge=32)
    """Side of the crop in which the target is looked for, in pixels of the network's input."""
    area: float = Field(default=5.0, gt=1, le=20)
    """Side of that crop, in units of sqrt(w h) of the target."""
    template_size: int = Field(default=128, ge=16)
    """Side of the crop that shows a Siamese tracker its target."""
    template_area: float = Field(default=2.0, ge=1, le=20)
    """Side of that crop, in units of sqrt(w h) of the target."""
    border: Border = "replicate"
    """``replicate``: crops may reach beyond the image and repeat its border there. ``inside``: they
    are moved into it, and made smaller where they are larger than it; ``inside_major``: smaller
    only until one of the two axes fits."""

    samples: int = Field(default=26_000, ge=1)
    """Training examples per epoch."""
    train_frames: int = Field(default=3, ge=1)
    """Frames of an example that show the network the target."""
    test_frames: int = Field(default=3, ge=1)
    """Frames of an example in which it has to find the target."""
    gap: int = Field(default=30, ge=1)
    """How far frames of an example lie from its middle one, at most; grows by 5 where no frame
    fits."""
    train_jitter: Jitter = Jitter(centre=3.0, size=0.25)
    test_jitter: Jitter = Jitter(centre=4.5, size=0.5)
    greyscale: float = Field(default=0.05, ge=0, le=1)
    """Probability that an example is grey."""
    brightness: float = Field(default=0.2, ge=0, lt=1)
    """Pixels of a frame are multiplied by a number from 1 minus to 1 plus this."""
    workers: int | None = Field(default=None, ge=1)
    """Threads that read frames; by default one per CPU core, eight at most."""

    label_sigma: float = Field(default=0.25, gt=0)
    """Width of the wanted scores (a Gaussian's standard deviation), in units of the target's mean
    side in a crop without jitter."""
    hinge: float = Field(default=0.05, ge=0)
    """Where the wanted score is below this, a score below 0 is no error."""
    loss_weights: LossWeights = LossWeights()
    proposals: int = Field(default=8, ge=0)
    """Boxes per test frame whose overlap with the target is learnt; 0 leaves out the IoU head."""
    box_loss: Literal["mse", "kl"] = "mse"
    """Square error of the overlap (Bhat et al. 2019), or Kullback-Leibler divergence of densities
    of boxes (Danelljan et al. 2020)."""

    toolkit: Toolkit = "otb"
    """By whose rules results are evaluated."""
    online: OnlineSettings = OnlineSettings()
    """How the target is followed frame by frame."""
    siamese: SiameseSettings = SiameseSettings()
    """What Siamese trackers need beside; others do not look at it."""

    @field_validator("tracker")
    @classmethod
    def _known_tracker(cls, tracker: str) -> str:
        return TRACKERS.check(tracker)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "photos" and (self.train or self.val or self.root is not None):
            raise ValueError("photos need no files; leave out root, train and val, or kind")
        if self.box_loss == "kl" and 0 < self.proposals < 16:
            raise ValueError(
                "the kl box loss is an integral over boxes; set proposals to 16 or more (128 is "
                "usual), or to 0"
            )
        return self
