"""What the command line does on a CPU it does on a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lwdna.architecture import load

from .command import DIGITS, done
from .test_restoration import SMALL, image_sets

FAST = ("train.mixed_precision=bf16", "train.channels_last=true", "train.cuda_graph=true")
WARM = "shrink.warmup.iterations=8"

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    "given",
    [
        (),
        (*FAST, "train.epochs=20"),
        ("train.ema=0.9", "data.mixup=0.2", "data.augment.random_erasing=0.5", "data.workers=2"),
        ("shrink.criterion=taylor", WARM, "shrink.inherit=true"),
        ("shrink.criterion=latent-gradient", WARM, "shrink.hypernetwork=true", *FAST),
        ("shrink.trials.count=4", "shrink.trials.length=0.5", *FAST),
        ("shrink.budget={macs: 1.0, latency: 1.0}", "shrink.batches=1"),
    ],
    ids=lambda given: " ".join(given)[:60] or "plain",
)
def test_a_job_on_a_gpu(given: tuple[str, ...]) -> None:
    done("quickstart", *DIGITS, *given, "--out", "job")
    results = json.loads(Path("job/results.json").read_text())
    for name in ("baseline", "lwdna"):
        model, architecture = load(f"job/{name}/model.safetensors")
        assert all(value.isfinite().all() for value in model.state_dict().values())
        assert architecture.cost.macs == results[name]["macs"]
        again = json.loads(done("evaluate", f"job/{name}", "--json"))
        assert again["top1"] == pytest.approx(results[name]["top1"], abs=2)
        assert again["val_loss"] == pytest.approx(results[name]["val_loss"], rel=2e-2)
    if "train.epochs=20" in given:
        assert results["baseline"]["top1"] > 80


def test_search_finds_the_same_scores_as_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    done("shrink", *DIGITS, "--out", "gpu")
    with monkeypatch.context() as hidden:
        hidden.setattr(torch.accelerator, "is_available", lambda: False)
        done("shrink", *DIGITS, "--out", "cpu")
    here, there = (json.loads(Path(f, "search.json").read_text())["groups"] for f in ("gpu", "cpu"))
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], rel=0.05, abs=1e-4)


def test_restoration_on_a_gpu() -> None:
    data = image_sets(Path("images"))
    given = ("restoration/photos", *SMALL, f"data.root={data}", *FAST)
    done("quickstart", *given, "--out", "job")
    results = json.loads(Path("job/results.json").read_text())
    assert results["lwdna"]["macs"] <= 0.9 * results["baseline"]["macs"]
    again = json.loads(done("evaluate", "job/lwdna", "--json"))
    assert again["psnr"] == pytest.approx(results["lwdna"]["psnr"], abs=0.1)


def test_a_comparison_on_a_gpu() -> None:
    done("compare", *DIGITS, *FAST, "--seeds", "2", "--arms", "baseline,lwdna", "--out", "study")
    assert json.loads(Path("study/results.json").read_text())["arms"]["lwdna"]["seeds"] == [0, 1]
