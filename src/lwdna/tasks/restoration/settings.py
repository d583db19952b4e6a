"""What a recipe may say about restoration data."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lwdna.settings import Place, Settings


class RestorationSettings(Settings):
    """The ``data`` section of a recipe: either ``scale`` or ``noise`` says what to restore."""

    kind: Literal["folders", "photos"] = "folders"
    """``photos`` are scikit-learn's two, one to train on and one to validate on; no files of one's
    own are needed."""
    root: Place | None = None
    """Folder that holds those of ``train`` and ``val``, or its address in a storage, from which it
    is fetched; ``photos`` need none."""
    train: tuple[str, ...] = ()
    """Folders of images to train on, below ``root``; by default ``DIV2K_train_HR`` or ``train``."""
    val: tuple[str, ...] = ()
    """The same for validation; by default ``DIV2K_valid_HR`` or ``val``."""
    train_limit: int | None = Field(default=None, ge=1)
    """Use the first so many training images only."""
    val_limit: int | None = Field(default=None, ge=1)
    """Use the first so many validation images only."""

    scale: Literal[2, 3, 4] | None = None
    """Super-resolution by this factor, from images made smaller by antialiased bicubic
    interpolation or from those that come with the set."""
    noise: float | None = Field(default=None, gt=0)
    """Denoising of Gaussian noise with this standard deviation, pixels counted from 0 to 255."""
    in_chans: Literal[1, 3] = 3
    """Colour channels; 1 makes colour images grey."""

    patch_size: int = Field(default=96, ge=8)
    """Side of the training patches in pixels of the restored image."""
    patches: int = Field(default=16_000, ge=1)
    """Patches per epoch; each image gives as many of them as any other."""
    augment: bool = True
    """Whether patches are mirrored and turned at random (eight ways)."""
    loss: Literal["l1", "mse"] | None = None
    """By default the mean absolute error for super-resolution (EDSR), the mean squared error for
    denoising (DnCNN)."""
    in_memory: bool | Literal["auto"] = "auto"
    """Hold decoded images in memory; false maps them from a file in the cache. ``auto`` holds sets
    of less than 2 GB."""

    shave: int | None = Field(default=None, ge=0)
    """Border left out of the metrics, in pixels; by default ``scale``, none for denoising."""
    tile: int = Field(default=512, ge=32)
    """Inputs with a longer side are restored in overlapping tiles of this side."""
    self_ensemble: bool = False
    """Average the results for the eight mirrored and turned inputs (Lim et al. 2017)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.scale is None) == (self.noise is None):
            raise ValueError(
                "give either scale (2, 3 or 4), for super-resolution, or noise (25, for example), "
                "for denoising"
            )
        if self.scale is not None and self.patch_size % self.scale:
            raise ValueError(f"patch_size must be a multiple of scale ({self.scale})")
        if self.scale is not None and self.in_chans == 1:
            raise ValueError("super-resolution is for colour images; leave in_chans at 3")
        return self

    @property
    def factor(self) -> int:
        """How many times larger the output is than the input."""
        return self.scale or 1

    @property
    def border(self) -> int:
        """Pixels left out of the metrics on every side."""
        return self.shave if self.shave is not None else (self.scale or 0)
