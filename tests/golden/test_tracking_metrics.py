"""What four toolkits say of synthetic tracks, and of a tracker that stays at the first box.

Their code: ``got10k`` 0.1.3 and its later LaSOT experiment, pytracking 7eb9e74, TrackingNet's
development kit 79783f2.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lwdna.tasks.tracking.metrics import (
    Track,
    centre_distances,
    evaluate,
    overlaps,
    precision_curve,
    success_curve,
    summary,
    tracking_record,
)

from .reference import files, notes

pytestmark = pytest.mark.golden

SINGLE = 1e-6
"""Relative precision of figures that passed through float32."""

LASOT = {
    "success": "success_score",
    "precision": "precision_score",
    "normalised_precision": "normalized_precision_score",
}
PYTRACKING = {
    "success": "auc",
    "sr50": "op50",
    "sr75": "op75",
    "precision": "precision20",
    "normalised_precision": "norm_precision0.2",
}
TRACKINGNET = {
    "success": "success",
    "precision": "precision_area",
    "normalised_precision": "normalized_precision",
}


class Golden:
    """Tracks and figures of one file."""

    def __init__(self, path: Path) -> None:
        told = notes(path)
        self.tracks = {
            name: tuple(np.array(one[key]) for key in ("prediction", "ground_truth"))
            for name, one in told["inputs"].items()
        }
        self.size = tuple(told["image_size_for_got10k_bound"])
        self._absent, self._results = told["absent_frames"], told["results"]

    def of(self, code: str) -> dict:
        """Return the results of the one code whose name begins so."""
        (found,) = [one for name, one in self._results.items() if name.startswith(code)]
        return found

    def visible(self, name: str) -> np.ndarray:
        seen = np.ones(len(self.tracks[name][1]), dtype=bool)
        seen[self._absent] = False
        return seen

    def gaps(self, name: str) -> np.ndarray:
        """Return the truth with NaN where the target is absent."""
        truth = self.tracks[name][1].copy()
        truth[self._absent] = np.nan
        return truth


def agree(found, told, names, *, scale=1.0, rel=1e-12):
    for ours, theirs in names.items():
        assert found[ours] == pytest.approx(scale * told[theirs], rel=rel), ours


@pytest.mark.parametrize("path", files("tracking/metrics*.json"))
def test_otb_as_got10k_has_it(path):
    golden = Golden(path)
    for name, (found, truth) in golden.tracks.items():
        told = golden.of("got10k 0.1.3")[name]["otb"]
        names = {
            "success": "success_score",
            "precision": "precision_score",
            "sr50": "success_rate_0.5",
        }
        agree(evaluate("otb", found, truth), told, names, scale=100)
        found = np.vstack([truth[:1], found[1:]])
        shares = success_curve(overlaps(found, truth))
        np.testing.assert_allclose(shares, told["success_curve"], rtol=0, atol=1e-15)
        shares = precision_curve(centre_distances(found, truth))
        np.testing.assert_allclose(shares, told["precision_curve"], rtol=0, atol=1e-15)
        record = tracking_record("otb", [Track(name, *golden.tracks[name])])["sequences"][name]
        np.testing.assert_allclose(record["success"], told["success_curve"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("path", files("tracking/metrics*.json"))
def test_got10k(path):
    golden, names = Golden(path), {"success": "ao", "sr50": "sr0.5", "sr75": "sr0.75"}
    results = []
    for name, (found, truth) in golden.tracks.items():
        told = golden.of("got10k 0.1.3")[name]
        plain = evaluate("got10k", found, truth, image_size=golden.size)
        agree(plain, told["got10k"], names, scale=100)
        assert plain["frames"] == told["got10k"]["frames"]
        results.append(plain)
        (absent,) = [one for key, one in told.items() if key.startswith("got10k_absent")]
        for shown in (
            evaluate("got10k", found, truth, visible=golden.visible(name), image_size=golden.size),
            evaluate("got10k", found, golden.gaps(name), image_size=golden.size),
        ):
            agree(shown, absent, names, scale=100)
            assert shown["frames"] == absent["frames"]
    whole = golden.of("got10k 0.1.3")["_overall_got10k"]["ao"]
    assert summary("got10k", results)["success"] == pytest.approx(100 * whole, rel=1e-12)


@pytest.mark.parametrize("path", files("tracking/metrics*.json"))
def test_lasot(path):
    """The package leaves frames out that MATLAB's toolkit counts as misses."""
    golden = Golden(path)
    for name, (found, truth) in golden.tracks.items():
        told = golden.of("got10k toolkit master")[name]
        for toolkit in ("lasot", "lasot_got10k"):
            agree(evaluate(toolkit, found, truth), told["lasot"], LASOT, scale=100)
        (gaps,) = [one for key, one in told.items() if key.startswith("lasot_nan")]
        agree(evaluate("lasot_got10k", found, golden.gaps(name)), gaps, LASOT, scale=100)
        visible = golden.visible(name)
        for toolkit, scale in (("lasot_got10k", 100), ("lasot", 100 * visible.mean())):
            shown = evaluate(toolkit, found, truth, visible=visible)
            agree(shown, gaps, LASOT, scale=scale)


@pytest.mark.parametrize("path", files("tracking/metrics*.json"))
def test_pytracking(path):
    golden = Golden(path)
    for name, (found, truth) in golden.tracks.items():
        told = golden.of("pytracking")[name]
        for case, figures in told.items():
            toolkit = "pytracking_valid" if case.endswith("exclude_invalid") else "pytracking"
            visible = golden.visible(name) if "absent" in case else None
            shown = evaluate(toolkit, found, truth, visible=visible)
            agree(shown, figures, PYTRACKING, rel=SINGLE)
            agree(shown, figures, {"overlap": "avg_overlap_valid"}, scale=100)
            assert shown["frames"] == figures["valid_frames"]


@pytest.mark.parametrize("path", files("tracking/metrics*.json"))
def test_trackingnet(path):
    golden = Golden(path)
    for name, (found, truth) in golden.tracks.items():
        told = golden.of("TrackingNet")[name]
        agree(evaluate("trackingnet", found, truth), told, TRACKINGNET)


def _real_sequences() -> Path:
    root = Path(os.environ.get("LWDNA_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (root / "tracking").is_dir():
        pytest.skip(f"no sequences: {root} holds no tracking (set LWDNA_DATA)")
    return root / "tracking"


@pytest.mark.parametrize("path", files("tracking/baselines.json"))
def test_who_stays_at_the_first_box_scores_as_theirs(path):
    root = _real_sequences()
    told = notes(path)["opencv_and_stay"]["stay"]
    results = {"otb": [], "got10k": [], "lasot": []}
    for name in told.keys() - {"mean"}:
        stem, _, number = name.partition("-")
        file = f"groundtruth_rect.{number}.txt" if number else "groundtruth_rect.txt"
        text = (root / stem / file).read_text().replace(",", " ").replace("\t", " ")
        truth = np.array([line.split() for line in text.splitlines() if line.strip()], dtype=float)
        stay = np.repeat(truth[:1], len(truth), axis=0)
        size = (100_000, 100_000)
        shown = {kind: evaluate(kind, stay, truth, image_size=size) for kind in results}
        for kind, one in shown.items():
            results[kind].append(one)
        _agree_with_baseline(shown, told[name])
    _agree_with_baseline(
        {kind: _plain_mean(those) for kind, those in results.items()}, told["mean"]
    )


def _plain_mean(results):
    return {name: np.mean([one[name] for one in results]) for name in results[0]}


def _agree_with_baseline(shown, told):
    agree(shown["otb"], told, {"success": "auc", "precision": "prec20"}, rel=1e-9)
    agree(shown["lasot"], told, {"normalised_precision": "normprec"}, rel=1e-9)
    agree(shown["got10k"], told, {"success": "ao", "sr50": "sr50", "sr75": "sr75"}, rel=1e-9)
