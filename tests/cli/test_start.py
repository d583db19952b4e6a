"""What needs no network starts without the libraries that take seconds to import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lwdna
from lwdna.cli.app import VERBS

SLOW = ["accelerate", "scipy", "sklearn", "timm", "torch", "torchmetrics", "torchvision"]
RUN = """
import json, sys
from typer.testing import CliRunner
from lwdna.cli.app import app
slow, *commands = json.loads(sys.argv[1])
for arguments in commands:
    done = CliRunner().invoke(app, arguments)
    imported = [name for name in slow if name in sys.modules]
    print(json.dumps([done.exit_code, done.output, imported]))
"""


def in_a_new_process(*commands: list[str], slow: list[str] = SLOW) -> list[Any]:
    """Return exit code, output and what has been imported after each of the commands."""
    program = [sys.executable, "-c", RUN, json.dumps([slow, *commands])]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_and_version() -> None:
    commands = [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)]
    outcomes = in_a_new_process(*commands)
    assert len(outcomes) == len(VERBS) + 2
    for command, (code, output, imported) in zip(commands, outcomes, strict=True):
        assert code == 0, command
        assert output.startswith("lwdna") or "Usage" in output
        assert imported == [], command


LISTS = {
    "models": "timm:resnet18",
    "recipes": "imagenet/resnet50",
    "criteria": "latent-gradient",
    "keep-rules": "knapsack-full",
    "tasks": "restoration",
    "formats": "tiny-imagenet",
    "transforms": "factorize",
    "ops": "convolution  lwdna.channels.rules.conv.convolution",
}


@pytest.fixture(scope="module")
def listed() -> dict[str, Any]:
    """What one process says when it is asked for all lists, one after the other."""
    commands = [["list", what] for what in LISTS]
    return dict(zip(LISTS, in_a_new_process(*commands), strict=True))


@pytest.mark.parametrize("what", LISTS)
def test_lists(listed: dict[str, Any], what: str) -> None:
    code, output, imported = listed[what]
    assert code == 0
    assert any(line.startswith(LISTS[what]) for line in output.splitlines())
    assert imported == []


def test_recipes_are_listed_with_what_they_are_for(listed: dict[str, Any]) -> None:
    line = next(line for line in listed["recipes"][1].splitlines() if line.startswith("digits "))
    told = [part for part in line.split("  ") if part]
    assert [part.strip() for part in told] == [
        "digits",
        "lwdna:resnet8_digits",
        "digits",
        "30 epochs",
        "scikit-learn's handwritten digits (1,797 grey images of 8x8 pixels)",
    ]


FAULTS = {
    "train digits train.epoch=2": "did you mean train.epochs",
    "train digits train.optimizer=sgdd": "did you mean sgd",
    "train digits shrink.criterion=taylr": "taylor",
    "train digitz": "did you mean digits",
    "train digits --model timm:resnt18": "timm:resnet18",
    "quickstart digits data.in_chan=1": "did you mean data.in_chans",
    "shrink restoration/photos data.scal=3": "did you mean data.scale",
    "compare digits --arms lwdn": "did you mean lwdna",
    "compare digits --shard 3/2": "cannot read --shard",
    "inspect timm:resnt18": "timm:resnet18",
    "evaluate nowhere": "there is no run or file nowhere",
    "import orginal x.pt --out y.safetensors": "use original, edsr, dimp or state-dict",
    "import state-dict x.pt --out y.safetensors": "name the network",
    "import state-dict x.pt --out y.safetensors --model rsnet18": "did you mean resnet18",
}


@pytest.fixture(scope="module")
def faults() -> dict[str, Any]:
    """What one process says to all faulty commands, one after the other."""
    outcomes = in_a_new_process(*(command.split() for command in FAULTS))
    return dict(zip(FAULTS, outcomes, strict=True))


@pytest.mark.parametrize("command", FAULTS)
def test_faults_of_recipes_and_of_the_command_line(faults: dict[str, Any], command: str) -> None:
    code, output, imported = faults[command]
    assert code == 1
    assert FAULTS[command] in output
    assert imported == []


def test_inspecting_needs_neither_data_nor_a_training_loop() -> None:
    command = ["inspect", "lwdna:resnet20_cifar", "--size", "32"]
    [(code, output, imported)] = in_a_new_process(command)
    assert code == 0, output
    assert imported == ["torch"]


def test_the_package_knows_its_version() -> None:
    [(_, output, _)] = in_a_new_process(["--version"])
    assert output.split() == ["lwdna", lwdna.__version__]
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'\nversion = "{lwdna.__version__}"\n' in project
