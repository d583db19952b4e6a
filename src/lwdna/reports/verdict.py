"""What a run shows, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lwdna.engine.task import NOT_FINITE, Metric, described
from lwdna.reports.formats import format_difference, format_metric
from lwdna.reports.paired import Paired, in_words, interval_text
from lwdna.reports.statistics import Difference
from lwdna.reports.tables import Figures

_KEPT = "The search kept the baseline: no gain was sure"
_KEPT_PROPORTIONS = "The search kept the baseline’s proportions: no gain over them was sure"


def verdict(
    baseline: Figures | None,
    found: Figures | None,
    *,
    kept: bool = False,
    paired: Paired | None = None,
) -> str:
    """Return in a sentence or two what both networks reached, claiming no more than one run can.

    Args:
        baseline: figures of the baseline as in ``results.json``, ``None`` where there are none.
        found: the same of the network that was found.
        kept: whether the search kept the baseline.
        paired: both compared example by example, where that can be.
    """
    before, after = baseline or {}, found or {}
    if kept and _same_cost(before, after):
        return f"{_KEPT}. Both networks have the same MACs and parameters."
    said = _verdict(before, after, paired)
    return f"{_KEPT_PROPORTIONS}. {said}" if kept else said


def _verdict(before: Figures, after: Figures, paired: Paired | None) -> str:
    cost = cost_in_words(before, after)
    for metric in described(before, after)[:1]:
        one, two = before.get(metric.name), after.get(metric.name)
        if one is not None and two is not None:
            at = f" at {cost}" if cost else ""
            return f"The LW-DNA network {_side_by_side(metric, one, two, paired)}{at}."
        if two is not None:
            than = f" with {cost} than the baseline" if cost else ""
            missing = _missing(before, metric, "baseline")
            return f"The LW-DNA network reaches {_reached(metric, two)}{than}; {missing}."
        if one is not None:
            missing = _missing(after, metric, "LW-DNA network")
            return f"The baseline reaches {_reached(metric, one)}; {missing}."
    if cost:
        return f"The LW-DNA network has {cost} than the baseline; its quality is not known yet."
    return "Neither network has been evaluated yet."


def little_to_gain(budget: Mapping[str, Any]) -> str:
    """Return what to expect of a budget that limits computing and parameters both, else ``""``.

    Args:
        budget: as in a recipe, ``{"macs": 1.0, "params": 1.0, "of": "baseline"}``.
    """
    both = (budget.get("macs") or budget.get("latency")) and budget.get("params")
    if not both or budget["params"] > 1 or budget.get("of", "baseline") != "baseline":
        return ""
    return (
        "With at most the baseline’s parameters as well, networks whose widths grow with depth "
        "have little to gain: for 118 usual baselines of a published table of 32,768 trained "
        "networks, the best possible is +0.06 points on CIFAR-10 and +0.23 on CIFAR-100, against "
        "+0.24 and +1.06 with 1.5 times the parameters; if parameters are not what limits you, set "
        "shrink.budget.params=1.5."
    )


def evidence(baseline: Figures | None, found: Figures | None, paired: Paired | None = None) -> str:
    """Return how far the verdict can be trusted, ``""`` where there is nothing to trust.

    A run trains each network once, so it cannot tell a better network from a luckier seed.
    """
    before, after = baseline or {}, found or {}
    if _judged(before, after) is None:
        return ""
    seeds = [figures.get("seed") for figures in (before, after)]
    said = ""
    if None not in seeds:
        said = f" (seed {seeds[0]})" if seeds[0] == seeds[1] else f" (seeds {seeds[0]}, {seeds[1]})"
    why = "results also differ from seed to seed"
    if paired is not None:
        why = f"the interval covers the {paired.count} validation examples only, not seeds"
    return f"Each network was trained once{said}. One run is no evidence: {why}."


def _judged(before: Figures, after: Figures) -> Metric | None:
    """Return the primary metric where both networks have it."""
    for metric in described(before, after)[:1]:
        if None not in (before.get(metric.name), after.get(metric.name)):
            return metric
    return None


def below_input(figures: Figures) -> str:
    """Return that a network's outputs are worse than its inputs, ``""`` if they are not.

    Args:
        figures: of one network, as in ``results.json``; a metric ``input_psnr`` is what the primary
            one, ``psnr``, is of the inputs themselves.
    """
    for metric in described(figures)[:1]:
        value, given = figures.get(metric.name), figures.get(f"input_{metric.name}")
        if value is None or given is None or not metric.better(given, value):
            return ""
        gap = format_difference(abs(given - value), metric, signed=False)
        return (
            f"its outputs are {gap} worse than its inputs, noisy or enlarged by bicubic "
            f"interpolation ({format_metric(given, metric)}). It has not learnt the task yet; "
            "train it longer before you compare."
        )
    return ""


def not_finite(figures: Figures) -> str:
    """Return what there is to say of outputs that are not finite, ``""`` if nothing is.

    Args:
        figures: of one network, as in ``results.json``.
    """
    metric, count = described(figures)[0], figures.get(NOT_FINITE)
    value = figures.get(metric.name)
    unknown = value is None or not math.isfinite(value)
    if not count:
        return f"The {metric.title} is not a finite number." if unknown else ""
    of = f" of {figures['examples']}" if "examples" in figures else ""
    said = (
        f"For {count:.0f}{of} validation examples the network’s output is not finite (NaN or inf)"
    )
    if unknown:
        return f"{said}, so the {metric.title} is not known."
    if metric.worst is None or not metric.mean_of_examples:
        return f"{said}."
    return f"{said}; they count as the worst there is, {_reached(metric, metric.worst)}."


def study_verdict(
    arm: str,
    other: str,
    found: Difference,
    metric: Metric,
    costs: tuple[Figures, Figures],
    *,
    kept: bool = False,
) -> str:
    """Return one sentence that says what a comparison shows of one arm.

    Args:
        arm: the arm's name.
        other: what it is compared with.
        found: the arm minus the other.
        metric: what differs.
        costs: MACs and parameters of the other and of the arm.
        kept: whether every search of the arm kept the baseline, which is the other.
    """
    cost = cost_in_words(*costs)
    at = f" at {cost}" if cost else ""
    if kept and _same_cost(*costs):
        return f"{arm}: {_KEPT[0].lower()}{_KEPT[1:]} ({cost})."
    if kept:
        said = study_verdict(arm, other, found, metric, costs)
        return f"{said} {_KEPT_PROPORTIONS}."
    if not any(found.values):
        return f"{arm} and {other} are equal with every seed{at}."
    by = format_difference(found.mean, metric)
    if found.interval is None:
        return f"No evidence about {arm} and {other}: {by}{at}, and one seed tells nothing."
    low, high = (format_difference(end, metric).partition(" ")[0] for end in found.interval)
    sure = f"95 % interval {low} to {high}, {len(found.values)} seeds"
    if found.sign:
        word = "better" if metric.better(found.sign, 0) else "worse"
        return f"{arm} is {word} than {other}: {by}{at} ({sure})."
    least = format_difference(found.detectable or 0.0, metric, signed=False)
    return (
        f"No evidence that {arm} differs from {other}: {by}{at} ({sure}); "
        f"a true difference of {least} would have been seen in four of five such comparisons."
    )


def _missing(figures: Figures, metric: Metric, name: str) -> str:
    if figures.get("train_seconds") is None:
        return f"there is no trained {name} to compare it with"
    return f"that of the {name} is not a finite number"


def _reached(metric: Metric, value: float) -> str:
    """Return a value in words, ``"76.2 % top-1 accuracy"`` or ``"a PSNR of 35.07 dB"``."""
    text = format_metric(value, in_words(metric))
    if metric.unit == "%":
        return f"{text} {metric.title}"
    return f"{_article(metric.title)} {metric.title} of {text}"


def _side_by_side(metric: Metric, before: float, after: float, paired: Paired | None) -> str:
    """Return what both networks reached and the difference, as far as it is known."""
    words = in_words(metric)
    gap = format_difference(after - before, words)
    told = "" if metric.higher_is_better else "lower is better"
    if paired is not None:
        interval = f"95 % interval {interval_text(words, paired.interval)}"
        told = ", ".join(filter(None, (told, interval)))
    more = f"{gap} ({told})" if told else gap
    if paired is not None and paired.right is not None and "accuracy" in metric.title:
        one, two = paired.right
        return f"gets {two} of {paired.count} validation images right, the baseline {one}: {more}"
    on = f" on {paired.count} validation examples" if paired is not None else ""
    reached = f"{_reached(metric, after)}, the baseline {format_metric(before, words)}"
    return f"reaches {reached}{on}: {more}"


def _article(title: str) -> str:
    """Return "a" or "an"; of an abbreviation (AUC, MAE, F1) the letters are spoken one by one."""
    spelled = title[:2].upper() == title[:2]
    return "an" if title[:1] in ("AEFHILMNORSX" if spelled else "aeioAEIO") else "a"


def _same_cost(before: Figures, after: Figures) -> bool:
    return all(before.get(key) == after.get(key) for key in ("macs", "params"))


def cost_in_words(before: Figures, after: Figures) -> str:
    """Return how MACs and parameters changed, ``"as many MACs and 5 % fewer parameters"``."""
    parts = []
    for key, title in (("macs", "MACs"), ("params", "parameters")):
        if before.get(key) and after.get(key):
            parts.append(_share(before[key], after[key], title))
    return " and ".join(parts)


def _share(before: float, after: float, title: str) -> str:
    change = 100 * (after - before) / before
    if abs(change) < 0.05:
        return f"as many {title}"
    # One digit where a whole number would hide the change, none where it would only distract.
    size = f"{abs(change):.1f}" if abs(change) < 0.95 else f"{abs(change):.0f}"
    return f"{size} % {'more' if change > 0 else 'fewer'} {title}"
