"""Loss and metrics of the classification task."""

from __future__ import annotations

import io
import math
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, nn
from torch.multiprocessing import start_processes
from torch.nn import functional as F

from lwdna.engine.task import Task
from lwdna.errors import FileError
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from lwdna.tasks.classification.sheet import at_even_distances, read_sheet, write_sheet
from tests.tasks.sets import CPU, chunks, eval_all, joined, train_all


def digits(**settings: object) -> ClassificationTask:
    return ClassificationTask(ClassificationSettings.model_validate({"kind": "digits"} | settings))


def linear(task: ClassificationTask) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(task.example_inputs().numel(), task.num_classes))


def evaluate(task: ClassificationTask, model: nn.Module, size: int) -> dict[str, float]:
    metrics = task.metrics()
    with torch.no_grad():
        for batch in eval_all(task, size):
            task.update(metrics, model, batch)
    return {name: float(value) for name, value in metrics.compute().items()}


def by_hand(task: ClassificationTask, model: nn.Module) -> dict[str, float]:
    images, targets = joined(eval_all(task, task.eval_size))
    with torch.no_grad():
        output = model(images).double()
    better = (output > output.gather(1, targets[:, None])).sum(dim=1)
    return {
        "top1": 100 * float((better < 1).double().mean()),
        "top5": 100 * float((better < 5).double().mean()),
        "loss": float((output.logsumexp(1) - output.gather(1, targets[:, None])[:, 0]).mean()),
    }


def test_the_task_keeps_the_engines_protocol() -> None:
    task: Task = digits()
    assert task.metric.name in task.metrics()
    assert task.example_inputs().shape == (1, 3, 8, 8)
    assert torch.equal(task.example_inputs(), task.example_inputs())


@pytest.mark.parametrize("size", [355, 100, 7])
def test_every_validation_image_counts_once(size: int) -> None:
    """Batches of 100 and of 7 leave 55 and 5 images for the last one."""
    task = digits()
    model = linear(task)
    assert evaluate(task, model, size) == pytest.approx(by_hand(task, model), rel=1e-5)


def test_accuracies_that_agree_on_the_first_batch() -> None:
    """torchmetrics merges metrics with equal states after the first batch unless told not to."""
    task = digits()
    metrics = task.metrics()

    def update(output: Tensor, target: int) -> None:
        outcomes, _ = task.update(metrics, nn.Identity(), (output, torch.tensor([target])))
        assert outcomes.tolist() == [100.0 if target == 9 else 0.0]

    scores = torch.arange(10.0)[None]
    update(scores, 9)
    update(scores, 8)
    values = metrics.compute()
    assert (float(values["top1"]), float(values["top5"])) == (50.0, 100.0)


def test_few_classes_cap_top5() -> None:
    task = digits(classes=3)
    values = evaluate(task, linear(task), 50)
    assert values["top5"] == 100.0
    assert values["top1"] < 100.0


def test_an_output_that_says_no_class_is_wrong() -> None:
    """Of seven images two say a class: right at first, and with all other classes impossible."""
    task = digits()
    metrics = task.metrics()
    output = torch.zeros(7, 10)
    output[0, 0] = 3.0
    output[1] = torch.nan  # argmax would say class 0
    output[2, 5] = torch.nan
    output[3, 0] = torch.inf
    output[4] = -torch.inf
    output[5, 1:] = -torch.inf
    output[6, 0], output[6, 1] = 2e38, torch.nan
    zeros = torch.zeros(7, dtype=torch.int64)
    outcomes, choices = task.update(metrics, nn.Identity(), (output, zeros))
    assert choices.chosen.tolist() == [0, -1, -1, -1, -1, 0, -1]
    assert choices.probability[0] == pytest.approx(math.exp(3) / (math.exp(3) + 9))
    assert choices.probability[[1, 2, 3, 4, 6]].tolist() == [0.0] * 5
    assert outcomes[[0, 5]].tolist() == [100.0, 100.0]
    assert outcomes[[1, 2, 3, 4, 6]].isnan().all()
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found["top1"] == found["top5"] == pytest.approx(100 * 2 / 7)
    of_first = math.log(1 + 9 * math.exp(-3.0))  # and 0 of the other
    assert found["loss"] == pytest.approx(of_first / 2)


def test_few_classes_do_not_make_it_right() -> None:
    task = digits(classes=3)
    metrics = task.metrics()
    output = torch.full((2, 3), torch.nan)
    task.update(metrics, nn.Identity(), (output, torch.tensor([0, 1])))
    found = metrics.compute()
    assert (float(found["top1"]), float(found["top5"])) == (0.0, 0.0)
    assert found["loss"].isnan()


def _evaluate_shard(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    task = digits()
    batches = chunks(range(rank, task.eval_size, 2), 50)  # 178 and 177 images
    metrics, model = task.metrics(), linear(task)
    with torch.no_grad():
        for batch in task.eval_batches(batches, device=CPU):
            task.update(metrics, model, batch)
    values = {name: float(value) for name, value in metrics.compute().items()}
    torch.save(values, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its processes by fork")
def test_two_processes_count_every_image_once(tmp_path: Path) -> None:
    start_processes(_evaluate_shard, (str(tmp_path),), nprocs=2, start_method="fork")
    task = digits()
    expected = by_hand(task, linear(task))
    for rank in range(2):
        values = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert values == pytest.approx(expected, rel=1e-5)


def test_plain_loss_is_the_cross_entropy() -> None:
    task = digits()
    images, targets = train_all(task, size=32)[0]
    model = linear(task)
    assert torch.equal(task.loss(model, (images, targets)), F.cross_entropy(model(images), targets))


def test_smoothed_loss() -> None:
    task = digits(label_smoothing=0.2)
    images, targets = train_all(task, size=32)[0]
    model = linear(task)
    expected = F.cross_entropy(model(images), targets, label_smoothing=0.2)
    torch.testing.assert_close(task.loss(model, (images, targets)), expected)


def test_mixed_loss() -> None:
    task = digits(mixup=1.0, label_smoothing=0.2)
    images, targets = train_all(task, size=32)[0]
    assert targets.shape == (32, 10)
    model = linear(task)
    expected = F.cross_entropy(model(images), targets)
    torch.testing.assert_close(task.loss(model, (images, targets)), expected)


def test_half_precision_outputs_make_float_losses() -> None:
    task = digits()
    batch = train_all(task, size=32)[0]
    model = linear(task).bfloat16()
    half = nn.Sequential(nn.Identity())
    half.forward = lambda images: model(images.bfloat16())  # type: ignore[method-assign]
    assert task.loss(half, batch).dtype == torch.float32


def test_small_pictures_of_validation_images_and_which_they_are(tmp_path: Path) -> None:
    task = digits()
    task.show(nn.Identity(), tmp_path, CPU)
    sheet = read_sheet(tmp_path / "sheet.jpg")
    assert (sheet.side, sheet.positions) == (8, tuple(range(355)))
    images, _ = joined(eval_all(task, 355))
    shown = [Image.open(io.BytesIO(sheet.picture(place))) for place in (0, 18, 19, 354)]
    pixels = torch.stack([torch.from_numpy(np.array(one)).float() for one in shown])
    given = images[[0, 18, 19, 354]].permute(0, 2, 3, 1)
    for one, other in zip(pixels.flatten(1), given.flatten(1), strict=True):
        pair = torch.stack([one, other])  # normalised, and through JPEG
        assert float(torch.corrcoef(pair)[0, 1]) > 0.98


def test_pictures_of_a_sheet_do_not_run_into_each_other(tmp_path: Path) -> None:
    """Thirteen of 13 pixels, each of one grey, do not fill the grid of four by four."""
    greys = [17 * number for number in range(13)]
    tiles = [np.full((13, 13, 1), grey, dtype=np.uint8) for grey in greys]
    places = [7 * number for number in range(13)]
    write_sheet(tmp_path / "sheet.jpg", places, tiles)
    sheet = read_sheet(tmp_path / "sheet.jpg")
    for place, grey in zip(places, greys, strict=True):
        shown = np.array(Image.open(io.BytesIO(sheet.picture(place))))
        assert shown.shape == (13, 13)
        assert np.abs(shown.astype(int) - grey).max() <= 8, "JPEG"
    (tmp_path / "sheet.jpg").write_bytes(b"nothing")
    with pytest.raises(FileError, match=r"cannot read the pictures in .*sheet\.jpg"):
        read_sheet(tmp_path / "sheet.jpg")


@pytest.mark.parametrize(
    ("count", "side", "shown"), [(355, 8, 355), (10_000, 32, 625), (50_000, 224, 100), (3, 999, 3)]
)
def test_how_many_pictures_a_sheet_has(count: int, side: int, shown: int) -> None:
    places = at_even_distances(count, side)
    assert len(places) == len({*places}) == shown
    assert (places[0], places[-1] < count) == (0, True)
    gaps = {after - before for before, after in pairwise(places)}
    assert max(gaps) - min(gaps) <= 1
