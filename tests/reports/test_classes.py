"""What reports say of classes and of single images, from choices made by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lwdna.errors import FileError
from lwdna.reports import Predictions, class_results, write_predictions, write_report
from lwdna.tasks.classification.sheet import write_sheet

from .conftest import chain, make_job
from .studies import Arm, make_study
from .test_study import TOP1, WIDTHS, shifted

NAMES = ["ant", "bee", "cat", "dog"]


def chosen(true: list[int], taken: list[int], probability: float = 0.75) -> Predictions:
    return Predictions(np.array(true), np.array(taken), np.full(len(true), probability))


def leave(training: Path, predictions: Predictions, pictures: int = 0) -> None:
    """Write what a classifier leaves; picture i is of image i."""
    training.mkdir(parents=True, exist_ok=True)
    write_predictions(training, predictions)
    if pictures:
        tiles = [np.full((8, 8, 1), 5 * i, dtype=np.uint8) for i in range(pictures)]
        write_sheet(training / "examples" / "sheet.jpg", range(pictures), tiles)


def name_classes(folder: Path, names: list[str], train: int, val: int) -> None:
    counts = {"train": {"counts": [train] * len(names)}, "val": {"counts": [val] * len(names)}}
    (folder / "data.json").write_text(json.dumps({"classes": names, **counts}))


def test_results_name_the_worst_classes_and_what_is_taken_for_what() -> None:
    """Of two ants one is a bee; of three bees two are cats and one says nothing; cats are right."""
    found = chosen([0, 0, 1, 1, 1, 2], [0, 1, 2, -1, 2, 2])
    told = class_results(found, NAMES)
    assert told["worst"] == [
        {"class": "bee", "accuracy": 0.0, "examples": 3},
        {"class": "ant", "accuracy": 50.0, "examples": 2},
        {"class": "cat", "accuracy": 100.0, "examples": 1},
    ]
    assert told["confusions"] == [
        {"true": "bee", "chosen": "cat", "count": 2},
        {"true": "ant", "chosen": "bee", "count": 1},
    ]
    assert class_results(found, None)["worst"][0]["class"] == "1"


def test_a_report_shows_accuracies_of_both_networks_the_worst_first(tmp_path: Path) -> None:
    make_job(tmp_path, chain(2, 16))
    true = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    leave(tmp_path / "baseline", chosen(true, [0, 0, 0, 0, 1, 1, 1, 3, 0, 0, 2, 2]))
    leave(tmp_path / "lwdna", chosen(true, [0, 0, 0, 0, 1, 1, 3, 3, 2, 2, 2, 2]))
    name_classes(tmp_path, NAMES, 13, 4)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "4 classes · 52 training and 16 validation images · input 3 × 224 × 224" in html
    section = html.split('<section id="classes">')[1].split("</section>")[0]
    assert re.findall(r'data-class="(\w+)"', section) == ["bee", "cat", "ant"]
    row = section.split('data-class="bee"')[1].split("</tr>")[0]
    assert re.findall(r'data-value="([-\d.]+)"', row) == ["4", "75.0", "50.0", "-25.0"]
    assert "−25.0" in row
    assert re.findall(r"<tr><td>(\w+)</td><td>(\w+)</td>.*?>(\d+)<.*?>(\d+)<", section) == [
        ("bee", "dog", "1", "2"), ("cat", "ant", "2", "0"),
    ]  # fmt: skip
    matrices = section.split('class="matrix"')[1:]
    assert [re.search(r"<caption>(.*?)<", one)[1] for one in matrices] == ["baseline", "LW-DNA"]  # type: ignore[index]
    assert '--share:0.5">50</td>' in matrices[0].split("<tr>")[4]
    assert "1 of 4 images of bee taken for dog" in matrices[0]
    # 11 of 12 right on average, 4 images each: 1.96 sqrt(0.79 x 0.21 / 4)
    assert "known to about ±40 points" in section


def test_of_many_classes_only_the_worst_are_shown(tmp_path: Path) -> None:
    make_job(tmp_path, chain(2, 16))
    true = [number for number in range(23) for _ in range(2)]
    taken = [number if number > 4 else 22 for number in true]
    leave(tmp_path / "lwdna", chosen(true, taken))
    html = write_report(tmp_path).read_text(encoding="utf-8")
    section = html.split('<section id="classes">')[1].split("</section>")[0]
    assert "The 10 of 23 classes that are known worst." in section
    assert re.findall(r'data-class="(\w+)"', section)[:6] == ["0", "1", "2", "3", "4", "5"]
    assert section.count("data-class=") == 10
    assert 'class="matrix"' not in section


def samples_of(html: str) -> list[str]:
    part = html.split('<div class="samples')[1].split("</div>")[0]
    return [" ".join(re.sub(r"<[^>]+>", " ", one).split()) for one in part.split("<figure>")[1:]]


def test_images_about_which_the_networks_differ_come_first(tmp_path: Path) -> None:
    """Of 17 images the last is right for LW-DNA alone, the first for the baseline alone."""
    make_job(tmp_path, chain(2, 16))
    true = [0] * 17
    before = [0, *[0] * 8, *[1] * 7, 1]
    after = [2, *[0] * 8, *[1] * 7, 0]
    leave(tmp_path / "baseline", chosen(true, before, 0.5), pictures=17)
    leave(tmp_path / "lwdna", chosen(true, after, 0.875))
    name_classes(tmp_path, NAMES, 1, 1)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    shown = samples_of(html)
    assert shown[0] == "ant ✓ baseline: ant (50 %) ✗ LW-DNA: cat (88 %)"
    assert shown[1] == "ant ✗ baseline: bee (50 %) ✓ LW-DNA: ant (88 %)"
    assert [one.count("✗") for one in shown[2:]] == [2] * 7 + [0] * 3
    assert (
        "Of all 17 validation images: both right 8, only baseline right 1, only LW-DNA right 1, "
        "both wrong 7." in html
    )
    (tmp_path / "baseline" / "examples" / "sheet.jpg").unlink()
    assert '<div class="samples' not in write_report(tmp_path).read_text(encoding="utf-8")


def test_networks_judged_on_other_images_are_not_compared_image_by_image(tmp_path: Path) -> None:
    make_job(tmp_path, chain(2, 16))
    leave(tmp_path / "baseline", chosen([0, 1], [0, 1]), pictures=2)
    leave(tmp_path / "lwdna", chosen([0, 2], [0, 1]))
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert '<section id="classes">' not in html
    assert '<div class="samples' not in html


def test_damaged_choices_are_named(tmp_path: Path) -> None:
    make_job(tmp_path, chain(2, 16))
    leave(tmp_path / "lwdna", chosen([0, 1], [0, 1]))
    path = tmp_path / "lwdna" / "predictions.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"predictions\.safetensors: its contents changed"):
        write_report(tmp_path)


def test_a_comparison_answers_first_and_shows_images_of_two_arms(tmp_path: Path) -> None:
    """Seed by seed lwdna is 0.5, 0.5 and 0.5 points ahead."""
    arms = {
        "baseline": Arm(shifted(0), WIDTHS),
        "wide": Arm(shifted(0.25), WIDTHS, macs=1100),
        "lwdna": Arm(shifted(0.5), WIDTHS, macs=800, latency_ms=0.5),
        "late": Arm(shifted(0.25), WIDTHS),
    }
    folder = make_study(tmp_path / "study", TOP1, arms, seeds=3)
    name_classes(folder, NAMES, 3, 1)
    for arm, taken in (("baseline", [0, 0]), ("wide", [3, 3]), ("lwdna", [1, 1]), ("late", [2, 2])):
        for seed in range(3):
            place = folder / "cells" / arm / f"seed{seed}" / "training"
            leave(place, chosen([0, 1], taken), pictures=2)
    html = write_report(folder).read_text(encoding="utf-8")
    assert '<span class="badge">better over 3 seeds</span>' in html
    assert re.search(r'class="headline">lwdna is better than baseline: \+0.50 points', html)
    assert "<summary>4 more differences</summary>" in html
    tiles = html.split('<div class="tiles">')[1].split("</section>")[0]
    assert re.findall(r'class="figure">(.*?) <', tiles) == ["4.50 %", "800", "5.60 k", "0.500 ms"]
    assert "over 3 seeds and 4 examples" in tiles
    assert '<svg class="interval better"' in tiles
    assert samples_of(html) == [
        "ant ✓ baseline: ant (75 %) ✗ lwdna: bee (75 %)",
        "bee ✗ baseline: ant (75 %) ✓ lwdna: bee (75 %)",
    ]


def test_trained_weights_from_which_both_start_are_named(tmp_path: Path) -> None:
    make_job(tmp_path, chain(2, 16))
    name_classes(tmp_path, NAMES, 13, 4)
    for name in ("baseline", "lwdna"):
        path = tmp_path / name / "results.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pretrained": "a1_in1k"}))
    assert "from the pretrained weights a1_in1k" in write_report(tmp_path).read_text()
