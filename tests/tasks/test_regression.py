"""Values of images: the table, standardised values, metrics by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lwdna.engine.fingerprint import difference
from lwdna.engine.task import Task
from lwdna.errors import ArchitectureError, DataError
from lwdna.interface import Target
from lwdna.tasks.regression import RegressionSettings, RegressionTask
from tests.tasks.sets import CPU, picture

HEAD = "file,age,weight,kind,split\n"
ROWS = [
    ("a.png", 3, 0.5, "cat", "train"),
    ("b.png", 7, 0.1, "dog", "train"),
    ("c.png", 11, 0.3, "cat", "train"),
    ("d.png", 5, 0.2, "dog", "val"),
    ("e.png", 13, 0.7, "dog", "val"),
]
"""Training ages have the mean 7 and the variance 32 / 3, weights the mean 0.3 and 0.08 / 3."""
STDS = (32 / 3) ** 0.5, (0.08 / 3) ** 0.5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, row in enumerate(ROWS):
        picture(seed).save(tmp_path / row[0])
    return written(tmp_path, ROWS)


def written(root: Path, rows: object, head: str = HEAD) -> Path:
    lines = [",".join(map(str, row)) + "\n" for row in rows]  # type: ignore[attr-defined]
    (root / "labels.csv").write_text(head + "".join(lines))
    return root


def opened(root: Path, **given: object) -> RegressionTask:
    values = {"root": root, "image_size": 16, "workers": 0, **given}
    return RegressionTask(RegressionSettings.model_validate(values))


def batches(task: RegressionTask, *, training: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
    indices = [[0, 1], [2]] if training else [[0], [1]]
    if training:
        return list(task.train_batches(indices, seed=0, epoch=0, device=CPU))
    return list(task.eval_batches(indices, device=CPU))


class Says(nn.Module):
    """Gives the same values for every image."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.values.expand(len(images), -1)


def judged(task: RegressionTask, model: nn.Module) -> tuple[dict[str, float], list[float]]:
    metrics, each = task.metrics(), []
    for batch in batches(task, training=False):
        each += task.update(metrics, model, batch)[0].tolist()
    return {name: float(value) for name, value in metrics.compute().items()}, each


def test_values_are_standardised_by_the_training_images(root: Path) -> None:
    task: Task = opened(root)
    assert (task.train_size, task.eval_size) == (3, 2)
    assert isinstance(task, RegressionTask)
    assert task.columns == ("age", "weight")
    assert "columns kind" in " ".join(task.notes)
    assert task.summary == (
        "3 images to train on and 2 to validate on, values age, weight, 16x16 pixels"
    )
    assert [(one.mean, one.std) for one in task.targets()] == [
        pytest.approx(pair) for pair in ((7, STDS[0]), (0.3, STDS[1]))
    ]
    values = torch.cat([values for _, values in batches(task, training=True)])
    expected = [[-4 / STDS[0], 0.2 / STDS[1]], [0, -0.2 / STDS[1]], [4 / STDS[0], 0]]
    torch.testing.assert_close(values, torch.tensor(expected))
    assert task.record()["targets"][0]["mean"] == 7
    assert task.model_args("timm") == {"num_classes": 2, "in_chans": 3}


def test_errors_of_one_value_are_in_its_unit(root: Path) -> None:
    """The mean, 7, is 2 and 6 off 5 and 13, whose own mean is 9: 1 - 40 / 32 of the spread."""
    task = opened(root, targets=["age"], loss="mse")
    found, each = judged(task, Says(0.0))
    assert each == pytest.approx([2, 6])
    assert found["mae"] == pytest.approx(4)
    assert found["rmse"] == pytest.approx(20**0.5)
    assert found["r2"] == pytest.approx(1 - 40 / 32)
    assert found["loss"] == pytest.approx(20 / (32 / 3))
    assert (task.metric.name, task.metric.higher_is_better) == ("mae", False)
    images, values = batches(task, training=True)[0]
    assert task.loss(Says(0.0), (images, values)).item() == pytest.approx(8 / (32 / 3))


def test_errors_of_several_are_in_standard_deviations(root: Path) -> None:
    found, each = judged(opened(root), Says(0.0, 0.0))
    parts = [[2 / STDS[0], 0.1 / STDS[1]], [6 / STDS[0], 0.4 / STDS[1]]]
    assert each == pytest.approx([sum(pair) / 2 for pair in parts])
    assert (found["mae_age"], found["mae_weight"]) == pytest.approx((4, 0.25))


def test_an_output_that_is_not_finite_is_no_value(root: Path) -> None:
    _, each = judged(opened(root), Says(float("nan"), 0.0))
    assert [value == value for value in each] == [False, False]


def test_scales_of_a_network_trained_before(root: Path) -> None:
    task = opened(root, targets=["age"])
    task.adopt([Target(name="age", mean=1, std=2)], "the network")
    _, each = judged(task, Says(0.5))
    assert each == pytest.approx([3, 11])  # it says 2
    with pytest.raises(ArchitectureError, match="predicts the values weight, the data have age"):
        task.adopt([Target(name="weight", mean=1, std=2)], "the network")


def test_other_values_are_other_data(root: Path) -> None:
    before = opened(root).fingerprint()
    assert difference(before, opened(root).fingerprint()) is None
    written(root, [("a.png", 3.5, 0.5, "cat", "train"), *ROWS[1:]])
    assert "a.png" in str(difference(before, opened(root).fingerprint()))


def test_a_table_without_halves_is_split(root: Path) -> None:
    rows = [row[:3] for row in ROWS]
    task = opened(written(root, rows, "image,age,weight\n"), split=0.4)
    assert (task.train_size, task.eval_size) == (3, 2)
    assert any("0.4 of its images, 2 of 5, were set aside" in note for note in task.notes)
    assert opened(root, split=0.4, train_limit=2, val_limit=1).train_size == 2


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        (ROWS, {"targets": ["ages"]}, "names no column.*ages; did you mean age"),
        (ROWS, {"targets": ["kind"]}, "line 2 .* has the kind 'cat', which is no finite number"),
        ([*ROWS, ("a.png", 4, 0.5, "cat", "train")], {}, "names a.png again"),
        ([(*row[:1], 3, *row[2:]) for row in ROWS], {}, "all training images have the age 3"),
        ([("x.png", "", "", "", "")], {"targets": ["age"]}, "no rows with a file and values"),
    ],
)
def test_faulty_tables(root: Path, rows: object, given: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(written(root, rows), **given)


def test_a_row_without_a_value_is_left_out(root: Path) -> None:
    task = opened(written(root, [*ROWS[:2], ("c.png", "", 0.3, "cat", "train"), *ROWS[3:]]))
    assert task.train_size == 2
    assert any("left out 1 rows" in note for note in task.notes)
