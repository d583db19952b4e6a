"""What a sensitivity analysis is told: how far to cut, by what criterion, what to measure on."""

from __future__ import annotations

from pydantic import Field, field_validator

from lwdna.methods.criteria.table import CRITERIA
from lwdna.settings import Settings

SHARES = (0.75, 0.5, 0.25, 0.125)


class SensitivitySettings(Settings):
    """A sensitivity analysis of a trained network."""

    shares: tuple[float, ...] = SHARES
    """Shares of a group's units that stay, each tried by itself; at least one unit stays."""
    criterion: str = "snip"
    """By what a group's best units are chosen, see ``lwdna list criteria``."""
    batches: int = Field(default=8, ge=1)
    """Training batches on which the statistics of batch normalisation are computed anew."""
    images: int | None = Field(default=None, ge=1)
    """Validation examples to measure on, drawn at random; None is all of them."""

    @field_validator("criterion")
    @classmethod
    def _known_criterion(cls, name: str) -> str:
        return CRITERIA.check(name)

    @field_validator("shares")
    @classmethod
    def _parts(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [share for share in shares if not 0 < share < 1]
        if wrong or not shares:
            what = f"{wrong[0]:g} is none" if wrong else "there is none"
            raise ValueError(
                f"shares of the units that stay lie between 0 and 1, {what}; give for example "
                "3/4,1/2,1/4"
            )
        return tuple(sorted(set(shares), reverse=True))
