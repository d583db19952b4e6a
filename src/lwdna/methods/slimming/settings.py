"""What a recipe says of making a trained network smaller."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, field_validator

from lwdna.engine.settings import TrainSettings
from lwdna.methods.budget import Budget
from lwdna.methods.criteria.table import CRITERIA
from lwdna.methods.keep.table import Choice, in_full, keys
from lwdna.methods.settings import DistillSettings, ShrinkSettings, WarmupSettings
from lwdna.settings import Keys, Settings
from lwdna.transforms.table import Transform

SHORTER, GENTLER = 3, 2
"""By what fine-tuning divides epochs and learning rate of the training protocol."""


class ScheduleSettings(Settings):
    """When units go: at once, in rounds before the fine-tuning, or in rounds during it."""

    kind: Literal["once", "iterative", "progressive"] = "progressive"
    """``iterative`` trains after every round; ``progressive`` removes units while the fine-tuning
    goes on, whose learning rates fall as if it had not been disturbed."""
    rounds: int = Field(default=5, ge=1)
    """How many times units go, but for ``once``. What the network may cost falls geometrically
    from all to the budget."""
    epochs: int = Field(default=1, ge=1)
    """Of the training between the rounds of ``iterative``, with the protocol of fine-tuning."""
    until: float = Field(default=0.3, gt=0, le=1)
    """Part of the fine-tuning during which units go, of ``progressive``."""

    def shares(self) -> list[float]:
        """Return how far each round goes: the exponent of the budget's fractions."""
        count = 1 if self.kind == "once" else self.rounds
        return [number / count for number in range(1, count + 1)]


def _named(given: object) -> object:
    return {"kind": given} if isinstance(given, str) else given


class SlimSettings(Settings):
    """How a trained network is made smaller. Budget, floor and ratios refer to the dense network:
    the one that was given first, however many rounds there are."""

    transforms: tuple[Transform, ...] = ()
    """Rewrites of the trained network before its units are scored: ``[{name: factorize, init:
    svd-mix}]`` makes ranks of its convolutions groups. Pairs that cost no less than one convolution
    are merged again when the network is written."""
    budget: Budget = Budget(macs=0.5)
    """What may be left, as fractions of the dense network."""
    criterion: str = "snip"
    """How units are scored, see ``lwdna list criteria``."""
    keep: Annotated[Annotated[Choice, BeforeValidator(in_full)] | None, Keys(keys)] = None
    """How scores decide which units stay, see ``lwdna list keep-rules``. None is ``knapsack``, and
    ``threshold`` for criteria whose scores are only places in an order."""
    floor: float = Field(default=0.1, ge=0, le=1)
    """Fraction of a group's units that always stays."""
    ratios: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    """Fixed fraction of units that stays, by shell patterns of the groups' names (of several that
    match the last counts): the best units, however the budget is met with the other groups."""
    protect: tuple[str, ...] = ()
    """Patterns of groups that keep all units. Pinned axes (such as the network's output) do anyway.
    """
    multiple: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Of what widths are multiples: ``auto`` is 8 for groups of 32 units or more, 1 for others."""
    normalize: Literal["none", "group-mean", "group-l2"] = "none"
    """Whether scores are compared as they are or relative to their group's mean or l2 norm."""
    batches: int = Field(default=20, ge=1)
    """Mini-batches of training data by which units are scored."""
    batch_size: int = Field(default=64, ge=1)
    recalibrate: int = Field(default=32, ge=0)
    """Mini-batches by which running statistics of normalisation are taken anew; 0: not at all."""
    schedule: Annotated[ScheduleSettings | None, BeforeValidator(_named)] = None
    """``once``, or a mapping such as ``{kind: iterative, rounds: 4, epochs: 2}``. None is
    ``progressive``, but ``once`` after sparse training (``warmup``), which looks at the whole
    budget. ``docs/slim.md`` compares them."""
    warmup: WarmupSettings | None = None
    """Sparse training of the dense network before its units are scored."""
    tune: dict[str, JsonValue] = Field(default_factory=dict)
    """Values of ``train`` that fine-tuning changes. Without them it takes a third of the epochs, at
    half the learning rate, without a warm-up of the learning rate."""
    distill: DistillSettings | None = DistillSettings()
    """What the slim network learns from a teacher, where both answer with one row of logits per
    example; the teacher ``baseline`` is the dense network. None: from the data alone."""

    @field_validator("criterion")
    @classmethod
    def _known_criterion(cls, name: str) -> str:
        return CRITERIA.check(name)

    @field_validator("budget")
    @classmethod
    def _of_the_dense_network(cls, budget: Budget) -> Budget:
        if budget.of != "baseline":
            raise ValueError(
                "the budget of a slim network is a part of the dense one; leave out of"
            )
        return budget

    @field_validator("tune")
    @classmethod
    def _changes_training(cls, values: dict[str, JsonValue]) -> dict[str, JsonValue]:
        known = TrainSettings.model_fields
        for key in values:
            if key not in known:
                raise ValueError(
                    f"{key} is no value of train; give some of {', '.join(known)}, for example "
                    "{epochs: 10, lr: 0.01}"
                )
        return values

    @property
    def plan(self) -> ScheduleSettings:
        """The schedule, where none is named the usual one."""
        return self.schedule or ScheduleSettings(kind="once" if self.warmup else "progressive")

    def at(self, share: float) -> SlimSettings:
        """Return the settings of a round that goes a part of the way to budget and ratios."""
        if share == 1:
            return self
        budget = {name: part**share for name, part in self.budget.fractions().items()}
        ratios = {pattern: part**share for pattern, part in self.ratios.items()}
        return self.model_copy(update={"budget": Budget(**budget), "ratios": ratios})

    def as_search(self) -> ShrinkSettings:
        """Return what criteria and keep rules are told: a search among the network's own units."""
        same = ("budget", "criterion", "keep", "floor", "multiple", "normalize", "warmup")
        return ShrinkSettings(
            width_mult=1, linear_floor=self.floor, inherit=True, batches=self.batches,
            batch_size=self.batch_size, **{name: getattr(self, name) for name in same},
        )  # fmt: skip

    def tuning(self, train: TrainSettings) -> dict[str, Any]:
        """Return the values of ``train`` that fine-tuning changes, full and unchecked."""
        epochs = self.tune.get("epochs", -(-train.epochs // SHORTER))
        usual: dict[str, Any] = {"epochs": epochs, "lr": train.lr / GENTLER, "warmup_epochs": 0}
        if isinstance(epochs, int) and epochs > 0:
            part = epochs / train.epochs
            usual["decay_epochs"] = train.decay_epochs * part
            usual["milestones"] = [round(part * epoch) for epoch in train.milestones]
        return {**usual, **self.tune}
