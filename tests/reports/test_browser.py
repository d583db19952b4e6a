"""The report in a real browser: that it draws, logs no error and asks for nothing."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lwdna.engine.task import Metric
from lwdna.reports import write_report
from tests.reports.browser import BROWSER, browse, driven, looked_at

from . import test_sensitivity, test_slim_page
from .conftest import chain, make_job, resnet50_like
from .studies import Arm, make_study
from .test_classes import chosen, leave, name_classes
from .test_study import TOP1, shifted

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

# Colours of the style sheet: the page, the found network's bars and the baseline's.
LIGHT = {"page": (255, 255, 255), "found": (11, 104, 196), "base": (154, 164, 174)}
DARK = {"page": (20, 23, 27), "found": (88, 166, 255), "base": (123, 133, 144)}


def test_sections_tables_and_bars_are_there(job: Path, tmp_path: Path) -> None:
    dom = browse(write_report(job), tmp_path / "profile", "--dump-dom").stdout
    assert re.findall(r"<h2>(.*?)</h2>", dom) == [
        "Summary",
        "Widths per group",
        "Cost per layer",
        "The criterion",
        "How it was found",
    ]
    assert "+0.8 points at" in dom
    assert dom.count("<tr data-group=") == 2 * 37
    assert dom.count("<tr data-layer=") == 53 + 1 + 1
    assert '<td>top-1 accuracy</td><td class="number">76.15 %</td>' in dom
    assert dom.count("<polyline") == 6


def test_bars_have_the_lengths_of_their_widths_on_screen(job: Path, tmp_path: Path) -> None:
    """Measured by the browser: found to baseline as the numbers beside the bars say."""
    page = driven(
        write_report(job),
        """
        const faults = [];
        for (const row of document.querySelectorAll("#group-bars tbody tr")) {
          const [baseline, found] = [3, 4].map((cell) => Number(row.cells[cell].dataset.value));
          for (const cell of [1, 2]) {
            const length = (kind) =>
              row.cells[cell].querySelector(kind).getBoundingClientRect().width;
            const shown = length(".found") / length(".base");
            if (!(Math.abs(shown / (found / baseline) - 1) < 0.02)) faults.push(row.dataset.group);
          }
        }
        document.body.dataset.faults = faults.join(" ") || "none";
        document.body.dataset.fetched = performance.getEntriesByType("resource").length;
        """,
    )
    dom = browse(page, tmp_path / "profile", "--dump-dom", "--window-size=1200,900").stdout
    body = re.search(r"<body[^>]*>", dom)
    assert body is not None
    assert 'data-faults="none"' in body[0]
    assert 'data-fetched="0"' in body[0]


def test_a_click_on_a_heading_sorts_and_a_third_restores(job: Path, tmp_path: Path) -> None:
    page = driven(
        write_report(job),
        """
        const heading = document.querySelectorAll("#group-bars th[data-sort]")[1];
        const order = () => [...document.querySelectorAll("#group-bars tbody tr")]
          .map((row) => row.cells[4].dataset.value).join(",");
        document.body.dataset.first = order();
        heading.click(); document.body.dataset.down = order();
        heading.click(); document.body.dataset.up = order();
        heading.click(); document.body.dataset.restored = order();
        """,
    )
    dom = browse(page, tmp_path / "profile", "--dump-dom").stdout
    orders = {
        name: [int(value) for value in values.split(",")]
        for name, values in re.findall(r'data-(first|down|up|restored)="([\d,]+)"', dom)
    }
    assert orders["down"] == sorted(orders["first"], reverse=True) != orders["first"]
    assert orders["up"] == sorted(orders["first"])
    assert orders["restored"] == orders["first"]


@pytest.mark.parametrize(("scheme", "colours"), [("1", LIGHT), ("0", DARK)])
def test_bars_are_painted_in_light_and_dark(
    job: Path, tmp_path: Path, scheme: str, colours: dict[str, tuple[int, int, int]]
) -> None:
    picture = tmp_path / "report.png"
    browse(
        write_report(job),
        tmp_path / "profile",
        "--window-size=1200,2000",
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--screenshot={picture}",
    )
    with Image.open(picture) as image:
        counts = {colour: n for n, colour in image.convert("RGB").getcolors(1 << 24) or []}
    assert max(counts, key=counts.__getitem__) == colours["page"]
    assert counts[colours["found"]] > 20_000
    assert counts[colours["base"]] > 10_000


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A job that classifies, one that restores, a comparison, a slim run, an analysis."""
    folder = tmp_path_factory.mktemp("pages")
    classes = [f"a class of some length, {number}" for number in range(11)]
    true = [number for number in range(11) for _ in range(3)]
    shuffled = np.random.default_rng(5).integers(0, 11, 33).tolist()
    job = folder / "job"
    record = make_job(job, resnet50_like())
    name_classes(job, classes, 1300, 50)
    leave(job / "baseline", chosen(true, shuffled), pictures=33)
    leave(job / "lwdna", chosen(true, true[:20] + shuffled[20:]))
    restored = folder / "restored"
    make_job(restored, chain(3, 16))
    for name in ("baseline", "lwdna"):
        examples = restored / name / "examples"
        examples.mkdir()
        for kind in ("input", "output", "target"):
            Image.new("RGB", (96, 96), (90, 120, 30)).save(examples / f"Set5-bird-{kind}.png")
        figures = {"Set5-bird": {"input": 31.25, "output": 29.5}}
        told = {"metric": asdict(Metric("psnr", "PSNR", "dB")), "examples": figures}
        (examples / "figures.json").write_text(json.dumps(told))
    arms = {
        name: Arm(shifted(place / 4), {group["name"]: group["found"] for group in record["groups"]})
        for place, name in enumerate(("baseline", "lwdna", "uniform", "reversed"))
    }
    study = make_study(folder / "study", TOP1, arms, seeds=3)
    name_classes(study, classes, 1300, 50)
    for arm in arms:
        for seed in range(3):
            leave(study / "cells" / arm / f"seed{seed}" / "training",
                  chosen(true, shuffled if arm == "lwdna" else true), pictures=33)  # fmt: skip
    runs = [job, restored, study]
    for name, write in (("slim", test_slim_page.written), ("analysis", test_sensitivity.written)):
        runs.append(write(folder / name))
    return [write_report(run, folder / f"page{number}.html") for number, run in enumerate(runs)]


def test_nothing_is_cut_or_overlaps_on_a_desk_and_on_a_phone(pages: list[Path]) -> None:
    """Unfolded, light and dark."""
    found = looked_at(pages, (390, 1280))
    assert {name: faults for name, faults in found.items() if faults} == {}
