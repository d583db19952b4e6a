"""What the settings of a training run mean."""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from lwdna.engine import (
    Hooks,
    Metric,
    TrainSettings,
    evaluate,
    machine,
    measure_latency,
    read_metrics,
    train,
    versions,
)
from lwdna.errors import TrainingError

from .toy import ToyTask, conv_net


def settings(**given: Any) -> TrainSettings:
    return TrainSettings(**{"epochs": 2, "batch_size": 16, **given})


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_loop_is_gradient_descent_on_the_batches(tmp_path: Path) -> None:
    """Repeat a run by hand: plain SGD with momentum and cosine, no wrappers."""
    task = ToyTask(train_size=32)
    chosen = settings(lr=0.2, weight_decay=0.01)
    trained = train(conv_net(dropout=0.0), task, chosen, tmp_path, seed=3).model

    model = conv_net(dropout=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01)
    orders: list[list[int]] = []
    recording = ToyTask(train_size=32, before_batch=lambda indices: orders.append(list(indices)))
    train(conv_net(), recording, chosen, tmp_path / "orders", seed=3)
    for step, order in enumerate(orders):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * step / len(orders)))
        optimizer.zero_grad()
        task.loss(model, (task.images[order], task.targets[order])).backward()
        optimizer.step()
    assert len(orders) == 4
    assert torch.allclose(weights(trained), weights(model), atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_asks_nothing_of_the_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for packages at every step once took longer than the step of a small network."""
    asked: list[object] = []
    find, after = importlib.util.find_spec, []
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda *given: (asked.append(given), find(*given))[1]
    )
    train(
        conv_net(),
        ToyTask(train_size=64),
        settings(epochs=1, optimizer=name),
        tmp_path,
        seed=0,
        hooks=Hooks(after_step=lambda _: after.append(len(asked))),
    )
    assert len(after) == 4
    assert after[1] == after[-1]  # the first one may import something


def test_a_run_that_begins_later_takes_up_the_schedule(tmp_path: Path) -> None:
    chosen = settings(epochs=3, batch_size=10, momentum=0, weight_decay=0)
    parts = conv_net()
    straight = train(conv_net(), ToyTask(), chosen, tmp_path / "whole", seed=3)
    first = train(parts, ToyTask(), chosen, tmp_path / "first", seed=3, steps=7, evaluate=False)
    second = train(parts, ToyTask(), chosen, tmp_path / "second", seed=3, first_step=7)
    assert (*first.losses, *second.losses) == straight.losses
    assert second.metrics == straight.metrics
    lines = read_metrics(tmp_path / "second")
    assert [line["step"] for line in lines] == [10, 15]
    assert lines[0]["train_loss"] == pytest.approx(sum(straight.losses[7:10]) / 3)
    assert lines[1]["train_loss"] == pytest.approx(sum(straight.losses[10:]) / 5)


def test_gradients_can_be_changed_before_every_step(tmp_path: Path) -> None:
    """When they are there and clipped; the hook is told how many steps were done."""
    model, seen = conv_net(), []
    norms: list[float] = []
    before = weights(model)

    def forget(step: int) -> None:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        seen.append(step)
        for gradient in gradients:
            gradient.zero_()

    chosen = settings(weight_decay=0, clip_grad=1e-3)
    train(model, ToyTask(train_size=32), chosen, tmp_path, seed=0, hooks=Hooks(before_step=forget))
    assert seen == [0, 1, 2, 3]
    assert norms == pytest.approx([1e-3] * 4, rel=1e-3)
    assert torch.equal(weights(model), before)


def test_one_seed_gives_one_result(tmp_path: Path) -> None:
    results = [
        train(conv_net(), ToyTask(), settings(), tmp_path / str(i), seed=seed)
        for i, seed in enumerate([5, 5, 6])
    ]
    assert results[0].metrics == results[1].metrics
    assert torch.equal(weights(results[0].model), weights(results[1].model))
    assert not torch.equal(weights(results[0].model), weights(results[2].model))


@pytest.mark.parametrize("accumulate", [2, 3, 16])
def test_accumulation_equals_the_big_batch(tmp_path: Path, accumulate: int) -> None:
    def run(folder: str, **given: Any) -> Tensor:
        model = conv_net(norm=False, dropout=0.0)
        return weights(train(model, ToyTask(), settings(**given), tmp_path / folder, seed=0).model)

    big = run("big")
    assert not torch.allclose(big, weights(conv_net(norm=False)), atol=1e-3)
    assert torch.allclose(run("parts", accumulate=accumulate), big, atol=1e-6)


def test_the_moving_average_is_evaluated_and_returned(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Recording(ToyTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            seen.append(weights(model))
            return super().loss(model, batch)

    model = conv_net()
    result = train(model, Recording(), settings(ema=0.6), tmp_path, seed=0)
    steps = [*seen[1:], weights(model)]
    average = steps[0]
    for i, values in enumerate(steps[1:], 1):
        decay = min(0.6, 1 - (1 + i) ** (-2 / 3))
        average = decay * average + (1 - decay) * values
    assert torch.allclose(weights(result.model), average, atol=1e-6)
    assert result.model is not model
    assert evaluate(result.model, ToyTask(), 16) == result.metrics
    assert evaluate(model, ToyTask(), 16) != result.metrics
    best = load_file(tmp_path / "checkpoints" / "best.safetensors")
    assert set(best) == set(model.state_dict())


def test_mixed_precision_computes_in_bfloat16(tmp_path: Path) -> None:
    dtypes: set[torch.dtype] = set()
    model = conv_net(dropout=0.0)
    hook = model[3].register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    result = train(model, ToyTask(), settings(mixed_precision="bf16"), tmp_path / "low", seed=0)
    assert dtypes == {torch.bfloat16}, "in training and evaluation alike"
    hook.remove()
    exact = train(conv_net(dropout=0.0), ToyTask(), settings(), tmp_path / "full", seed=0)
    assert result.metrics["val_loss"] == pytest.approx(exact.metrics["val_loss"], rel=0.05)
    assert result.metrics != exact.metrics


@pytest.mark.skipif(torch.accelerator.is_available(), reason="fp16 works on a GPU")
def test_fp16_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="fp16 needs a GPU; use bf16 or no"):
        train(conv_net(), ToyTask(), settings(mixed_precision="fp16"), tmp_path, seed=0)


def test_channels_last_reaches_weights_and_images(tmp_path: Path) -> None:
    formats: set[bool] = set()
    model = conv_net()
    model[0].register_forward_pre_hook(
        lambda module, args: formats.add(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    train(model, ToyTask(), settings(channels_last=True), tmp_path, seed=0)
    assert formats == {True}
    assert model[3].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mixed_precision", ["no", "bf16"])
def test_the_network_comes_back_as_an_ordinary_module(tmp_path: Path, mixed_precision: str) -> None:
    model = conv_net()
    before = set(vars(model))
    result = train(
        model, ToyTask(), settings(mixed_precision=mixed_precision, ema=0.9), tmp_path, seed=0
    )
    for network in (model, result.model):
        assert set(vars(network)) == before
        copy.deepcopy(network)(ToyTask().images[:2])
    assert not result.model.training


def test_weight_decay_may_leave_out_norm_and_bias(tmp_path: Path) -> None:
    class NoLoss(ToyTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            return super().loss(model, batch) * 0

    def shrunk(folder: str, **given: Any) -> set[str]:
        model, start = conv_net(), dict(conv_net().named_parameters())
        train(model, NoLoss(), settings(weight_decay=0.1, **given), tmp_path / folder, seed=0)
        return {n for n, p in model.named_parameters() if p.norm() < start[n].norm()}

    matrices = {name for name, p in conv_net().named_parameters() if p.ndim > 1}
    everything = {name for name, p in conv_net().named_parameters() if p.norm() > 0}
    assert shrunk("all") == everything
    assert shrunk("matrices", decay_norm_and_bias=False) == matrices


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    model = conv_net()
    start = weights(model)
    one_step = TrainSettings(
        epochs=1, batch_size=50, lr=1.0, momentum=0, weight_decay=0, clip_grad=0.01
    )
    train(model, ToyTask(), one_step, tmp_path, seed=0)
    assert (weights(model) - start).norm().item() == pytest.approx(0.01, rel=1e-3)


SCHEDULES = {
    "cosine": ({"schedule": "cosine", "min_lr": 0.1}, [1.0, 0.9, 0.7, 0.4]),
    "constant": ({"schedule": "constant"}, [1.0, 1.0, 1.0, 1.0]),
    "step": ({"schedule": "step", "decay_epochs": 2, "decay_rate": 0.5}, [1, 1, 0.5, 0.5]),
    "multistep": ({"schedule": "multistep", "milestones": [1, 3]}, [1, 0.1, 0.1, 0.01]),
    "warm-up": (
        {"schedule": "constant", "warmup_epochs": 2, "warmup_lr": 0.2},
        [0.2, 0.6, 1.0, 1.0],
    ),
    "long warm-up": (
        {"schedule": "constant", "warmup_epochs": 7, "warmup_lr": 0.2},
        [0.2, 0.6, 1.0, 1.0],
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(tmp_path: Path, name: str) -> None:
    given, expected = SCHEDULES[name]
    if name == "cosine":
        expected = [0.1 + 0.45 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]
    chosen = TrainSettings(epochs=4, batch_size=50, lr=1.0, **given)
    train(conv_net(), ToyTask(), chosen, tmp_path, seed=0)
    assert [line["lr"] for line in read_metrics(tmp_path)] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "rmsproptf", "nadam", "lamb"])
def test_optimizers_by_name(tmp_path: Path, name: str) -> None:
    result = train(conv_net(), ToyTask(), settings(optimizer=name, lr=0.01), tmp_path, seed=0)
    start = evaluate(conv_net(), ToyTask(), 16)
    assert result.metrics["val_loss"] < start["val_loss"]


def test_options_that_an_optimizer_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"optimizer sgd cannot be made .*alpha"):
        train(conv_net(), ToyTask(), settings(alpha=0.9), tmp_path, seed=0)


def test_metrics_file(tmp_path: Path) -> None:
    result = train(conv_net(), ToyTask(), settings(epochs=5, eval_every=2), tmp_path, seed=0)
    lines = read_metrics(tmp_path)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["step"] for line in lines] == [3, 6, 9, 12, 15]
    assert ["val_loss" in line for line in lines] == [False, True, False, True, True]
    assert {name: lines[-1][name] for name in result.metrics} == result.metrics
    assert set(result.metrics) == {"val_loss", "top1", "f1", "recall"}
    always = {"epoch", "step", "train_loss", "lr", "seconds", "images_per_second"}
    assert set(lines[0]) == always
    assert list((tmp_path / "tensorboard").iterdir())


class Worsening(ToyTask):
    """Trains away from the targets from the fourth epoch on."""

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return super().loss(model, batch) * (1 if self.calls <= 9 else -1)


def test_best_weights_are_kept(tmp_path: Path) -> None:
    model = conv_net(dropout=0.0)
    chosen = settings(epochs=12, schedule="constant", lr=0.05)
    train(model, Worsening(), chosen, tmp_path, seed=0)
    lines = read_metrics(tmp_path)
    best = max(line["top1"] for line in lines)
    assert lines[-1]["top1"] < best
    model.load_state_dict(load_file(tmp_path / "checkpoints" / "best.safetensors"))
    assert evaluate(model, ToyTask(), 16)["top1"] == pytest.approx(best)


def test_the_best_of_errors_is_the_least(tmp_path: Path) -> None:
    class Erring(Worsening):
        metric = Metric("mae", "mean error", "points", higher_is_better=False)

        def metrics(self) -> MetricCollection:
            return MetricCollection({"loss": MeanMetric(), "mae": MeanMetric()})

        def update(
            self, metrics: MetricCollection, model: nn.Module, batch: tuple[Tensor, Tensor]
        ) -> tuple[Tensor, None]:
            images, targets = batch
            outputs = model(images)
            metrics["loss"].update(nn.functional.cross_entropy(outputs, targets, reduction="none"))
            errors = 1 - outputs.softmax(1).gather(1, targets[:, None])[:, 0]
            metrics["mae"].update(errors)
            return errors, None

    model = conv_net(dropout=0.0)
    chosen = settings(epochs=12, schedule="constant", lr=0.05)
    train(model, Erring(), chosen, tmp_path, seed=0)
    errors = [line["mae"] for line in read_metrics(tmp_path)]
    best = min(errors)
    assert errors.index(best) not in (0, len(errors) - 1)
    file = tmp_path / "checkpoints" / "best.safetensors"
    model.load_state_dict(load_file(file))
    assert evaluate(model, Erring(), 16)["mae"] == pytest.approx(best)
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["mae"] == str(best)


@pytest.mark.parametrize("batch_size", [1, 4, 17, 100])
def test_evaluation_counts_every_example_once(batch_size: int) -> None:
    task = ToyTask()
    model = conv_net()
    found = evaluate(model, task, batch_size)
    assert sorted(task.seen) == list(range(task.eval_size))
    model.eval()
    images, targets = task.images[task.train_size :], task.targets[task.train_size :]
    assert found["top1"] == pytest.approx(
        (model(images).argmax(1) == targets).float().mean().item()
    )
    assert found["val_loss"] == pytest.approx(
        nn.functional.cross_entropy(model(images), targets).item(), rel=1e-5
    )


@pytest.mark.parametrize("eval_batch_size", [1, 4, 17])
def test_outcomes_are_per_example_and_in_order(tmp_path: Path, eval_batch_size: int) -> None:
    task = ToyTask()
    chosen = settings(eval_batch_size=eval_batch_size)
    result = train(conv_net(), task, chosen, tmp_path, seed=0)
    images, targets = task.images[task.train_size :], task.targets[task.train_size :]
    with torch.no_grad():
        right = (result.model(images).argmax(1) == targets).float()
    assert torch.equal(result.outcomes, right)
    assert 0 < right.mean() < 1, "otherwise their order would not show"
    assert result.choices is not None
    assert torch.equal(result.choices.true, targets)
    assert torch.equal((result.choices.chosen == targets).float(), right)
    with torch.no_grad():
        probability = result.model(images).softmax(1).amax(1)
    assert result.choices.probability.tolist() == pytest.approx(probability.tolist(), rel=1e-5)
    assert result.metrics["top1"] == pytest.approx(right.mean().item())


def test_evaluation_keeps_the_mode_of_the_network() -> None:
    model = conv_net().train()
    evaluate(model, ToyTask(), 8)
    assert model.training


def test_progress_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(conv_net(), ToyTask(), settings(), tmp_path / "quiet", seed=0)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    train(conv_net(), ToyTask(), settings(), tmp_path / "shown", seed=0, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "epoch 2/2" in captured.err


def test_latency_is_of_a_forward_pass_in_eval_mode() -> None:
    modes: list[bool] = []
    model = conv_net().train()
    model.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    milliseconds = measure_latency(model, ToyTask().example_inputs(), warmup=2, repeats=3)
    assert milliseconds > 0
    assert modes == [False] * 5
    assert model.training


def test_results_say_what_they_were_computed_with() -> None:
    assert {"python", "torch", "torchvision", "timm", "lwdna"} <= set(versions())
    assert versions()["torch"] == torch.__version__.partition("+")[0]
    assert machine()["cpu"]
    assert int(machine()["cores"]) >= 1


class Sized(ToyTask):
    """Images of any side up to its own, 5 pixels."""

    side = 5

    def resized(self, side: int) -> Sized:
        other = copy.copy(self)
        other.side = side
        return other

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        given = super().train_batches(batches, seed=seed, epoch=epoch, device=device)
        return ((images[:, :, : self.side, : self.side], targets) for images, targets in given)


def test_training_may_begin_with_small_images(tmp_path: Path) -> None:
    sides: list[tuple[bool, int]] = []

    class Seen(Sized):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            sides.append((model.training, batch[0].shape[-1]))
            return super().loss(model, batch)

    chosen = settings(epochs=6, progressive=(3, 4))
    train(conv_net(norm=False), Seen(train_size=16), chosen, tmp_path / "one", seed=0)
    assert [side for _, side in sides] == [3, 3, 4, 4, 5, 5]
    short = settings(epochs=2, progressive=(3, 4))
    assert [short.side_in(epoch) for epoch in range(2)] == [3, None], "the last is the recipe's"
    with pytest.raises(TrainingError, match=r"set train\.progressive=\[\]"):
        train(conv_net(), ToyTask(), chosen, tmp_path / "two", seed=0)
    with pytest.raises(ValueError, match="progressive sizes must grow"):
        settings(progressive=(4, 3))


def test_a_network_that_cannot_be_compiled_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no compiler here")

    compiling = partial(torch.compile, backend=refuse)
    monkeypatch.setattr(torch, "compile", compiling)
    with pytest.raises(TrainingError, match=r"no compiler here.*set train\.compile=false"):
        train(conv_net(), ToyTask(), settings(compile=True), tmp_path, seed=0)


def test_compiled_training_is_that_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[object] = []

    def as_traced(graph: nn.Module, _: object) -> object:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=as_traced))
    plain = train(conv_net(dropout=0.0), ToyTask(), settings(), tmp_path / "plain", seed=0)
    chosen = settings(compile=True)
    compiled = train(conv_net(dropout=0.0), ToyTask(), chosen, tmp_path / "compiled", seed=0)
    assert graphs, "it was compiled"
    assert torch.allclose(weights(compiled.model), weights(plain.model), atol=1e-6)
