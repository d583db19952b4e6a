from pathlib import Path

import pytest

from lwdna.engine.task import describe
from lwdna.reports import compare_run, comparison, evidence, verdict
from lwdna.tasks.restoration import RestorationTask

from .conftest import TOP1

METRIC = describe(TOP1)
BASELINE = METRIC | {"top1": 76.15, "macs": 4_089_000_000, "params": 25_557_000, "seed": 0}
FOUND = METRIC | {"top1": 76.95, "macs": 3_762_000_000, "params": 24_280_000, "seed": 0}


def test_rows_carry_both_figures_their_difference_and_which_is_better() -> None:
    rows = {row.metric: row for row in comparison(BASELINE, FOUND)}
    assert rows["top-1 accuracy"].cells == (
        "top-1 accuracy",
        "76.15 %",
        "76.95 %",
        "+0.80 points",
    )
    assert rows["MACs"].cells == ("MACs", "4.09 G", "3.76 G", "−8.0 %")
    assert rows["top-1 accuracy"].better is None  # chance may have made the difference
    assert rows["MACs"].better is True
    sure = comparison(BASELINE, FOUND, "better")
    assert [row.better for row in sure if row.metric == "top-1 accuracy"] == [True]
    worse = {row.metric: row for row in comparison(FOUND, BASELINE)}
    assert worse["parameters"].better is False
    timed = comparison({"latency_ms": 1.0, "train_seconds": 9.0}, {"latency_ms": 7.0})
    assert [row.better for row in timed] == [None, None]


def test_metrics_without_figures_are_left_out_and_single_ones_not_compared() -> None:
    rows = comparison({"macs": 10, "latency_ms": None}, {"macs": 10, "file_bytes": 2000})
    assert [row.cells for row in rows] == [
        ("MACs", "10", "10", "0.0 %"),
        ("weights file", "–", "2.00 kB", "–"),
    ]
    assert [row.better for row in rows] == [None, None]
    assert comparison(None, None) == []
    [row] = comparison({"macs": 10_000}, {"macs": 9_996})
    assert (row.difference, row.better) == ("0.0 %", None), "no colour where nothing is to be seen"


def test_a_run_folder_gives_the_same_rows(job: Path) -> None:
    rows = {row.metric: row for row in compare_run(job)}
    assert list(rows) == [
        "top-1 accuracy",
        "top-5 accuracy",
        "MACs",
        "parameters",
        "weights file",
        "latency",
        "training time",
    ]
    assert rows["top-1 accuracy"].difference == "+0.80 points"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {},
            "The LW-DNA network reaches 77.0 % top-1 accuracy, the baseline 76.2 %: +0.8 points at "
            "8 % fewer MACs and 5 % fewer parameters.",
        ),
        (
            {"top1": 75.15, "macs": 4_089_000_000},
            "The LW-DNA network reaches 75.2 % top-1 accuracy, the baseline 76.2 %: −1.0 points at "
            "as many MACs and 5 % fewer parameters.",
        ),
        (
            {"top1": 76.18, "macs": 4_109_000_000},
            "The LW-DNA network reaches 76.2 % top-1 accuracy, the baseline 76.2 %: 0.0 points at "
            "0.5 % more MACs and 5 % fewer parameters.",
        ),
        (
            {"top1": None},
            "The LW-DNA network has 8 % fewer MACs and 5 % fewer parameters than the baseline; "
            "its quality is not known yet.",
        ),
    ],
)
def test_the_verdict_says_what_both_reached(change: dict[str, float | None], sentence: str) -> None:
    before = BASELINE if change.get("top1", 0) is not None else BASELINE | {"top1": None}
    assert verdict(before, FOUND | change) == sentence


def test_the_verdict_of_one_network_alone() -> None:
    assert verdict(BASELINE, None).startswith("The baseline reaches 76.2 % top-1 accuracy;")
    assert verdict(None, METRIC | {"top1": 70.0}).startswith("The LW-DNA network reaches 70.0 %")
    assert verdict(None, None) == "Neither network has been evaluated yet."


def test_one_run_each_is_called_no_evidence() -> None:
    assert "(seed 0). One run is no evidence" in evidence(BASELINE, FOUND)
    assert "(seeds 0, 3)" in evidence(BASELINE, FOUND | {"seed": 3})
    assert evidence(BASELINE, None) == ""


def test_restoration_is_judged_in_decibels() -> None:
    metrics = describe(RestorationTask.metric, *RestorationTask.other_metrics)
    before = metrics | {"psnr": 35.074, "ssim": 0.94331, "macs": 1000, "seed": 0}
    after = metrics | {"psnr": 35.131, "ssim": 0.94411, "macs": 900, "seed": 0}
    assert verdict(before, after) == (
        "The LW-DNA network reaches a PSNR of 35.13 dB, the baseline 35.07 dB: +0.06 dB at "
        "10 % fewer MACs."
    )
    assert "the baseline 35.13 dB: −0.06 dB at" in verdict(after, before)
    assert verdict(before, None).startswith("The baseline reaches a PSNR of 35.07 dB;")
    rows = {row.metric: row for row in comparison(before, after)}
    assert rows["PSNR"].cells == ("PSNR", "35.07 dB", "35.13 dB", "+0.06 dB")
    assert rows["SSIM"].cells == ("SSIM", "0.9433", "0.9441", "+0.0008")
    assert rows["PSNR"].better is None
    assert "One run is no evidence" in evidence(before, after)
