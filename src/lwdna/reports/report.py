"""Write the report of a run: one HTML file that opens anywhere, without network."""

from __future__ import annotations

from pathlib import Path

from lwdna.errors import RecipeError
from lwdna.files import write_text
from lwdna.reports import provenance
from lwdna.reports.answer import answer, answer_of, figures_of
from lwdna.reports.bars import group_table, groups_between, layer_table
from lwdna.reports.class_figures import same_examples
from lwdna.reports.classes import Classes, classes
from lwdna.reports.criterion import criterion
from lwdna.reports.curves import curves
from lwdna.reports.law import law_view
from lwdna.reports.pages import render
from lwdna.reports.pictures import PictureRow, picture_rows
from lwdna.reports.run_files import RunFiles, TrainingRun, read_run
from lwdna.reports.samples import Samples, samples
from lwdna.reports.sensitivity import write_sensitivity
from lwdna.reports.slim_page import write_slim
from lwdna.reports.statistics import HALVES
from lwdna.reports.study_page import write_comparison
from lwdna.reports.tables import ComparisonRow
from lwdna.reports.tracking import tracking_view
from lwdna.reports.trials import trial_chart
from lwdna.reports.verdict import cost_in_words, little_to_gain
from lwdna.run_folder import REPORT, SENSITIVITY_RECORD, SLIM_RECORD, is_comparison


def write_report(run_dir: Path, out: Path | None = None, half: str = "whole") -> Path:
    """Write the report of a run as one HTML file without outside parts.

    The same files give the same bytes.

    Args:
        run_dir: the folder of a whole job (``search/``, ``baseline/``, ``lwdna/``), of a search,
            of a training run, of a slim run or of a sensitivity analysis. Sections whose files are
            missing are left out. Of a comparison, all finished cells are merged.
        out: the file to write, ``run_dir/report.html`` by default.
        half: the part of the validation set that a comparison is reported on: one of
            :data:`lwdna.reports.statistics.HALVES`.

    Returns:
        The path of the report.

    Raises:
        FileError: the folder holds no files of a run, one of them is damaged, or the report
            cannot be written.
        RecipeError: there is no such half.
    """
    run_dir = Path(run_dir)
    if half not in HALVES:
        raise RecipeError(f"there is no half {half!r}; choose one of {', '.join(HALVES)}")
    if is_comparison(run_dir):
        return write_comparison(run_dir, out, half)
    if (run_dir / SLIM_RECORD).is_file():
        return write_slim(run_dir, out)
    if (run_dir / SENSITIVITY_RECORD).is_file():
        return write_sensitivity(run_dir, out)
    html = _render(read_run(run_dir))
    path = run_dir / REPORT if out is None else Path(out)
    write_text(path, html)
    return path


def compare_run(run_dir: Path) -> list[ComparisonRow]:
    """Return the report's comparison of baseline and found network as plain rows.

    Raises:
        FileError: the folder holds no files of a run, or one of them is damaged.
    """
    return answer_of(run_dir).rows


def _examples(run: RunFiles, *, tracked: bool) -> list[PictureRow]:
    shown = {name: one.examples for name, one in _trainings(run).items()}
    return picture_rows(shown, truth_first=tracked)


def _trainings(run: RunFiles) -> dict[str, TrainingRun]:
    both = {"baseline": run.baseline, "LW-DNA": run.found}
    return {name: one for name, one in both.items() if one is not None}


def _class_parts(run: RunFiles) -> tuple[Classes | None, Samples | None]:
    """Return what is shown of classes, and images: of networks that were judged on the same."""
    known = {
        name: one.predictions
        for name, one in _trainings(run).items()
        if one.predictions is not None
    }
    if known and not same_examples(known.values()):
        return None, None
    names = run.data.classes if run.data is not None else None
    sheet = next((one.sheet for one in _trainings(run).values() if one.sheet is not None), None)
    told = classes(known.get("baseline"), known.get("LW-DNA"), names)
    return told, samples(known, sheet, names)


def _render(run: RunFiles) -> str:
    told = answer(run)
    baseline, found = figures_of(run)
    groups = run.search.groups if run.search is not None else ()
    if not groups and run.baseline is not None and run.found is not None:
        groups = groups_between(run.baseline.architecture, run.found.architecture)
    layers = run.search.layers if run.search is not None else ()
    law = run.search.law if run.search is not None else None
    tracking = tracking_view(run.baseline, run.found)
    told_classes, told_samples = _class_parts(run)
    recipes = provenance.recipes(run)
    return render(
        "report.html.j2",
        styles=("report.css",),
        script="report.js",
        network=run.network.name if run.network is not None else None,
        subject="baseline and LW-DNA" if found is not None else "baseline",
        provenance="How it was found" if found is not None else "How it was trained",
        answer=told,
        about=provenance.about(run.data, run.input_size, provenance.start_of(run)),
        budget_note=little_to_gain(run.search.budget) if run.search is not None else "",
        protocol_differences=provenance.differences(run),
        found=found is not None,
        machine=provenance.machine(run),
        groups=group_table(groups) if groups else None,
        layers=layer_table(layers) if layers else None,
        criterion=criterion(groups, run.search.threshold) if run.search is not None else None,
        criterion_name=run.search.criterion if run.search is not None else "",
        law=law_view(law, cost_in_words(baseline or {}, found or {})),
        proxied=law is not None and bool(law.proxy),
        trials=trial_chart(run.search.trials) if run.search is not None else None,
        panels=curves(run.baseline, run.found),
        tracking=tracking,
        classes=told_classes,
        samples=told_samples,
        examples=_examples(run, tracked=tracking is not None),
        made=provenance.made(recipes[-1][1]) if recipes else [],
        facts=provenance.facts(run),
        commands=provenance.commands(run),
        recipes=recipes,
    )
