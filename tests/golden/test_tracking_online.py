"""Pieces of the online tracker give what the published tracker gives: places, weights, boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from golden.reference import files
from lwdna.tasks.tracking.online.localise import localise
from lwdna.tasks.tracking.online.memory import Memory
from lwdna.tasks.tracking.online.settings import LocalisationSettings, MemorySettings

pytestmark = pytest.mark.golden

PIECES = files("tracking/tracker_pieces.json")


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
