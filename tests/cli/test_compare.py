"""A comparison: the same protocol for all arms, whatever happens to the processes that run it."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from launch import begin
from lwdna.files import read_json
from lwdna.recipe import load_recipe
from lwdna.tasks.classification import ClassificationTask
from lwdna.workflows import cells, queue

from .command import DIGITS, at_call, done, fault, lwdna

ARMS = ("--arms", "baseline,lwdna,random", "--seeds", 2)
CELLS = 6
LOSSES = CELLS * 4 * 2 + 2
"""Steps of all trainings, and one batch for each search that looks at data."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison; tests must not change it."""
    folder = tmp_path_factory.mktemp("study") / "digits"
    done("compare", *DIGITS, *ARMS, "--out", folder)
    return folder


class Killed(BaseException):
    """Stands for a process that ends without a chance to clean up."""


def kill() -> None:
    raise Killed


def same_results(folder: Path, study: Path) -> bool:
    return (folder / "results.json").read_bytes() == (study / "results.json").read_bytes()


def count_losses(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    calls: list[None] = []
    loss = ClassificationTask.loss

    def counted(*args: Any) -> Any:
        calls.append(None)
        return loss(*args)

    monkeypatch.setattr(ClassificationTask, "loss", counted)
    return calls


def test_all_arms_follow_one_protocol(study: Path) -> None:
    recipe = load_recipe(study / "recipe.yaml")
    for cell in sorted(study.glob("cells/*/seed*")):
        own = load_recipe(cell / "training" / "recipe.yaml")
        plain = own.model_copy(update={"compare": recipe.compare, "shrink": recipe.shrink})
        assert plain.model_copy(update={"seed": recipe.seed}) == recipe
        assert cell.name == f"seed{own.seed}"
        assert (own.shrink == recipe.shrink) == (cell.parent.name != "random")
        assert (cell / "search").exists() == (cell.parent.name != "baseline")
    assert len(list(study.glob("cells/*/seed*"))) == CELLS


def test_results_are_those_of_the_runs(study: Path) -> None:
    results = read_json(study / "results.json")
    assert (results["metric"], results["unit"], results["examples"]) == ("top1", "%", 64)
    whole = results["halves"]["whole"]
    for arm, figures in whole["arms"].items():
        runs = [read_json(study / f"cells/{arm}/seed{i}/training/results.json") for i in (0, 1)]
        assert figures["values"] == pytest.approx([run["top1"] for run in runs])
        assert results["arms"][arm]["macs"] == [run["macs"] for run in runs]
    found = {(pair["arm"], pair["to"]): pair for pair in whole["differences"]}
    assert list(found) == [("lwdna", "baseline"), ("random", "baseline"), ("lwdna", "random")]
    values = {arm: figures["values"] for arm, figures in whole["arms"].items()}
    for (arm, other), pair in found.items():
        assert pair["values"] == [a - b for a, b in zip(values[arm], values[other], strict=True)]
    halves = results["halves"]
    for arm, figures in whole["arms"].items():
        parts = [halves[half]["arms"][arm]["mean"] for half in ("choose", "report")]
        assert figures["mean"] == pytest.approx(sum(parts) / 2), "64 examples: equal halves"


@pytest.mark.parametrize("luck", [0, pytest.param(1, marks=pytest.mark.long)])
def test_killed_twice_at_random_moments(
    study: Path, monkeypatch: pytest.MonkeyPatch, luck: int
) -> None:
    generator = random.Random(luck)
    for _ in range(2):
        with monkeypatch.context() as patched:
            moment = generator.randint(1, LOSSES // 3)
            loss = at_call(moment, ClassificationTask.loss, kill)
            patched.setattr(ClassificationTask, "loss", loss)
            with pytest.raises(Killed):
                done("compare", *DIGITS, *ARMS, "--out", "stopped")
    assert not Path("stopped/results.json").exists()
    printed = done("compare", "--resume", "--out", "stopped")
    assert "report: stopped/report.html" in printed
    assert same_results(Path("stopped"), study)


def test_finished_cells_are_not_repeated(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(cells, "train_once", at_call(4, cells.train_once, kill))
        with pytest.raises(Killed):
            done("compare", *DIGITS, *ARMS, "--out", "stopped")
    calls = count_losses(monkeypatch)
    done("compare", *DIGITS, *ARMS, "--out", "stopped")
    assert len(calls) == 3 * 8 + 1, "three trainings and one search that looks at data"
    assert same_results(Path("stopped"), study)
    done("compare", "--resume", "--out", "stopped")
    assert len(calls) == 3 * 8 + 1


def test_shards_make_up_the_whole(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_losses(monkeypatch)
    for shard in ("2/4", "1/4", "4/4"):
        done("compare", *DIGITS, *ARMS, "--out", "parts", "--shard", shard)
    assert len(list(Path("parts/cells").glob("*/*/training/results.json"))) == 5
    assert "1 of 6 cells are not finished" in Path("parts/report.html").read_text()
    done("compare", "--resume", "--out", "parts", "--shard", "3/4")
    assert len(calls) == LOSSES, "nothing is done twice"
    assert same_results(Path("parts"), study)


def test_a_cell_belongs_to_one_process(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_PATIENCE", 0.0)
    held = Path("shared/cells/lwdna/seed1")
    held.mkdir(parents=True)
    with FileLock(held / "claim.lock"):
        (Path("shared") / "recipe.yaml").write_text((study / "recipe.yaml").read_text())
        printed = done("compare", "--resume", "--out", "shared")
        assert "other processes are at work on lwdna seed 1" in printed
        assert list(held.iterdir()) == [held / "claim.lock"]
    assert len(read_json("shared/results.json")["arms"]["lwdna"]["seeds"]) == 1
    done("compare", "--resume", "--out", "shared")
    assert same_results(Path("shared"), study)


def test_arms_and_seeds_may_be_added(study: Path) -> None:
    done("compare", *DIGITS, "--arms", "baseline,random", "--seeds", 1, "--out", "grown")
    done("compare", *DIGITS, *ARMS, "--out", "grown")
    grown, whole = (read_json(folder / "results.json") for folder in (Path("grown"), study))
    assert grown["arms"] == whole["arms"]
    described = "tight=shrink.floor=0.2,shrink.budget.macs=0.5"
    done("compare", *DIGITS, "--arms", "tight", "--arm", described, "--seeds", 1, "--out", "grown")
    results = read_json("grown/results.json")
    assert results["arms"]["tight"]["seeds"] == [0]
    assert results["arms"]["tight"]["changes"] == {"floor": 0.2, "budget.macs": 0.5}
    baseline = results["arms"]["baseline"]["macs"][0]
    assert 0.2 * baseline < results["arms"]["tight"]["macs"][0] <= 0.5 * baseline
    other = "tight=shrink.floor=0.3"
    line = fault("compare", *DIGITS, "--arms", "tight", "--arm", other, "--out", "grown")
    assert "another name" in line


@pytest.mark.parametrize("half", ["choose", "report"])
def test_reports_on_one_half(study: Path, tmp_path: Path, half: str) -> None:
    page = tmp_path / "page.html"
    done("report", study, "--half", half, "--out", page)
    html = page.read_text()
    verdicts = read_json(study / "results.json")["halves"][half]["verdicts"]
    assert verdicts[0].partition(":")[0] in html
    assert f"for {half[:-1] if half == 'choose' else half}ing" in html


def test_faults(study: Path, tmp_path: Path) -> None:
    assert "did you mean uniform?" in fault("compare", *DIGITS, "--arms", "unifrom")
    assert "write NAME=shrink" in fault("compare", *DIGITS, "--arm", "a=train.lr=1")
    assert "shrink.criterion" in fault("compare", *DIGITS, "--arm", "a=shrink.criterion=none")
    assert "shrink.flor" in fault("compare", *DIGITS, "--arm", "a=shrink.flor=1")
    assert "needs a name" in fault("compare", *DIGITS, "--arm", "../a=shrink.floor=1")
    assert "write I/N" in fault("compare", *DIGITS, "--shard", "0/3")
    assert "another recipe" in fault("compare", *DIGITS, "train.lr=0.5", "--out", study)
    assert "no half" in fault("report", study, "--half", "left")
    assert "choose local, ray" in fault("compare", *DIGITS, "--executor", "rya")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    assert "not an empty folder" in fault("compare", *DIGITS, "--out", tmp_path / "used")
    line = fault("compare", "images", f"data.root={tmp_path / 'nowhere'}", "--out", "empty")
    assert "nowhere" in line
    assert not Path("empty").exists()


def test_controls_go_with_any_keep_rule_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the budget of the baseline, ``uniform`` is the baseline: nothing is trained twice."""
    calls = count_losses(monkeypatch)
    keep = ("shrink.keep.curvature=0", "shrink.keep.prior=0.2")
    chosen = (*keep, "--arms", "random,uniform", "--seeds", "1")
    done("compare", *DIGITS, *chosen, "--out", "curved")
    results = read_json(Path("curved/results.json"))
    assert set(results["arms"]) == {"baseline", "random", "uniform"}
    assert len(calls) == 2 * 4 * 2, "the steps of two trainings"
    assert not Path("curved/cells/uniform/seed0/training").exists()
    same = {name: arm["same_as_baseline"] for name, arm in results["arms"].items()}
    assert same == {"baseline": [], "random": [], "uniform": [0]}
    assert "uniform has the widths of the baseline: it was not trained" in results["notes"][0]
    values = {name: arm["values"] for name, arm in results["halves"]["whole"]["arms"].items()}
    assert values["uniform"] == values["baseline"]
    done("compare", "--resume", "--out", "curved")
    assert len(calls) == 2 * 4 * 2


def test_a_cell_that_fails_does_not_stop_the_others(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = "tiny=shrink.budget.macs=0.0001"
    described = ("--arms", "baseline,tiny,lwdna", "--arm", tiny, "--seeds", 1)
    line = fault("compare", *DIGITS, *described, "--out", "failed")
    assert "1 of 3 cells failed: tiny seed 0" in line
    assert "raise the budget" in line
    assert "all others are in failed/report.html" in line
    assert Path("failed/report.html").is_file()
    again = lwdna("compare", *DIGITS, *described, "--out", "failed")
    assert again.code == 1
    assert "mean ± sd" in again.out  # the table of the arms that did not fail
    failed, whole = (read_json(folder / "results.json") for folder in (Path("failed"), study))
    ours, theirs = (one["halves"]["whole"]["arms"]["lwdna"]["values"] for one in (failed, whole))
    assert ours == theirs[:1]

    with monkeypatch.context() as patch:
        loss = ClassificationTask.loss
        patch.setattr(ClassificationTask, "loss", lambda *given: loss(*given) * float("nan"))
        line = fault("compare", *DIGITS, *ARMS, "--out", "nan")
    assert f"{CELLS} of {CELLS} cells failed: baseline seed 0" in line
    assert not Path("nan/report.html").exists()
    done("compare", *DIGITS, *ARMS, "--out", "nan")
    assert same_results(Path("nan"), study)


ONCE = (*ARMS, "compare.search=once")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison whose arms are searched once; tests must not change it."""
    folder = tmp_path_factory.mktemp("once") / "digits"
    done("compare", *DIGITS, *ONCE, "--out", folder)
    return folder


def test_an_arm_may_be_searched_once_for_all_seeds(once: Path, study: Path) -> None:
    searches = sorted(str(path.relative_to(once)) for path in once.rglob("search.json"))
    assert searches == ["cells/lwdna/search/search.json", "cells/random/search/search.json"]
    assert load_recipe(once / "cells/lwdna/search/recipe.yaml").seed == 0
    found = [
        (once / f"cells/random/{part}/architecture.lwdna.json").read_bytes()
        for part in ("search", "seed0/training", "seed1/training")
    ]
    assert found[0] == found[1] == found[2]
    own, each = (read_json(folder / "results.json")["arms"]["random"] for folder in (once, study))
    assert (own["searches"], each["searches"]) == (1, 2)
    assert own["macs"][0] == own["macs"][1] == each["macs"][0]
    values = [read_json(f / "results.json")["halves"]["whole"]["arms"] for f in (once, study)]
    assert values[0]["baseline"] == values[1]["baseline"]
    assert values[0]["random"]["values"][0] == values[1]["random"]["values"][0]  # seed 0 is alike
    timings = read_json(once / "timings.json")
    seconds = {cell["search_seconds"] for cell in timings["random"].values()}
    assert len(seconds) == 1
    assert "for all seeds)" in (once / "report.html").read_text()


def test_shards_and_kills_change_nothing_of_a_shared_search(
    once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[Path] = []
    real = cells.search_once

    def counted(recipe: Any, folder: Path, *given: Any, **options: Any) -> Any:
        if not (folder / "architecture.lwdna.json").exists():
            searched.append(folder)
        return real(recipe, folder, *given, **options)

    monkeypatch.setattr(cells, "search_once", counted)
    with monkeypatch.context() as patched:
        patched.setattr(cells, "train_once", at_call(2, cells.train_once, kill))
        with pytest.raises(Killed):
            done("compare", *DIGITS, *ONCE, "--out", "parts", "--shard", "2/2")
    for shard in ("2/2", "1/2"):
        done("compare", *DIGITS, *ONCE, "--out", "parts", "--shard", shard)
    assert sorted(map(str, searched)) == ["parts/cells/lwdna/search", "parts/cells/random/search"]
    assert same_results(Path("parts"), once)


def test_cells_wait_for_a_search_that_others_make(
    once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience is for cells alone: a search takes long, and whoever waits for it does not leave."""
    monkeypatch.setattr(queue, "_PATIENCE", 0.0)
    held = Path("shared/cells/lwdna/search")
    held.mkdir(parents=True)
    (Path("shared") / "recipe.yaml").write_text((once / "recipe.yaml").read_text())
    lock = FileLock(held / "claim.lock")
    lock.acquire()
    waited: list[list[str]] = []

    def sleep(seconds: float) -> None:
        results = Path("shared").glob("cells/*/seed*/training/results.json")
        waited.append(sorted(path.parts[2] for path in results))
        assert list(held.iterdir()) == [held / "claim.lock"]
        if len(waited) == 3:
            lock.release()

    monkeypatch.setattr(queue.time, "sleep", sleep)
    printed = done("compare", "--resume", "--out", "shared")
    assert waited == [["baseline", "baseline", "random", "random"]] * 3
    assert "other processes" not in printed
    assert same_results(Path("shared"), once)


def test_a_shared_search_that_fails_fails_its_cells_alone(once: Path) -> None:
    tiny = ("--arms", "baseline,tiny,lwdna", "--arm", "tiny=shrink.budget.macs=0.0001")
    line = fault("compare", *DIGITS, *tiny, *ONCE[2:], "--out", "failed")
    assert "2 of 6 cells failed: tiny seed 0: " in line
    assert "tiny seed 1: " in line
    ours, theirs = (
        read_json(folder / "results.json")["halves"]["whole"]["arms"]["lwdna"]
        for folder in (Path("failed"), once)
    )
    assert ours == theirs


def test_how_often_is_searched_stays_as_it_was_begun(once: Path) -> None:
    line = fault("compare", *DIGITS, *ARMS, "compare.search=each", "--out", once)
    assert "was begun with compare.search=once, not each" in line


def test_arms_with_trials_are_searched_once_unless_told_otherwise() -> None:
    def shared(*overrides: str) -> dict[str, bool]:
        recipe = load_recipe("digits", [*overrides, "compare.seeds=2"])
        jobs = cells.cells_of(recipe, Path("out"))
        return {cell.arm: cell.after is not None for cell in jobs}

    names = ("baseline", "lwdna", "uniform", "random", "reversed")
    assert shared() == dict.fromkeys(names, False)
    assert shared("shrink.trials={}") == {name: name == "lwdna" for name in names}
    assert not any(shared("shrink.trials={}", "compare.search=each").values())
    assert shared("compare.search=once") == {name: name != "baseline" for name in names}
    assert "compare.search" in fault("compare", *DIGITS, "compare.search=twice")


@pytest.mark.slow
def test_killed_by_the_system(study: Path) -> None:
    """Whatever the process held is free again: nothing has to be cleaned up by hand."""
    command = begin("compare", *DIGITS, *ARMS, "--out", "stopped")
    deadline = time.monotonic() + 200
    while len(list(Path("stopped").glob("cells/*/*/training/metrics.jsonl"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(command.pid, signal.SIGKILL)
    command.process.join()
    assert not Path("stopped/results.json").exists()
    done("compare", "--resume", "--out", "stopped")
    assert same_results(Path("stopped"), study)
