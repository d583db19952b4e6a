"""What goes into a trained network and what comes out: how images are prepared, what classes mean.

Files of weights and ONNX files carry it in their metadata, each part as a text of its own, so that
a network can be used where neither its recipe nor its data are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from lwdna.errors import CheckpointError
from lwdna.settings import Settings

TASK = "lwdna_task"
"""Key of the metadata: the name of the task that a network was trained for."""
CLASSES = "lwdna_classes"
"""Key of the metadata: names of the classes as a JSON list."""
TARGETS = "lwdna_targets"
"""Key of the metadata: a list of :class:`Target` as JSON objects."""
PREPROCESSING = "lwdna_preprocessing"
"""Key of the metadata: a :class:`Preprocessing` as a JSON object."""

_NAMES = TypeAdapter(tuple[str, ...])
Side = Annotated[int, Field(ge=1, le=2**16)]


class Preprocessing(Settings):
    """How an image becomes the input of a network, exactly as in validation.

    It is turned as its EXIF data say and made RGB, or grey; its shorter side is resized to
    ``resize`` pixels and the central square of ``image_size`` pixels cut out; values are counted
    from 0 to 1, ``mean`` is subtracted, and the rest divided by ``std``.
    :func:`lwdna.prepare` does that.
    """

    in_chans: Literal[1, 3]
    """Channels of the input: 3 for red, green and blue, 1 for grey."""
    image_size: Side
    """Side of the square input in pixels."""
    resize: Side
    """Shorter side before the central crop, in pixels."""
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    """Filter of the resizing, Pillow's of that name."""
    mean: tuple[float, ...]
    """Per channel."""
    std: tuple[float, ...]
    """Per channel."""

    @model_validator(mode="after")
    def _per_channel(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.in_chans or not all(map(math.isfinite, values)):
                raise ValueError(f"{name} needs {self.in_chans} finite values, as many as in_chans")
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self


class Target(Settings):
    """A value that a network predicts: its output times ``std``, plus ``mean``."""

    name: str
    mean: float = Field(allow_inf_nan=False)
    std: float = Field(gt=0, allow_inf_nan=False)


_TARGETS = TypeAdapter(tuple[Target, ...])


class Interface(Settings):
    """What is known of a trained network's inputs and outputs; None is what is not."""

    task: str | None = None
    """What it was trained for, as recipes call it: ``classification``."""
    classes: tuple[str, ...] | None = None
    """What its outputs stand for, in their order; None where classes are only numbers, or none."""
    targets: tuple[Target, ...] | None = None
    """What values its outputs stand for, in their order, and how to undo that they were
    standardised; None unless it was trained for values."""
    preprocessing: Preprocessing | None = None
    """How images become its input; None unless it takes single images of one size."""

    def with_side(self, side: int) -> Interface:
        """Return it for images of another side in pixels, as large a part of which is cut out."""
        if self.preprocessing is None:
            return self
        resize = round(self.preprocessing.resize * side / self.preprocessing.image_size)
        sides = {"image_size": side, "resize": max(resize, side)}
        return self.model_copy(
            update={"preprocessing": self.preprocessing.model_copy(update=sides)}
        )

    def notes(self) -> dict[str, str]:
        """Return it as metadata of a file: texts by key, one for each part that is known."""
        found: dict[str, str] = {}
        if self.task is not None:
            found[TASK] = self.task
        if self.classes is not None:
            found[CLASSES] = json.dumps(self.classes, ensure_ascii=False)
        if self.targets is not None:
            found[TARGETS] = _TARGETS.dump_json(self.targets).decode()
        if self.preprocessing is not None:
            found[PREPROCESSING] = self.preprocessing.model_dump_json()
        return found

    @classmethod
    def of_notes(cls, notes: Mapping[str, str]) -> Interface:
        """Read what :meth:`notes` wrote; other texts are left alone.

        Raises:
            ValueError: a text is not what was written.
        """
        classes, preprocessing = notes.get(CLASSES), notes.get(PREPROCESSING)
        targets = notes.get(TARGETS)
        return cls(
            task=notes.get(TASK),
            classes=None if classes is None else _NAMES.validate_json(classes),
            targets=None if targets is None else _TARGETS.validate_json(targets),
            preprocessing=(
                None if preprocessing is None else Preprocessing.model_validate_json(preprocessing)
            ),
        )


def read_interface(path: str | Path) -> Interface:
    """Return what a file of weights says of its network's inputs and outputs.

    Nothing of it is known of a file that was written without.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="np") as file:
            return Interface.of_notes(file.metadata() or {})
    except (OSError, SafetensorError, ValueError) as error:
        why = _first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise CheckpointError(f"cannot read weights {path}: {why}; restore the file") from error


def _first_fault(error: ValidationError) -> str:
    first = error.errors()[0]
    return ": ".join([*map(str, first["loc"]), first["msg"]])
