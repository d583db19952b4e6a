"""The tracking task: batches by index, validation by sequence, files, faults that are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lwdna
from lwdna.engine import evaluate
from lwdna.errors import DataError
from lwdna.models.tracking.dimp import dimp_tiny
from lwdna.tasks.tracking import TrackingSettings, TrackingTask
from lwdna.tasks.tracking.metrics import TOOLKITS

from .targets import on_disk

CPU = torch.device("cpu")
SMALL = {
    "image_size": 64,
    "train_frames": 2,
    "test_frames": 3,
    "samples": 11,
    "online": {
        "start": {"flip": False, "blurs": [], "rotations": [], "dropouts": 0, "steps": 2},
        "memory": {"size": 8},
        "boxes": {"starts": 2, "best": 1, "steps": 1},
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sequences")
    for half, names in (("train", "ab"), ("val", "cd")):
        for number, name in enumerate(names):
            on_disk(folder / half / name, 7 + 2 * number)
    return folder


def task_of(root: Path, **settings: object) -> TrackingTask:
    return TrackingTask(TrackingSettings.model_validate({"root": root, **SMALL, **settings}))


def batches(task, *lists, seed=0, epoch=0):
    return list(task.train_batches(lists, seed=seed, epoch=epoch, device=CPU))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"proposals": 0}, {}),
        ({"proposals": 5}, {"proposals": (3, 5, 4), "overlaps": (3, 5)}),
        (
            {"proposals": 16, "box_loss": "kl"},
            {"proposals": (3, 16, 4), "log_sampled": (3, 16), "log_wanted": (3, 16)},
        ),
    ],
)
def test_an_example_has_frames_boxes_and_what_is_wanted_of_proposals(root, settings, wanted):
    task = task_of(root, **settings)
    (batch,) = batches(task, [3, 1, 4, 10])
    shapes = {
        "train_images": (2, 3, 64, 64),
        "train_boxes": (2, 4),
        "test_images": (3, 3, 64, 64),
        "test_boxes": (3, 4),
        **wanted,
    }
    assert {name: (4, *shape) for name, shape in shapes.items()} == {
        name: tuple(value.shape) for name, value in batch.items()
    }
    assert batch["train_images"].dtype == torch.uint8
    loss = task.loss(dimp_tiny(iou_head=bool(settings["proposals"])), batch)
    assert loss.shape == ()
    assert loss.isfinite()


def test_boxes_are_where_the_crops_show_the_target(root):
    """The target is brighter than everything else."""
    task = task_of(root, proposals=0, greyscale=0, brightness=0)
    (batch,) = batches(task, list(range(11)))
    seen = 0
    for name in ("train", "test"):
        images, boxes = batch[f"{name}_images"].flatten(0, 1), batch[f"{name}_boxes"].flatten(0, 1)
        for image, (x, y, w, h) in zip(images, boxes.tolist(), strict=True):
            if x < 1 or y < 1 or x + w > 63 or y + h > 63:
                continue
            seen += 1
            rows, columns = torch.nonzero(image.float().mean(dim=0) > 165, as_tuple=True)
            assert columns.min() + 0.5 == pytest.approx(x + 0.5, abs=1.1)
            assert columns.max() + 0.5 == pytest.approx(x + w - 0.5, abs=1.1)
            assert rows.min() + 0.5 == pytest.approx(y + 0.5, abs=1.1)
            assert rows.max() + 0.5 == pytest.approx(y + h - 0.5, abs=1.1)
    assert seen > 20


def test_an_example_follows_from_seed_epoch_and_index(root):
    task = task_of(root, proposals=5)
    (together,) = batches(task, list(range(11)), seed=5, epoch=3)
    for again in (task, task_of(root, proposals=5, workers=1)):
        alone = batches(again, [8], [2, 10], seed=5, epoch=3)
        for name, values in together.items():
            parts = torch.cat([batch[name] for batch in alone])
            assert torch.equal(parts, values[[8, 2, 10]]), name
    for seed, epoch in ((5, 4), (6, 3)):
        (other,) = batches(task, list(range(11)), seed=seed, epoch=epoch)
        for name, values in together.items():
            same = (values == other[name]).flatten(1).all(dim=1)
            assert not same.any(), name


def test_training_and_test_frames_have_jitters_of_their_own(root):
    """Without any, the target of 12 pixels is in the middle of a crop of 60."""
    task = task_of(root, proposals=0, train_jitter={"centre": 0, "size": 0})
    (batch,) = batches(task, list(range(11)))
    middle = torch.tensor([25.6, 25.6, 12.8, 12.8])
    assert torch.allclose(batch["train_boxes"], middle.expand(11, 2, 4), atol=1e-4)
    assert batch["test_boxes"].flatten(0, 1).std(dim=0).min() > 2


def test_examples_come_from_all_sequences(root):
    task = task_of(root, proposals=0, samples=100, train_jitter={"centre": 0, "size": 0})
    (batch,) = batches(task, list(range(100)))
    assert len({image.numpy().tobytes() for image in batch["train_images"][:, 0]}) > 50


def test_a_network_is_asked_for_what_the_recipe_gives(root):
    with_head, without = (task_of(root, proposals=n) for n in (5, 0))
    sizes = {n: tuple(v.shape) for n, v in with_head.example_inputs().items()}
    assert sizes == {
        "train_images": (1, 1, 3, 64, 64),
        "train_boxes": (1, 1, 4),
        "test_images": (1, 1, 3, 64, 64),
        "proposals": (1, 1, 5, 4),
    }
    assert with_head.model_args("lwdna") == {"iou_head": True}
    assert without.model_args("lwdna") == {"iou_head": False}
    assert without.model_args("timm") == {}
    inner = {name: shape[1:] for name, shape in sizes.items()}
    assert with_head.misfit({}, inner) is None
    assert (
        without.misfit({}, inner) == "judges boxes, the recipe gives it none; set data.proposals=8"
    )
    inner.pop("proposals")
    assert without.misfit({}, inner) is None
    assert "set data.proposals=0" in with_head.misfit({}, inner)
    assert "takes inputs of 3x64x64, a dimp tracker gives" in with_head.misfit({}, (3, 64, 64))


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_every_toolkit_judges_by_its_own_metrics(root, toolkit):
    task = task_of(root, proposals=0, toolkit=toolkit, val_limit=1)
    torch.manual_seed(0)
    network = dimp_tiny(iou_head=False)
    network.train()
    found = evaluate(network, task, 1)
    assert network.training
    names = {metric.name for metric in (task.metric, *task.other_metrics)}
    assert {*found} == {*names, "val_loss"}
    assert all(0 <= value <= 100 for value in found.values())
    assert task.metric.mean_of_examples == (toolkit != "got10k")


@pytest.mark.parametrize("toolkit", ["otb", "got10k"])
def test_metrics_are_means_over_sequences_or_over_frames(root, toolkit):
    """The sequences have 7 and 9 frames; GOT-10k leaves out the first ones."""
    task = task_of(root, proposals=0, toolkit=toolkit)
    torch.manual_seed(0)
    network = dimp_tiny(iou_head=False).eval()
    metrics = task.metrics()
    outcomes = []
    for batch in task.eval_batches([[0], [1]], device=CPU):
        with torch.no_grad():
            outcomes.append(task.update(metrics, network, batch)[0].item())
    one, two = outcomes
    assert one != two
    wanted = (one + two) / 2 if toolkit == "otb" else (6 * one + 8 * two) / 14
    assert metrics.compute()[task.metric.name].item() == pytest.approx(wanted)


def test_the_same_network_tracks_alike_and_the_report_shows_it(root, tmp_path):
    torch.manual_seed(0)
    network = dimp_tiny(iou_head=True)
    found, files = [], []
    for number in range(2):
        task = task_of(root, proposals=5)
        folder = tmp_path / f"boxes{number}"
        found.append(evaluate(network, task, 2, outputs=folder))
        files.append({p.name: p.read_text() for p in folder.iterdir()})
        task.show(network, tmp_path / f"shown{number}", CPU)
    assert found[0] == found[1]
    assert files[0] == files[1]
    assert {*files[0]} == {"c.txt", "d.txt"}
    rows = [[float(v) for v in line.split(",")] for line in files[0]["d.txt"].splitlines()]
    assert np.shape(rows) == (9, 4)
    assert rows[0] == [10, 15, 12, 12]
    shown = tmp_path / "shown0"
    names = {f"{s}-{kind}.png" for s in "cd" for kind in ("input", "output", "target")}
    assert {p.name for p in shown.iterdir()} == {*names, "tracking.json"}
    record = json.loads((shown / "tracking.json").read_text())
    assert {*record["sequences"]} == {"c", "d"}
    assert record["mean"]["auc"] == pytest.approx(found[0]["success"])
    assert (shown / "tracking.json").read_text() == (tmp_path / "shown1/tracking.json").read_text()


def test_a_network_whose_weights_changed_is_followed_again(root):
    task = task_of(root, proposals=0, val_limit=1)
    torch.manual_seed(0)
    network = dimp_tiny(iou_head=False)
    before = evaluate(network, task, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    after = evaluate(network, task, 1)
    assert after == evaluate(network, task_of(root, proposals=0, val_limit=1), 1)
    assert after != before


def test_outputs_that_are_not_finite_count_as_a_lost_target(root):
    task = task_of(root, proposals=0)
    network = dimp_tiny(iou_head=False)
    with torch.no_grad():
        next(network.classifier.embed.parameters()).fill_(torch.nan)
    found = evaluate(network, task, 2)
    assert found["not_finite"] == 2
    assert found["success"] == 0
    assert np.isnan(found["val_loss"])


def test_the_data_are_known_again(root, tmp_path):
    task = task_of(root)
    known = task.fingerprint()
    assert task.classes() is None
    assert task_of(root).fingerprint() == known
    assert sum(known.train.counts) == 2
    other = task_of(root, train=[{"root": "val"}])
    assert other.fingerprint().train != known.train
    assert other.fingerprint().val == known.val


def test_sequences_that_cannot_be_followed_are_told_of(tmp_path):
    for half in ("train", "val"):
        for name in ("good", "short"):
            on_disk(tmp_path / half / name, 1 if (half, name) == ("val", "short") else 5)
    task = task_of(tmp_path)
    assert task.eval_size == 1
    assert task.notes == (
        "the sequence short shows its target in one frame at most and is not validated on",
    )


def test_faults_are_named(root, tmp_path):
    with pytest.raises(DataError, match=r"set data\.root"):
        TrackingTask(TrackingSettings())
    with pytest.raises(
        DataError, match=r"has no folder train; say which sequences with data\.train"
    ):
        task_of(tmp_path)
    twice = [{"root": "val"}, {"root": "val", "sequences": ["c"]}]
    with pytest.raises(DataError, match=r"two sequences of data\.val are called c"):
        task_of(root, val=twice)
    for half in ("train", "val"):
        on_disk(tmp_path / half / "a", 4)
    image = tmp_path / "train/a/img/0002.png"
    image.write_bytes(image.read_bytes()[:40])
    task = task_of(tmp_path)
    with pytest.raises(DataError, match=r"frame 2 .*of the sequence a: .*0002\.png"):
        batches(task, list(range(11)))


def test_no_thread_goes_on_when_training_stops_early(root):
    import threading

    before = threading.active_count()
    stream = task_of(root).train_batches([[0, 1]] * 200, seed=0, epoch=0, device=CPU)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_photographs_make_sequences_without_any_files(tmp_path):
    task = TrackingTask(
        TrackingSettings(**SMALL, kind="photos", photo_sequences=3, photo_frames=5, proposals=0)
    )
    assert task.eval_size == 2
    (batch,) = batches(task, [0, 1])
    assert task.loss(dimp_tiny(iou_head=False), batch).isfinite()


def test_a_graph_of_the_tiny_tracker_is_traced_from_the_example(root):
    task = task_of(root, proposals=0)
    graph = lwdna.trace(dimp_tiny(iou_head=False), task.example_inputs())
    assert len(graph.groups) > 3


def test_pictures_show_frames(root, tmp_path):
    task = task_of(root, proposals=0)
    task.show(dimp_tiny(iou_head=False), tmp_path, CPU)
    assert Image.open(tmp_path / "c-input.png").width >= 64
