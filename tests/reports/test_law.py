"""The law of a search by trials, from a record written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lwdna.reports import law_lines, little_to_gain, write_report
from lwdna.reports.law import law_sentence, law_view
from lwdna.reports.records import LawRecord

LAW: dict[str, Any] = {
    "features": [
        # Of exponents above zero, 0.08 in all, they are 3/4, 1/4 and -1/8; of costs, 2.0 in all,
        # 1/5, 1/2 and 3/10.
        {
            "name": "stage 3, inside",
            "groups": ["layer3.0.conv1", "layer3.1.conv1"],
            "exponent": 0.06,
            "error": 0.01,
            "cost": 0.4,
            "costs": {"macs": 0.4, "params": 0.75},
        },
        {"name": "stage 2", "groups": ["a"], "exponent": 0.02, "error": 0.02, "cost": 1.0},
        {"name": "stem", "groups": ["b"], "exponent": -0.01, "error": 0.005, "cost": 0.6},
    ],
    "noise": 0.012,
    "gain": {"mean": 0.031, "error": 0.01, "low": 0.011, "high": 0.05},
    "kept_baseline": False,
    "reason": "Its expected loss is lowest.",
    "budgets": [
        {
            "budget": {"macs": 1.0, "params": 1.0, "of": "baseline", "latency": None},
            "gain": {"mean": 0.004, "error": 0.01, "low": -0.02, "high": 0.02},
        },
        {"budget": {"macs": 1.0}, "gain": {"mean": 0.06, "error": 0.01}},
    ],
}
KEPT = {**LAW, "kept_baseline": True, "reason": "Its error is as large as what it would gain."}


def _with_law(job: Path, law: dict[str, Any] | None, **changes: Any) -> Path:
    path = job / "search" / "search.json"
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({**record, "law": law} if law is not None else record))
    return job


def _page(job: Path) -> str:
    return write_report(job).read_text(encoding="utf-8").replace("\u00a0", " ")


def _section(html: str) -> str:
    return html.split('<section id="law">')[1].split("</section>")[0]


def _row(html: str, name: str) -> str:
    return html.split(f'<tr data-feature="{name}">')[1].split("</tr>")[0]


def test_gains_are_told_in_percents_of_the_loss() -> None:
    """1 - exp(-0.031) is 3.05 %, 1 - exp(-0.05) is 4.88 %, 1 - exp(0.02) is -2.02 %."""
    law = LawRecord.model_validate(LAW)
    assert law_sentence(law) == (
        "The loss is expected to fall by 3.1 % (95 % interval 1.1 to 4.9)."
    )
    worse = {**LAW, "gain": {"mean": -0.02, "low": -0.05, "high": 0.011}}
    assert law_sentence(LawRecord.model_validate(worse)) == (
        "The loss is expected to rise by 2.0 % (95 % interval −5.1 to 1.1)."
    )
    kept = LawRecord.model_validate(KEPT)
    assert law_sentence(kept) == "The search kept the baseline: no gain is sure."
    assert law_sentence(LawRecord()) == ""


def test_the_section_says_the_gain_and_what_budgets_would_bring(job: Path) -> None:
    html = _page(_with_law(job, LAW))
    section = _section(html)
    assert '<a href="#law">The law</a>' in html
    record = json.loads((job / "search" / "search.json").read_text())["cost"]
    shares = [record["found"][what] / record["baseline"][what] for what in ("macs", "params")]
    fewer = [100 - 100 * share for share in shares]
    assert (
        "The loss is expected to fall by 3.1 % (95 % interval 1.1 to 4.9) at "
        f"{fewer[0]:.0f} % fewer MACs and {fewer[1]:.0f} % fewer parameters. Its expected loss"
    ) in section
    budgets = section.split('id="law-budgets"')[1]
    rows = re.findall(r"<tr><td>(.*?)</td><td .*?>(.*?)</td><td .*?>(.*?)</td>", budgets)
    assert rows == [
        ("1 × MACs, 1 × parameters", "0.4 %", "−2.0 to 2.0"),
        ("1 × MACs", "5.8 %", "–"),
    ]


def test_bars_show_what_a_part_is_worth_against_what_it_costs(job: Path) -> None:
    """Ends lie at -1/8 - 1.96 / 16 = -0.2475 and 3/4 + 1.96 / 8 = 0.995."""
    section = _section(_page(_with_law(job, LAW)))
    low, high = -0.5, 1.0  # round ends of the axis

    def place(share: float) -> float:
        return 100 * (share - low) / (high - low)

    wanted = {
        "stage 3, inside": (0.75, 0.2, 0.01 / 0.08, "more"),
        "stage 2": (0.25, 0.5, 0.02 / 0.08, ""),
        "stem": (-0.125, 0.3, 0.005 / 0.08, "less"),
    }
    assert re.findall(r'data-feature="(.*?)"', section) == list(wanted)
    for name, (worth, cost, error, pays) in wanted.items():
        row = _row(section, name)
        bars = {
            kind: (float(x), float(width))
            for kind, x, width in re.findall(r'<rect class="(\w+)" x="(.*?)" .*?width="(.*?)"', row)
        }
        assert bars["found"] == pytest.approx(
            (min(place(0), place(worth)), abs(place(worth) - place(0))), abs=0.02
        )
        assert bars["base"] == pytest.approx((place(0), place(cost) - place(0)), abs=0.02)
        ends = re.search(r'class="error" d="M([\d.]+) 6.5H([\d.]+)', row)
        assert ends is not None
        assert [float(end) for end in ends.groups()] == pytest.approx(
            [place(worth - 1.96 * error), place(worth + 1.96 * error)], abs=0.02
        )
        zero = re.search(r'class="zero" d="M([\d.]+) ', row)
        assert zero is not None
        assert float(zero[1]) == pytest.approx(place(0), abs=0.01)
        assert re.findall(r"<td[^>]*>([a-z]*)</td>", row)[-1] == pays
    row = _row(section, "stage 3, inside")
    assert re.findall(r'<td class="number[^"]*">(.*?)</td>', row) == [
        "0.060 ± 0.010", "−4.1 %", "0.40"
    ]  # fmt: skip
    assert "layer3.0.conv1, layer3.1.conv1; 1 % more width costs 0.40 % more MACs, 0.75 % " in row


def test_a_search_that_kept_the_baseline_says_so(job: Path) -> None:
    record = json.loads((job / "search" / "search.json").read_text())
    html = _page(_with_law(job, KEPT))
    assert "The search kept the baseline: no gain is sure. Its error is as large" in html
    # the network found of this job is narrower than the baseline
    assert "kept the baseline’s proportions: no gain over them was sure. The LW-DNA net" in html
    results = json.loads((job / "results.json").read_text())
    same = {key: results["baseline"][key] for key in ("macs", "params")}
    for path, whole in ((job / "results.json", True), (job / "lwdna" / "results.json", False)):
        values = json.loads(path.read_text())
        changed = {**values, "lwdna": {**values["lwdna"], **same}} if whole else {**values, **same}
        path.write_text(json.dumps(changed))
    html = _page(_with_law(job, KEPT, cost={**record["cost"], "found": same}))
    headline = html.split('class="headline">')[1].split("</p>")[0]
    assert headline == (
        "The search kept the baseline: no gain was sure. "
        "Both networks have the same MACs and parameters."
    )


@pytest.mark.parametrize(
    "law",
    [
        {},
        {"features": [{"name": "all", "exponent": 0.0}]},
        {"features": [{"name": "all", "exponent": -0.01, "error": 0.3, "cost": 0.0}]},
        {**LAW, "later": "what a later version adds"},
    ],
)
def test_odd_laws_still_give_a_report(job: Path, law: dict[str, Any]) -> None:
    html = _page(_with_law(job, law))
    assert 'id="law"' in html
    assert not re.search(r"\b(nan|inf)\b", _section(html), re.IGNORECASE)
    assert law_view(None) is None


def test_older_searches_have_no_law(job: Path) -> None:
    assert 'id="law"' not in _page(job)
    assert law_lines({"trials": None}, {}, {}) == []


def test_a_law_on_the_terminal() -> None:
    assert law_lines({"law": LAW}, {"macs": 200, "params": 100}, {"macs": 200, "params": 148}) == [
        "The loss is expected to fall by 3.1 % (95 % interval 1.1 to 4.9) at as many MACs and "
        "48 % more parameters. Its expected loss is lowest.",
        "surely worth more than it costs: stage 3, inside (twice as wide: loss −4.1 %)",
        "surely worth less than it costs: stem (twice as wide: loss +0.7 %)",
        "how much the loss would fall with other budgets: "
        "1 × MACs, 1 × parameters: 0.4 % (−2.0 to 2.0); 1 × MACs: 5.8 % (–)",
    ]
    unsure = {**KEPT, "features": [LAW["features"][1]], "budgets": []}
    assert law_lines({"law": unsure}, {}, {}) == [
        "The search kept the baseline: no gain is sure. "
        "Its error is as large as what it would gain.",
        "no part of the network is surely worth more or less than it costs",
    ]


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"macs": 1.0, "params": 1.0}, True),
        ({"macs": 0.5, "params": 0.5, "of": "baseline"}, True),
        ({"latency": 1.0, "params": 1.0}, True),
        ({"macs": 1.0, "params": 1.5}, False),
        ({"macs": 1.0, "params": None}, False),
        ({"params": 1.0}, False),
        ({"macs": 0.23, "params": 0.3, "of": "widened"}, False),
        ({}, False),
    ],
)
def test_budgets_with_both_limits_are_told_how_little_there_is_to_gain(
    budget: dict[str, Any], said: bool, job: Path
) -> None:
    sentence = little_to_gain(budget)
    assert bool(sentence) == said
    html = _page(_with_law(job, None, budget=budget))
    assert ("there is little to gain" in html or "little to gain" in html) == said
    if said:
        assert "shrink.budget.params=1.5" in sentence
        assert sentence in html
