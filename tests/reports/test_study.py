"""The comparison page and its results, from files whose figures are worked out by hand."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from lwdna.cli import show
from lwdna.engine.task import Metric
from lwdna.errors import FileError
from lwdna.reports import comparison_lines, write_report
from lwdna.reports.statistics import examples_of

from .studies import Arm, make_study

MAE = Metric("mae", "mean error", "px", higher_is_better=False)
AUC = Metric("auc", "AUC", digits=3, mean_of_examples=False)
TOP1 = Metric("top1", "top-1 accuracy", "%")
WIDTHS = {"stem": 5, "head": 13}


def shifted(by: float, seeds: int = 3) -> dict[int, list[float]]:
    """Outcomes of four examples whose mean is 3 + seed + by."""
    return {seed: [2 + seed + by, 4 + seed + by, 2 + seed + by, 4 + seed + by]
            for seed in range(seeds)}  # fmt: skip


def of(folder: Path) -> tuple[dict[str, Any], str]:
    """Write the report; return results and page."""
    html = write_report(folder).read_text(encoding="utf-8")
    return json.loads((folder / "results.json").read_text()), html


def figures(html: str) -> dict[str, list[tuple[str, str]]]:
    """Return (class, text) of all cells of the table of figures by arm."""
    table = html.split('id="figures"')[1].split("</table>")[0]
    rows = [re.findall(r'<td(?: class="([^"]*)")?>(.*?)</td>', row) for row in table.split("<tr>")]
    return {cells[0][1]: cells[1:] for cells in rows if cells}


def drawn(html: str, arm: str, kind: str) -> list[list[float]]:
    """Return the places on the axis of values and on that of differences, in one arm's row."""
    row = html.split(f'<tr data-arm="{arm}">')[1].split("</tr>")[0]
    return [
        [float(x) for x in re.findall(rf'class="{kind}" d="M([\d.]+) ', picture)]
        for picture in row.split("<svg")[1:]
    ]


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    """A lower-is-better metric: "lwdna" errs by 0.5 less than the baseline, "wide" by 0.25 more."""
    arms = {
        "baseline": Arm(shifted(0), WIDTHS),
        "lwdna": Arm(shifted(-0.5), WIDTHS, macs=800),
        "wide": Arm(shifted(0.25), WIDTHS, macs=1100),
    }
    return make_study(tmp_path / "errors", MAE, arms, seeds=3)


def test_of_errors_less_is_better(errors: Path) -> None:
    results, html = of(errors)
    assert results["metric"] == "mae"
    assert results["metrics"][0]["higher_is_better"] is False
    assert results["halves"]["whole"]["verdicts"] == [
        "lwdna is better than baseline: −0.50 px at 20 % fewer MACs and 20 % fewer parameters "
        "(95 % interval −0.50 to −0.50, 3 seeds).",
        "wide is worse than baseline: +0.25 px at 10 % more MACs and 10 % more parameters "
        "(95 % interval +0.25 to +0.25, 3 seeds).",
        "lwdna is better than wide: −0.75 px at 27 % fewer MACs and 27 % fewer parameters "
        "(95 % interval −0.75 to −0.75, 3 seeds).",
    ]
    assert "<p>mean error in px on all 4 validation examples; lower is better." in html
    cells = figures(html)
    assert cells["baseline"][1:4] == [
        ("number", "4.00 ± 1.00 px"), ("number", "–"), ("number", "–")
    ]  # fmt: skip
    assert cells["lwdna"][1:4] == [
        ("number", "3.50 ± 1.00 px"),
        ("number better", "−0.50 px"),
        ("number better", "−0.50 to −0.50"),
    ]
    assert [kind for kind, _ in cells["wide"]][1:4] == ["number", "number worse", "number worse"]


def test_a_comparison_on_the_terminal(
    errors: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, _ = of(errors)
    assert comparison_lines(results)[2] == (
        "wide", "3", "4.25 ± 1.00 px", "+0.25 px", "+0.25 to +0.25", "+10 %", "+10 %"
    )  # fmt: skip
    assert comparison_lines(results)[0][3:] == ("–", "–", "–", "–")
    monkeypatch.setenv("COLUMNS", "80")
    show.study(errors)
    printed = capsys.readouterr().out
    (row,) = (line for line in printed.splitlines() if "4.25 ± 1.00 px" in line)
    assert row.count("+10 %") == 2
    assert "…" not in printed
    assert "took" not in printed
    assert "wide is worse than baseline" in printed


def test_percentages_are_told_in_points_and_more_is_better(tmp_path: Path) -> None:
    arms = {"baseline": Arm(shifted(0), WIDTHS), "lwdna": Arm(shifted(0.5), WIDTHS)}
    results, html = of(make_study(tmp_path / "study", TOP1, arms, seeds=3))
    assert results["halves"]["whole"]["verdicts"][0] == (
        "lwdna is better than baseline: +0.50 points at as many MACs and as many parameters "
        "(95 % interval +0.50 to +0.50, 3 seeds)."
    )
    assert "top-1 accuracy in % on all 4" in html
    assert "lower is better" not in html
    assert figures(html)["lwdna"][1:3] == [
        ("number", "4.50 ± 1.00 %"), ("number better", "+0.50 points")
    ]  # fmt: skip


def test_no_evidence_is_neither_better_nor_worse(tmp_path: Path) -> None:
    arms = {
        "baseline": Arm({0: [1, 1], 1: [1, 1], 2: [1, 1]}, WIDTHS),
        "lwdna": Arm({0: [0, 0], 1: [1, 1], 2: [3, 3]}, WIDTHS),
    }
    results, html = of(make_study(tmp_path / "study", MAE, arms, seeds=3))
    sentence = results["halves"]["whole"]["verdicts"][0]
    assert sentence.startswith("No evidence that lwdna differs from baseline: +0.33 px at")
    assert re.search(r"a true difference of \d+\.\d\d px would have been seen", sentence)
    assert {kind for kind, _ in figures(html)["lwdna"]} == {"number", "number narrow-hide"}
    assert '<span class="badge">cannot tell</span>' in html


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """Areas under curves: no means over the examples, which say the opposite here."""
    arms = {
        "baseline": Arm({s: [0.9, 0.8, 0.7, 0.6] for s in range(3)}, WIDTHS),
        "lwdna": Arm({s: [0.2, 0.3, 0.4, 0.5] for s in range(3)}, WIDTHS),
    }
    values = {("baseline", s): 0.9 + 0.01 * s for s in range(3)}
    values |= {("lwdna", s): 0.912 + 0.01 * s for s in range(3)}
    return make_study(tmp_path / "curves", AUC, arms, seeds=3, values=values)


def test_a_metric_that_is_no_mean_is_compared_by_its_values(curves: Path) -> None:
    results, html = of(curves)
    assert list(results["halves"]) == ["whole"]
    whole = results["halves"]["whole"]
    assert whole["arms"]["lwdna"]["values"] == [0.912, 0.922, 0.932]
    difference = whole["differences"][0]
    assert difference["values"] == [0.012, 0.012, 0.012]
    assert difference["both_interval"] is None
    assert difference["interval"] == [0.012, 0.012]
    assert results["examples"] == 4
    assert whole["verdicts"][0].startswith("lwdna is better than baseline: +0.012 at as many MACs")
    assert figures(html)["lwdna"][1:3] == [
        ("number", "0.922 ± 0.010"), ("number better", "+0.012")
    ]  # fmt: skip
    assert "AUC on all 4 validation examples." in html
    assert "a bootstrap over seeds and examples" not in html


def test_a_metric_that_is_no_mean_has_no_halves(curves: Path) -> None:
    with pytest.raises(FileError, match="AUC is known of the whole validation set only"):
        write_report(curves, half="choose")


def test_a_metric_that_is_no_mean_but_says_so_is_refused(tmp_path: Path) -> None:
    arms = {"baseline": Arm({0: [0.5, 0.75]}, WIDTHS)}
    metric = Metric("auc", "AUC")
    folder = make_study(tmp_path / "study", metric, arms, seeds=1, values={("baseline", 0): 0.75})
    with pytest.raises(FileError, match=r"auc is 0\.75 and the mean.* 0\.625; .*mean_of_examples"):
        write_report(folder)


def test_halves_have_figures_of_their_own(tmp_path: Path) -> None:
    """The half to choose on holds outcomes of 8, the other of 2."""
    chosen = set(examples_of("choose", 6).tolist())
    outcomes = [8.0 if i in chosen else 2.0 for i in range(6)]
    arms = {
        "baseline": Arm({0: outcomes, 1: outcomes}, WIDTHS),
        "lwdna": Arm({s: [1.5 * value for value in outcomes] for s in (0, 1)}, WIDTHS),
    }
    folder = make_study(tmp_path / "study", TOP1, arms, seeds=2)
    for half, texts in (
        ("whole", ("5.00 ± 0.00 %", "+2.50 points")),
        ("choose", ("8.00 ± 0.00 %", "+4.00 points")),
        ("report", ("2.00 ± 0.00 %", "+1.00 points")),
    ):
        html = write_report(folder, half=half).read_text(encoding="utf-8")
        cells = figures(html)
        assert (cells["baseline"][1][1], cells["lwdna"][2][1]) == texts


def test_widths_stand_in_the_order_of_their_headings(tmp_path: Path) -> None:
    widths = {
        "baseline": {"stem": 5, "head": 13},
        "lwdna": {"stem": 7, "head": 11},
        "narrow": {"stem": 2, "head": 3},
        "other": {"stem": 4, "head": 17},
    }
    arms = {name: Arm(shifted(0.0), own) for name, own in widths.items()}
    _, html = of(make_study(tmp_path / "study", MAE, arms, seeds=3))
    section = html.split('<section id="widths">')[1].split("</section>")[0]
    headings = re.findall(r"<th(?: class=\"[^\"]*\")?>([^<]+)</th>", section)
    assert headings == ["group", "baseline", "lwdna", "narrow", "other"]
    for group in ("stem", "head"):
        row = section.split(f'<tr data-group="{group}">')[1].split("</tr>")[0]
        texts = re.findall(r'<td class="(?:number|faint)">(\d+)</td>', row)
        assert texts == [str(widths[name][group]) for name in headings[1:]]
        bars = [float(x) for x in re.findall(r'width="([\d.]+)" height', row)]
        # the longest bar is that of the stem in "lwdna", 7/5 of the baseline's
        base = widths["baseline"][group]
        wanted = [100 * widths[name][group] / base / (7 / 5) for name in headings[2:]]
        assert bars == pytest.approx(wanted, abs=0.01)


def test_every_seed_is_drawn_where_its_figure_lies(tmp_path: Path) -> None:
    """Values from 1 to 9 in steps of 2; differences of -2, 0 and 4, so that zero is at a third."""
    base, found = (5.0, 5.0, 5.0), (3.0, 5.0, 9.0)
    arms = {
        "baseline": Arm({s: [v, v] for s, v in enumerate(base)}, WIDTHS),
        "lwdna": Arm({s: [v, v] for s, v in enumerate(found)}, WIDTHS),
    }
    _, html = of(make_study(tmp_path / "study", MAE, arms, seeds=3))
    values, differences = drawn(html, "lwdna", "dot own")
    assert values[0] < values[1] < values[2]
    assert values[2] - values[1] == pytest.approx(2 * (values[1] - values[0]), abs=0.02)
    (zero,) = drawn(html, "lwdna", "zero")[1]
    assert differences[1] == zero
    assert differences[2] - zero == pytest.approx(2 * (zero - differences[0]), abs=0.02)
    middle, shift = (places[0] for places in drawn(html, "lwdna", "median"))
    assert middle == pytest.approx(sum(values) / 3, abs=0.01)
    assert shift == pytest.approx(sum(differences) / 3, abs=0.01)
    titles = re.findall(r"<title>seed (\d): ([^<]+)</title>", html)
    assert titles[3:] == [
        ("0", "3.00 px"), ("1", "5.00 px"), ("2", "9.00 px"),
        ("0", "−2.00 px"), ("1", "0.00 px"), ("2", "+4.00 px"),
    ]  # fmt: skip


def test_costs_and_times_are_those_of_the_arm(tmp_path: Path) -> None:
    arms = {
        "baseline": Arm(shifted(0), WIDTHS, latency_ms=3.0, train_seconds=30.0),
        "lwdna": Arm(
            shifted(1), WIDTHS, macs=700, latency_ms=2.0, train_seconds=20.0, search_seconds=5.0
        ),
    }
    _, html = of(make_study(tmp_path / "study", MAE, arms, seeds=4))
    cells = {arm: [text for _, text in row] for arm, row in figures(html).items()}
    assert cells["baseline"][0] == "3"
    assert cells["baseline"][4:] == ["1.00 k", "7.00 k", "3.00 ms", "–", "30.0 s"]
    assert cells["lwdna"][4:] == [
        "700 (−30.0 %)", "4.90 k (−30.0 %)", "2.00 ms", "5.00 s", "20.0 s"
    ]  # fmt: skip
    assert "6 trainings, 2 min 45 s of computing in all" in html  # 3 (30 + 20 + 5) s
    assert "2 of 8 cells are not finished" in html


@pytest.mark.parametrize(
    ("shared", "text", "total"),
    [
        (
            True,
            "5.00 s (16 trainings, for all seeds)",
            "2 min 05 s",
        ),  # 6 trainings of 20 s, and 5 s
        (False, "5.00 s (16 trainings)", "2 min 15 s"),  # and three times 5 s
    ],
)
def test_searches_are_counted_in_trainings_and_once_if_they_are_shared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shared: bool, text: str, total: str
) -> None:
    arms = {
        "baseline": Arm(shifted(0), WIDTHS, train_seconds=20.0),
        "lwdna": Arm(
            shifted(1), WIDTHS, train_seconds=20.0, search_seconds=5.0,
            trials={"count": 32, "length": 0.5}, shared=shared,
        ),
    }  # fmt: skip
    folder = make_study(tmp_path / "study", TOP1, arms, seeds=3)
    results, html = of(folder)
    assert [row[7][1] for row in figures(html).values()] == ["–", text]
    assert f"6 trainings, {total} of computing in all" in html
    told = {arm: (one["searches"], one["search_trainings"]) for arm, one in results["arms"].items()}
    assert told == {"baseline": (0, 0.0), "lwdna": (1 if shared else 3, 16.0)}
    show.study(folder)
    how = "once" if shared else "3 times"
    assert f"the search of lwdna took 16 trainings, {how}" in capsys.readouterr().out


def test_searches_of_earlier_versions_have_no_count_of_trainings(tmp_path: Path) -> None:
    arm = Arm(shifted(1), WIDTHS, search_seconds=5.0, trials={"count": 24, "epochs": 4})
    arms = {"baseline": Arm(shifted(0), WIDTHS), "lwdna": arm}
    results, html = of(make_study(tmp_path / "study", TOP1, arms, seeds=3))
    assert results["arms"]["lwdna"]["search_trainings"] is None
    assert figures(html)["lwdna"][7][1] == "5.00 s"


def test_a_search_that_kept_the_baseline_is_no_lack_of_evidence(tmp_path: Path) -> None:
    arms = {
        "baseline": Arm(shifted(0), WIDTHS),
        "lwdna": Arm(shifted(0), WIDTHS, kept_baseline=True),
        "half": Arm(shifted(1), WIDTHS, macs=500, kept_baseline=True),
        "found": Arm(shifted(0), WIDTHS, kept_baseline=False),
    }
    results, _ = of(make_study(tmp_path / "study", TOP1, arms, seeds=3))
    verdicts = results["halves"]["whole"]["verdicts"]
    assert verdicts[0] == (
        "lwdna: the search kept the baseline: no gain was sure (as many MACs and as many "
        "parameters)."
    )
    assert verdicts[1] == (
        "half is better than baseline: +1.00 points at 50 % fewer MACs and 50 % fewer parameters "
        "(95 % interval +1.00 to +1.00, 3 seeds). The search kept the baseline’s proportions: no "
        "gain over them was sure."
    )
    assert verdicts[2].startswith("found and baseline are equal with every seed")
    assert verdicts[3].startswith("lwdna is worse than half")
    assert results["arms"]["lwdna"]["kept_baseline"] == [0, 1, 2]
    assert results["arms"]["found"]["kept_baseline"] == []


def test_who_limits_parameters_too_is_told_how_little_there_is_to_gain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {"baseline": Arm(shifted(0), WIDTHS), "lwdna": Arm(shifted(0.5), WIDTHS)}
    for name, params in (("both", 1.0), ("cap", 1.5)):
        budget = {"macs": 1.0, "params": params}
        folder = make_study(tmp_path / name, TOP1, arms, seeds=3, budget=budget)
        _, html = of(folder)
        show.study(folder)
        for text in (html, capsys.readouterr().out):
            assert ("little to gain" in " ".join(text.split())) == (params == 1.0)


def test_arms_are_paired_by_the_seeds_that_both_have(tmp_path: Path) -> None:
    arms = {
        "baseline": Arm({0: [1, 1], 1: [2, 2], 2: [4, 4]}, WIDTHS),
        "lwdna": Arm({1: [3, 3], 2: [6, 6], 3: [100, 100]}, WIDTHS),
    }
    results, _ = of(make_study(tmp_path / "study", TOP1, arms, seeds=4))
    difference = results["halves"]["whole"]["differences"][0]
    assert (difference["seeds"], difference["values"]) == ([1, 2], [1, 2])


def test_power_follows_from_the_spread_between_seeds(tmp_path: Path) -> None:
    """Standard deviation 1; effect sizes of a paired t test at 5 % with 80 % power."""
    arms = {
        "baseline": Arm({s: [0.0, 0.0] for s in range(3)}, WIDTHS),
        "lwdna": Arm({s: [s, s] for s in range(3)}, WIDTHS),
    }
    _, html = of(make_study(tmp_path / "study", TOP1, arms, seeds=3))
    section = html.split('<section id="power">')[1].split("</section>")[0]
    texts = re.findall(r'<td class="number">(.*?)</td>', section)
    assert re.findall(r"(\d+) seeds</th>", section) == ["3", "5", "8", "12", "20"]
    assert texts[1] == "1.68"
    assert len(texts) == 5


def test_cells_judged_in_different_ways_are_not_compared(tmp_path: Path) -> None:
    arms = {"baseline": Arm(shifted(0), WIDTHS), "lwdna": Arm(shifted(1), WIDTHS)}
    folder = make_study(tmp_path / "study", MAE, arms, seeds=3)
    path = folder / "cells" / "lwdna" / "seed1" / "training" / "results.json"
    results = json.loads(path.read_text())
    results["metrics"][0]["mean_of_examples"] = False
    path.write_text(json.dumps(results))
    with pytest.raises(FileError, match=r"lwdna/seed1 was judged in another way"):
        write_report(folder)
    path.write_text("{}")
    with pytest.raises(FileError, match=r"cannot read the results in .*delete the folder"):
        write_report(folder)


def test_networks_that_are_exactly_equal(tmp_path: Path) -> None:
    """All outcomes alike, as where every image is restored exactly: nothing divides by 0."""
    arms = {name: Arm({s: [60.0] * 4 for s in range(3)}, WIDTHS) for name in ("baseline", "lwdna")}
    results, html = of(make_study(tmp_path / "study", Metric("psnr", "PSNR", "dB"), arms, seeds=3))
    whole = results["halves"]["whole"]
    (difference,) = whole["differences"]
    assert difference["interval"] == [0, 0]
    assert (difference["sd"], difference["sign"], difference["detectable"]) == (0, 0, 0)
    assert whole["verdicts"] == [
        "lwdna and baseline are equal with every seed at as many MACs and as many parameters."
    ]
    assert "nan" not in html.split("</style>")[1].lower()


def test_one_seed_of_one_example(tmp_path: Path) -> None:
    arms = {"baseline": Arm({0: [60.0]}, WIDTHS), "lwdna": Arm({0: [60.0]}, WIDTHS)}
    results, _ = of(make_study(tmp_path / "study", TOP1, arms, seeds=1))
    (difference,) = results["halves"]["whole"]["differences"]
    assert (difference["values"], difference["interval"]) == ([0], None)


def test_a_cell_without_a_figure_is_left_out_and_named(tmp_path: Path) -> None:
    """Outcomes of a seed that are not finite: the other seeds are compared as ever."""
    three = shifted(-0.5)
    arms = {
        "baseline": Arm(shifted(0), WIDTHS),
        "lwdna": Arm({**three, 1: [math.nan, *three[1][1:]]}, WIDTHS),
    }
    results, html = of(make_study(tmp_path / "study", MAE, arms, seeds=3))
    (difference,) = results["halves"]["whole"]["differences"]
    assert (difference["seeds"], difference["values"]) == ([0, 2], [-0.5, -0.5])
    (note,) = results["notes"]
    assert note == "lwdna seed 1 is left out: The mean error is not a finite number."
    assert note in html
    assert "cells are not finished" not in html


def test_a_comparison_of_which_no_cell_has_a_figure(tmp_path: Path) -> None:
    arms = {"baseline": Arm({0: [math.inf, 1.0]}, WIDTHS)}
    folder = make_study(tmp_path / "study", MAE, arms, seeds=1)
    with pytest.raises(FileError, match=r"no cell .* has a mean error that is a finite number"):
        write_report(folder)


def test_outputs_that_failed_are_told_of_every_cell(tmp_path: Path) -> None:
    metric = Metric("psnr", "PSNR", "dB", worst=0.0)
    arms = {"baseline": Arm({0: [0.0, 30.0]}, WIDTHS), "lwdna": Arm({0: [28.0, 30.0]}, WIDTHS)}
    folder = make_study(tmp_path / "study", metric, arms, seeds=1)
    path = folder / "cells" / "baseline" / "seed0" / "training" / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "not_finite": 1.0, "examples": 2}))
    results, _ = of(folder)
    assert results["notes"] == [
        "baseline seed 0: For 1 of 2 validation examples the network’s output is not finite (NaN "
        "or inf); they count as the worst there is, a PSNR of 0.00 dB."
    ]
