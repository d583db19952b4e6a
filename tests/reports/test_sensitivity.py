"""The page of a sensitivity analysis, and its lines for a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lwdna.engine.task import Metric, describe
from lwdna.errors import FileError
from lwdna.reports import (
    read_sensitivity,
    sensitivity_columns,
    sensitivity_evidence,
    sensitivity_lines,
    sensitivity_words,
    write_report,
)
from tests.reports.conftest import RECIPE, TOP1

SHARES = (0.5, 0.25)
VALUES = {
    # accuracies at both shares, and MACs of 1000
    "stem": ((70.0, 30.0), (900, 850)),  # 20 points for 10 %
    "cheap": ((89.0, 85.0), (800, 700)),  # 1 point for 20 %
    "lucky": ((90.25, 88.0), (960, 940)),  # nothing for 4 %
    "free": ((90.0, 90.0), (950, 925)),  # nothing for 5 %
    "broken": ((None, 10.0), (990, 980)),
    "idle": ((90.0, 80.0), (1000, 1000)),  # no MACs depend on it
}


def written(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        **describe(TOP1),
        "network": "lwdna:resnet20_cifar",
        "examples": 400,
        "seed": 3,
        "macs": 1000,
        "params": 500,
        "dense": {"top1": 90.5},
        "recalibrated": {"top1": 90.0},
        "count": len(VALUES),
        "groups": [
            {
                "name": name,
                "width": 8,
                "slices": [
                    {
                        "share": share,
                        "width": int(8 * share),
                        "macs": cost,
                        "params": 400,
                        "metrics": {"top1": value},
                        "error": 1.5,
                    }
                    for share, value, cost in zip(SHARES, values, macs, strict=True)
                ],
            }
            for name, (values, macs) in VALUES.items()
        ],
        "settings": {"criterion": "snip", "shares": list(SHARES)},
        **changes,
    }
    (folder / "sensitivity.json").write_text(json.dumps(record))
    (folder / "recipe.yaml").write_text(RECIPE.format(name="lwdna:resnet20_cifar", epochs=40))
    return folder


def test_groups_are_ranked_by_what_a_percent_of_the_macs_costs(tmp_path: Path) -> None:
    found = read_sensitivity(written(tmp_path))
    assert sensitivity_columns(found) == [
        *("group", "width", "1/2", "1/4"),
        *("MACs saved\nat 1/2", "per 1 %\nof MACs"),
    ]
    assert sensitivity_lines(found) == [
        ["free", "8", "0.00", "0.00", "5.0 %", "0.00"],
        ["lucky", "8", "+0.25", "−2.00", "4.0 %", "+0.06"],
        ["cheap", "8", "−1.00", "−5.00", "20.0 %", "−0.05"],
        ["stem", "8", "−20.00", "−60.00", "10.0 %", "−2.00"],
        ["broken", "8", "–", "−80.00", "1.0 %", "–"],
        ["idle", "8", "0.00", "−10.00", "0.0 %", "–"],
    ]
    assert sensitivity_words(found) == (
        "Cut to 1/2 of its units, free loses least top-1 accuracy for what it saves "
        "(0.00 points for 5.0 % of the MACs), and broken most (no finite number "
        "for 1.0 % of the MACs)."
    )
    said = sensitivity_evidence(found)
    assert "(90.00 %; as it is 90.50 %), on 400 validation examples" in said
    assert "at most 1.50 points" in said


def test_a_metric_of_which_less_is_better(tmp_path: Path) -> None:
    metric = Metric("top1", "error", "%", higher_is_better=False)
    lines = sensitivity_lines(read_sensitivity(written(tmp_path, **describe(metric))))
    assert [line[0] for line in lines] == ["cheap", "stem", "free", "lucky", "broken", "idle"]
    assert lines[3] == ["lucky", "8", "+0.25", "−2.00", "4.0 %", "+0.06"]


def test_the_page_has_the_numbers_and_a_line_per_group(tmp_path: Path) -> None:
    path = write_report(written(tmp_path))
    html = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.html"
    row = html.split('<tr data-group="stem">')[1].split("</tr>")[0]
    assert re.findall(r'data-value="([-\d.e+]+)"', row) == ["8", "-20.0", "-60.0", "10", "3.0"]
    assert row.count("worse") == 2  # by more than twice the standard error
    assert html.split('<tr data-group="cheap">')[1].split("</tr>")[0].count("worse") == 1
    picture = html.split('id="slices"')[1].split("</svg>")[0]
    assert sorted(re.findall(r'data-line="(\w+)"', picture)) == sorted(VALUES)
    # those that lose most at the smallest share have names, the others do not
    assert re.findall(r'class="on-mark"[^>]*>(\w+)<', picture) == ["stem", "broken", "idle"]
    places = [float(y) for y in re.findall(r'class="on-mark" x="[\d.]+" y="([\d.]+)"', picture)]
    assert min(abs(a - b) for a in places for b in places if a is not b) > 20
    assert "1/4 (2): 30.00 %" in html
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html))
    assert (facts["criterion"], facts["seed"]) == ("snip", "3")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    html = write_report(written(tmp_path, count=9)).read_text(encoding="utf-8")
    assert "3 of 9 groups have not been measured yet." in html
    with pytest.raises(FileError, match="has been measured yet"):
        write_report(written(tmp_path, groups=[]))
