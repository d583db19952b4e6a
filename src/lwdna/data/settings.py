"""What a recipe may say about a set of images, and how its defaults are filled in."""

from __future__ import annotations

import os
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lwdna.data.data_format import FORMATS, Crop, Floats
from lwdna.errors import DataError
from lwdna.settings import Place, Settings

AUTO = "auto"
Interpolation = Literal["nearest", "bilinear", "bicubic"]
Range = tuple[float, float]


class AugmentSettings(Settings):
    """Random changes of the training images; ``None`` stands for the data set's default."""

    crop: Crop | None = None
    """``random-resized`` (Szegedy et al. 2015), ``pad`` (zero-pad, then crop at a random place, as
    usual for CIFAR) or ``none``."""
    scale: Range = (0.08, 1.0)
    """Area of a random resized crop, as a range of fractions of the image."""
    ratio: Range = (3 / 4, 4 / 3)
    """Width over height of a random resized crop, as a range."""
    padding: int | None = Field(default=None, ge=0)
    """Pixels added on every side by the crop ``pad``; an eighth of the image size by default."""
    horizontal_flip: float | None = Field(default=None, ge=0, le=1)
    """Probability of a mirrored image."""
    color_jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Strengths for brightness, contrast, saturation and hue; one number stands for the first
    three."""
    policy: Literal["none", "rand", "trivial"] = "none"
    """RandAugment (Cubuk et al. 2020) or TrivialAugment (Mueller and Hutter 2021)."""
    rand_ops: int = Field(default=2, ge=1)
    rand_magnitude: int = Field(default=9, ge=0, le=30)
    random_erasing: float = Field(default=0.0, ge=0, le=1)
    """Probability of a rectangle set to the mean colour (Zhong et al. 2020)."""

    @field_validator("color_jitter", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        return (value, value, value, 0.0) if isinstance(value, (int, float)) else value

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two positive numbers in ascending order")
        if self.scale[1] > 1:
            raise ValueError("scale is a fraction of the image's area and cannot exceed 1")
        if min(self.color_jitter) < 0 or self.color_jitter[3] > 0.5:
            raise ValueError("color_jitter cannot be negative, and hue cannot exceed 0.5")
        return self

    @property
    def needs_pil(self) -> bool:
        """Whether some of it works on single images only, not on batches in memory."""
        return self.policy != "none" or any(self.color_jitter)


class DataSettings(Settings):
    """The images of a recipe's ``data`` section; ``None`` stands for the data set's default."""

    kind: str = AUTO
    """One of :data:`lwdna.data.FORMATS`; ``auto`` looks at the files below ``root``."""
    root: Place | None = None
    """Folder of the data set, or its address in a storage (``s3://bucket/set``); ``digits`` needs
    none."""
    shards_at_once: int | None = Field(default=None, ge=1)
    """Train on so many of a set's shards at a time, so that no more of them need to be near; of
    None images are in random order over all shards."""
    classes: int | tuple[str, ...] | None = None
    """Use the first so many classes only, or the classes named."""
    train_limit: int | None = Field(default=None, ge=1)
    """Use the first so many training images of each class only."""
    val_limit: int | None = Field(default=None, ge=1)
    """Use the first so many validation images of each class only."""
    split: float = Field(default=0.2, gt=0, lt=1)
    """Share of each class that is set aside to validate on, where the set has no validation images
    of its own; elsewhere it changes nothing."""
    split_seed: int = Field(default=0, ge=0)
    """Which images these are. It is not the run's seed: all arms and seeds share one split."""
    skip_damaged: bool = False
    """Leave out image files that cannot be decoded; otherwise they are an error."""
    scan: bool | Literal["auto"] = "auto"
    """Decode every image file once before anything else is done. ``auto`` does so for up to
    200,000 files; without it a damaged file is found when it is first read."""
    in_chans: Literal[1, 3] = 3
    """Colour channels of the input; grey images become RGB unless this is 1."""
    image_size: int | None = Field(default=None, ge=1)
    """Side of the square input in pixels."""
    resize: int | None = Field(default=None, ge=1)
    """Shorter side before the central crop in validation; ``image_size / crop_pct`` by default."""
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    interpolation: Interpolation = "bilinear"
    mean: Floats | None = None
    """Per channel, pixel values counted from 0 to 1."""
    std: Floats | None = None
    augment: AugmentSettings = AugmentSettings()
    workers: int | None = Field(default=None, ge=0)
    """Processes that read images; by default one per CPU core, eight at most."""
    decode: Literal["cpu", "gpu"] = "cpu"
    """``gpu`` lets an NVIDIA GPU decode the JPEG files of random resized crops (nvJPEG), where the
    processor's cores are too few. It rounds a little differently; elsewhere it changes nothing."""
    in_memory: bool | Literal["auto"] = "auto"
    """Hold all images, decoded, on the training device and augment whole batches there. ``auto``
    does so for images of one small size that take less than 1 GB."""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        return FORMATS.check(kind, AUTO)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.in_chans:
                raise ValueError(f"{name} needs {self.in_chans} values, as many as in_chans")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be positive")
        if self.classes is not None and (
            self.classes < 1 if isinstance(self.classes, int) else not self.classes
        ):
            raise ValueError("classes must be at least 1, or a list of class names")
        if self.skip_damaged and self.scan is False:
            raise ValueError("skip_damaged needs the scan; set scan to auto or true")
        if self.resize is not None and self.crop_pct is not None:
            raise ValueError("give resize or crop_pct, not both")
        if self.decode == "gpu" and self.augment.needs_pil:
            raise ValueError(
                "decode: gpu cannot go with augment.color_jitter or augment.policy; "
                "set decode to cpu"
            )
        if self.in_memory is True and self.augment.needs_pil:
            raise ValueError(
                "in_memory: true cannot go with augment.color_jitter or augment.policy; "
                "set in_memory to auto"
            )
        return self


class ResolvedAugment(AugmentSettings):
    """:class:`AugmentSettings` with every default filled in."""

    crop: Crop
    padding: int
    horizontal_flip: float


class ResolvedData(DataSettings):
    """:class:`DataSettings` with every default filled in."""

    image_size: int
    resize: int
    crop_pct: None  # resize says it all
    mean: Floats
    std: Floats
    augment: ResolvedAugment
    workers: int


def resolve(settings: DataSettings, kind: str, class_count: int) -> ResolvedData:
    """Fill in what ``settings`` leaves to the data set.

    Args:
        settings: as given by the user; what a task adds to them is left out of the result.
        kind: the format that the data set was found to have.
        class_count: number of classes of the whole set.

    Raises:
        DataError: the images would be resized to less than is cropped from them.
    """
    defaults = FORMATS[kind].defaults_for(class_count)
    size = settings.image_size or defaults.image_size
    resize = settings.resize or int(size / (settings.crop_pct or defaults.crop_pct))
    if resize < size:
        raise DataError(
            f"data.resize is {resize}, smaller than the image size {size}; raise it or set "
            "data.image_size"
        )
    augment = settings.augment
    flip = augment.horizontal_flip
    padding = augment.padding
    filled = {
        "kind": kind,
        "image_size": size,
        "resize": resize,
        "crop_pct": None,
        "mean": settings.mean or _channels(defaults.mean, settings.in_chans),
        "std": settings.std or _channels(defaults.std, settings.in_chans),
        "workers": usual_workers() if settings.workers is None else settings.workers,
        "augment": ResolvedAugment.model_construct(
            **augment.model_dump()
            | {
                "crop": augment.crop or defaults.crop,
                "padding": size // 8 if padding is None else padding,
                "horizontal_flip": defaults.flip if flip is None else flip,
            }
        ),
    }
    return ResolvedData.model_construct(
        **{name: getattr(settings, name) for name in DataSettings.model_fields} | filled
    )


def _channels(values: Floats, in_chans: int) -> Floats:
    return values if in_chans == 3 else (round(sum(values) / len(values), 4),)


def usual_workers() -> int:
    """Return how many processes or threads read images unless a recipe says.

    One per CPU core that this process may use, eight at most.
    """
    available = getattr(os, "sched_getaffinity", None)
    cores = len(available(0)) if available else os.cpu_count() or 1
    return min(8, cores)
