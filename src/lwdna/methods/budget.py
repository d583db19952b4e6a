"""What a recipe says of cost: which fraction of a network the network found may need."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lwdna.settings import Settings


class Budget(Settings):
    """How much the network found may cost, as fractions of the baseline or the widened network."""

    macs: float | None = Field(default=None, gt=0)
    params: float | None = Field(default=None, gt=0)
    memory: float | None = Field(default=None, gt=0)
    """Peak activation memory of one input's forward pass."""
    latency: float | None = Field(default=None, gt=0)
    """Time of one input's forward pass on this machine: its operators' times, added."""
    of: Literal["baseline", "widened"] = "baseline"

    def fractions(self) -> dict[str, float]:
        """Return the fraction allowed of every resource that is limited, by its name."""
        named: dict[str, float] = self.model_dump(exclude={"of"}, exclude_none=True)
        return named

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        if not self.fractions():
            raise ValueError(
                "a budget needs macs, params, memory or latency (or several), for example macs=0.92"
            )
        return self
