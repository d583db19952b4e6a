"""What a recipe says of when sparse training ends."""

from __future__ import annotations

from pydantic import Field, model_validator

from lwdna.settings import Settings


class Length(Settings):
    """How long a training takes."""

    epochs: float | None = Field(default=None, gt=0)
    """Passes through the training set, also fractions."""
    iterations: int | None = Field(default=None, ge=1)
    """Mini-batches."""

    @model_validator(mode="after")
    def _one(self) -> Length:
        if (self.iterations is None) == (self.epochs is None):
            raise ValueError("a length is either epochs or iterations, for example {epochs: 100}")
        return self


class UntilSettings(Settings):
    """A warm-up that ends when what it has not driven to zero meets the budget.

    Source: DHP (ECCV 2020), whose published settings are the defaults.
    """

    threshold: float = Field(default=5e-3, gt=0)
    """A unit counts if the size of its latent or, where there are none, the norm of its weights
    reaches this, or if it is among the best of its group that always stay."""
    below: float = Field(default=0.02, ge=0)
    """How far above the budget is near enough, as a fraction of what the budget is a fraction of:
    ``{macs: 0.5}`` is met at 0.52."""
    check_every: int = Field(default=100, ge=1)
    """Steps between two looks."""
    at_most: Length = Length(epochs=100)
    """When to end in any case."""
