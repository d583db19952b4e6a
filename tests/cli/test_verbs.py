"""Every verb does its work and says what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lwdna.architecture import Architecture, load
from lwdna.cli.app import VERBS
from lwdna.interface import read_interface
from lwdna.recipe import load_recipe

from .command import DIGITS, PHOTOS, done, fault, image_folder, lwdna


def test_quickstart_leaves_everything_worth_keeping(job: Path) -> None:
    assert {path.name for path in job.iterdir()} == {
        "recipe.yaml",
        "data.json",
        "search",
        "baseline",
        "lwdna",
        "results.json",
        "report.html",
    }
    results = json.loads((job / "results.json").read_text())
    for name in ("baseline", "lwdna"):
        assert results[name] == json.loads((job / name / "results.json").read_text())
        assert results[name]["name"] == name
        assert 0 <= results[name]["top1"] <= 100
        model, architecture = load(job / name / "model.safetensors")
        assert sum(p.numel() for p in model.parameters()) == results[name]["params"]
        assert architecture.cost.macs == results[name]["macs"]
        interface = read_interface(job / name / "model.safetensors")
        assert (interface.task, interface.classes) == ("classification", ("0", "1", "2", "3"))
        assert interface.preprocessing
        assert interface.preprocessing.image_size == 8
        assert load_recipe(job / name / "recipe.yaml") == load_recipe(job / "recipe.yaml")
    assert results["lwdna"]["macs"] <= results["baseline"]["macs"]
    assert results["lwdna"]["params"] <= 1.5 * results["baseline"]["params"]
    assert "<html" in (job / "report.html").read_text()


def test_two_runs_with_one_seed_agree(job: Path, tmp_path: Path) -> None:
    printed = done("quickstart", *DIGITS, "--out", "again")
    assert "top-1 accuracy" in printed
    assert "report: again/report.html" in printed
    for name in ("search/architecture.lwdna.json", "lwdna/model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (job / name).read_bytes()
    first, second = (json.loads((f / "results.json").read_text()) for f in (job, Path("again")))
    for name in ("baseline", "lwdna"):
        assert first[name]["top1"] == second[name]["top1"]
        assert first[name]["val_loss"] == second[name]["val_loss"]


def test_another_seed_gives_another_search(job: Path) -> None:
    done("shrink", *DIGITS, "seed=1", "--out", "search")
    first, second = (
        json.loads((folder / "search.json").read_text())
        for folder in (job / "search", Path("search"))
    )
    assert first["groups"][0]["scores"] != second["groups"][0]["scores"]


def test_shrink_then_train_then_evaluate_on_a_folder_of_images() -> None:
    data = image_folder(Path("photos"))
    given = ("--model", "lwdna:resnet8_digits", "--data", data, *PHOTOS)
    printed = done("shrink", *given, "--out", "search")
    assert "architecture: search/architecture.lwdna.json" in printed
    architecture = Architecture.load("search/architecture.lwdna.json")
    assert architecture.input_size == (3, 16, 16)
    assert architecture.model is not None
    assert architecture.model.args["num_classes"] == 2
    for group in architecture.widths:
        assert group in printed
    printed = done("train", *given, "--architecture", "search/architecture.lwdna.json")
    assert "run: runs/images-lwdna" in printed
    results = json.loads(Path("runs/images-lwdna/results.json").read_text())
    assert results["macs"] == architecture.cost.macs
    metrics = json.loads(done("evaluate", "runs/images-lwdna", "--json"))
    assert metrics == {key: results[key] for key in ("top1", "top5", "val_loss")}
    file = "runs/images-lwdna/model.safetensors"
    printed = done("evaluate", file, "--out", "again")
    assert json.loads(Path("again/results.json").read_text())["classes"] == results["classes"]
    assert Path("again/predictions.safetensors").is_file()
    assert "top1" in printed
    worst = results["classes"]["worst"]
    assert len(worst) == 2
    assert printed.index(worst[0]["class"]) < printed.index(worst[1]["class"])
    Path(file).rename("moved.safetensors")
    assert (
        json.loads(done("evaluate", "moved.safetensors", "images", *given[2:], "--json")) == metrics
    )


def test_a_network_takes_images_of_another_size(job: Path) -> None:
    """A convolution costs 3/2 of 3/2 as much on 12 pixels as on 8, a classifier the same."""
    given = (*DIGITS, "train.epochs=1", "data.image_size=12")
    found = job / "search" / "architecture.lwdna.json"
    told = done("train", *given, "--architecture", found, "--out", "larger")
    assert "the architecture was made for inputs of 1x8x8; of 1x12x12 it costs" in told
    small, large = Architecture.load(found), Architecture.load("larger/architecture.lwdna.json")
    assert small.widths == large.widths
    assert (large.input_size, large.found["input_size"]) == ((1, 12, 12), [1, 8, 8])
    linear = 4 * list(small.widths.values())[-1]
    assert large.cost.params == small.cost.params
    assert large.cost.macs - linear == pytest.approx(9 / 4 * (small.cost.macs - linear), rel=0.2)
    results = json.loads(Path("larger/results.json").read_text())
    assert results["macs"] == large.cost.macs
    assert load("larger/model.safetensors")[1] == large
    done("train", *given, "--architecture", found, "--out", "larger", "--resume")
    assert "of 1x12x12 it costs" in done("evaluate", job / "lwdna", "data.image_size=12")
    line = fault("evaluate", job / "lwdna", "data.image_size=12", "data.in_chans=3")
    assert "takes images of 1 channels" in line


def test_a_finished_training_goes_on_to_more_epochs() -> None:
    given = (*DIGITS, "train.schedule=constant")
    done("train", *given, "--out", "whole")
    done("train", *given, "train.epochs=1", "--out", "longer")
    done("train", "--resume", "--out", "longer", "train.epochs=2")
    weights = [Path(name, "model.safetensors").read_bytes() for name in ("whole", "longer")]
    assert weights[0] == weights[1]
    assert load_recipe("longer/recipe.yaml") == load_recipe("whole/recipe.yaml")
    assert json.loads(Path("longer/results.json").read_text())["epochs"] == 2
    assert "2 epochs cannot become 1" in fault(
        "train", "--resume", "--out", "longer", "train.epochs=1"
    )


def test_what_cannot_go_on_exactly_says_how_to_go_on(job: Path) -> None:
    line = fault("train", "--resume", "--out", job / "lwdna", "train.epochs=3")
    assert "the learning rates of a cosine over 3 epochs are others than over 2" in line
    command = line.partition("lwdna train ")[2].replace("NEW", "new").split()
    done("train", *command)
    results = json.loads(Path("new/results.json").read_text())
    assert (results["epochs"], results["initial_weights"]) == (
        3, str(job / "lwdna" / "model.safetensors")
    )  # fmt: skip


def test_quickstart_with_data_uses_the_recipe_for_image_folders() -> None:
    data = image_folder(Path("photos"))
    done("quickstart", "--model", "lwdna:resnet8_digits", "--data", data, *PHOTOS)
    results = json.loads(Path("runs/images/results.json").read_text())
    assert results["lwdna"]["macs"] <= results["baseline"]["macs"]
    assert results["lwdna"]["params"] <= 1.5 * results["baseline"]["params"]


def test_a_folder_is_not_used_twice_without_a_word() -> None:
    for expected in ("runs/digits-search", "runs/digits-search-2"):
        assert f"architecture: {expected}/" in done("shrink", *DIGITS)


def test_inspect_shows_what_a_unit_of_each_group_costs() -> None:
    found = json.loads(done("inspect", "lwdna:resnet20_cifar", "--size", 32, "--json"))
    assert found["cost"]["macs"] > 0
    groups = {group["name"]: group for group in found["groups"]}
    # a block's inner group: 3x3 kernels of 16 channels in and out, at 32x32 positions
    inner = groups["stages.0.0.conv1"]
    assert (inner["width"], inner["exact"]) == (16, True)
    assert inner["macs_per_unit"] == 2 * 16 * 9 * 32 * 32
    assert inner["params_per_unit"] == 2 * 16 * 9 + 2
    assert inner["macs"] == 2 * 16 * 16 * 9 * 32 * 32
    printed = done("inspect", "lwdna:resnet20_cifar", "--size", 32)
    assert "stages.0.0.conv1" in printed
    assert "MACs for an input of 3x32x32" in printed
    assert "pinned axes: 1 (network input), 2 (network output)" in printed


def test_inspect_draws_the_graph() -> None:
    printed = done("inspect", "lwdna:resnet20_cifar", "--size", 32, "--html", "graph.html")
    assert printed.splitlines()[-1] == "drawing: graph.html"
    html = Path("graph.html").read_text()
    assert "lwdna:resnet20_cifar (3 × 32 × 32)" in html
    assert "stages.0.0.conv1" in html


def test_inspect_details_name_what_is_pinned_and_why(job: Path) -> None:
    printed = done("inspect", job / "search" / "architecture.lwdna.json", "--details")
    assert "network output" in printed, "pinned, and why"
    assert "stages.0.0.conv2" in printed
    assert "share" in printed


def test_inspect_shows_what_edits_by_hand_would_do() -> None:
    ties = ("--tie", "stages.2.*.conv1=stages.1.0.conv1", "--pin", "stages.0.0.conv1")
    found = json.loads(done("inspect", "lwdna:resnet20_cifar", "--size", 32, "--json", *ties))
    widths = {group["name"]: group["width"] for group in found["groups"]}
    assert widths["stages.1.0.conv1"] == 32
    assert not {"stages.0.0.conv1", "stages.2.0.conv1", "stages.2.1.conv1"} & set(widths)
    message = fault("inspect", "lwdna:resnet20_cifar", "--size", 32, "--pin", "stage.0.0.conv1")
    assert "did you mean stages.0.0.conv1" in message


def test_report_can_be_written_again(job: Path) -> None:
    assert "report: new.html" in done("report", job, "--out", "new.html")
    assert Path("new.html").read_bytes() == (job / "report.html").read_bytes()


def test_list() -> None:
    assert "lwdna:resnet56_cifar" in done("list").splitlines()
    assert "timm:resnet50" in done("list", "models", "*resnet50").splitlines()
    lines = done("list", "recipes").splitlines()
    assert {"digits", "images", "imagenet/resnet50"} <= {line.split()[0] for line in lines}
    found = done("list", "recipes", "imagenet/*").splitlines()
    assert any(line.startswith("imagenet/resnet50  timm:resnet50  ") for line in found)
    assert all(name.startswith("imagenet/") for name in found)
    assert "arXiv 2006.05467" in done("list", "criteria", "synflow")
    assert "neither MACs nor parameters" in done("list", "keep-rules", "*full")
    assert "lwdna.channels.rules" in done("list", "ops", "*convolution*")
    assert "models, recipes, criteria, keep-rules, tasks" in fault("list", "networks")
    assert "lwdna list models" in fault("list", "models", "nothing*")


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb: str) -> None:
    printed = done(verb, "--help")
    assert "Example" in printed
    assert f"lwdna {verb}" in printed.partition("Example")[2]


def test_tables_fit_a_narrow_terminal(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "52")
    printed = done("inspect", job / "search" / "architecture.lwdna.json")
    printed += done("evaluate", job / "lwdna")
    rows = [line for line in printed.splitlines() if line[0] in "┏┃┡│└"]
    assert len(rows) > 10
    assert max(map(len, rows)) <= 52
    assert all("…" not in row for row in rows), "folded, not cut"
    assert any("stages.0.0" in row for row in rows)


def test_usage_errors_are_no_tracebacks() -> None:
    for arguments in (["trian"], ["train", "--modle", "x"], ["inspect"]):
        outcome = lwdna(*arguments)
        assert outcome.code == 2
        assert "Error" in outcome.err
        assert "Traceback" not in outcome.err


def test_version() -> None:
    assert done("--version").startswith("lwdna ")


def test_help_and_the_recipes_need_no_torch() -> None:
    script = (
        "import sys, lwdna, lwdna.cli.app as a, lwdna.shipped; lwdna.shipped.list_recipes(); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'torchvision', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_command_line_reuses_memory() -> None:
    script = (
        "import atexit, os, sys; from lwdna.cli.app import main; sys.argv = ['lwdna', '--version'];"
        "atexit.register(lambda: print(os.environ['THP_MEM_ALLOC_ENABLE'])); main()"
    )
    ours = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, env=ours, capture_output=True, text=True, check=True)
    assert run.stdout.split()[-1] == "1"


def test_the_package_offers_all_it_promises() -> None:
    import lwdna as package

    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="nothing_such"):
        package.nothing_such  # noqa: B018
