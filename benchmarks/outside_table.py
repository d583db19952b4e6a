"""What the benchmark of other libraries' networks found, as figures and as Markdown."""

from __future__ import annotations

import re
import statistics
from typing import Any

Row = dict[str, Any]

HEADING = "## Other libraries"

SHOWS = 1e-6
"""A change of the output below this shows nothing about slices."""

MEANING = """\
- *Traced*: `lwdna.trace` returned a graph for the network as a user calls it, built with random
  weights, confirmed by a second run in which every group had another width.
- *Resized*: with fresh weights at random widths it ran and kept its outputs' shapes, and predicted
  MACs and parameters were those counted. Where a network chooses boxes or points by value, shapes
  and MACs differ by image, and only the parameters are compared.
- *Exact*: of the networks with a free group, those whose slices (all groups at once with two
  draws of random units, and half of the groups) gave what the whole network computes with the
  removed units silenced, within 1e-9 of the largest output in float64, from inputs other than
  those traced with and with non-trivial weights and statistics. Networks that choose by value are
  left out, as rounding decides between equal scores. *Silent wrong*: a group said to be exact that
  is not.
- *Crash*: an exception that is not an error of lwdna's own.
- *MACs free*: share in operators at least one axis of which depends on a group.
- *Torch-Pruning*: as above, half of the channels in 90 s; the layers that make the outputs are
  given to it, as our graph says them, or else those that run last."""


def traced(row: Row) -> bool:
    """Tell whether a graph was found."""
    return "groups" in row.get("ours", {})


def resized(row: Row) -> bool:
    """Tell whether the network ran at other widths as predicted."""
    return bool(row.get("ours", {}).get("resized", {}).get("ok"))


def has_slices(row: Row) -> bool:
    """Tell whether there was a group with exact slices, and a check that shows something."""
    found = row.get("ours", {}).get("sliced", {})
    return bool(found.get("groups")) and found.get("changed", 1.0) > SHOWS


def sliced(row: Row) -> bool:
    """Tell whether slices were as exact as they were said to be."""
    return has_slices(row) and bool(row["ours"]["sliced"]["ok"])


def wrong(row: Row) -> bool:
    """Tell whether something said to be exact, or a predicted cost, was not."""
    ours = row.get("ours", {})
    for check in ("sliced", "resized"):
        found = ours.get(check, {})
        if found and not found["ok"] and "error" not in found:
            return True
    found = ours.get("sliced", {})
    return bool(found) and not found["ok"] and isinstance(found.get("error"), float)


def crashed(row: Row) -> bool:
    """Tell whether an exception came out that is not one of the library's own."""
    ours = row.get("ours", {})
    return any(
        part.get("crash") for part in (ours, ours.get("resized", {}), ours.get("sliced", {}))
    )


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return the figures of all networks, and of each library's."""
    libraries = dict.fromkeys(row["library"] for row in rows)
    return {
        "all": _figures(rows),
        "libraries": {
            library: _figures([row for row in rows if row["library"] == library])
            for library in libraries
        },
    }


def _figures(rows: list[Row]) -> dict[str, Any]:
    found = [row["ours"] for row in rows if traced(row)]
    shares = [ours["macs_share"] for ours in found]
    theirs = [row["theirs"] for row in rows if "theirs" in row]
    return {
        "networks": len(rows),
        "traced": len(found),
        "free": sum(ours["groups"] > 0 for ours in found),
        "resized": sum(resized(row) and row["ours"]["groups"] > 0 for row in rows),
        "with_slices": sum(map(has_slices, rows)),
        "sliced": sum(map(sliced, rows)),
        "wrong": sum(map(wrong, rows)),
        "crashed": sum(map(crashed, rows)),
        "touched": sum(not ours["untouched"] for ours in found),
        "macs_share_median": statistics.median(shares) if shares else None,
        "macs_share_95": sum(share >= 0.95 for share in shares),
        "over_5_s": sum(ours["trace_seconds"] > 5 for ours in found),
        "trace_seconds_median": statistics.median(ours["trace_seconds"] for ours in found)
        if found
        else None,
        "theirs": len(theirs),
        "theirs_run": sum(bool(found.get("runs")) for found in theirs),
        "theirs_changed": sum(bool(found.get("runs") and found["changed"]) for found in theirs),
    }


def section(result: dict[str, Any]) -> str:
    """Return the section of the page: totals, a row per library, exceptions by name."""
    figures = result["summary"]
    return "\n\n".join(
        (
            HEADING,
            f"Written by `benchmarks/outside.py`; figures beside it in "
            f"`benchmarks/results/outside.json`. {figures['all']['networks']} networks of "
            f"{len(figures['libraries'])} libraries that lwdna was not written for. "
            + _setting(result),
            _table(figures),
            MEANING,
            "### Exceptions there by name",
            _exceptions(result["networks"]) or "None.",
        )
    ) + "\n"  # fmt: skip


def inserted(page: str, text: str) -> str:
    """Return a page with the section in the place of the one it had, or else at its end."""
    start = page.find(HEADING + "\n")
    if start < 0:
        return f"{page.rstrip()}\n\n{text}".lstrip()
    following = re.search(r"^## ", page[start + len(HEADING) :], re.MULTILINE)
    end = start + len(HEADING) + following.start() if following else len(page)
    return page[:start] + text + ("\n" + page[end:] if following else "")


def _setting(result: dict[str, Any]) -> str:
    versions, machine = result["versions"], result["machine"]
    names = ("python", "torch", "torch-pruning", "lwdna")
    libraries = ", ".join(f"{name} {found}" for name, found in result["libraries"].items())
    return (
        ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
        + f" ({result['code']}); {machine['cpu']}, {machine['cores']} cores, one thread; seed "
        + f"{result['seed']}. Versions: {libraries}."
    )


def _table(figures: dict[str, Any]) -> str:
    lines = [
        "| library | networks | traced | resized | exact | wrong | crash | MACs free, median |"
        " >= 95 % | > 5 s | Torch-Pruning: runs | all changed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in (*figures["libraries"].items(), ("**all**", figures["all"])):
        median = found["macs_share_median"]
        theirs = f"of {found['theirs']}" if found["theirs"] else ""
        lines.append(
            f"| {name} | {found['networks']} | {found['traced']} |"
            f" {found['resized']} of {found['free']} |"
            f" {found['sliced']} of {found['with_slices']} |"
            f" {found['wrong']} | {found['crashed']} |"
            f" {'–' if median is None else f'{100 * median:.1f} %'} | {found['macs_share_95']} |"
            f" {found['over_5_s']} | {found['theirs_run']} {theirs} |"
            f" {found['theirs_changed']} {theirs} |"
        )
    return "\n".join(lines)


def _exceptions(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        faults = list(_faults(row)) if "ours" in row else []
        if faults:
            lines.append(f"- **{row['title']}**: " + "; ".join(faults))
    return "\n".join(lines)


def _faults(row: Row) -> list[str]:
    """Return what of a network misses a claim."""
    ours = row["ours"]
    if not traced(row):
        kind = "crash" if ours.get("crash") else "not traced"
        return [f"{kind}: {ours.get('error', '?')}"]
    faults = []
    for check in ("resized", "sliced"):
        found = ours[check]
        if not found["ok"]:
            faults.append(f"{check}: {_check_fault(found)}")
    if ours["sliced"]["ok"] and ours["sliced"].get("changed", 1.0) <= SHOWS:
        faults.append("sliced: silencing changed nothing, so that the check shows nothing")
    if not ours["untouched"]:
        faults.append("tracing changed its weights")
    if ours["trace_seconds"] > 5:
        faults.append(f"{ours['trace_seconds']:.1f} s to trace")
    if ours["macs_share"] < 0.95:
        reasons = (f"{text} ({100 * share:.1f} %)" for text, share in ours["why_fixed"].items())
        faults.append(f"{100 * ours['macs_share']:.1f} % of MACs free; fixed: {', '.join(reasons)}")
        if ours["unknown_ops"]:
            faults.append("operators without a rule: " + ", ".join(ours["unknown_ops"]))
    return faults


def _check_fault(found: Row) -> str:
    if isinstance(found.get("error"), str):
        return str(found["error"])
    if "error" in found:
        return f"differs by {found['error']:.1e}; groups {', '.join(found['wrong']) or 'together'}"
    if not found["macs_exact"]:
        return f"{found['macs_predicted']} MACs predicted, {found['macs_counted']} counted"
    return "parameters differ" if not found["params_exact"] else "the output has another shape"
