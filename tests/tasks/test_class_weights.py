"""Classes that count more or less in the training loss, and accuracy that counts them alike."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lwdna.errors import DataError
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from tests.tasks.sets import picture, train_all

COUNTS = {"ant": (3, 1), "bee": (2, 5), "cow": (7, 2)}
"""Training and validation images of each class."""


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("uneven")
    seeds = count()
    for name, counts in COUNTS.items():
        for half, images in zip(("train", "val"), counts, strict=True):
            (root / half / name).mkdir(parents=True)
            for number in range(images):
                picture(next(seeds)).save(root / half / name / f"{number}.png")
    return root


def opened(root: Path, **given: object) -> ClassificationTask:
    values = {"root": root, "image_size": 16, "workers": 0, **given}
    return ClassificationTask(ClassificationSettings.model_validate(values))


def recorded(task: ClassificationTask) -> list[float]:
    return list(task.record()["class_weights"].values())


def test_balanced_weights_by_hand(uneven: Path) -> None:
    """12 images of 3 classes: 12 / (3 * 3), 12 / (3 * 2) and 12 / (3 * 7)."""
    task = opened(uneven, class_weights="balanced")
    assert recorded(task) == pytest.approx([4 / 3, 2, 4 / 7], abs=1e-6)
    assert any("cow 0.571 times and one of bee 2 times" in note for note in task.notes)
    assert opened(uneven).record() == {}


def test_weights_as_they_are_given(uneven: Path) -> None:
    """Their mean over the images is made 1: (3 * 2 + 2 * 3 + 7 * 1) / 12 = 19 / 12."""
    expected = pytest.approx([24 / 19, 36 / 19, 12 / 19], abs=1e-6)
    assert recorded(opened(uneven, class_weights=[2, 3, 1])) == expected
    assert recorded(opened(uneven, class_weights={"bee": 6, "ant": 4, "cow": 2})) == expected
    assert recorded(opened(uneven, class_weights={"ant": 2, "bee": 3})) == expected


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixup", [0.0, 0.3])
def test_the_loss_is_the_sum_of_its_parts(uneven: Path, smoothing: float, mixup: float) -> None:
    given = {"label_smoothing": smoothing, "mixup": mixup}
    task = opened(uneven, class_weights="balanced", **given)
    weights = torch.tensor([4 / 3, 2, 4 / 7])
    for images, targets in train_all(task, 6):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 3))
        soft = targets if mixup else F.one_hot(targets, 3) * (1 - smoothing) + smoothing / 3
        by_hand = -(model(images).log_softmax(1) * soft * weights).sum(1)
        assert task.loss(model, (images, targets)).item() == pytest.approx(by_hand.mean().item())
        halves = [task.loss(model, (images[part], targets[part])) for part in ([0, 1], [2, 3])]
        whole = task.loss(model, (images[:4], targets[:4]))
        assert whole.item() == pytest.approx(sum(halves).item() / 2)  # type: ignore[union-attr]


def test_balanced_accuracy_by_hand(uneven: Path) -> None:
    """Of ant 1 of 1, of bee 2 of 5 and of cow 1 of 2 are right: 4 of 8, on average 0.633."""
    task = opened(uneven)
    assert [metric.name for metric in task.other_metrics] == ["top5", "balanced"]
    metrics = task.metrics()
    said = F.one_hot(torch.tensor([0, 1, 1, 0, 2, 2, 2, 0]), 3).float()
    targets = torch.tensor([0, 1, 1, 1, 1, 1, 2, 2])
    for part in (slice(0, 3), slice(3, 8)):
        task.update(metrics, nn.Identity(), (said[part], targets[part]))
    found = metrics.compute()
    assert float(found["top1"]) == 50
    assert float(found["balanced"]) == pytest.approx(100 * (1 + 2 / 5 + 1 / 2) / 3)


def test_classes_of_like_size_have_one_accuracy(uneven: Path) -> None:
    plain = opened(uneven, classes=["ant", "cow"], val_limit=1)
    assert [metric.name for metric in plain.other_metrics] == ["top5"]
    assert "balanced" not in plain.metrics()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 2], "has 2 weights, the data set has 3 classes"),
        ({"bees": 2}, "no class of this data set: bees; did you mean bee"),
    ],
)
def test_weights_of_other_classes(uneven: Path, given: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(uneven, class_weights=given)
