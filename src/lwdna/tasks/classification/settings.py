"""What a recipe may say about the data of a classification task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lwdna.data.settings import DataSettings

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ClassificationSettings(DataSettings):
    """The ``data`` section of a recipe: images, and how their batches are mixed."""

    mixup: float = Field(default=0.0, ge=0)
    """Alpha of mixup (Zhang et al. 2018); 0 is off."""
    cutmix: float = Field(default=0.0, ge=0)
    """Alpha of CutMix (Yun et al. 2019); 0 is off. With mixup on too, each batch draws one."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Literal["balanced"] | tuple[Weight, ...] | dict[str, Weight] | None = None
    """What an image of each class counts in the training loss: ``balanced`` (inverse to the number
    of training images of the class), a weight per class in their order, or weights by name, where
    classes left out count 1. Only their ratios matter: they are scaled so that their mean over the
    training images is 1. Metrics and the validation loss stay unweighted."""
