"""Optimizer and learning rate schedule, both from timm."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_class
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn

from lwdna.engine.lr_balance import SECOND, balance, second_of
from lwdna.engine.settings import TrainSettings
from lwdna.errors import TrainingError, nearest

_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def make_optimizer(
    model: nn.Module, settings: TrainSettings, device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimizer for ``model``, fused into one kernel where torch has such a kernel.

    Raises:
        TrainingError: the optimizer does not take one of the settings given, or a pattern of
            ``lr_scale`` or ``lr_balance`` names no parameter.
    """
    options: dict[str, Any] = {
        name: value
        for name in ("betas", "eps", "alpha")
        if (value := getattr(settings, name)) is not None
    }
    kind = get_optimizer_class(settings.optimizer, bind_defaults=False)
    if kind is torch.optim.SGD:
        # timm's "sgd" means Nesterov unless told otherwise
        options["nesterov"] = settings.nesterov
    if kind in _FUSED and device.type in ("cpu", "cuda"):
        options["fused"] = True
    try:
        optimizer = create_optimizer_v2(
            model,
            opt=settings.optimizer,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            filter_bias_and_bn=not settings.decay_norm_and_bias,
            **options,
        )
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"optimizer {settings.optimizer} cannot be made from the settings given: {error}; "
            "leave out those it does not know"
        ) from error
    scales = scales_of(model, settings.lr_scale)
    if settings.lr_scale:
        _split_groups(optimizer, "lr_scale", scales)  # timm's schedules heed it
    if settings.lr_balance:
        second = second_of(model, settings.lr_balance)
        _split_groups(optimizer, SECOND, {one: one in second for one in scales})
        balance(optimizer, model, settings.lr_balance)
    return optimizer


def scales_of(model: nn.Module, patterns: Mapping[str, float]) -> dict[nn.Parameter, float]:
    """Return the factor of every parameter's learning rate; of several patterns the last counts.

    Raises:
        TrainingError: a pattern names no parameter.
    """
    named = dict(model.named_parameters())
    scales = dict.fromkeys(named.values(), 1.0)
    for pattern, scale in patterns.items():
        matching = [name for name in named if fnmatchcase(name, pattern)]
        if not matching:
            hint = nearest(pattern, named) or f"; there are {', '.join(list(named)[:4])}, ..."
            raise TrainingError(f"lr_scale: {pattern!r} names no parameter{hint}")
        scales.update((named[name], scale) for name in matching)
    return scales


def _split_groups(
    optimizer: torch.optim.Optimizer, note: str, values: Mapping[nn.Parameter, float]
) -> None:
    """Divide the optimizer's groups by a value of their parameters, and note it in them."""
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        parts: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            parts.setdefault(values[parameter], []).append(parameter)
        groups += [{**group, "params": part, note: value} for value, part in parts.items()]
    optimizer.param_groups[:] = groups


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate of parameters whose scale is 1, whether there are any or not."""
    group = max(optimizer.param_groups, key=lambda group: group.get("lr_scale", 1.0))
    scale = float(group.get("lr_scale", 1.0))
    return float(group["lr"]) / scale if scale else 0.0


def make_scheduler(
    optimizer: torch.optim.Optimizer, settings: TrainSettings, steps: int
) -> Scheduler:
    """Return the schedule over ``settings.epochs`` epochs of ``steps`` optimizer steps.

    The learning rate is a function of the number of steps done; ``step_update`` sets it.
    """
    constant = settings.schedule == "constant"
    # timm annotates these as int, but fractions work
    warmup: Any = settings.warmup
    # timm decays one update early; half an update more puts that right
    milestones: Any = [epoch + 0.5 / steps for epoch in settings.milestones]
    scheduler: Scheduler
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="step" if constant else settings.schedule,
        num_epochs=settings.epochs,
        decay_epochs=settings.decay_epochs,
        decay_milestones=milestones,
        decay_rate=1.0 if constant else settings.decay_rate,
        min_lr=settings.min_lr,
        warmup_lr=settings.warmup_lr,
        warmup_epochs=warmup,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    return scheduler


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load ``state``, each tensor laid out in memory as the parameter it belongs to.

    Fused kernels walk parameter and state side by side in memory order, and a checkpoint file
    knows contiguous tensors only.
    """
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
