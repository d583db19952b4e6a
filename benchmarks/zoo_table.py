"""What the zoo benchmark found, as figures and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

from zoo_models import CONVOLUTIONAL, KINDS, RULINGS

Row = dict[str, Any]

CLAIMS: dict[str, Callable[[Row], bool]] = {
    "traced": lambda row: "groups" in row.get("ours", {}),
    "resized": lambda row: _ok(row, "resized"),
    "sliced": lambda row: _ok(row, "sliced") and row["ours"]["sliced"]["groups"] > 0,
    "none_exact": lambda row: _ok(row, "sliced") and not row["ours"]["sliced"]["groups"],
    "macs_share_95": lambda row: row.get("ours", {}).get("macs_share", 0.0) >= 0.95,
    "over_5_s": lambda row: row.get("ours", {}).get("seconds", 0.0) > 5,
    "theirs_built": lambda row: row.get("theirs", {}).get("built", False),
    "theirs_finished": lambda row: row.get("theirs", {}).get("finished", False),
    "theirs_runs": lambda row: row.get("theirs", {}).get("runs", False),
    "theirs_changed": lambda row: (
        row.get("theirs", {}).get("runs", False) and row["theirs"]["changed"]
    ),
}


def _ok(row: Row, check: str) -> bool:
    return bool(row.get("ours", {}).get(check, {}).get("ok"))


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return, for each kind of network, how many meet each claim, and the times."""
    found = {}
    for kind in KINDS:
        chosen = [row for row in rows if row["kind"] == kind]
        counts = {claim: sum(holds(row) for row in chosen) for claim, holds in CLAIMS.items()}
        found[kind] = {
            "networks": len(chosen),
            "theirs_measured": sum("theirs" in row for row in chosen),
            **counts,
            "groups": sum(row.get("ours", {}).get("groups", 0) for row in chosen),
            "groups_inexact": sum(row.get("ours", {}).get("inexact", 0) for row in chosen),
            "time_all": times(chosen),
            "time_both_finished": times(
                row for row in chosen if CLAIMS["traced"](row) and CLAIMS["theirs_finished"](row)
            ),
        }
    return found


def times(rows: Iterable[Row]) -> dict[str, Any]:
    """Return sums, medians and ratios of the times of both sides where both have one."""
    pairs = [
        (row["ours"]["seconds"], row["theirs"]["seconds"], row["name"])
        for row in rows
        if "seconds" in row.get("ours", {}) and "seconds" in row.get("theirs", {})
    ]
    if not pairs:
        return {"networks": 0}
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    slowest = max(pairs)
    return {
        "networks": len(pairs),
        "ours_sum": sum(ours),
        "theirs_sum": sum(theirs),
        "ratio_of_sums": sum(ours) / sum(theirs),
        "median_ratio": statistics.median(a / b for a, b, _ in pairs),
        "ours_median": statistics.median(ours),
        "theirs_median": statistics.median(theirs),
        "ours_slowest": slowest[0],
        "ours_slowest_name": slowest[2],
    }


def markdown(result: dict[str, Any]) -> str:
    """Return the page: summary, what the columns mean, a row per network, exceptions by name."""
    rows = result["networks"]
    parts = [
        "# The zoo",
        "Written by `benchmarks/zoo.py`; figures beside it in `benchmarks/results/zoo.json`.",
        _setting(result),
        _summary(result["summary"], result["chosen"]),
        _times(result["summary"]),
        "## What was checked\n\n" + MEANING,
        "## Networks",
    ]
    for kind in KINDS:
        chosen = [row for row in rows if row["kind"] == kind]
        if chosen:
            parts.append(f"### {kind.capitalize()}\n\n{_table(chosen)}")
    parts.append("## Exceptions by name\n\n" + (_exceptions(rows) or "None."))
    parts.append("## Groups with inexact slices, by reason\n\n" + (_inexact(rows) or "None."))
    parts.append("## Kinds that evidence cannot decide\n\n" + _rulings())
    return "\n\n".join(parts) + "\n"


MEANING = """\
- *Traced*: `lwdna.trace` returned a graph, its prediction confirmed by a second run in which every
  group had another width.
- *Resized*: at random widths, some wider and some narrower, the network ran, its outputs kept
  their shapes, and the MACs and parameters predicted were those counted by
  `torch.utils.flop_counter` and in the network.
- *Sliced*: removing random units of every group with exact slices from non-trivial weights and
  BatchNorm statistics gave what the whole network computes with these units silenced, within 1e-4
  of the largest output in float32, or, where random weights amplify rounding beyond that, within
  1e-9 in float64 (marked 64). Groups whose slices cannot be exact say so and are counted as
  *inexact*; their widths are free when weights are drawn afresh.
- *MACs %*, *params %*: share in operators and parameters at least one axis of which depends on a
  group, so whose width can change. Where a network's operators have no MACs that move, what holds
  them is listed below.
- *Ours*: processor seconds for trace, second run and resizing to half of every width. *Theirs*:
  the same for Torch-Pruning 1.6.1 to build its graph, group, and take one step of pruning half the
  channels (`BasePruner`, group magnitude importance, layers that make the output ignored, heads
  given as in its examples). One thread, one process, taking turns at going first, after a small
  network to warm up; where both finish in 5 s the medians of three turns, else one run.
  Processor time of the process, because other programs may run beside it (wall-clock times are in
  the JSON). Each network's two times are of one run and of one state of the code; after an
  interruption only whole rows are kept. Neither library may take more than 90 s: a time with `>`
  ended there, and counts as 90 s; one in brackets ended with an error. Our checks have a limit of
  their own and are in nobody's time.
- *Theirs did*: `all`: finished, runs with the shapes kept, and the width of every layer changed;
  `k/n`: runs, and k of n layers changed; `breaks`: finished, but the network no longer runs or
  returns another shape; `fails`: the step did not finish; `time`: not finished in 90 s."""


def _setting(result: dict[str, Any]) -> str:
    """Return versions and machine in a line."""
    versions, machine = result["versions"], result["machine"]
    names = ("python", "torch", "timm", "torchvision", "torch-pruning", "lwdna")
    code = sorted({row["code"] for row in result["networks"] if "code" in row})
    return (
        ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
        + f" ({', '.join(code) or 'commit not noted'})"
        + f"; {machine['cpu']}, {machine['cores']} cores, one thread; seed {result['seed']}."
    )


def _summary(found: dict[str, Any], chosen: dict[str, int]) -> str:
    lines = [f"| | {' | '.join(found)} |", "|---|---:|---:|"]
    texts = {
        "traced": "traced and proved",
        "resized": "resized at random widths: runs, shapes kept, cost exact",
        "sliced": "sliced = silenced",
        "none_exact": "no group has exact slices, and all say so",
        "macs_share_95": "at least 95 % of MACs can move",
        "over_5_s": "take us more than 5 s",
        "theirs_built": "Torch-Pruning: graph built",
        "theirs_finished": "Torch-Pruning: step finished",
        "theirs_runs": "Torch-Pruning: pruned network runs, shapes kept",
        "theirs_changed": "Torch-Pruning: runs and every layer's width changed",
    }
    measured = [f"{part['networks']} of {chosen[kind]}" for kind, part in found.items()]
    lines.append(f"| networks measured, of those in the zoo | {' | '.join(measured)} |")
    both = " | ".join(str(part["theirs_measured"]) for part in found.values())
    lines.append(f"| of them with Torch-Pruning, too | {both} |")
    for key, text in texts.items():
        cells = []
        for part in found.values():
            total = part["theirs_measured" if key.startswith("theirs") else "networks"]
            share = f" ({100 * part[key] / total:.1f} %)" if total else ""
            cells.append(f"{part[key]}{share}")
        lines.append(f"| {text} | {' | '.join(cells)} |")
    groups = [f"{part['groups']} ({part['groups_inexact']})" for part in found.values()]
    lines.append(f"| groups (of them with inexact slices) | {' | '.join(groups)} |")
    return "## Summary\n\n" + "\n".join(lines)


def _times(found: dict[str, Any]) -> str:
    lines = [
        "| time of analysis | networks | ours, sum | theirs, sum | ratio | median ratio |"
        " medians | slowest of ours |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    labels = {
        "time_all": "all, theirs until it fails or 90 s",
        "time_both_finished": "both finished",
    }
    for kind, part in found.items():
        for key, label in labels.items():
            t = part[key]
            if t["networks"]:
                lines.append(
                    f"| {kind}: {label} | {t['networks']} | {t['ours_sum']:.0f} s |"
                    f" {t['theirs_sum']:.0f} s | {t['ratio_of_sums']:.2f} |"
                    f" {t['median_ratio']:.2f} | {t['ours_median']:.2f} s,"
                    f" {t['theirs_median']:.2f} s | {t['ours_slowest']:.1f} s"
                    f" ({t['ours_slowest_name']}) |"
                )
    return "\n".join(lines)


def _table(rows: list[Row]) -> str:
    lines = [
        "| network | module | params | MACs % | params % | groups (inexact) | resized | sliced |"
        " ours, s | theirs, s | theirs did |",
        "|---|---|---:|---:|---:|---:|---|---|---:|---:|---|",
    ]
    for row in rows:
        o, t = row.get("ours", {}), row.get("theirs", {})
        shares, groups, seconds = ("–", "–"), "–", "–"
        if "groups" in o:
            shares = (f"{100 * o['macs_share']:.1f}", f"{100 * o['params_share']:.1f}")
            groups = f"{o['groups']} ({o['inexact']})" if o["inexact"] else f"{o['groups']}"
            seconds = f"{o['seconds']:.2f}"
        lines.append(
            f"| {row['name']} | {row['module']} | {row['params'] / 1e6:.1f} M | {shares[0]} |"
            f" {shares[1]} | {groups} | {_mark(o, 'resized')} | {_mark(o, 'sliced')} |"
            f" {seconds} | {_their_seconds(t)} | {_their_result(t)} |"
        )
    return "\n".join(lines)


def _mark(ours: Row, check: str) -> str:
    found = ours.get(check)
    if found is None:
        return "**no**" if "error" in ours else "–"
    if not found["ok"]:
        return "**no**"
    if found.get("groups") == 0:
        return "no group"
    return "64" if "error_64" in found else "yes"


def _their_seconds(theirs: Row) -> str:
    if "seconds" not in theirs:
        return "–"
    if theirs.get("timeout"):
        return f"> {theirs['seconds']:.0f}"
    return f"{theirs['seconds']:.2f}" if theirs["finished"] else f"({theirs['seconds']:.2f})"


def _their_result(theirs: Row) -> str:
    if not theirs:
        return "–"
    if theirs.get("timeout"):
        return "time"
    if not theirs.get("finished"):
        return "fails"
    if not theirs["runs"]:
        return "breaks"
    if theirs["changed"]:
        return "all"
    return f"{theirs['layers_changed']}/{theirs['layers']}"


def _exceptions(rows: list[Row]) -> str:
    """Return a line for every convolutional network that misses a claim, and for every failure."""
    lines = []
    for row in rows:
        faults = _faults(row, shares=row["kind"] == CONVOLUTIONAL)
        if faults:
            lines.append(f"- **{row['name']}**: " + "; ".join(faults))
    return "\n".join(lines)


def _faults(row: Row, shares: bool) -> list[str]:
    ours = row.get("ours")
    if ours is None:
        return []
    if "groups" not in ours:
        return [f"not traced: {ours.get('error', '?')}"]
    faults = []
    if ours["unknown_ops"]:
        faults.append("operators without a rule: " + ", ".join(ours["unknown_ops"]))
    if ours["seconds"] > 5:
        faults.append(f"{ours['seconds']:.1f} s")
    if not _ok(row, "resized"):
        faults.append("resized: " + _resize_fault(ours["resized"]))
    found = ours["sliced"]
    if found["ok"] and not found["groups"]:
        faults.append("no group with exact slices to check")
    elif found["ok"] and found["changed"] < 1e-6:
        faults.append("sliced: silencing changed nothing, so that the check shows nothing")
    elif not found["ok"]:
        error = found["error"]
        faults.append(
            "sliced: " + (error if isinstance(error, str) else f"differs by {error:.1e}, "
            f"{found['error_64']:.1e} in float64")
        )  # fmt: skip
    if shares and ours["macs_share"] < 0.95:
        reasons = (f"{text} ({100 * share:.1f} %)" for text, share in ours["why_fixed"].items())
        faults.append(
            f"{100 * ours['macs_share']:.1f} % of MACs move; fixed: " + ", ".join(reasons)
        )
    return faults


def _resize_fault(found: Row) -> str:
    if "error" in found:
        return str(found["error"])
    if not found["macs_exact"]:
        return f"{found['macs_predicted']} MACs predicted, {found['macs_counted']} counted"
    return "parameters differ" if not found["params_exact"] else "the output has another shape"


def _inexact(rows: list[Row]) -> str:
    """Return a line per reason: how many groups of which networks."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        for why, count in row.get("ours", {}).get("why_inexact", {}).items():
            found.setdefault(why, {})[row["name"]] = count
    return "\n".join(
        f"- {why}: {sum(names.values())} groups; "
        + ", ".join(f"{name} {count}" for name, count in names.items())
        for why, names in found.items()
    )


def _rulings() -> str:
    return "\n".join(
        f"- `{pattern}`: {kind}; {reason}" for pattern, (kind, reason) in RULINGS.items()
    )
