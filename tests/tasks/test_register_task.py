"""A task from outside: registered by the decorator, and used from a recipe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

import lwdna
from lwdna.engine import Metric
from lwdna.errors import RecipeError
from lwdna.recipe import load_recipe
from lwdna.reports import write_report
from lwdna.settings import Settings
from lwdna.tasks import TASKS
from lwdna.workflows import run_search, run_training

Batch = tuple[Tensor, Tensor]


class BrightnessSettings(Settings):
    """What a recipe may say about grey noise."""

    examples: int = Field(default=24, ge=1)
    side: int = 11


@lwdna.register_task("brightness", settings=BrightnessSettings)
class BrightnessTask:
    """How bright is an image, and how much does it vary? Two numbers per image."""

    metric = Metric("closeness", "nearness to the truth", "%", digits=3)
    other_metrics: tuple[Metric, ...] = ()

    def __init__(self, settings: BrightnessSettings) -> None:
        self.train_size, self.eval_size = settings.examples, 7
        generator = torch.Generator().manual_seed(0)
        count = self.train_size + self.eval_size
        self.images = torch.rand(count, 1, settings.side, settings.side, generator=generator)
        pixels = self.images.flatten(1)
        self.targets = torch.stack([pixels.mean(dim=1), pixels.std(dim=1)], dim=1)

    def example_inputs(self) -> Tensor:
        return self.images[:1]

    def model_args(self, source: str) -> dict[str, Any]:
        return {"num_classes": 2, "in_chans": 1}

    def misfit(self, args: Mapping[str, Any], input_size: tuple[int, ...]) -> str | None:
        return None

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Batch]:
        yield from self._batches(batches, 0, device)

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[Batch]:
        yield from self._batches(batches, self.train_size, device)

    def _batches(
        self, batches: Sequence[Sequence[int]], first: int, device: torch.device
    ) -> Iterator[Batch]:
        for indices in batches:
            chosen = torch.tensor([int(index) for index in indices]) + first
            yield self.images[chosen].to(device), self.targets[chosen].to(device)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        images, targets = batch
        return (model(images) - targets).abs().mean()

    def metrics(self) -> MetricCollection:
        return MetricCollection(
            {"closeness": MeanMetric(), "loss": MeanMetric()}, compute_groups=False
        )

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: Batch
    ) -> tuple[Tensor, None]:
        images, targets = batch
        errors = (model(images) - targets).abs().mean(dim=1)
        outcomes = 100 / (1 + errors)
        metrics["closeness"].update(outcomes)
        metrics["loss"].update(errors)
        return outcomes, None

    def save(self, batch: Batch, answers: None, folder: Path) -> None:
        """Write nothing."""

    def show(self, model: nn.Module, folder: Path, device: torch.device) -> None:
        """Write nothing."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "task: brightness\n"
        "model: {name: lwdna:resnet8_digits}\n"
        "data: {examples: 16}\n"
        "shrink: {batch_size: 8, batches: 1, width_mult: 1.5, budget: {macs: 1.0}}\n"
        "train: {epochs: 1, batch_size: 8}\n"
    )
    return path


def test_a_recipe_searches_and_trains_for_it(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.data == BrightnessSettings(examples=16)
    found = run_search(recipe, tmp_path / "search")
    assert found.architecture.input_size == (1, 11, 11)
    results = run_training(recipe, tmp_path / "run", architecture=found.architecture)
    assert results["metric"] == "closeness"
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "nearness to the truth" in page
    assert f"{results['closeness']:.3f} %" in page
    network, _ = lwdna.load(tmp_path / "run" / "model.safetensors")
    task = BrightnessTask(recipe.data)
    with torch.no_grad():
        errors = (network.eval()(task.images[16:]) - task.targets[16:]).abs().mean(dim=1)
    assert results["closeness"] == pytest.approx(float((100 / (1 + errors)).mean()), rel=1e-4)


def test_its_settings_are_checked(path: Path) -> None:
    assert load_recipe(path, ["data.side=13"]).data.side == 13
    with pytest.raises(RecipeError, match=r"data\.examples=0: input should be greater than"):
        load_recipe(path, ["data.examples=0"])
    with pytest.raises(RecipeError, match=r"data\.sides is no known key; did you mean data\.side"):
        load_recipe(path, ["data.sides=13"])
    with pytest.raises(RecipeError, match=r"no task 'brightnes'; did you mean brightness"):
        load_recipe(path, ["task=brightnes"])


def test_a_name_is_taken_only_once() -> None:
    with pytest.raises(ValueError, match=r"already, lwdna\.tasks\.restoration\.restoration"):
        lwdna.register_task("restoration", settings=BrightnessSettings)(BrightnessTask)
    assert TASKS["restoration"].makes_images


def test_a_cell_that_is_run_again_replaces_what_it_registered(path: Path) -> None:
    before = TASKS["brightness"]
    again = type("BrightnessTask", (BrightnessTask,), {"__module__": BrightnessTask.__module__})

    class Settings(BrightnessSettings):
        shade: int = 3

    try:
        lwdna.register_task("brightness", settings=Settings)(again)
        assert load_recipe(path, ["data.shade=5"]).data.shade == 5
    finally:
        lwdna.register_task("brightness", settings=before.settings)(BrightnessTask)
    with pytest.raises(RecipeError, match=r"data\.shade is no known key"):
        load_recipe(path, ["data.shade=5"])


def test_what_recipes_are_checked_by_comes_without_torch() -> None:
    program = (
        "import sys, lwdna.tasks, lwdna.data.settings\n"
        "from lwdna.tasks import TASKS\n"
        "TASKS['classification'].settings(kind='tiny-imagenet')\n"
        "TASKS['restoration'].settings(kind='folders', noise=25)\n"
        "assert all(task.settings for task in TASKS.values())\n"
        "heavy = {'torch', 'torchvision', 'timm', 'torchmetrics', 'sklearn', 'PIL'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
