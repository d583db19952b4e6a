"""What a recipe says of the search (widening, criterion, floors, budget) and of distillation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    PositiveFloat,
    field_validator,
    model_validator,
)

from lwdna.engine.settings import LrBalance, Precision, Scales, known_optimizer, no_is_not_false
from lwdna.methods.budget import Budget
from lwdna.methods.criteria.table import CRITERIA
from lwdna.methods.keep.table import Choice, in_full, keys
from lwdna.methods.sparse.settings import Penalties
from lwdna.methods.sparse.stop_settings import UntilSettings
from lwdna.settings import Keys, Settings, flattened

PROXY_SECTIONS = ("model", "data", "train")
"""The sections of a recipe in which a proxy may differ."""


class WarmupSettings(Settings):
    """Training before the units are scored: of the hypernetwork where the criterion reads its
    latents, else of the widened network itself. SGD, unless another optimizer is named, at a
    constant learning rate, unless there are milestones."""

    iterations: int | None = Field(default=None, ge=1)
    """Mini-batches; or say ``epochs`` or ``until``."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes through the training set, also fractions."""
    until: UntilSettings | None = None
    """Until the units that count meet the budget, as DHP does."""
    batch_size: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    """Forward passes that share one step, to fit a large batch into memory."""
    optimizer: str = "sgd"
    lr: float = Field(default=0.1, gt=0)
    lr_scale: Scales = Field(default_factory=dict)
    """By what the learning rate of some parameters is multiplied, as ``train.lr_scale``."""
    lr_balance: LrBalance | None = None
    """Learning rates that follow the gradients of two sets of matrices, as ``train.lr_balance``."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    milestones: tuple[int, ...] = ()
    """Epochs at which the learning rate decays."""
    decay_rate: float = Field(default=0.1, gt=0, le=1)
    penalty: Penalties = ()
    """What makes whole units vanish: a penalty, or a list of them. They act on the latents where
    the criterion reads these, else on the units' weights."""
    clip_grad: float | None = Field(default=None, gt=0)
    mixed_precision: Precision = "no"
    channels_last: bool = False
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; one is always written after an epoch."""

    _no_is_not_false = field_validator("mixed_precision", mode="before")(no_is_not_false)
    _known_optimizer = field_validator("optimizer")(known_optimizer)

    @model_validator(mode="after")
    def _one_length(self) -> WarmupSettings:
        if sum(given is not None for given in (self.iterations, self.epochs, self.until)) != 1:
            raise ValueError(
                "a warm-up needs either iterations or epochs, for example epochs=1, or until"
            )
        return self


class TrialSettings(Settings):
    """Short trainings that teach how the loss falls with the widths; these are chosen by it."""

    count: int = Field(default=32, ge=2)
    """Trainings, the baseline's own among them."""
    length: float = Field(default=0.5, gt=0, le=1)
    """Part of the schedule's steps that each takes."""
    schedule: Literal["cut", "compressed"] = "cut"
    """Whether the long schedule's learning rates end early, or are compressed to that length."""
    proxy: dict[str, JsonValue] | None = None
    """Values of the recipe under ``model``, ``data`` and ``train`` that make a smaller network of
    the family, which is tried instead: ``{model.args.width_mult: 0.5}``. Kept by full keys."""

    @field_validator("proxy")
    @classmethod
    def _changes_what_is_trained(
        cls, values: dict[str, JsonValue] | None
    ) -> dict[str, JsonValue] | None:
        if values is None:
            return None
        flat = dict(flattened(values))
        other = [key for key in flat if key.partition(".")[0] not in PROXY_SECTIONS]
        if other or not flat:
            what = f"{other[0]} cannot be a proxy's own" if other else "it changes nothing"
            raise ValueError(
                f"{what}; give values under {', '.join(PROXY_SECTIONS)}, for example "
                "{model.args.width_mult: 0.5}"
            )
        return flat


class ShrinkSettings(Settings):
    """The search of LW-DNA."""

    width_mult: PositiveFloat | dict[str, PositiveFloat] = 2.0
    """How many times wider groups are made before the search: all of them, or by shell patterns of
    their names (of several that match the last counts; groups that none matches stay). 1 is none.
    """
    budget: Budget = Budget(macs=1.0, params=1.5)
    """What the network found may cost. With at most the baseline's MACs and its parameters there is
    little to gain for most networks, see ``docs/method.md``."""
    criterion: str = "snip"
    """How units are scored, see ``lwdna list criteria``. The paper's is ``latent-gradient``, with
    ``keep: threshold`` and floors of 0.4 and 0.45; ``docs/evidence/log.md`` has the trials behind
    the defaults."""
    resource_penalty: float = Field(default=1.0, ge=0)
    """Weight of MorphNet's penalty in the warm-up's loss; at scales of 1 the penalty is about 2."""
    reverse: bool = False
    """Whether the worst units stay instead of the best: a control for the criterion."""
    normalize: Literal["none", "group-mean", "group-l2"] = "none"
    """Whether scores are compared as they are (the paper) or relative to their group's mean or
    l2 norm."""
    keep: Annotated[Annotated[Choice, BeforeValidator(in_full)] | None, Keys(keys)] = None
    """How scores decide which units stay, see ``lwdna list keep-rules``: the name of a keep rule,
    or a mapping with its options, ``{rule: proportional, curvature: 0}``, in which the only rule
    that has these options need not be named. None is ``proportional`` for fresh weights,
    ``knapsack`` for trained ones and ``threshold`` for criteria whose scores are only places in an
    order."""
    floor: float = Field(default=0.25, ge=0, le=1)
    """Fraction of the widened units of a group that always stays."""
    linear_floor: float = Field(default=0.25, ge=0, le=1)
    """The same for groups that feed the layer whose results are the network's output."""
    least_units: int = Field(default=1, ge=1)
    """Units of a group that always stay, whatever the floors say; all of a group that has fewer."""
    embedding_dim: int = Field(default=2, ge=1)
    batches: int = Field(default=2, ge=1)
    """Mini-batches whose gradients are averaged."""
    batch_size: int = Field(default=64, ge=1)
    multiple: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Of what widths are multiples, beside the baseline's own: ``auto`` is 8 for groups of 32
    channels or more in the baseline, because kernels are slow at odd widths, and 1 for others."""
    warmup: WarmupSettings | None = None
    """Training before the units are scored; None scores at initialisation."""
    trials: TrialSettings | None = None
    """Short trainings that decide between widths; None believes the criterion."""
    inherit: bool = False
    """Whether the network found starts from the weights of its units, which a warm-up or
    ``--weights`` gave them, instead of fresh ones."""
    hypernetwork: bool = False
    """Go through the hypernetwork although the closed form gives the same gradients faster."""

    @field_validator("criterion")
    @classmethod
    def _known_criterion(cls, name: str) -> str:
        return CRITERIA.check(name)


class DistillSettings(Settings):
    """What the network found learns from a teacher, beside the labels."""

    teacher: str = "baseline"
    """A run's folder, a ``.safetensors`` file, the name of a network that comes with weights
    (``timm:resnet50``), or ``baseline``: the one trained in the same job."""
    weight: float = Field(default=0.4, ge=0, le=1)
    """Share of the logits' loss; the task's loss has the rest."""
    temperature: float = Field(default=4.0, gt=0)
    similarity: float = Field(default=0.0, ge=0)
    """Weight of the similarity-preserving loss, added to the others."""
    features: str | None = None
    """The module whose input is compared; by default the network's last layer."""
    teacher_features: str | None = None
    """The same in the teacher; by default its last layer."""

    @model_validator(mode="after")
    def _teaches_something(self) -> DistillSettings:
        if not self.weight and not self.similarity:
            raise ValueError("distillation needs a weight or a similarity above 0")
        return self
