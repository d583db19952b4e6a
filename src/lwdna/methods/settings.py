"""What a recipe says of the search: widening, criterion, floors and budget."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from lwdna.engine.settings import Precision, no_is_not_false
from lwdna.settings import Settings

CriterionName = Literal[
    "latent-gradient",
    "latent-magnitude",
    "taylor",
    "snip",
    "fisher",
    "synflow",
    "synflow-expectation",
    "weight-norm",
    "batchnorm-scale",
    "autoslim",
    "morphnet",
    "uniform",
    "random",
]
"""How units are scored: the keys of :data:`lwdna.methods.criteria.CRITERIA`."""

KeepName = Literal["threshold", "knapsack", "knapsack-full", "proportional"]
"""How scores become widths: the keys of :data:`lwdna.methods.search.KEEP_RULES`."""


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


class WarmupSettings(Settings):
    """Training before the units are scored: of the hypernetwork where the criterion reads its
    latents, else of the widened network itself. SGD at a constant learning rate."""

    iterations: int | None = Field(default=None, ge=1)
    """Mini-batches; or say ``epochs``."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes through the training set, also fractions."""
    batch_size: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    """Forward passes that share one step, to fit a large batch into memory."""
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    latent_l1: float = Field(default=0.0, ge=0)
    """Weight of the l1 norm of the latents, minimised by a proximal step after each SGD step."""
    clip_grad: float | None = Field(default=None, gt=0)
    mixed_precision: Precision = "no"
    channels_last: bool = False
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; one is always written after an epoch."""

    _no_is_not_false = field_validator("mixed_precision", mode="before")(no_is_not_false)

    @model_validator(mode="after")
    def _one_length(self) -> WarmupSettings:
        if (self.iterations is None) == (self.epochs is None):
            raise ValueError("a warm-up needs either iterations or epochs, for example epochs=1")
        return self


class TrialSettings(Settings):
    """Short trainings that decide between widths, begun from what the criterion found."""

    count: int = Field(default=24, ge=2)
    """Trainings, the baseline's own among them."""
    epochs: int = Field(default=1, ge=1)
    """Length of each; the schedule of the recipe's training is compressed to it."""


class ShrinkSettings(Settings):
    """The search of LW-DNA."""

    width_mult: PositiveFloat | dict[str, PositiveFloat] = 2.0
    """How many times wider groups are made before the search: all of them, or by shell patterns of
    their names (of several that match the last counts; groups that none matches stay). 1 is none.
    """
    budget: Budget = Budget(macs=0.92, params=1.0)
    criterion: CriterionName = "snip"
    """How units are scored. The paper's is ``latent-gradient``, with ``keep: threshold`` and floors
    of 0.4 and 0.45; ``docs/evidence.md`` has the trials behind the defaults."""
    resource_penalty: float = Field(default=1.0, ge=0)
    """Weight of MorphNet's penalty in the warm-up's loss; at scales of 1 the penalty is about 2."""
    reverse: bool = False
    """Whether the worst units stay instead of the best: a control for the criterion."""
    normalize: Literal["none", "group-mean", "group-l2"] = "none"
    """Whether scores are compared as they are (the paper) or relative to their group's mean or
    l2 norm."""
    keep: KeepName | None = None
    """Whether the best scores stay (the paper), the best scores for what the units cost, these
    tilted so that neither MACs nor parameters are left over, or units in proportion to what their
    group is worth. None is ``proportional`` for fresh weights, ``knapsack`` for trained ones and
    ``threshold`` for criteria whose scores are only places in an order."""
    prior: float = Field(default=0.5, ge=0, le=1)
    """How far ``keep: proportional`` trusts the baseline's own widths: 0 reads the scores alone, 1
    the baseline alone."""
    bend: float = Field(default=1.0, ge=0, le=4)
    """How soon further units of a group stop helping, for ``keep: proportional``: n of them are
    worth log n at 0, -1 / n at 1. The larger, the less widths depart from the baseline's."""
    floor: float = Field(default=0.25, ge=0, le=1)
    """Fraction of the widened units of a group that always stays."""
    linear_floor: float = Field(default=0.25, ge=0, le=1)
    """The same for groups that feed the layer whose results are the network's output."""
    embedding_dim: int = Field(default=2, ge=1)
    batches: int = Field(default=2, ge=1)
    """Mini-batches whose gradients are averaged."""
    batch_size: int = Field(default=64, ge=1)
    multiple: int = Field(default=1, ge=1)
    """Round widths to a multiple of this, then repair them to the budget."""
    warmup: WarmupSettings | None = None
    """Training before the units are scored; None scores at initialisation."""
    trials: TrialSettings | None = None
    """Short trainings that decide between widths; None believes the criterion."""
    inherit: bool = False
    """Whether the network found starts from the weights of its units, which a warm-up or
    ``--weights`` gave them, instead of fresh ones."""
    hypernetwork: bool = False
    """Go through the hypernetwork although the closed form gives the same gradients faster."""
