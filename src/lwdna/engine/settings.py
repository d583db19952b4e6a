"""What a recipe says of training: optimizer, schedule, precision, checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lwdna.errors import nearest
from lwdna.models.names import timm_optimizers
from lwdna.settings import Settings

Precision = Literal["no", "bf16", "fp16"]
Tracker = Literal["aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "trackio", "wandb"]
"""Trackers of experiments by the names of their packages, as Accelerate knows them."""
Scales = dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
"""Factors by shell patterns of names; of several that match a name the last counts."""


def no_is_not_false(value: object) -> object:
    """Return a precision as it was meant: YAML reads a bare "no" as false."""
    return "no" if value is False else value


class LrBalance(Settings):
    """Learning rates that follow the gradients of two sets of matrices, as Hinge has them.

    The rate of everything but ``second`` is divided by rho^1.35, rho being the gradients of
    ``first`` over those of ``second``, see :mod:`lwdna.engine.lr_balance`.
    """

    first: str
    """A shell pattern of names of weights, for example ``*.conv1.mix.weight``."""
    second: str
    sides: tuple[Literal["write", "read"], Literal["write", "read"]] = ("write", "read")
    """Whether the norms are those of what a weight writes, or of what it reads."""


def known_optimizer(name: str) -> str:
    """Return the name of an optimizer that there is.

    Raises:
        ValueError: naming the nearest.
    """
    known = sorted(timm_optimizers())
    if name not in known:
        raise ValueError(f"unknown optimizer {name!r}{nearest(name, known)}")
    return name


class TrainSettings(Settings):
    """The training protocol. Baseline and found network are trained with the very same one."""

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=128, ge=1)
    """Images per optimizer step, over all processes and accumulation steps together."""
    eval_batch_size: int | None = Field(default=None, ge=1)
    """Images per evaluation step over all processes; None means ``batch_size``."""
    accumulate: int = Field(default=1, ge=1)
    """Forward passes that share one optimizer step, to fit a large batch into memory."""

    optimizer: str = "sgd"
    """Any name of ``timm.optim.list_optimizers()``: sgd, adam, adamw, rmsprop, rmsproptf, ..."""
    lr: float = Field(default=0.1, gt=0)
    lr_scale: Scales = Field(default_factory=dict)
    """By what the learning rate of some parameters is multiplied, by shell patterns of their names
    (of several that match the last counts): ``{"*": 0.01, "*.mix.weight": 1}``. 0 keeps them."""
    lr_balance: LrBalance | None = None
    """Learning rates that follow the gradients of two sets of matrices."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=1e-4, ge=0)
    decay_norm_and_bias: bool = True
    """Whether weight decay also acts on one-dimensional parameters (norm layers, biases)."""
    betas: tuple[float, float] | None = None
    eps: float | None = Field(default=None, gt=0)
    alpha: float | None = Field(default=None, ge=0, lt=1)
    """Smoothing constant of RMSprop."""

    schedule: Literal["cosine", "step", "multistep", "constant"] = "cosine"
    """How the learning rate falls; it changes at every optimizer step."""
    warmup_epochs: float = Field(default=0, ge=0)
    """Epochs of linear warm-up, part of ``epochs``; never more than half of them."""
    warmup_lr: float = Field(default=0, ge=0)
    min_lr: float = Field(default=0, ge=0)
    """Where the cosine ends."""
    decay_epochs: float = Field(default=30, gt=0)
    """Epochs between two decays of the step schedule (fractions as in MobileNet's 2.4)."""
    milestones: tuple[int, ...] = ()
    """Epochs at which the multistep schedule decays."""
    decay_rate: float = Field(default=0.1, gt=0, le=1)

    progressive: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sides of the training images, in pixels, that training begins with, small ones first.

    Each is for an equal part of the epochs; the last part has the recipe's own size, as has
    every evaluation: ``[128, 160, 192]`` before 224 is four parts.
    """

    clip_grad: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient of all parameters together."""
    mixed_precision: Precision = "no"
    channels_last: bool = False
    cuda_graph: bool = False
    """Launch forward and backward pass at once: small networks train several times as fast.

    For one process on an NVIDIA GPU without ``accumulate``; elsewhere it changes nothing. Not for
    networks that draw random numbers in Python, which would be drawn only once.
    """
    compile: bool = False
    """Compile forward and backward pass of a training (``torch.compile``), once per run.

    That takes a minute or so, so it pays in long trainings; `--dry-run` says how long and what
    for. Results differ by rounding. Evaluations and the short trainings of a search are not
    compiled.
    """
    pad_channels: int | None = Field(default=None, ge=2)
    """Pad odd widths in memory to multiples of this number, 8 for example: GPUs are faster at them.

    The padding is always zero, so that the network trained is the same, but for rounding and, if
    there is dropout, other random masks. It is padded where a step of training proves that; what
    is written has the network's own widths.
    """
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of a moving average of the weights, which is then evaluated and kept.

    The decay warms up as ``1 - (1 + step) ** (-2/3)``, so that short runs profit as well.
    """
    sync_batchnorm: bool = False
    """Batch statistics over all processes (several GPUs only)."""

    eval_every: int = Field(default=1, ge=1)
    """Epochs between evaluations; the last epoch is always evaluated."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many epochs without a better value of the primary metric, and keep the weights
    and figures of the best epoch. The schedule stays that of all ``epochs``. Baseline and network
    found then train differently long, and each is judged on the images that chose its epoch."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Optimizer steps between checkpoints inside an epoch; one is always written after it."""
    trackers: tuple[Tracker, ...] = ()
    """Where else the metrics of every epoch go, beside ``metrics.jsonl`` and TensorBoard:
    ``[wandb, mlflow]``. Their packages have to be installed. Trials of a search are not tracked."""

    _no_is_not_false = field_validator("mixed_precision", mode="before")(no_is_not_false)
    _known_optimizer = field_validator("optimizer")(known_optimizer)

    @property
    def warmup(self) -> float:
        """Epochs of warm-up that there are: a recipe made for many epochs is tried with a few."""
        return min(self.warmup_epochs, self.epochs / 2)

    def side_in(self, epoch: int) -> int | None:
        """Return the side of the training images in an epoch; None is the recipe's own.

        That of the last epoch always is, however few there are.
        """
        if epoch == self.epochs - 1:
            return None
        part = epoch * (len(self.progressive) + 1) // self.epochs
        return self.progressive[part] if part < len(self.progressive) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how these settings are carried out."""
        said = []
        if self.warmup != self.warmup_epochs:
            said.append(
                f"the warm-up takes {self.warmup:g} of {self.epochs} epochs, not "
                f"train.warmup_epochs={self.warmup_epochs:g}: half of a training at most"
            )
        if self.patience:
            said.append(
                f"training stops after {self.patience} epochs without a better value "
                "(train.patience): baseline and network found may train differently long, and "
                "their figures are those of the best of several evaluations"
            )
        return tuple(said)

    def obstacle(self, done: int) -> str | None:
        """Say why a training of ``done`` epochs, otherwise of these settings, cannot go on to more.

        It can where every step would have been the same with these ``epochs`` from the beginning.
        """
        before = self.model_copy(update={"epochs": done})
        if self.epochs < done:
            return f"{done} epochs cannot become {self.epochs}"
        if self.schedule == "cosine":
            return (
                f"the learning rates of a cosine over {self.epochs} epochs are others than over "
                f"{done}, from the first step on"
            )
        if any(self.side_in(epoch) != before.side_in(epoch) for epoch in range(done)):
            return f"with {self.epochs} epochs train.progressive would have been another"
        if self.warmup != before.warmup:
            return f"with {self.epochs} epochs the warm-up would have been longer"
        if self.patience and done % self.eval_every:
            return (
                f"epoch {done} was evaluated as the last one, which train.patience takes into "
                "account"
            )
        return None

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        if self.schedule == "multistep" and not self.milestones:
            raise ValueError("the multistep schedule needs milestones, for example [30, 60]")
        if list(self.progressive) != sorted(set(self.progressive)):
            raise ValueError("progressive sizes must grow, for example [128, 160, 192]")
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate ({self.accumulate}) must not exceed batch_size ({self.batch_size})"
            )
        return self
