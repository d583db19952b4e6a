"""What a recipe says of a penalty under which a network is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from lwdna.errors import nearest
from lwdna.settings import Settings

Side = Literal["write", "read", "both"]
Affine = Literal["none", "scale", "all"]

OWN = {"alpha": "group-norm", "growth": "growing", "every": "growing"}
"""Settings that only one kind has."""
STEEP = ("l1/2", "logsum")
"""Kinds whose gradient grows without bound towards zero."""
SQUARED = ("group-norm", "growing")
"""Kinds that penalise squares of whole units, on all their sides together."""


class AnnealSettings(Settings):
    """A penalty that becomes weaker when most of what it acts on has vanished.

    Its weight is divided by ``factor`` once the sum P of the units' norms is at most ``at[0]``, and
    by its square once P is at most ``at[1]``. Source: Hinge (arXiv 2003.08935), section 3.5.
    """

    factor: float = Field(default=2.0, ge=1)
    at: tuple[float, float]
    of: Literal["sum", "mean"] = "sum"
    """Whether P is the sum over all groups, or its mean over them."""

    @model_validator(mode="after")
    def _falls(self) -> AnnealSettings:
        if self.at[1] > self.at[0]:
            raise ValueError(f"anneal.at must fall, as [10, 5], but is {list(self.at)}")
        return self


class PenaltySettings(Settings):
    """A penalty on the weights of whole units or, where the criterion reads them, on latents."""

    kind: Literal["l1", "l1/2", "l1-2", "logsum", "group-norm", "growing", "scale"] = "l1"
    """The penalty, of the norms n of the units' vectors: the sum of n, of sqrt(n), of n less
    sqrt(sum n^2), of log n. Of their squares: ``group-norm`` (DepGraph), the weaker the unit the
    more; ``growing`` (GReg), of those that the search would remove before the training, more and
    more. ``scale`` (Network Slimming): of the scales of normalisation alone."""
    weight: float = Field(ge=0)
    """Of the penalty beside the loss (0 is none); of ``growing`` the most that it grows to."""
    balance: Literal["none", "mean-norm"] = "none"
    """``mean-norm`` multiplies the weight by the mean norm of a group's units before the training,
    so that layers of large and of small weights become sparse alike (Hinge)."""
    anneal: AnnealSettings | None = None
    sides: Side = "both"
    """Whether a unit's weights are those that make it, those that read it, or both, one after the
    other; of ``group-norm`` and ``growing`` together."""
    affine: Affine | None = None
    """What else belongs to the side that makes a unit: nothing, the scales of its normalisation, or
    these and all biases and shifts. None is ``scale`` for ``group-norm`` and ``growing`` and
    ``none`` for the other kinds."""
    by: Literal["prox", "gradient"] = "prox"
    """Whether every step of SGD is followed by the proximal operator, by which weights become zero
    exactly, or the penalty's gradient is added to that of the loss."""
    groups: tuple[str, ...] | None = None
    """The groups it acts on, as shell patterns of their names; None is all."""
    alpha: float = Field(default=4.0, ge=0)
    """Of ``group-norm``: the weakest unit of a group is penalised 2^alpha times as much as the
    strongest."""
    growth: float = Field(default=1e-4, gt=0)
    """Of ``growing``: by how much the weight grows at a time."""
    every: int = Field(default=10, ge=1)
    """Of ``growing``: after how many steps it grows."""

    @property
    def beside_filters(self) -> Affine:
        """What ``affine`` means for this kind."""
        return self.affine or ("scale" if self.kind in SQUARED else "none")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: object) -> object:
        if isinstance(given, dict):
            for key in given:
                if key not in cls.model_fields:
                    hint = nearest(str(key), cls.model_fields)
                    raise ValueError(f"a penalty has no {key!r}{hint}")
            if "weight" not in given:
                raise ValueError("a penalty needs a weight, as in {kind: l1, weight: 1.0e-4}")
        return given

    @model_validator(mode="after")
    def _consistent(self) -> PenaltySettings:
        for name, kind in OWN.items():
            default = type(self).model_fields[name].default
            if self.kind != kind and getattr(self, name) != default:
                raise ValueError(f"{name} belongs to a penalty of kind {kind}, not {self.kind}")
        if self.by == "gradient" and self.kind in STEEP:
            raise ValueError(
                f"the gradient of the penalty {self.kind} grows without bound where a unit "
                "vanishes; use by: prox"
            )
        if self.kind == "scale" and (self.sides != "both" or self.affine):
            raise ValueError(
                "a penalty of kind scale acts on the scales of normalisation alone; leave out "
                "sides and affine"
            )
        return self


def _several(given: object) -> object:
    """Return penalties as they were meant: one of them may stand alone."""
    if isinstance(given, dict | PenaltySettings):
        return [given]
    if not isinstance(given, list | tuple):
        raise ValueError("write a penalty or a list of them, as {kind: l1, weight: 1.0e-4}")
    return given


Penalties = Annotated[tuple[PenaltySettings, ...], BeforeValidator(_several)]
"""Of a recipe: one mapping, or a list of them."""
