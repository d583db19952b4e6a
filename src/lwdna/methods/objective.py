"""What is minimised: a loss of outputs and targets, or that of a task, replaced by another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

from lwdna.engine import Task
from lwdna.inputs import call
from lwdna.methods.criteria import Loss


def loss_of(loss_fn: Callable[[Any, Any], Tensor]) -> Loss:
    """Return the loss of a network and a batch ``(inputs, targets)``.

    Args:
        loss_fn: ``loss_fn(outputs, targets)``, a scalar.
    """

    def loss(network: nn.Module, batch: tuple[Any, Any]) -> Tensor:
        inputs, targets = batch
        return loss_fn(call(network, inputs), targets)

    return loss


def with_loss(task: Task, loss: Loss) -> Task:
    """Return ``task`` with another training loss; everything else stays."""
    return cast(Task, _WithLoss(task, loss))


class _WithLoss:
    def __init__(self, task: Task, loss: Loss) -> None:
        self._task = task
        self.loss = loss

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)
