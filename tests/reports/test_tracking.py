"""Trackers in the report of a run and on the page of a comparison, from curves given by hand."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lwdna.engine.task import Metric
from lwdna.errors import FileError
from lwdna.reports import write_report

from .browser import BROWSER, browse, driven, looked_at
from .studies import Arm, make_study

Maker = Callable[..., Path]

THRESHOLDS = {
    "success": [0, 0.25, 0.5, 1],
    "precision": [0, 20, 50],
    "normalised_precision": [0, 0.2, 0.4],
}


def curves(auc: float | None, precision: float | None = 0.5) -> dict[str, Any]:
    return {
        "success": [1.0, 0.75, 0.5, 0.0],
        "precision": [0.0, precision, 1.0],
        "normalised_precision": [0.0, 0.25, 0.75],
        "auc": auc,
    }


def leave(training: Path, name: str, toolkit: str = "otb", **sequences: float | None) -> None:
    """Write what ``TrackingTask.show`` leaves: a record, and pictures of one sequence."""
    folder = training / "examples"
    folder.mkdir(parents=True)
    record = {
        "toolkit": toolkit,
        "thresholds": THRESHOLDS,
        "sequences": {sequence: curves(auc) for sequence, auc in sequences.items()},
        "mean": curves(sum(auc or 0 for auc in sequences.values()) / len(sequences), 0.125),
    }
    (folder / "tracking.json").write_text(json.dumps(record))
    for kind in ("input", "target", "output"):
        content = f"{kind} {name if kind == 'output' else ''}"
        (folder / f"Car-{kind}.png").write_bytes(content.encode())


def section(html: str, name: str) -> str:
    return html.split(f'<section id="{name}">')[1].split("</section>")[0]


def table(html: str) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows, the last of which is that of the mean."""
    cells = r"<t[dh][^>]*>(.*?)</t[dh]>"
    first, *rows = section(html, "tracking").split('id="targets"')[1].split("<tr")[1:]
    return re.findall(cells, first), [re.findall(cells, row) for row in rows]


def pictures(html: str) -> list[tuple[str, str]]:
    """Return title and content of all pictures."""
    found = re.findall(
        r'base64,([^"]*)" alt="[^"]*"><figcaption>(.*?)</figcaption>', section(html, "examples")
    )
    return [(title, base64.b64decode(content).decode()) for content, title in found]


@pytest.fixture
def tracked(job_of: Maker) -> Path:
    """A job whose trainings tracked two targets, the baseline a third one, too."""
    folder = job_of()
    leave(folder / "baseline", "before", Car=60.0, Bag=40.0, Old=None)
    leave(folder / "lwdna", "after", Car=70.0, Bag=30.0)
    return folder


def test_targets_stand_in_a_table_with_their_mean(tracked: Path) -> None:
    headings, rows = table(write_report(tracked).read_text())
    assert headings == [
        "target",
        "success AUC<br>baseline",
        "success AUC<br>LW-DNA",
        "precision, 20 px<br>baseline",
        "precision, 20 px<br>LW-DNA",
        "normalised, 0.2<br>baseline",
        "normalised, 0.2<br>LW-DNA",
    ]
    assert rows == [
        ["Car", "60.0", "70.0", "50.0", "50.0", "25.0", "25.0"],
        ["Bag", "40.0", "30.0", "50.0", "50.0", "25.0", "25.0"],
        ["Old", "–", "–", "50.0", "–", "25.0", "–"],
        ["all", "33.3", "50.0", "12.5", "12.5", "25.0", "25.0"],
    ]


def test_three_curves_are_drawn_for_each_network(tracked: Path) -> None:
    part = section(write_report(tracked).read_text(), "tracking")
    assert re.findall(r"<figcaption>(.*?), % of frames", part) == [
        "Success", "Precision", "Normalised precision"
    ]  # fmt: skip
    lines = re.findall(r'class="line (\w+)" points="([^"]*)"', part)
    assert [key for key, _ in lines] == 3 * ["base", "found"]
    # charts begin at 46 and 10 and are 322 wide and 196 high: shares of 1, 3/4, 1/2 and 0
    assert lines[0][1].split() == ["46,10", "126.5,59", "207,108", "368,206"]
    assert "<title>LW-DNA, overlap above 0.25: 75.0 %</title>" in part
    assert "<title>baseline, at most 20 pixels: 12.5 %</title>" in part
    assert re.findall(r'<p class="note">([^:<]*): baseline ([\d.]+), LW-DNA ([\d.]+)', part) == [
        ("area, %", "33.3", "50.0"), ("at 20 pixels", "12.5", "12.5"), ("at 0.2", "25.0", "25.0"),
    ]  # fmt: skip
    assert "judged by the rules of OTB:" in part
    assert re.findall(r'text-anchor="middle">([^\d<]+)</text>', part) == [
        "overlap above",
        "distance of the centres in pixels, at most",
        "distance in parts of the target’s size, at most",
    ]  # fmt: skip


def test_frames_stand_below_each_other_the_truth_before_the_networks(tracked: Path) -> None:
    html = write_report(tracked).read_text()
    assert pictures(html) == [
        ("input", "input "),
        ("ground truth", "target "),
        ("baseline", "output before"),
        ("LW-DNA", "output after"),
    ]
    assert '<div class="frames">' in html
    assert "Frames of validation sequences" in html


def test_a_training_alone(tracked: Path) -> None:
    html = write_report(tracked / "baseline").read_text()
    headings, rows = table(html)
    assert headings[1:] == [
        "success AUC<br>baseline",
        "precision, 20 px<br>baseline",
        "normalised, 0.2<br>baseline",
    ]
    assert rows[0] == ["Car", "60.0", "50.0", "25.0"]


def test_curves_by_other_rules_are_not_drawn_into_one_chart(job_of: Maker) -> None:
    folder = job_of()
    leave(folder / "baseline", "before", Car=60.0)
    leave(folder / "lwdna", "after", "got10k", Car=70.0)
    headings, rows = table(write_report(folder).read_text())
    assert headings[1] == "mean overlap (AO)<br>LW-DNA"
    assert rows[0] == ["Car", "70.0", "50.0", "25.0"]


def test_frames_that_nobody_judged_part_a_curve(tracked: Path) -> None:
    path = tracked / "lwdna" / "examples" / "tracking.json"
    record = json.loads(path.read_text())
    record["mean"]["precision"] = [0.0, None, 1.0]
    path.write_text(json.dumps(record))
    part = section(write_report(tracked).read_text(), "tracking")
    points = re.findall(r'class="line found" points="([^"]*)"', part)
    assert [len(piece.split()) for piece in points] == [4, 1, 1, 3]
    assert "at 20 pixels: baseline 12.5, LW-DNA –" in part


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": {**THRESHOLDS, "success": [0, 1]}}, "not as many values as thresholds"),
        ({"thresholds": {**THRESHOLDS, "precision": [0, 9, 9]}}, "are no increasing numbers"),
        ({"thresholds": {}}, "thresholds of success are no increasing numbers"),
        ({"mean": None}, "mean"),
    ],
)
def test_a_damaged_record_is_named(tracked: Path, change: dict[str, Any], message: str) -> None:
    path = tracked / "lwdna" / "examples" / "tracking.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FileError, match=rf"tracking\.json is damaged.*{message}"):
        write_report(tracked)


def test_names_of_targets_cannot_become_markup(job_of: Maker) -> None:
    folder = job_of()
    leave(folder / "lwdna", "after", **{"<script>1</script>": 3.0})
    html = write_report(folder).read_text()
    assert "<script>1" not in html
    assert "&lt;script&gt;1" in html


def comparison(tmp_path: Path) -> Path:
    success = Metric("success", "success AUC", "%")
    outcomes = {0: [50.0, 60.0], 1: [52.0, 61.0]}
    arms = {name: Arm(outcomes, {"stem": 5}) for name in ("baseline", "lwdna")}
    arms["late"] = Arm({1: outcomes[1]}, {"stem": 5})
    return make_study(tmp_path / "study", success, arms, seeds=2)


def test_a_comparison_shows_the_frames_of_all_arms_with_one_seed(tmp_path: Path) -> None:
    """Seed 1 is the first with which all arms are finished."""
    folder = comparison(tmp_path)
    for arm, seed in (("baseline", 0), ("baseline", 1), ("lwdna", 1), ("late", 1)):
        training = folder / "cells" / arm / f"seed{seed}" / "training"
        leave(training, f"{arm} {seed}", Car=50.0)
    html = write_report(folder).read_text()
    assert pictures(html) == [
        ("input", "input "),
        ("ground truth", "target "),
        ("baseline", "output baseline 1"),
        ("lwdna", "output lwdna 1"),
        ("late", "output late 1"),
    ]
    assert '<div class="frames">' in html
    assert "Trainings with seed 1." in section(html, "examples")
    assert '<a href="#examples">' in html


def test_a_comparison_without_pictures_has_no_section_for_them(tmp_path: Path) -> None:
    assert "#examples" not in write_report(comparison(tmp_path)).read_text()


def test_a_comparison_of_restored_images_shows_them_beside_each_other(tmp_path: Path) -> None:
    folder = comparison(tmp_path)
    examples = folder / "cells" / "lwdna" / "seed1" / "training" / "examples"
    examples.mkdir()
    (examples / "a-output.png").write_bytes(b"restored")
    html = write_report(folder).read_text()
    assert pictures(html) == [("lwdna", "restored")]
    assert '<div class="examples">' in html


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_strips_scroll_on_a_phone_and_targets_are_sorted(tracked: Path, tmp_path: Path) -> None:
    """Strips are as wide as they are; the page is no wider than the phone."""
    for path in tracked.glob("*/examples/*.png"):
        Image.new("RGB", (1036, 160)).save(path)
    page = write_report(tracked)
    assert set(map(tuple, looked_at([page], [360]).values())) == {()}
    script = """
      const order = () => [...document.querySelectorAll("#targets tbody tr")]
        .map((row) => row.dataset.target).join();
      document.querySelectorAll("#targets th[data-sort]")[1].click();
      document.body.dataset.order = order();
      document.body.dataset.width = document.querySelector(".frames img").clientWidth;
    """
    dom = browse(driven(page, script), tmp_path / "other", "--dump-dom").stdout
    assert 'data-order="Car,Bag,Old"' in dom
    assert 'data-width="1036"' in dom
