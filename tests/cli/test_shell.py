"""What a shell sees: completion of names, quiet commands, trackers that are not installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lwdna.cli.app import app

from .command import DIGITS, done, fault, lwdna
from .test_start import SLOW, in_a_new_process


def completed(*words: str) -> list[str]:
    """Return what bash is told that the last word may become."""
    given = {
        "_LWDNA_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["lwdna", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return CliRunner().invoke(app, [], prog_name="lwdna", env=given).stdout.split()


def test_verbs_options_recipes_and_networks_are_completed() -> None:
    assert completed("quicks") == ["quickstart"]
    assert completed("train", "--qui") == ["--quiet"]
    assert completed("train", "digi") == ["digits"]
    assert set(completed("compare", "cifar100/resnet20")) >= {
        "cifar100/resnet20", "cifar100/resnet20-short",
    }  # fmt: skip
    assert completed("train", "--model", "lwdna:resnet8") == ["lwdna:resnet8_digits"]
    assert completed("train", "--model", "resnet8_di") == ["resnet8_digits"]
    assert "timm:resnet18" in completed("inspect", "timm:resnet18")
    assert completed("train", "no-such-thing") == []


def test_completion_and_its_script_start_without_torch() -> None:
    (asked,) = in_a_new_process(["--show-completion"], slow=SLOW)
    assert asked[2] == []


def test_a_quiet_command_prints_its_last_line_only(tmp_path: Path) -> None:
    quiet = lwdna("train", *DIGITS, "train.warmup_epochs=9", "--quiet", "--out", tmp_path / "run")
    assert (quiet.code, quiet.out, quiet.err) == (0, f"run: {tmp_path / 'run'}\n", "")
    assert done("--version").startswith("lwdna ")  # the next command is not quiet
    assert "already holds a run" in fault("train", *DIGITS, "-q", "--out", tmp_path / "run")


@pytest.mark.parametrize("verb", ["shrink", "quickstart", "train", "compare"])
def test_a_missing_tracker_is_said_first(verb: str, tmp_path: Path) -> None:
    line = fault(verb, *DIGITS, "train.trackers=[mlflow]", "--out", tmp_path / "run")
    assert "mlflow, which is not installed; install it (pip install mlflow)" in line
    assert not list(tmp_path.rglob("search.json"))


def test_an_unknown_tracker_is_a_fault_of_the_recipe() -> None:
    assert "wandb" in fault("train", *DIGITS, "train.trackers=[wandbb]")
