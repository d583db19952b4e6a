"""Pieces of the online tracker give what the published tracker gives: places, weights, boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from golden.reference import files
from lwdna.data.data_format import Defaults
from lwdna.data.sequences import Window
from lwdna.interop.dimp import import_dimp
from lwdna.tasks.tracking.online.localise import localise
from lwdna.tasks.tracking.online.memory import Memory
from lwdna.tasks.tracking.online.refine import ascend
from lwdna.tasks.tracking.online.settings import BoxSettings, LocalisationSettings, MemorySettings

pytestmark = pytest.mark.golden

PIECES = files("tracking/tracker_pieces.json")
NETWORKS = files("tracking/dimp_*.safetensors")
REFINEMENTS = {
    "default": BoxSettings(),
    # the published tracker holds this length as a float32
    "relative": BoxSettings(space="relative", steps=10, step=float(np.float32(2.5e-3))),
}


def scores_of(case):
    """Return Gaussian peaks on a square map."""
    side = case["map_size"]
    y, x = np.mgrid[:side, :side]
    peaks = [
        height * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * case["sigma"] ** 2))
        for row, column, height in case["peaks"]
    ]
    return np.max(peaks, axis=0)


@pytest.mark.parametrize("path", PIECES)
def test_targets_are_found_where_the_published_tracker_finds_them(path):
    cases = json.loads(path.read_text())["localisation"]
    assert len(cases) > 1
    for case in cases:
        cell = case["image_sample_size"] / (case["map_size"] - (case["kernel"] + 1) % 2)
        scale, middle = case["sample_scale"], (case["map_size"] - 1) / 2
        moved = np.subtract(case["pos_yx"], case["sample_pos_yx"]) / (scale * cell)
        height, width = np.divide(case["target_size_hw"], scale * cell)
        place = localise(
            scores_of(case),
            (middle + moved[1], middle + moved[0]),
            (width, height),
            LocalisationSettings(),
        )
        there = np.subtract([place.y, place.x], middle) * cell * scale
        assert place.state == case["flag"], case["name"]
        assert there == pytest.approx(case["translation_yx"], rel=1e-6), case["name"]


@pytest.mark.parametrize("path", PIECES)
def test_samples_weigh_what_they_weigh_in_the_published_tracker(path):
    case = json.loads(path.read_text())["memory"]
    settings = MemorySettings(size=case["size"], first_frame=case["minimum_initial_weight"])
    first = case["initial_samples"]
    memory = Memory(torch.zeros(first, 1, 1, 1), torch.zeros(first, 4), settings)
    assert case["steps"]
    for number, step in enumerate(case["steps"]):
        assert (
            memory.add(torch.zeros(1, 1, 1), torch.zeros(4), step["learning_rate"])
            == (step["replaced"])
        ), number
        if step["weights"] is not None:
            assert memory.weights == pytest.approx(step["weights"], abs=2e-7), number
        assert memory.weights[:first].sum() == pytest.approx(step["sum_initial"], rel=1e-6), number


@pytest.mark.parametrize("path", PIECES)
def test_boxes_lie_in_crops_where_they_lie_in_the_published_tracker(path):
    cases = json.loads(path.read_text())["box_in_sample"]
    assert cases
    for case in cases:
        (y, x), (height, width) = case["pos_yx"], case["size_hw"]
        middle_y, middle_x = case["sample_pos_yx"]
        window = Window(middle_x, middle_y, 288 * case["sample_scale"], 288)
        box = window.into([x - width / 2, y - height / 2, width, height])
        assert box == pytest.approx(case["box_xywh"], rel=1e-6)


@pytest.fixture(scope="module", params=NETWORKS)
def published(request, tmp_path_factory):
    """Return a network with the weights of the file, in float64, and what the file says of it."""
    tensors = load_file(request.param)
    with safe_open(request.param, "pt") as file:
        config = json.loads(file.metadata()["config"])
    checkpoint = tmp_path_factory.mktemp("published") / "dimp.pth"
    net = {name[4:]: tensor for name, tensor in tensors.items() if name.startswith("net.")}
    torch.save({"net": net}, checkpoint)
    network, _ = import_dimp(checkpoint, config["image_size"])
    return network.double().eval(), tensors


@pytest.mark.parametrize("refinement", REFINEMENTS)
def test_boxes_are_refined_as_by_the_published_tracker(published, refinement):
    network, tensors = published
    frames = torch.stack([tensors["in.train_images"][0, 0], tensors["in.test_images"][0, 0]])
    # float32 numbers in float64 arithmetic, as in the published results
    mean, std = (
        torch.tensor(values)[:, None, None].double() for values in (Defaults.mean, Defaults.std)
    )
    shallow, deep = network.backbone((frames.double() / 255 - mean) / std)
    modulation = network.iou.modulation(shallow[:1], deep[:1], tensors["in.train_boxes"][0, :1])
    maps = tuple(each.detach() for each in network.iou.features(shallow[1:], deep[1:]))
    steps, overlaps = ascend(
        lambda boxes: network.iou.predict(modulation, maps, boxes[None])[0],
        tensors["in.test_proposals"][0, 0],
        REFINEMENTS[refinement],
    )
    for found, name in ((torch.stack(steps), "boxes"), (overlaps, "iou")):
        wanted = tensors[f"out.refine_{refinement}_{name}"]
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
