"""The page of a slim run, from a record with numbers that are easy to follow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lwdna.engine.task import Metric, describe
from lwdna.errors import FileError
from lwdna.reports import write_report
from tests.reports.conftest import RECIPE, TOP1, TOP5

SIZES = {"dense": (125, 850, 7.5, 3400), "sliced": (50, 340, 4.5, None)}
SIZES |= {"recalibrated": SIZES["sliced"], "tuned": (50, 340, 4.5, 1360)}
VALUES = {"dense": 93.5, "sliced": 11.25, "recalibrated": 71.5, "tuned": 93.2}
GROUPS = {"stem": (16, 16), "stages.0.conv1": (32, 8), "stages.1.conv1": (64, 48)}


def slim_record(**changes: Any) -> dict[str, Any]:
    """A network of 125 M MACs and 850 k parameters, slim at 2/5 of both."""
    stages = [
        {
            "name": name,
            "metrics": {"top1": VALUES[name], "top5": 99.0, "val_loss": 0.25},
            "macs": macs * 10**6,
            "params": params * 10**3,
            "latency_ms": latency,
            "file_bytes": size and size * 10**3,
        }
        for name, (macs, params, latency, size) in SIZES.items()
    ]
    return {
        "stages": stages,
        **describe(TOP1, TOP5),
        "groups": [
            {"name": name, "dense": dense, "found": found, "scores": [0.5] * dense}
            for name, (dense, found) in GROUPS.items()
        ],
        "budget": {"macs": 0.4, "of": "baseline"},
        "criterion": "snip",
        "keep": {"rule": "knapsack"},
        "schedule": {"kind": "iterative", "rounds": 2},
        "rounds": [
            {"macs": 80 * 10**6, "params": 510 * 10**3, "metrics": {"top1": 88.75}},
            {"macs": 50 * 10**6, "params": 340 * 10**3, "metrics": {"top1": 71.5}},
        ],
        "seed": 7,
        "versions": {"lwdna": "0.1.0"},
        "machine": {"cpu": "x86_64"},
        **changes,
    }


def written(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "slim.json").write_text(json.dumps(slim_record(**changes)))
    results = {**describe(TOP1, TOP5), "top1": 93.2, "top5": 99.0, "examples": 10_000}
    (folder / "results.json").write_text(json.dumps(results))
    epochs = [{"epoch": n, "train_loss": 1 / (n + 1), "top1": 80.0 + n} for n in range(3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in epochs))
    (folder / "recipe.yaml").write_text(RECIPE.format(name="lwdna:resnet56_cifar", epochs=40))
    return folder


def page(folder: Path, **changes: Any) -> str:
    html = write_report(written(folder, **changes)).read_text(encoding="utf-8")
    return html.replace("\u00a0", " ")


def rows(html: str, table: str) -> list[list[str]]:
    body = html.split(f'id="{table}"')[1].split("</table>")[0].split("<tbody>")[1]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>")[:-1]]


def cut(count: int) -> list[dict[str, Any]]:
    """The first so many stages."""
    return slim_record()["stages"][:count]  # type: ignore[no-any-return]


def test_the_headline_says_what_was_measured_and_no_more(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert (
        "The slim network is 0.30 points worse than the dense one on 10000 validation examples "
        "with 60 % fewer MACs and 60 % fewer parameters: top-1 accuracy 93.20 %, 93.50 % before."
        in html
    )
    assert "One network, made slim once (seed 7): results also differ from seed to seed." in html
    # sqrt((93.5 * 6.5 + 93.2 * 6.8) / 10000)
    assert "a standard error of 0.35 points if the two err independently" in html


def test_stages_stand_side_by_side_with_ratios(tmp_path: Path) -> None:
    assert rows(page(tmp_path), "stage-table") == [
        ["top-1 accuracy", "93.50 %", "11.25 %", "71.50 %", "93.20 %", "−0.30 points", "–"],
        ["top-5 accuracy", "99.00 %", "99.00 %", "99.00 %", "99.00 %", "0.00 points", "–"],
        ["MACs", "125 M", "50.0 M", "50.0 M", "50.0 M", "−60.0 %", "0.4"],
        ["parameters", "850 k", "340 k", "340 k", "340 k", "−60.0 %", "0.4"],
        ["weights file", "3.40 MB", "–", "–", "1.36 MB", "−60.0 %", "0.4"],
        ["latency", "7.50 ms", "4.50 ms", "4.50 ms", "4.50 ms", "−40.0 %", "0.6"],
    ]


def test_widths_rounds_picture_and_recipe(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert "Of 3 groups, 2 became narrower, and 1 kept the width." in html
    row = html.split('<tr data-group="stages.0.conv1">')[1].split("</tr>")[0]
    assert re.findall(r'data-value="([\d.]+)"', row) == ["32", "8", "0.25"]
    assert "stages.0.conv1: 32 channels in the dense network, 8 found" in row
    assert rows(html, "round-table") == [
        ["1", "80.0 M", "−36.0 %", "510 k", "−40.0 %", "88.75 %"],
        ["2", "50.0 M", "−60.0 %", "340 k", "−60.0 %", "71.50 %"],
    ]
    picture = html.split('id="stage-picture"')[1].split("</svg>")[0]
    found = re.findall(r'<circle class="found" cx="([\d.]+)" cy="([\d.]+)"', picture)
    places = [(float(x), float(y)) for x, y in found]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    # below the dense network by so much on one scale
    lost = [93.5 - value for value in VALUES.values()]
    falls = [y - places[0][1] for _, y in places]
    assert falls == pytest.approx([one * falls[1] / lost[1] for one in lost], abs=0.02)
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html))
    assert facts["budget macs"] == "0.4"
    assert facts["keep rule"] == "knapsack"
    assert facts["schedule kind"] == "iterative"
    assert facts["seed"] == "7"
    assert "slim, epoch 2: 82.00" in html
    assert "<details><summary>Recipe</summary>" in html
    assert "name: lwdna:resnet56_cifar" in html


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (1, "The dense network reaches top-1 accuracy 93.50 % on 10000 validation examples; it"),
        (3, "The recalibrated network, not fine-tuned, is 22.00 points worse than the dense one"),
    ],
)
def test_what_is_not_done_yet_is_left_out(tmp_path: Path, stages: int, said: str) -> None:
    folder = written(tmp_path, stages=cut(stages), groups=[], rounds=[])
    (folder / "metrics.jsonl").unlink()
    html = write_report(folder).read_text(encoding="utf-8").replace("\u00a0", " ")
    assert said in html
    assert re.findall(r'<section id="(\w+)"', html) == ["stages", "provenance"]
    assert len(rows(html, "stage-table")[0]) == (2 if stages == 1 else 1 + stages + 2)


def test_a_metric_of_which_less_is_better(tmp_path: Path) -> None:
    metric = Metric("mae", "MAE", digits=3, higher_is_better=False)
    stages = [
        {"name": name, "metrics": {"mae": value}, "macs": 100, "params": 10}
        for name, value in (("dense", 0.25), ("tuned", 0.24))
    ]
    html = page(tmp_path, stages=stages, **describe(metric))
    assert (
        "is 0.010 better than the dense one on 10000 validation examples with as many MACs and "
        "as many parameters" in html
    )
    assert "standard error" not in html


def test_a_metric_that_is_no_number_is_not_compared(tmp_path: Path) -> None:
    stages = cut(4)
    stages[-1]["metrics"]["top1"] = None
    html = page(tmp_path, stages=stages)
    assert "is not comparable: the top-1 accuracy of the slim one is not known." in html
    assert "tuned: The top-1 accuracy is not a finite number." in html


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"stages": []}, "damaged at stages"), ({"stages": cut(4)[1:]}, "nothing of the dense")],
)
def test_a_damaged_record_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FileError, match=said):
        write_report(written(tmp_path, **changes))
