"""Knowledge distillation: a trained teacher's answers beside the labels.

Logits: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531),
section 2. Features: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019
(arXiv 1907.09682), equations 1 to 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from lwdna.channels import trace
from lwdna.engine import Task
from lwdna.errors import TrainingError, nearest
from lwdna.methods.objective import with_loss
from lwdna.methods.settings import DistillSettings


def logits_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(softmax(t / T) || softmax(s / T)), the mean over the batch.

    Args:
        student: (B, classes).
        teacher: (B, classes).
        temperature: T. T^2 makes the gradients independent of it.
    """
    s, t = (F.log_softmax(x.float() / temperature, dim=1) for x in (student, teacher))
    return F.kl_div(s, t, reduction="batchmean", log_target=True) * temperature**2


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return |G_t - G_s|^2 / B^2 of the similarities between the examples of a batch.

    G = Q Q^T with its rows divided by their l2 norm; Q holds one row of features per example.
    Student and teacher may have features of different sizes.

    Args:
        student: (B, ...).
        teacher: (B, ...).
    """
    grams = [
        F.normalize(q @ q.T, dim=1)
        for q in (student.float().flatten(1), teacher.float().flatten(1))
    ]
    return (grams[1] - grams[0]).square().sum() / len(student) ** 2


def distilled(
    task: Task, student: nn.Module, teacher: nn.Module, settings: DistillSettings
) -> Task:
    """Return ``task`` with the loss of distillation.

    On several processes similarities are those between the examples of one process.

    Args:
        task: gives the loss on the labels.
        student: the network that will be trained.
        teacher: a trained network for the same data; it stays as it is, in eval mode.
        settings: weights of the losses.

    Raises:
        TrainingError: there is no module of the name given.
    """
    teacher.eval().requires_grad_(False)
    layers = None
    if settings.similarity:
        layers = (
            _layer(student, settings.features, task, "features"),
            _layer(teacher, settings.teacher_features, task, "teacher_features"),
        )

    def loss(network: nn.Module, batch: Any) -> Tensor:
        recorder = _Recorder(network)
        # what is trained may be a copy of the student, and is wrapped where several processes do
        bare = network.module if isinstance(network, DistributedDataParallel) else network
        with _inputs(bare, layers and layers[0]) as of_student:
            value = task.loss(recorder, batch)
        with torch.no_grad(), _inputs(teacher, layers and layers[1]) as of_teacher:
            answers = teacher.to(recorder.answers.device)(*recorder.inputs, **recorder.named)
        if settings.weight:
            _check_answers(recorder.answers, answers)
            hints = logits_loss(recorder.answers, answers, settings.temperature)
            value = (1 - settings.weight) * value + settings.weight * hints
        if settings.similarity:
            value = value + settings.similarity * similarity_loss(of_student[0], of_teacher[0])
        return value

    return with_loss(task, loss)


class _Recorder(nn.Module):
    """A network that remembers what it was last asked and what it answered."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.inputs: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}
        self.answers = torch.empty(0)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        self.inputs, self.named = inputs, named
        self.answers = self.network(*inputs, **named)
        return self.answers


@contextmanager
def _inputs(network: nn.Module, layer: str | None) -> Iterator[list[Tensor]]:
    """Yield a list that gets the first input of the layer of that name as it runs."""
    seen: list[Tensor] = []
    if layer is None:
        yield seen
        return
    hook = network.get_submodule(layer).register_forward_pre_hook(
        lambda _, given, named: seen.append([*given, *named.values()][0]), with_kwargs=True
    )
    try:
        yield seen
    finally:
        hook.remove()


def _layer(network: nn.Module, name: str | None, task: Task, key: str) -> str:
    modules: dict[str, nn.Module] = dict(network.named_modules())
    if name is None:
        operators = trace(network, task.example_inputs()).operators
        name = [operator.module for operator in operators if operator.terms][-1]
    if name not in modules:
        raise TrainingError(
            f"distill.{key}={name} is no module of the network{nearest(name, modules)}"
        )
    return name


def _check_answers(student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 2 or student.shape != teacher.shape:
        raise TrainingError(
            f"the logits of a teacher can be distilled where both networks give (batch, classes); "
            f"the network gives {tuple(student.shape)}, its teacher {tuple(teacher.shape)}; use "
            "another distill.teacher, or distill.weight=0 with a distill.similarity"
        )
