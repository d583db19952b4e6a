"""What a recipe may say about tracking frame by frame; the defaults are DiMP's (arXiv 1904.07220).

The numbers of :class:`OnlineSettings` are those of the published tracker (pytracking's DiMP-18 and
DiMP-50). SuperDiMP refines boxes otherwise: ``boxes: {space: relative, steps: 10, step: 0.0025}``.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lwdna.settings import Settings

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class StartSettings(Settings):
    """The samples of the first frame: the target as it is, and changed in various ways."""

    shift: Fraction = 0.6
    """Four crops lie beside the target, this fraction of half a side away in both directions; 0
    leaves them out."""
    flip: bool = True
    """Whether one sample is mirrored."""
    blurs: tuple[tuple[Positive, Positive], ...] = ((3, 1), (1, 3), (2, 2))
    """Standard deviations of Gaussian blurs, vertical and horizontal, in pixels of the crop."""
    rotations: tuple[float, ...] = (10, -10, 45, -45)
    """Angles in degrees."""
    random_shift: Annotated[float, Field(ge=0, lt=1)] = 1 / 3
    """Mirrored, blurred and rotated samples move at random by up to half this fraction of a side
    in either direction."""
    dropouts: int = Field(default=2, ge=0)
    """Samples whose features miss whole channels at random."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Probability that they miss a channel."""
    steps: int = Field(default=10, ge=0)
    """Steps of the filter optimiser on these samples."""

    @property
    def samples(self) -> int:
        """How many samples the first frame gives."""
        changed = 4 * (self.shift > 0) + self.flip + len(self.blurs) + len(self.rotations)
        return 1 + changed + self.dropouts


class MemorySettings(Settings):
    """Which samples the filter is fitted to, with which weights, and how often."""

    size: int = Field(default=50, ge=2)
    """Samples held, those of the first frame included."""
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """How much more a sample weighs than the one before it: 1 / (1 - rate) times as much."""
    hard_negative_rate: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """The same for a sample that shows a distractor."""
    first_frame: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """What the samples of the first frame weigh together at least."""
    interval: int = Field(default=20, ge=1)
    """Frames between two updates of the filter."""
    steps: int = Field(default=2, ge=0)
    """Steps of the optimiser at such an update."""
    hard_negative_steps: int = Field(default=1, ge=0)
    """Steps after every frame that shows a distractor."""


class LocalisationSettings(Settings):
    """When a peak of the scores is the target, and what a second peak means."""

    not_found: Annotated[float, Field(ge=0)] = 0.25
    """Peaks below this are no target."""
    neighbourhood: Positive = 2.2
    """A second peak is looked for outside of a box around the first, this many times the target."""
    distractor: Fraction = 0.8
    """A second peak above this fraction of the first may be the target as well."""
    hard_negative: Fraction = 0.5
    """A second peak above this fraction of the first, and above ``not_found``, is a distractor."""
    displacement: Positive = 0.8
    """A target does not move farther between two frames than this fraction of half the map."""


class BoxSettings(Settings):
    """How the box is refined: several starts, gradient ascent on the overlap that is predicted."""

    starts: int = Field(default=10, ge=1)
    """The first is the box itself at the new place; the others are random."""
    position_jitter: Annotated[float, Field(ge=0)] = 0.1
    """Range of the random starts' centres, as a fraction of the square root of the area."""
    size_jitter: Annotated[float, Field(ge=0)] = 0.5
    """The same for their sides."""
    least_side: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    """Random starts are not smaller than this fraction of the box's shorter side."""
    space: Literal["pixels", "relative"] = "pixels"
    """What the gradient is taken in: corner and size in pixels, the step times the size; or the
    centre in units of the size and the size's logarithm."""
    steps: int = Field(default=5, ge=1)
    step: Positive = 1.0
    """Length of a step."""
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of the length from one step to the next."""
    aspect: Annotated[float, Field(gt=1)] = 6.0
    """Longer boxes do not count."""
    best: int = Field(default=3, ge=1)
    """The result is the mean of this many boxes with the largest overlaps."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.best > self.starts:
            raise ValueError(f"best ({self.best}) must not be more than starts ({self.starts})")
        return self


class OnlineSettings(Settings):
    """The section ``data.online`` of a recipe."""

    start: StartSettings = StartSettings()
    memory: MemorySettings = MemorySettings()
    localisation: LocalisationSettings = LocalisationSettings()
    boxes: BoxSettings = BoxSettings()

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.start.samples >= self.memory.size:
            raise ValueError(
                f"memory.size ({self.memory.size}) must be more than the "
                f"{self.start.samples} samples of the first frame"
            )
        return self
