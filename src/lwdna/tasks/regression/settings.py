"""What a recipe may say about the data of a regression."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import field_validator, model_validator

from lwdna.data.settings import AUTO, DataSettings


class RegressionSettings(DataSettings):
    """The ``data`` section of a recipe: images, and a table of the values to be learnt.

    A shift of a few pixels is the only augmentation unless more is asked for: a crop or a mirrored
    image may have another value.
    """

    targets: tuple[str, ...] | None = None
    """Columns of the table that hold the values; by default all that hold numbers only."""
    loss: Literal["smooth-l1", "mse", "l1"] = "smooth-l1"
    """Of the standardised values."""

    @field_validator("kind")
    @classmethod
    def _a_table(cls, kind: str) -> str:
        if kind not in (AUTO, "csv"):
            raise ValueError("values are read from a table: leave kind at auto, or say csv")
        return kind

    @model_validator(mode="after")
    def _no_classes(self) -> Self:
        if self.classes is not None:
            raise ValueError("a regression has no classes; its columns are data.targets")
        if self.targets is not None and (
            not self.targets or len(set(self.targets)) < len(self.targets)
        ):
            raise ValueError("targets must name columns, each once")
        return self
