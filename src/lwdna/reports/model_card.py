"""The page of a network on the Hugging Face hub: what it is, how good, how surely, how used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from lwdna.engine.task import described
from lwdna.files import read_json
from lwdna.input_size import describe
from lwdna.interface import Interface, read_interface
from lwdna.reports.answer import answer, figures_of
from lwdna.reports.formats import format_metric
from lwdna.reports.provenance import data_facts, flat
from lwdna.reports.run_files import (
    ArchitectureRecord,
    RunFiles,
    TrainingRun,
    parse_record,
    read_run,
)
from lwdna.reports.statistics import CONFIDENCE, Floats, Interval
from lwdna.reports.tables import COMPARISON_COLUMNS, Figures, comparison, stage_lines
from lwdna.run_folder import BASELINE, FOUND, RESULTS, SLIM_RECORD

_METRICS = {"top1": "accuracy"}
"""What the hub calls metrics, where it has another name."""
_KINDS = {"classification": "image-classification", "restoration": "image-to-image"}
"""What the hub calls tasks."""


def model_card(weights: Path, architecture: Mapping[str, Any], repository: str) -> str:
    """Return the card of a trained network as Markdown, its figures for programs at the top.

    Args:
        weights: the file; what stands beside it, and in the job above, is the evidence.
        architecture: what its architecture file holds.
        repository: where it will be, ``user/name``.

    Raises:
        FileError: a file of the run is damaged.
    """
    record = parse_record(ArchitectureRecord, architecture, weights)
    interface = read_interface(weights)
    run = _run_of(weights)
    own = _training_of(run, weights)
    lines = [
        "---",
        yaml.safe_dump(_front(interface, own, repository), sort_keys=False).strip(),
        "---",
        "",
        f"# {repository.partition('/')[2]}",
        "",
        *_introduction(record, interface),
        *_evidence(run, own, weights),
        *_data(run, own, interface),
        *_origin(architecture),
        *_use(repository, interface),
    ]
    return "\n".join(lines) + "\n"


def _run_of(weights: Path) -> RunFiles | None:
    """Return the job that a file of weights belongs to, or its training alone."""
    folder = weights.resolve().parent
    if not (folder / RESULTS).is_file():
        return None
    job = folder.parent
    both = folder.name in (BASELINE, FOUND) and (job / BASELINE / RESULTS).is_file()
    return read_run(job if both and (job / FOUND / RESULTS).is_file() else folder)


def _training_of(run: RunFiles | None, weights: Path) -> TrainingRun | None:
    if run is None:
        return None
    known = [one for one in (run.found, run.baseline) if one is not None]
    named = (one for one in known if one.folder == weights.resolve().parent.name)
    return next(named, known[0] if len(known) == 1 else None)


def _front(interface: Interface, own: TrainingRun | None, repository: str) -> dict[str, Any]:
    """Return what the hub reads: tags, task, and the metrics in its own form."""
    kind = _KINDS.get(interface.task or "")
    front: dict[str, Any] = {"library_name": "lwdna", "tags": ["lwdna", "timm", "pytorch"]}
    if kind:
        front["pipeline_tag"] = kind
    if own is None or own.results is None or kind is None:
        return front
    figures = own.results.figures
    metrics = [
        {
            "type": _METRICS.get(metric.name, metric.name),
            "name": metric.title,
            "value": figures[metric.name],
        }
        for metric in described(figures)
        if isinstance(figures.get(metric.name), float) and math.isfinite(figures[metric.name])
    ]
    result = {
        "task": {"type": kind},
        "dataset": {"name": _name_of_data(own), "type": _name_of_data(own)},
        "metrics": metrics,
    }
    front["model-index"] = [{"name": repository.partition("/")[2], "results": [result]}]
    return front


def _introduction(record: ArchitectureRecord, interface: Interface) -> Iterator[str]:
    model = record.model
    name = f"`{model.name}`" if model is not None else "a network"
    same = record.cost is None or record.cost == record.baseline
    widths = "with its usual widths" if same else "whose layers have other widths"
    task = f", trained for {interface.task}" if interface.task else ""
    yield f"{name} {widths}{task}, made with lwdna."
    yield ""
    if record.input_size:
        yield f"- input: {describe(record.input_size, times=' × ')}"
    if record.cost is not None:
        yield f"- multiply-accumulates per image: {record.cost.macs:,}"
        yield f"- parameters: {record.cost.params:,}"
    if not same and record.baseline is not None:
        baseline = record.baseline
        yield f"- the unchanged network: {baseline.macs:,} and {baseline.params:,}"


def _evidence(run: RunFiles | None, own: TrainingRun | None, weights: Path) -> Iterator[str]:
    """Yield what was measured, with an interval, and what it does not show."""
    yield from ("", "## Evidence", "")
    slim = weights.resolve().parent / SLIM_RECORD
    if slim.is_file():
        heading, *rows = stage_lines(read_json(slim))
        yield from _table(heading, rows)
        return
    if run is None or own is None or own.results is None:
        yield "Nothing was measured where these weights come from."
        return
    figures = own.results.figures
    metric = next(iter(described(figures)), None)
    value = figures.get(metric.name) if metric is not None else None
    if metric is not None and isinstance(value, float):
        between = ""
        if metric.mean_of_examples and own.outcomes is not None:
            low, high = (format_metric(end, metric) for end in mean_interval(own.outcomes))
            between = f" (95 % interval over the validation examples: {low} to {high})"
        length = f" of {own.results.epochs} epochs" if own.results.epochs else ""
        yield (
            f"{metric.title}: {format_metric(value, metric)}{between}, on {_count(figures)} "
            f"validation examples, after one training{length}."
        )
        yield ""
    before, after = figures_of(run)
    rows = [row.cells for row in comparison(before, after)]
    keep = [0, 1, 2, 3] if before and after else [0, 1 if before else 2]
    yield from _table(
        [COMPARISON_COLUMNS[place] for place in keep],
        [[row[place] for place in keep] for row in rows],
    )
    if before and after:
        told = answer(run)
        yield from ("", told.headline, told.limits)


def _count(figures: Figures) -> str:
    return f"{figures['examples']:,}" if isinstance(figures.get("examples"), int) else "the"


def mean_interval(outcomes: Floats) -> Interval:
    """Return a 95 % interval of the mean of outcomes over the examples, shape (N,).

    Where every outcome is 0 or 100, right or wrong, it is that of Wilson, "Probable inference, the
    law of succession, and statistical inference", JASA 22 (1927); otherwise Student's t.
    """
    count = len(outcomes)
    if bool(np.isin(outcomes, (0, 100)).all()):
        right = int((outcomes == 100).sum())
        found = stats.binomtest(right, count).proportion_ci(CONFIDENCE, method="wilson")
        return 100 * float(found.low), 100 * float(found.high)
    middle = float(outcomes.mean())
    if count < 2:
        return middle, middle
    error = float(outcomes.std(ddof=1)) / math.sqrt(count)
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return middle - margin, middle + margin


def _data(run: RunFiles | None, own: TrainingRun | None, interface: Interface) -> Iterator[str]:
    facts = [] if run is None else data_facts(run)
    how = interface.preprocessing
    if not facts and own is None and how is None and interface.classes is None:
        return
    yield from ("", "## Data", "")
    if own is not None:
        yield f"- set: {_name_of_data(own)}"
    yield from (f"- {name}: {value}" for name, value in facts)
    if interface.classes is not None:
        shown = ", ".join(interface.classes[:20])
        yield f"- names of classes: {shown}{', ...' if len(interface.classes) > 20 else ''}"
    if how is not None:
        yield (
            f"- images: shorter side resized to {how.resize} pixels ({how.interpolation}), central "
            f"square of {how.image_size}, mean {list(how.mean)}, std {list(how.std)}"
        )


def _name_of_data(own: TrainingRun) -> str:
    """Return what the data are called: their format and the last part of their folder."""
    recipe = yaml.safe_load(own.recipe or "")
    data = recipe.get("data", {}) if isinstance(recipe, Mapping) else {}
    root = Path(str(data["root"])).name if data.get("root") else ""
    kind = str(data.get("kind", "auto"))
    return " ".join(part for part in (root, kind if kind != "auto" else "") if part) or "unnamed"


def _origin(architecture: Mapping[str, Any]) -> Iterator[str]:
    found = architecture.get("found") or {}
    if not found:
        return
    yield from ("", "## How the widths were found", "")
    yield from (f"- {name}: {value}" for name, value in flat(found, ""))
    yield from ("", "The widths are in `architecture.lwdna.json`.")


def _use(repository: str, interface: Interface) -> Iterator[str]:
    yield from ("", "## Use it", "", "With lwdna:", "", "```python", "import lwdna", "")
    yield f'network, architecture = lwdna.from_pretrained("{repository}")'
    yield "```"
    yield from (
        "",
        "In timm, with lwdna installed:",
        "",
        "```python",
        "import timm",
        "import lwdna.timm_models",
        "",
    )
    yield f'network = timm.create_model("hf-hub:{repository}", pretrained=True)'
    yield "```"
    if interface.task == "classification" and interface.preprocessing is not None:
        yield from ("", "Classes of images, with the file downloaded:", "")
        yield "    lwdna predict cat.jpg --weights model.safetensors"


def _table(heading: Any, rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield "|---|" + "---:|" * (len(heading) - 1)
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in row)} |"
