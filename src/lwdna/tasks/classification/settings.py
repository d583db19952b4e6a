"""What a recipe may say about the data of a classification task."""

from __future__ import annotations

from pydantic import Field

from lwdna.data.settings import DataSettings


class ClassificationSettings(DataSettings):
    """The ``data`` section of a recipe: images, and how their batches are mixed."""

    mixup: float = Field(default=0.0, ge=0)
    """Alpha of mixup (Zhang et al. 2018); 0 is off."""
    cutmix: float = Field(default=0.0, ge=0)
    """Alpha of CutMix (Yun et al. 2019); 0 is off. With mixup on too, each batch draws one."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
