"""Learning rates of parts of a network: by hand, under a schedule, resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lwdna.engine import Hooks, TrainingInterrupted, TrainSettings, train
from lwdna.errors import TrainingError

from .test_resume import at_batch, interrupt
from .toy import ToyTask, conv_net

SCALES = {"*": 0.5, "3.*": 0.25, "*.weight": 2.0, "7.weight": 0.0}
EXPECTED = {
    "0.weight": 2,
    "0.bias": 0.5,
    "3.weight": 2,
    "3.bias": 0.25,
    "7.weight": 0,
    "7.bias": 0.5,
}
BALANCE = {"first": "0.weight", "second": "3.weight"}


def _settings(**given: Any) -> TrainSettings:
    usual = {"epochs": 2, "batch_size": 16, "lr": 0.2, "weight_decay": 0.01}
    return TrainSettings(**{**usual, "schedule": "multistep", "milestones": [1], **given})


def _by_hand(folder: Path, factors: Any, **given: Any) -> tuple[nn.Module, nn.Module]:
    """Return the network that the loop trains, and one that SGD trains step by step."""
    rates: list[float] = []
    orders: list[list[int]] = []
    task = ToyTask(train_size=32, before_batch=lambda indices: orders.append(list(indices)))
    model = conv_net(norm=False, dropout=0.0)
    hooks = Hooks(after_step=rates.append)
    trained = train(model, task, _settings(**given), folder, seed=3, hooks=hooks).model
    assert rates == pytest.approx([0.2, 0.2, 0.02, 0.02])
    copy = conv_net(norm=False, dropout=0.0)
    named = dict(copy.named_parameters())
    sgd = torch.optim.SGD(
        [{"params": [one]} for one in named.values()], lr=0, momentum=0.9, weight_decay=0.01
    )
    for step, order in enumerate(orders):
        sgd.zero_grad()
        task.loss(copy, (task.images[order], task.targets[order])).backward()
        for group, factor in zip(sgd.param_groups, factors(named), strict=True):
            group["lr"] = rates[step] * factor
        sgd.step()
    return trained, copy


def _assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, value), expected in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6, msg=name)


def test_the_last_pattern_that_matches_scales_the_rate(tmp_path: Path) -> None:
    def factors(named: dict[str, nn.Parameter]) -> list[float]:
        return [EXPECTED[name] for name in named]

    trained, copy = _by_hand(tmp_path, factors, lr_scale=SCALES)
    _assert_same(trained, copy)
    start = dict(conv_net(norm=False).named_parameters())
    assert torch.equal(trained.get_parameter("7.weight"), start["7.weight"])
    assert not torch.equal(trained.get_parameter("7.bias"), start["7.bias"])


def test_rates_follow_a_running_mean_of_gradients(tmp_path: Path) -> None:
    """Rows of the one weight's gradient and columns of the other's; 9/10 of the mean is old."""
    seen: list[float] = []

    def factors(named: dict[str, nn.Parameter]) -> list[float]:
        first, second = (named[name].grad for name in ("0.weight", "3.weight"))
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        rows = sum(float(row.norm()) for row in first)
        columns = sum(float(second[:, place].norm()) for place in range(second.shape[1]))
        ratio = rows / columns
        rho = ratio if not seen else 0.9 * seen[-1] + 0.1 * ratio
        seen.append(min(max(rho, 5 / 9), 9 / 5))
        divided = 1 / seen[-1] ** 1.35
        return [1.0 if name == "3.weight" else divided for name in named]

    trained, copy = _by_hand(tmp_path, factors, lr_balance=BALANCE)
    _assert_same(trained, copy)
    assert any(5 / 9 < value < 9 / 5 for value in seen)


def test_a_run_so_scaled_goes_on_exactly(tmp_path: Path) -> None:
    chosen = _settings(lr_scale=SCALES, lr_balance=BALANCE, epochs=3)
    whole = train(conv_net(), ToyTask(), chosen, tmp_path / "whole", seed=3)
    stopped = ToyTask(before_batch=at_batch(5, interrupt))
    with pytest.raises(TrainingInterrupted):
        train(conv_net(), stopped, chosen, tmp_path / "cut", seed=3)
    again = train(conv_net(), ToyTask(), chosen, tmp_path / "cut", seed=3, resume=True)
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_patterns_that_name_nothing(tmp_path: Path) -> None:
    def fault(**given: Any) -> str:
        with pytest.raises(TrainingError) as caught:
            train(conv_net(), ToyTask(), _settings(**given), tmp_path, seed=0)
        return str(caught.value)

    assert "lr_scale: '4.*' names no parameter" in fault(lr_scale={"*": 0.1, "4.*": 1})
    line = fault(lr_balance={**BALANCE, "second": "3.bias"})
    assert "lr_balance: '3.bias' names no weight of a layer" in line
