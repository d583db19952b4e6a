"""What a network learns from a teacher beside the labels."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from lwdna.errors import TrainingError
from lwdna.methods.distill import distilled, logits_loss, similarity_loss
from lwdna.methods.settings import DistillSettings
from lwdna.methods.warmup import task_of
from networks import Branches, Chain


class _Task:
    """Enough of a task: examples in memory."""

    def __init__(self):
        self.batch = (torch.randn(6, 3, 16, 16), torch.arange(6) % 5)

    def example_inputs(self):
        return self.batch[0][:1]

    def loss(self, network, batch):
        return nn.functional.cross_entropy(network(batch[0]), batch[1])


def test_the_loss_of_the_logits_by_hand():
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(9.0) * 2, 0.0]])
    # at temperature 2 the teacher says 0.9 and 0.1, the student 0.5 and 0.5
    wanted = 4 * (0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5))
    assert float(logits_loss(student, teacher, 2.0)) == pytest.approx(wanted, rel=1e-6)
    assert float(logits_loss(teacher, teacher, 2.0)) == pytest.approx(0, abs=1e-7)


def test_the_loss_of_the_similarities_by_hand():
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # no similarity between the two examples
    teacher = torch.tensor([[3.0], [3.0]])  # as alike as can be, of another size
    half = math.sqrt(0.5)
    wanted = (2 * (1 - half) ** 2 + 2 * half**2) / 4
    assert float(similarity_loss(student, teacher)) == pytest.approx(wanted, rel=1e-6)


def _parts(**options):
    torch.manual_seed(0)
    task, student, teacher = _Task(), Chain(), Branches()
    return task, student, teacher, distilled(task, student, teacher, DistillSettings(**options))


def test_the_losses_are_added_and_only_the_student_learns():
    task, student, teacher, learnt = _parts(weight=0.25, temperature=3.0, similarity=2.0)
    before = copy.deepcopy(teacher.state_dict())
    value = learnt.loss(student, task.batch)
    value.backward()
    assert all(torch.equal(before[name], t) for name, t in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
    answers, theirs = student(task.batch[0]), teacher(task.batch[0])
    given = []
    for network in (student, teacher):
        last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
        hook = last.register_forward_pre_hook(lambda _, x: given.append(x[0]))
        network(task.batch[0])
        hook.remove()
    wanted = 0.75 * task.loss(student, task.batch)
    wanted = wanted + 0.25 * logits_loss(answers, theirs, 3.0) + 2 * similarity_loss(*given)
    torch.testing.assert_close(value, wanted)
    assert learnt.example_inputs is not None
    assert all(p.grad is not None for p in student.parameters())


def test_a_module_can_be_named():
    task, student, _, learnt = _parts(weight=0.0, similarity=1.0, features="two")
    assert learnt.loss(student, task.batch) > 0
    with pytest.raises(TrainingError, match=r"distill\.features=tow is no module.*two"):
        _parts(similarity=1.0, features="tow")


def test_other_answers_are_named():
    task, student, _, _ = _parts()
    learnt = distilled(task, student, nn.Sequential(nn.Conv2d(3, 5, 1)), DistillSettings())
    with pytest.raises(TrainingError, match=r"gives \(6, 5\), its teacher \(6, 5, 16, 16\)"):
        learnt.loss(student, task.batch)
    with pytest.raises(ValueError, match="above 0"):
        DistillSettings(weight=0.0)


def test_a_task_in_memory_gives_each_example_once():
    batches = [{"x": torch.arange(3), "y": torch.arange(3) * 10}] * 1
    task = task_of(batches, lambda network, batch: batch["x"].sum())
    found = list(task.train_batches([[2, 0]], seed=0, epoch=0, device=torch.device("cpu")))
    assert found[0]["x"].tolist() == [2, 0]
    assert found[0]["y"].tolist() == [20, 0]
