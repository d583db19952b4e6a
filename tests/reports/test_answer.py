"""What one run of two networks answers, from the outcomes that it left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lwdna.arrays import write_arrays
from lwdna.engine.task import Metric, describe
from lwdna.reports import answer_of, write_report
from lwdna.reports.paired import badge, kind_of, pair
from lwdna.reports.statistics import examples_interval
from lwdna.reports.verdict import below_input

from .conftest import TOP1, chain, make_job

PSNR = Metric("psnr", "PSNR", "dB")


def right(count: int, first: int, last: int) -> np.ndarray:
    """Outcomes of which those from ``first`` to ``last`` are right."""
    values = np.zeros(count, dtype=np.float32)
    values[first:last] = 100
    return values


def test_the_headline_counts_images_and_the_interval_is_over_them(tmp_path: Path) -> None:
    make_job(tmp_path, chain(2, 16), baseline_top1=50.0, found_top1=53.0)
    write_arrays(tmp_path / "baseline" / "outcomes.safetensors", {"top1": right(100, 0, 50)})
    write_arrays(tmp_path / "lwdna" / "outcomes.safetensors", {"top1": right(100, 7, 60)})
    told = answer_of(tmp_path)
    assert "gets 53 of 100 validation images right, the baseline 50: +3.0 points (95 %" in (
        told.headline
    )
    assert (told.badge, told.kind) == ("cannot tell", "")
    assert "covers the 100 validation examples only, not seeds" in told.limits
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert '<svg class="interval "' in html
    assert [part[0].title for part in told.tiles] == ["top-1 accuracy", "MACs", "latency"]
    assert told.tiles[2][0].better is None


def test_the_interval_of_right_and_wrong_by_hand() -> None:
    """Ten gained and seven lost of 100: 11/102 and 8/102 after the adjustment."""
    interval = examples_interval(right(100, 0, 50), right(100, 7, 60))
    gained, lost = 11 / 102, 8 / 102
    error = ((gained + lost - (gained - lost) ** 2) / 102) ** 0.5
    middle, margin = 100 * (gained - lost), 100 * 1.959964 * error
    assert interval == pytest.approx((middle - margin, middle + margin), abs=1e-4)


def test_the_interval_of_decibels_is_that_of_student() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t with two degrees 4.302653."""
    interval = examples_interval(np.array([20.0, 30, 40]), np.array([21.0, 32, 43]))
    margin = 4.302653 / 3**0.5
    assert interval == pytest.approx((2 - margin, 2 + margin), abs=1e-5)
    assert examples_interval(np.array([20.0]), np.array([21.0])) is None


@pytest.mark.parametrize(
    ("second", "words", "kind"),
    [
        (right(1009, 0, 800), "better with this seed", "better"),
        (right(1009, 0, 200), "worse with this seed", "worse"),
        (right(1009, 0, 500), "as good within 0.3 points with this seed", ""),
        (right(1009, 100, 600), "cannot tell", ""),
    ],
)
def test_badges(second: np.ndarray, words: str, kind: str) -> None:
    first = right(1009, 0, 500)
    found = pair(TOP1, (float(first.mean()), float(second.mean())), (first, second))
    assert found is not None
    assert badge(TOP1, found.interval) == words
    assert kind_of(TOP1, found.interval) == kind


def test_what_is_no_mean_of_examples_or_missing_has_no_interval() -> None:
    first, second = right(10, 0, 5), right(10, 0, 7)
    auc = Metric("auc", "AUC", mean_of_examples=False)
    assert pair(auc, (0.5, 0.7), (first, second)) is None
    assert pair(TOP1, (50.0, 70.0), (first, None)) is None
    assert pair(TOP1, (50.0, 70.0), (first, second[:9])) is None
    assert pair(TOP1, (50.0, 90.0), (first, second)) is None
    assert badge(auc, None) == "cannot tell"


def test_outputs_worse_than_the_input_are_called_so() -> None:
    figures = describe(PSNR) | {"psnr": 24.0, "input_psnr": 25.5}
    assert below_input(figures).startswith("its outputs are 1.50 dB worse than its inputs")
    assert below_input(figures | {"psnr": 26.0}) == ""


def test_a_network_worse_than_its_input_is_called_so_first(tmp_path: Path) -> None:
    """However much better than the baseline it is."""
    make_job(tmp_path, chain(2, 16))
    first, second = np.full(31, 20.0), np.full(31, 24.0) + np.arange(31) / 100
    for name, outcomes in (("baseline", first), ("lwdna", second)):
        path = tmp_path / name / "results.json"
        figures = {"psnr": float(outcomes.mean()), "input_psnr": 25.5}
        path.write_text(json.dumps(json.loads(path.read_text()) | describe(PSNR) | figures))
        write_arrays(tmp_path / name / "outcomes.safetensors", {"psnr": outcomes})
    told = answer_of(tmp_path)
    assert (told.badge, told.kind) == ("worse than its input", "worse")
    assert told.tiles[0][0].beside == "the inputs themselves 25.50 dB"
    assert told.tiles[0][0].better is True
    assert told.notes[1].startswith("LW-DNA network: its outputs are 1.35 dB worse than its inputs")
