"""Training with widths padded in memory is the same training; files have the network's widths."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lwdna.engine import TrainingInterrupted, TrainResult, TrainSettings, train
from lwdna.errors import CheckpointError, TrainingError
from lwdna.methods.distill import distilled
from lwdna.methods.settings import DistillSettings
from lwdna.run_folder import best_checkpoint, last_checkpoint

from .toy import CLASSES, ToyTask

PROTOCOLS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.1, "nesterov": True, "weight_decay": 0.01},
    "adamw": {"optimizer": "adamw", "lr": 0.003, "ema": 0.9, "decay_norm_and_bias": False},
    "lamb": {"optimizer": "lamb", "lr": 0.01, "accumulate": 2},
    "rmsprop": {"optimizer": "rmsproptf", "lr": 0.003, "channels_last": True, "clip_grad": 0.5},
}


class Task(ToyTask):
    """In double precision, in which different orders of sums do not matter."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.images = self.images.double()


def odd_net() -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 11, 3, stride=2, padding=1),
        nn.Sigmoid(),  # not zero at zero: these channels cannot be padded
        nn.Conv2d(11, 13, 1),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(13, CLASSES),
    ).double()


def run(folder: Path, task: Task | None = None, resume: bool = False, **given: Any) -> TrainResult:
    chosen = TrainSettings(**{"epochs": 3, "batch_size": 16, **given})
    return train(odd_net(), task or Task(), chosen, folder, seed=3, resume=resume)


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_training_and_files_of_the_networks_own_widths(
    tmp_path: Path, protocol: str
) -> None:
    given = PROTOCOLS[protocol]
    plain = run(tmp_path / "plain", **given)
    padded = run(tmp_path / "padded", pad_channels=8, **given)
    assert plain.padding is None
    assert padded.padding is not None
    assert padded.padding.padded == ("0", "5")
    assert padded.padding.left.keys() == {"3"}
    assert padded.losses == pytest.approx(plain.losses, rel=1e-6)
    assert padded.metrics == pytest.approx(plain.metrics, rel=1e-6)
    assert torch.equal(padded.outcomes, plain.outcomes)
    own, other = plain.model.state_dict(), padded.model.state_dict()
    assert shapes(other) == shapes(own) == shapes(odd_net().state_dict())
    for name in own:
        torch.testing.assert_close(other[name], own[name], rtol=1e-8, atol=1e-9)
    best = [load_file(best_checkpoint(tmp_path / kind)) for kind in ("plain", "padded")]
    assert shapes(best[0]) == shapes(best[1]) == shapes(own)
    for name in own:
        torch.testing.assert_close(best[1][name], best[0][name], rtol=1e-8, atol=1e-9)


def test_the_network_given_is_trained_and_the_checkpoint_is_padded(tmp_path: Path) -> None:
    network = odd_net()
    before = copy.deepcopy(network.state_dict())
    chosen = TrainSettings(epochs=1, batch_size=16, pad_channels=8, ema=0.5)
    result = train(network, Task(), chosen, tmp_path, seed=3)
    state = load_file(last_checkpoint(tmp_path))
    kernel, average = state["model/0.weight"], state["ema/0.weight"]
    assert kernel.shape == average.shape == (8, 3, 3, 3)
    assert not kernel[5:].any()
    assert not state["model/5.bias"][13:].any()
    assert torch.equal(network[0].weight, kernel[:5])
    assert torch.equal(result.model[0].weight, average[:5])
    assert torch.equal(network[9].weight, state["model/9.weight"][:, :13])
    assert not torch.equal(network[0].weight, before["0.weight"])


@pytest.mark.parametrize("protocol", ["sgd", "adamw"])
@pytest.mark.parametrize("batch", [0, 4, 8])
def test_a_stopped_run_goes_on(tmp_path: Path, protocol: str, batch: int) -> None:
    given = {"pad_channels": 8, **PROTOCOLS[protocol]}
    whole = run(tmp_path / "whole", **given)
    count = iter(range(100))

    def stop(indices: Sequence[int]) -> None:
        if next(count) == batch:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "cut", Task(before_batch=stop), **given)
    resumed = run(tmp_path / "cut", resume=True, **given)
    assert resumed.metrics == whole.metrics
    own, other = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)
    with pytest.raises(CheckpointError, match="pad_channels was 8 and is now 4"):
        run(tmp_path / "cut", resume=True, **{**given, "pad_channels": 4})


def test_nothing_to_pad_changes_nothing(tmp_path: Path) -> None:
    plain, same = run(tmp_path / "plain"), run(tmp_path / "same", pad_channels=64, epochs=3)
    assert same.padding is not None  # 5 and 13 channels become 64
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Flatten(), nn.Linear(8, CLASSES)
    ).double()
    chosen = TrainSettings(epochs=1, batch_size=16, pad_channels=8)
    assert train(network, Task(), chosen, tmp_path / "even", seed=3).padding is None
    assert plain.losses == pytest.approx(same.losses, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["adafactor", "cadamw", "muon", "adamp"])
def test_optimizers_that_count_entries_are_refused(tmp_path: Path, optimizer: str) -> None:
    given = {"optimizer": optimizer, "lr": 0.01, "pad_channels": 8, "weight_decay": 0.01}
    with pytest.raises(TrainingError, match=f"optimizer {optimizer} depend on the sizes"):
        run(tmp_path, **given)
    assert not last_checkpoint(tmp_path).exists()


def test_optimizers_that_cannot_be_tried_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"adahessian cannot be tried here.*or use another"):
        run(tmp_path, optimizer="adahessian", pad_channels=8)


@pytest.mark.parametrize(
    "optimizer",
    ["sgd", "momentum", "adam", "adamw", "nadamw", "lion", "lars", "lamb", "rmsprop"],
)
def test_optimizers_that_do_not_are_taken(tmp_path: Path, optimizer: str) -> None:
    given = {"optimizer": optimizer, "lr": 0.01, "pad_channels": 8, "epochs": 1}
    assert run(tmp_path, **given).padding is not None


def test_features_are_distilled_into_a_padded_network(tmp_path: Path) -> None:
    losses = []
    for name, multiple in (("plain", None), ("padded", 8)):
        network = odd_net()
        teacher = nn.Sequential(nn.Conv2d(3, 7, 5), nn.Flatten(), nn.Linear(7, CLASSES)).double()
        options = DistillSettings(weight=0.5, similarity=3.0, features="5")
        task = distilled(Task(), network, teacher, options)
        chosen = TrainSettings(epochs=2, batch_size=16, pad_channels=multiple)
        losses.append(train(network, task, chosen, tmp_path / name, seed=3).losses)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
