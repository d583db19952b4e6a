"""How well a tracker followed its targets, by the rules of each published toolkit.

The toolkits differ in the first frame, in frames without the target and in what they average:
Wu et al. 2013 (OTB), Huang et al. 2019 (GOT-10k and the package ``got10k``), Fan et al. 2019
(LaSOT), Müller et al. 2018 (TrackingNet), and Danelljan et al.'s ``pytracking``.

Boxes are x, y, width, height in pixels, float64; a row with NaN says that there is none. A box
found that is not finite overlaps with nothing and lies infinitely far away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwdna.errors import DataError

Boxes = NDArray[np.float64]
"""Shape (n, 4)."""
Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

SUCCESS_THRESHOLDS: Values = np.linspace(0, 1, 21)
"""Overlaps at which success curves are known."""
PRECISION_THRESHOLDS: Values = np.arange(51.0)
"""Distances of the centres in pixels."""
NORMALISED_THRESHOLDS: Values = np.linspace(0, 0.5, 51)
"""Distances of the centres in parts of the target's width and height."""

_AT_PIXELS = 20.0
_AT_PART = 0.2


def overlaps(found: Boxes, truth: Boxes) -> Values:
    """Return intersection over union of pairs of boxes, from 0 to 1, shape (n,).

    It is 0 where a box has no area or is not finite.
    """
    return np.minimum(_unclipped_overlaps(found, truth), 1.0)


def _unclipped_overlaps(found: Boxes, truth: Boxes) -> Values:
    """Return overlaps of which rounding may leave those of equal boxes a little above 1."""
    low = np.maximum(found[:, :2], truth[:, :2])
    high = np.minimum(found[:, :2] + found[:, 2:], truth[:, :2] + truth[:, 2:])
    common = np.maximum(high - low, 0.0).prod(axis=1)
    union = found[:, 2:].prod(axis=1) + truth[:, 2:].prod(axis=1) - common
    # NaN compares as false
    shares: Values = np.zeros(len(found))
    np.divide(common, union, out=shares, where=(common > 0) & (union > 0))
    return shares


def centre_distances(found: Boxes, truth: Boxes) -> Values:
    """Return the distances of the centres in pixels, shape (n,); infinite where one is NaN."""
    return _lengths(_shifts(found, truth))


def normalised_distances(found: Boxes, truth: Boxes) -> Values:
    """Return the distances of the centres in parts of the truth's width and height, shape (n,).

    They are infinite where a box is not finite or the truth has no area.
    """
    sizes = np.where(truth[:, 2:] > 0, truth[:, 2:], np.nan)
    return _lengths(_shifts(found, truth) / sizes)


def _shifts(found: Boxes, truth: Boxes) -> Values:
    return (found[:, :2] + found[:, 2:] / 2) - (truth[:, :2] + truth[:, 2:] / 2)


def _lengths(shifts: Values) -> Values:
    lengths = np.sqrt((shifts**2).sum(axis=1))
    return np.where(np.isfinite(lengths), lengths, np.inf)


@dataclass(frozen=True)
class Track:
    """What a tracker found in one sequence, beside the truth."""

    name: str
    found: Boxes
    truth: Boxes
    visible: Mask | None = None
    """Where the target can be seen, shape (n,); by default, wherever there is truth."""
    image_size: tuple[int, int] | None = None
    """Width and height of the frames in pixels; GOT-10k asks for it."""


@dataclass(frozen=True)
class _Judged:
    """Overlaps and distances of the frames that a toolkit looks at, shape (m,) each."""

    overlaps: Values
    distances: Values
    normalised: Values
    frames: int
    """Number of frames that shares are shares of; not always m."""


def success_curve(values: Values, frames: int | None = None, *, strict: bool = True) -> Values:
    """Return the share of frames with an overlap above each of :data:`SUCCESS_THRESHOLDS`.

    Args:
        values: overlaps, shape (m,).
        frames: what the shares are of, m by default.
        strict: whether an overlap equal to the threshold is too small.

    Returns:
        Shares from 0 to 1, shape (21,); NaN without frames.
    """
    compare = np.greater if strict else np.greater_equal
    return _shares(compare(values[:, None], SUCCESS_THRESHOLDS), frames)


def precision_curve(
    distances: Values, frames: int | None = None, thresholds: Values = PRECISION_THRESHOLDS
) -> Values:
    """Return the share of frames with centres at most each threshold (in pixels) apart."""
    return _shares(distances[:, None] <= thresholds, frames)


def normalised_precision_curve(
    distances: Values, frames: int | None = None, thresholds: Values = NORMALISED_THRESHOLDS
) -> Values:
    """Return the share of frames with centres at most each part of the target's size apart."""
    return _shares(distances[:, None] <= thresholds, frames)


def _shares(hits: Mask, frames: int | None) -> Values:
    frames = len(hits) if frames is None else frames
    counts: Values = hits.sum(axis=0).astype(np.float64)
    return counts / frames if frames else np.full(hits.shape[1], np.nan)


def evaluate(
    toolkit: str,
    predictions: Boxes,
    truth: Boxes,
    *,
    visible: Mask | None = None,
    image_size: tuple[int, int] | None = None,
) -> dict[str, float]:
    """Judge the boxes found in one sequence as a toolkit does.

    ====================  ================  ==========================  ========================
    toolkit               first frame       frames without the target   ``success``
    ====================  ================  ==========================  ========================
    ``otb``               the truth         left out if without truth   mean of 21 shares, >
    ``got10k``            left out          left out                    mean overlap (AO)
    ``lasot``             the truth         no hit, but counted         mean of 21 shares, >
    ``lasot_got10k``      the truth         left out                    mean of 21 shares, >
    ``pytracking``        the truth         no hit, but counted         mean of 21 shares, >
    ``pytracking_valid``  the truth         left out                    mean of 21 shares, >
    ``trackingnet``       the truth         left out if without truth   area (trapezoid), >=
    ====================  ================  ==========================  ========================

    ``got10k`` cuts boxes at the image's border, ``trackingnet`` rounds them to whole pixels.
    ``lasot`` is the data set's MATLAB toolkit, ``lasot_got10k`` what the package ``got10k`` makes
    of it. To pytracking, a truth with a coordinate of 0 or less is no target, and yet a hit for
    its normalised precision, which can therefore exceed 100 in ``pytracking_valid``.

    Args:
        toolkit: one of :data:`TOOLKITS`.
        predictions: shape (n, 4), the first box included.
        truth: the same shape.
        visible: where the target can be seen, shape (n,); ``otb`` and ``trackingnet`` ignore it.
        image_size: width and height in pixels.

    Returns:
        Percentages: ``success``; in all but ``got10k`` ``precision`` (at 20 pixels; in
        ``trackingnet`` the area up to 50) and ``normalised_precision`` (mean of 51 shares up to
        0.5; in ``pytracking`` at 0.2, in ``trackingnet`` the area up to 0.5); in all but
        ``trackingnet`` ``sr50``, the share of overlaps above 0.5; in ``got10k`` and ``pytracking``
        ``sr75``; in ``pytracking`` ``overlap``, the mean overlap. Beside them ``frames``, the
        number of frames judged. What no frame tells of is NaN.

    Raises:
        DataError: numbers of boxes differ, or the first box or a size that is needed is missing.
    """
    rules = _rules(toolkit)
    track = Track("the sequence", predictions, truth, visible, image_size)
    return rules.figures(rules.judge(track))


def summary(toolkit: str, results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return a toolkit's figures for a whole set from those of its sequences (:func:`evaluate`).

    They are means over the sequences, of ``got10k`` over all frames. Sequences without a frame to
    judge are left out; ``frames`` is the sum.
    """
    judged = [one for one in results if np.isfinite(one["success"])]
    weights = [one["frames"] if _rules(toolkit).by_frame else 1.0 for one in judged]
    names = [name for name in (results[0] if results else ()) if name != "frames"]
    means = {
        name: float(np.average([one[name] for one in judged], weights=weights))
        if judged
        else float("nan")
        for name in names
    }
    return means | {"frames": sum(one["frames"] for one in results)}


def tracking_record(toolkit: str, tracks: Iterable[Track]) -> dict[str, Any]:
    """Return what a report shows of the tracks: the content of ``tracking.json``.

    Returns:
        ``toolkit``; ``thresholds`` of the curves by name; and, by ``sequences`` and as their
        ``mean``, the curves ``success`` (21), ``precision`` (51) and ``normalised_precision`` (51),
        shares from 0 to 1 of the frames that the toolkit counts, and ``auc``, the toolkit's
        success in percent. What no frame tells of is ``None``.
    """
    rules = _rules(toolkit)
    curves: dict[str, dict[str, Values]] = {}
    figures: dict[str, dict[str, float]] = {}
    for track in tracks:
        judged = rules.judge(track)
        curves[track.name] = _curves(judged, strict=rules.strict)
        figures[track.name] = rules.figures(judged)
    whole = summary(toolkit, list(figures.values()))
    known = [name for name, one in figures.items() if np.isfinite(one["success"])]
    weights = [figures[name]["frames"] if rules.by_frame else 1.0 for name in known]
    mean = {
        kind: np.average([curves[name][kind] for name in known], axis=0, weights=weights)
        if known
        else np.full(len(thresholds), np.nan)
        for kind, thresholds in _THRESHOLDS.items()
    }
    return {
        "toolkit": toolkit,
        "thresholds": {kind: thresholds.tolist() for kind, thresholds in _THRESHOLDS.items()},
        "sequences": {name: _entry(curves[name], figures[name]["success"]) for name in figures},
        "mean": _entry(mean, whole.get("success", float("nan"))),
    }


_THRESHOLDS = {
    "success": SUCCESS_THRESHOLDS,
    "precision": PRECISION_THRESHOLDS,
    "normalised_precision": NORMALISED_THRESHOLDS,
}


def _curves(judged: _Judged, *, strict: bool) -> dict[str, Values]:
    return {
        "success": success_curve(judged.overlaps, judged.frames, strict=strict),
        "precision": precision_curve(judged.distances, judged.frames),
        "normalised_precision": normalised_precision_curve(judged.normalised, judged.frames),
    }


def _entry(curves: Mapping[str, Values], auc: float) -> dict[str, Any]:
    entry: dict[str, Any] = {
        kind: [float(value) if np.isfinite(value) else None for value in curve]
        for kind, curve in curves.items()
    }
    return entry | {"auc": auc if np.isfinite(auc) else None}


@dataclass(frozen=True)
class _Rules:
    """A toolkit: which frames it looks at, what it says of them, how it averages sequences."""

    judge: Callable[[Track], _Judged]
    figures: Callable[[_Judged], dict[str, float]]
    strict: bool = True
    by_frame: bool = False
    """Whether the mean over a set is one over frames instead of sequences."""


def _rules(toolkit: str) -> _Rules:
    if toolkit not in _RULES:
        raise DataError(f"there is no toolkit {toolkit!r}; choose one of {', '.join(TOOLKITS)}")
    return _RULES[toolkit]


def _checked(track: Track) -> tuple[Boxes, Boxes, Mask]:
    """Return boxes found, the first replaced by the truth, the truth, and where there is one."""
    found, truth = (np.array(boxes, dtype=np.float64) for boxes in (track.found, track.truth))
    if found.shape != truth.shape or found.ndim != 2 or found.shape[1:] != (4,) or not len(found):
        raise DataError(
            f"{track.name} has {len(found)} boxes found and {len(truth)} true ones; give one box "
            "of 4 numbers for each frame of either"
        )
    known: Mask = np.asarray(np.isfinite(truth).all(axis=1))
    if not known[0]:
        raise DataError(f"{track.name} has no box in its first frame; begin where the target is")
    found[~np.isfinite(found).all(axis=1)] = np.nan
    found[0] = truth[0]
    return found, truth, known


def _seen(track: Track) -> Mask:
    seen = np.ones(len(track.truth)) if track.visible is None else track.visible
    return np.asarray(seen, dtype=bool)


def _compare(found: Boxes, truth: Boxes, keep: Mask, frames: int | None = None) -> _Judged:
    found, truth = found[keep], truth[keep]
    return _Judged(
        overlaps(found, truth),
        centre_distances(found, truth),
        normalised_distances(found, truth),
        len(found) if frames is None else frames,
    )


def _judge_otb(track: Track) -> _Judged:
    return _compare(*_checked(track))


def _judge_got10k(track: Track) -> _Judged:
    found, truth, known = _checked(track)
    if track.image_size is None:
        raise DataError(f"the size of the images of {track.name} is not known; GOT-10k needs it")
    keep = known & _seen(track)
    keep[0] = False
    size = np.array(track.image_size, dtype=np.float64)
    return _compare(_inside(found, size), _inside(truth, size), keep)


def _inside(boxes: Boxes, size: Values) -> Boxes:
    """Cut boxes as the toolkit does: first the corner is moved inside, then the size is cut."""
    corners = np.clip(boxes[:, :2], 0.0, size)
    return np.hstack([corners, np.clip(boxes[:, 2:], 0.0, size - corners)])


def _judge_lasot(track: Track) -> _Judged:
    found, truth, known = _checked(track)
    return _compare(found, truth, known & _seen(track), len(truth))


def _judge_lasot_seen(track: Track) -> _Judged:
    found, truth, known = _checked(track)
    return _compare(found, truth, known & _seen(track))


def _judge_pytracking(track: Track) -> _Judged:
    found, truth, known = _checked(track)
    there = known & _seen(track)
    valid = there & (truth > 0).all(axis=1)
    normalised = normalised_distances(found, truth)
    # truth that is taken for none: marked by -1, which is below every distance allowed
    normalised = np.where(valid, normalised, np.where(there, -1.0, np.inf))
    return _Judged(
        np.where(valid, _unclipped_overlaps(found, truth), -1.0),
        np.where(valid, centre_distances(found, truth), np.inf),
        normalised,
        len(truth),
    )


def _judge_pytracking_valid(track: Track) -> _Judged:
    judged = _judge_pytracking(track)
    return replace(judged, frames=int((judged.overlaps >= 0).sum()))


def _judge_trackingnet(track: Track) -> _Judged:
    found, truth, known = _checked(track)
    return _compare(np.round(found), np.round(truth), known)


def _share(hits: Mask, judged: _Judged) -> float:
    return 100.0 * float(hits.sum()) / judged.frames if judged.frames else float("nan")


def _one_pass(judged: _Judged) -> dict[str, float]:
    normalised = normalised_precision_curve(judged.normalised, judged.frames)
    return {
        "success": 100.0 * float(success_curve(judged.overlaps, judged.frames).mean()),
        "precision": _share(judged.distances <= _AT_PIXELS, judged),
        "normalised_precision": 100.0 * float(normalised.mean()),
        "sr50": _share(judged.overlaps > 0.5, judged),
        "frames": judged.frames,
    }


def _got10k(judged: _Judged) -> dict[str, float]:
    return {
        "success": 100.0 * float(judged.overlaps.mean()) if judged.frames else float("nan"),
        "sr50": _share(judged.overlaps > 0.5, judged),
        "sr75": _share(judged.overlaps > 0.75, judged),
        "frames": judged.frames,
    }


def _pytracking(judged: _Judged) -> dict[str, float]:
    valid = judged.overlaps >= 0
    return _one_pass(judged) | {
        "sr75": _share(judged.overlaps > SUCCESS_THRESHOLDS[15], judged),
        "normalised_precision": _share(judged.normalised <= _AT_PART, judged),
        "overlap": 100.0 * float(judged.overlaps[valid].mean()) if valid.any() else float("nan"),
        "frames": float(valid.sum()),
    }


def _trackingnet(judged: _Judged) -> dict[str, float]:
    parts = np.linspace(0, 1, 21)
    curves = {
        "success": success_curve(judged.overlaps, judged.frames, strict=False),
        "precision": precision_curve(judged.distances, judged.frames, 50 * parts),
        "normalised_precision": normalised_precision_curve(
            judged.normalised, judged.frames, parts / 2
        ),
    }
    areas = {name: 100.0 * float(np.trapezoid(curve, parts)) for name, curve in curves.items()}
    return areas | {"frames": judged.frames}


_RULES = {
    "otb": _Rules(_judge_otb, _one_pass),
    "got10k": _Rules(_judge_got10k, _got10k, by_frame=True),
    "lasot": _Rules(_judge_lasot, _one_pass),
    "lasot_got10k": _Rules(_judge_lasot_seen, _one_pass),
    "pytracking": _Rules(_judge_pytracking, _pytracking),
    "pytracking_valid": _Rules(_judge_pytracking_valid, _pytracking),
    "trackingnet": _Rules(_judge_trackingnet, _trackingnet, strict=False),
}
TOOLKITS = tuple(_RULES)
"""Names of the toolkits."""
