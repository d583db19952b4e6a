"""``lwdna sensitivity``: what a trained network can lose, on classification and restoration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lwdna.architecture import Architecture, save
from lwdna.model_source import ModelSource
from lwdna.models import create_model
from lwdna.workflows import sensitivity as workflow

from .command import at_call, done, fault, lwdna
from .test_restoration import image_sets


def test_a_run_is_all_it_needs(job: Path) -> None:
    shutil.copytree(job / "baseline", "run")
    printed = done("sensitivity", "run", "--shares", "1/2,25%", "--images", 12, "--batches", 2)
    widths = Architecture.load("run/architecture.lwdna.json").widths
    record = json.loads(Path("run/sensitivity/sensitivity.json").read_text())
    assert [one["name"] for one in record["groups"]] == list(widths)
    for group in record["groups"]:
        assert group["name"] in printed
        assert [one["share"] for one in group["slices"]] == [0.5, 0.25]
        for one in group["slices"]:
            right = one["metrics"]["top1"] * 12 / 100
            assert right == pytest.approx(round(right), abs=1e-4)
    assert "on 12 validation examples" in printed
    assert "report: run/sensitivity/report.html" in printed
    page = Path("run/sensitivity/report.html").read_text()
    assert page.count("<tr data-group=") == len(widths)
    again = done("sensitivity", "run", "--shares", "0.5,0.25", "--images", 12, "--batches", 2)
    assert again == printed
    Path("run/sensitivity/report.html").unlink()
    done("report", "run/sensitivity")
    assert Path("run/sensitivity/report.html").read_text() == page


def test_restoration_loses_decibels() -> None:
    data = image_sets(Path("photos"))
    recipe = Path("enlarge.yaml")
    recipe.write_text(
        "task: restoration\n"
        "model: {name: edsr_baseline, args: {blocks: 2, width: 8}}\n"
        "data: {scale: 2, patch_size: 24, patches: 8}\n"
        "shrink: {batch_size: 4}\n"
        "train: {batch_size: 4}\n"
    )
    args = {"blocks": 2, "width": 8, "scale": 2}
    source = ModelSource(name="lwdna:edsr_baseline", args=args)
    save(
        create_model(source.name, **args),
        Architecture.of_baseline(source, (3, 24, 24)),
        "edsr.safetensors",
    )
    given = ("edsr.safetensors", recipe, "--data", data, "--shares", "1/2", "--out", "cut")
    record = json.loads(done("sensitivity", *given, "--json"))
    assert record["metric"] == "psnr"
    assert all("psnr" in one["slices"][0]["metrics"] for one in record["groups"])
    assert "PSNR in dB when one group keeps" in Path("cut/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shares", "2"), "lie between 0 and 1, 2 is none"),
        (("--shares", "half"), "cannot read the share 'half'"),
        (("--shares", ","), "there is none"),
        (("--criterion", "snap"), "did you mean snip, lamp?"),
        (("data.classes=3",), "classes"),
        (("--resume",), "nothing to resume"),
        (("train.lrr=1",), "train.lrr"),
    ],
)
def test_mistakes_are_one_line(job: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in fault("sensitivity", job / "baseline", *arguments, "--out", "cut")
    assert not Path("cut").exists()


def test_ctrl_c_keeps_what_is_measured(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    stopping = at_call(2, workflow.measure_group, stop)
    monkeypatch.setattr(workflow, "measure_group", stopping)
    outcome = lwdna("sensitivity", job / "baseline", "--out", "cut")
    assert outcome.code == 130
    assert "the same command goes on after the last group" in outcome.err
    assert len(json.loads(Path("cut/sensitivity.json").read_text())["groups"]) == 1
    assert "stem" in done("sensitivity", job / "baseline", "--out", "cut", "--resume")


def test_a_run_without_weights_is_named(job: Path) -> None:
    assert "holds no trained network" in fault("sensitivity", job / "search")
    shutil.copy(job / "baseline" / "model.safetensors", "alone.safetensors")
    assert "which data? name the recipe" in fault("sensitivity", "alone.safetensors")
