"""Reports of a job whose metrics lwdna has never heard of: all they know is in the files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAUROC

from lwdna.cli import show
from lwdna.engine import TrainSettings, train
from lwdna.engine.task import Metric, describe, described
from lwdna.errors import FileError
from lwdna.reports import compare_run, evidence, verdict, write_report
from tests.engine.toy import CLASSES, ToyTask, conv_net

AUC = Metric("auc", "AUC", digits=3, mean_of_examples=False)
MAE = Metric("mae", "mean error", "px", digits=1, higher_is_better=False)
MISSED = Metric("missed", "objects missed", "%", higher_is_better=False)
IOU = Metric("iou", "IoU", digits=0)


def measured(job: Path, *metrics: Metric, baseline: float, found: float) -> Path:
    """Let a job have been measured in ``metrics``, the first ending at the values given."""
    for name, value in (("baseline", baseline), ("lwdna", found)):
        path = job / name / "results.json"
        old = {"metric", "metrics", "top1", "top5"}
        results = {key: v for key, v in json.loads(path.read_text()).items() if key not in old}
        own = {metric.name: value / 2**i for i, metric in enumerate(metrics)}
        path.write_text(json.dumps(results | describe(*metrics) | own))
        path = job / name / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for number, line in enumerate(lines, 1):
            del line["top1"], line["top5"]
            line |= {name: v * number / len(lines) for name, v in own.items()}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (job / "results.json").unlink()
    return job


class Ranking(ToyTask):
    """Measures how well classes are told apart whatever the threshold, which no example does."""

    metric = AUC

    def metrics(self) -> MetricCollection:
        return MetricCollection(
            {"loss": MeanMetric(), "auc": MulticlassAUROC(CLASSES)}, compute_groups=False
        )

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, None]:
        images, targets = batch
        outputs = model(images)
        metrics["loss"].update(nn.functional.cross_entropy(outputs, targets, reduction="none"))
        metrics["auc"].update(outputs.softmax(1), targets)
        return outputs.softmax(1).gather(1, targets[:, None])[:, 0], None


def test_trainings_of_a_task_from_outside_are_reported(tmp_path: Path) -> None:
    """An untrained network beside a trained one; batches of 4, whose mean the metric is not."""
    task, figures = Ranking(), {}
    for name, lr in (("baseline", 1e-6), ("lwdna", 0.1)):
        settings = TrainSettings(epochs=3, batch_size=16, eval_batch_size=4, lr=lr)
        trained = train(conv_net(), task, settings, tmp_path / name, seed=0)
        figures[name] = trained.metrics["auc"]
        results = {"name": name, **describe(task.metric, *task.other_metrics), **trained.metrics}
        (tmp_path / name / "results.json").write_text(json.dumps(results))
        images, targets = task.images[task.train_size :], task.targets[task.train_size :]
        with torch.no_grad():
            scores = trained.model(images).softmax(1).numpy()
        by_hand = roc_auc_score(targets.numpy(), scores, multi_class="ovr", average="macro")
        assert trained.metrics["auc"] == pytest.approx(by_hand, abs=1e-6)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert panels(html) == ["AUC", LOSSES]
    last = f"last: baseline {figures['baseline']:.3f}, LW-DNA {figures['lwdna']:.3f}"
    assert last in html
    gap = round(figures["lwdna"] - figures["baseline"], 3)
    assert gap > 0
    reached = f"an AUC of {figures['lwdna']:.3f}, the baseline {figures['baseline']:.3f}"
    assert f"The LW-DNA network reaches {reached}: +{gap:.3f}." in html


LOSSES = "validation loss, training loss dashed"


def panels(html: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?)</figcaption>", html)


def test_a_report_in_an_unknown_metric(job_of: Callable[..., Path]) -> None:
    job = measured(job_of(), AUC, MISSED, baseline=0.9, found=0.912)
    html = write_report(job).read_text(encoding="utf-8")
    assert "reaches an AUC of 0.912, the baseline 0.900: +0.012 at" in html
    assert '<span class="badge">cannot tell</span>' in html
    assert "One run is no evidence" in html
    assert panels(html) == ["AUC", LOSSES]
    assert "last: baseline 0.900, LW-DNA 0.912" in html
    rows = compare_run(job)
    assert rows[0].cells == ("AUC", "0.900", "0.912", "+0.012")
    assert rows[1].cells == ("objects missed", "0.45 %", "0.46 %", "+0.01 points")
    assert [row.better for row in rows[:2]] == [None, None]
    assert '<td class="number ">+0.012</td>' in html


def test_a_report_in_errors(job_of: Callable[..., Path]) -> None:
    job = measured(job_of(), MAE, baseline=7.25, found=5.0)
    html = write_report(job).read_text(encoding="utf-8")
    assert "a mean error of 5.0 px, the baseline 7.2 px: −2.2 px (lower is better) at" in html
    assert panels(html)[0] == "mean error (px)"
    (row,) = (row for row in compare_run(job) if row.metric == "mean error")
    assert (row.cells[1:], row.better) == (("7.2 px", "5.0 px", "−2.2 px"), None)


@pytest.mark.parametrize(
    ("metric", "before", "after", "words"),
    [
        (MAE, 5.0, 7.5, "reaches a mean error of 7.5 px, the baseline 5.0 px: +2.5 px (lower is"),
        (MISSED, 30.0, 29.0, "reaches 29.0 % objects missed, the baseline 30.0 %: −1.0 points ("),
        (AUC, 0.9, 0.9001, "reaches an AUC of 0.900, the baseline 0.900: 0.000."),
        (IOU, 50.0, 70.0, "reaches an IoU of 70, the baseline 50: +20."),
        (MAE, None, 4.0, "reaches a mean error of 4.0 px;"),
        (AUC, None, 0.9, "reaches an AUC of 0.900;"),
        (IOU, None, 70.4, "reaches an IoU of 70;"),
        (MISSED, None, 12.34, "reaches 12.3 % objects missed;"),
        (Metric("f1", "F1 score"), None, 0.5, "reaches an F1 score of 0.50;"),
    ],
)
def test_the_verdict_in_any_metric(
    metric: Metric, before: float | None, after: float, words: str
) -> None:
    sentence = verdict(
        describe(metric) | {metric.name: before}, describe(metric) | {metric.name: after}
    )
    assert sentence.startswith(f"The LW-DNA network {words}")


def test_only_the_primary_metric_decides() -> None:
    before = describe(AUC, MAE) | {"auc": 0.5, "mae": 1.0}
    after = describe(AUC, MAE) | {"mae": 0.5}
    assert verdict(before, after).startswith("The baseline reaches an AUC of 0.500;")
    assert evidence(before, after) == ""
    assert evidence(before, after | {"auc": 0.6}) != ""


def test_what_metrics_are_survives_being_written_down() -> None:
    written = json.loads(json.dumps(describe(MAE, AUC)))
    assert described(written) == (MAE, AUC)
    assert described(None, written, describe(AUC, IOU)) == (MAE, AUC, IOU)
    assert described({"metric": "acc"}) == (Metric("acc", "acc"),)
    assert described({}, None) == ()


def test_a_training_that_still_runs_names_its_metrics_plainly(job_of: Callable[..., Path]) -> None:
    job = measured(job_of(), AUC, MAE, baseline=0.9, found=0.912)
    shutil.rmtree(job / "lwdna")
    (job / "baseline" / "results.json").unlink()
    html = write_report(job).read_text(encoding="utf-8")
    assert panels(html) == ["auc", "mae", LOSSES]


def test_one_finished_training_tells_what_the_other_measures(job_of: Callable[..., Path]) -> None:
    job = measured(job_of(), AUC, MAE, baseline=0.9, found=0.912)
    (job / "lwdna" / "results.json").unlink()
    html = write_report(job).read_text(encoding="utf-8")
    assert panels(html) == ["AUC", LOSSES]
    assert "last: baseline 0.900, LW-DNA 0.912" in html


def test_a_figure_that_is_no_number_is_refused(job_of: Callable[..., Path]) -> None:
    job = measured(job_of(), AUC, baseline=0.9, found=0.912)
    path = job / "lwdna" / "results.json"
    path.write_text(path.read_text().replace("0.912", '"high"'))
    with pytest.raises(FileError, match=r"results\.json is damaged.*auc is no number"):
        write_report(job)


def test_a_comparison_of_a_job_on_the_terminal(
    job_of: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    show.comparison(measured(job_of(), MAE, baseline=7.25, found=5.0))
    printed = capsys.readouterr().out
    assert re.search(r"mean error\W+7\.2 px\W+5\.0 px\W+2\.2 px", printed)


def test_figures_of_one_network_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show.results(
        describe(AUC, MISSED)
        | {"auc": 0.9, "missed": 12.5, "f1": 0.123456, "macs": 1_250_000, "seed": 3, "memory": None}
    )
    lines = [
        re.findall(r"[^│\s][^│]*[^│\s]", line) for line in capsys.readouterr().out.splitlines()
    ]
    assert [line for line in lines if len(line) == 2] == [
        ["auc", "0.900"],
        ["missed", "12.50 %"],
        ["f1", "0.1235"],
        ["macs", "1.25 M"],
    ]
