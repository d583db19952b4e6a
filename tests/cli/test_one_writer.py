"""What two processes must not do to one folder, and what a killed one leaves there."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock, Timeout
from PIL import Image

from lwdna.files import read_json
from lwdna.locks import locked
from lwdna.reports import study_page
from lwdna.tasks.classification import ClassificationTask
from lwdna.workflows import cells

from .command import DIGITS, at_call, done, fault, lwdna

WRITES = ("train", "shrink", "quickstart")


@pytest.fixture
def held() -> Iterator[Path]:
    """A folder that another run, here of the same process, is writing."""
    Path("held").mkdir()
    with locked(Path("held/run.lock")):
        yield Path("held")


@pytest.mark.parametrize("verb", WRITES)
def test_a_folder_that_is_written_is_refused(held: Path, verb: str) -> None:
    for more in ((), ("--resume",)):
        line = fault(verb, *DIGITS, *more, "--out", held)
        assert f"held is being written by process {os.getpid()} on" in line
    assert [file.name for file in held.iterdir()] == ["run.lock"]


@pytest.mark.parametrize("verb", WRITES)
def test_a_run_holds_its_folder_until_it_ends(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.extend(str(path) for path in sorted(Path("run").rglob("*.lock")))
        seen.append(fault(verb, *DIGITS, "--out", "run"))

    act = at_call(1, ClassificationTask.loss, look)
    monkeypatch.setattr(ClassificationTask, "loss", act)
    done(verb, *DIGITS, "--out", "run")
    assert "run/run.lock" in seen
    assert ("run/search/run.lock" in seen) == (verb == "quickstart")
    assert "run is being written by process" in seen[-1]
    assert list(Path("run").rglob("*.lock")) == []


def test_parts_of_a_job_are_held_too(job: Path) -> None:
    with locked(job / "baseline" / "run.lock"):
        assert "is being written" in fault("train", "--resume", "--out", job / "baseline")


STUDY = ("compare", *DIGITS, "--arms", "baseline,random", "--seeds", 1, "--out", "study")


def test_a_cell_that_is_trained_elsewhere_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Path("study/cells/baseline/seed0/training")
    with ExitStack() as stack, monkeypatch.context() as patched:

        def hold() -> None:
            place.mkdir(parents=True)
            stack.enter_context(locked(place / "run.lock"))

        patched.setattr(cells, "train_once", at_call(1, cells.train_once, hold))
        line = fault(*STUDY)
    assert "1 of 2 cells failed: baseline seed 0" in line
    assert "training is being written by process" in line
    assert Path("study/cells/random/seed0/training/results.json").is_file()
    done("compare", "--resume", "--out", "study")
    assert list(Path("study").rglob("*.lock")) == []


def test_a_damaged_cell_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path("study/cells/baseline/seed0/training/checkpoints/last.safetensors")
    with monkeypatch.context() as patched:
        act = at_call(6, ClassificationTask.loss, lambda: signal.raise_signal(signal.SIGINT))
        patched.setattr(ClassificationTask, "loss", act)
        assert lwdna(*STUDY).code == 130
    content = place.read_bytes()
    place.write_bytes(content[:-50] + bytes(50))
    line = fault(*STUDY)
    assert f"cannot read checkpoint {place}" in line
    assert Path("study/cells/random/seed0/training/results.json").is_file()
    place.write_bytes(content)
    done("compare", "--resume", "--out", "study")


def test_evaluations_hold_what_they_write(job: Path, held: Path) -> None:
    run = job / "baseline"
    assert "held is being written" in fault("evaluate", run, "--out", held)
    done("evaluate", run)  # which writes nothing
    done("evaluate", run, "--out", "figures")
    written = {file.name for file in Path("figures").iterdir()}
    assert written == {"results.json", "predictions.safetensors"}


def test_restored_images(held: Path) -> None:
    Path("r.yaml").write_text(
        "task: restoration\nmodel: {name: lwdna:dncnn17, args: {depth: 3, width: 5}}\n"
        "data: {kind: photos, noise: 25, patch_size: 8, patches: 4, in_chans: 1}\n"
        "train: {epochs: 1, batch_size: 2, warmup_epochs: 0}\n"
    )
    done("shrink", "r.yaml", "shrink.inherit=true", "shrink.warmup.iterations=1", "--out", "found")
    Image.fromarray(np.zeros((24, 24), np.uint8)).save("scan.png")
    command = ("restore", "scan.png", "--weights", "found/model.safetensors", "--out")
    assert "held is being written" in fault(*command, held)
    assert list(held.iterdir()) == [held / "run.lock"]
    left = Path("out/.other.png.abcdefgh.lwdna-part")
    left.mkdir(parents=True)
    done(*command, "out")
    assert [file.name for file in Path("out").iterdir()] == ["scan.png"]


def test_a_start_that_fails_leaves_no_folder(held: Path) -> None:
    assert "data.classes" in fault("train", *DIGITS, "data.classes=11", "--out", "a/b/run")
    assert not Path("a").exists()
    Path("a/b").mkdir(parents=True)
    assert "data.classes" in fault("shrink", *DIGITS, "data.classes=11", "--out", "a/b/run")
    assert list(Path("a/b").iterdir()) == []
    Path("file").touch()
    assert "cannot write file/run" in fault("train", *DIGITS, "--out", "file/run")


def test_a_file_system_without_locks_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = done("train", *DIGITS, "--out", "run")
    assert said.count("the file system of run knows no locks") == 1
    assert "knows no locks" in fault(*STUDY)


LEFT = (
    ".recipe.yaml.aaaaaaaa.lwdna-part",
    "checkpoints/.last.safetensors.bbbbbbbb.lwdna-part",
    "examples/.x.png.cccccccc.lwdna-part",
    "warmup/checkpoints/.last.safetensors.dddddddd.lwdna-part",
    "trials/.trials.jsonl.eeeeeeee.lwdna-part",
)


def leave(folder: Path) -> None:
    """Leave what killed processes leave."""
    for name in LEFT:
        (folder / name).mkdir(parents=True)
        (folder / name / "large").write_bytes(bytes(100))


def test_what_killed_processes_left_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        act = at_call(6, ClassificationTask.loss, lambda: signal.raise_signal(signal.SIGINT))
        patched.setattr(ClassificationTask, "loss", act)
        assert lwdna("train", *DIGITS, "--out", "run").code == 130
    leave(Path("run"))
    other = Path("run/mine/.thing.ffffffff.lwdna-part")
    other.mkdir(parents=True)
    done("train", "--resume", "--out", "run")
    assert list(Path("run").rglob("*.lwdna-part")) == [other], "nothing beyond a run's own folders"
    leave(Path("search"))
    done("shrink", *DIGITS, "--out", "search")
    assert list(Path("search").rglob("*.lwdna-part")) == []
    done(*STUDY)
    (Path("study") / LEFT[0]).mkdir()
    leave(Path("study/cells/random/seed0/training"))
    Path("study/cells/random/seed0/training/results.json").unlink()
    done("compare", "--resume", "--out", "study")
    assert list(Path("study").rglob("*.lwdna-part")) == []


def test_a_comparison_and_other_runs_keep_apart(held: Path) -> None:
    command = (*STUDY[:-1], held)
    assert "held is being written" in fault(*command)
    assert not (held / "recipe.yaml").exists()
    done(*STUDY)
    for verb in ("train", "shrink"):
        assert "study holds a comparison" in fault(verb, *DIGITS, "--out", "study")
    assert "not an empty folder" in fault("quickstart", *DIGITS, "--out", "study")


@pytest.mark.parametrize("verb", ["compare", "quickstart"])
def test_killed_before_anything_was_done(verb: str) -> None:
    """A folder with what is written before the recipe counts as empty."""
    left = Path("run/.recipe.yaml.aaaaaaaa.lwdna-part")
    left.mkdir(parents=True)
    for name in ("run.lock", "recipe.lock", "data.json"):
        Path("run", name).write_text("{}")
    done(verb, *DIGITS, *STUDY[len(DIGITS) + 1 : -1] if verb == "compare" else ("--out",), "run")
    assert not left.exists()
    assert read_json("run/data.json")["classes"] == ["0", "1", "2", "3"]


def test_reports_of_a_comparison_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    done(*STUDY)
    real, seen = study_page.read_cells, []

    def look(folder: Path) -> object:
        with pytest.raises(Timeout):
            FileLock(folder / "recipe.lock", timeout=0).acquire()
        seen.append(folder)
        return real(folder)

    monkeypatch.setattr(study_page, "read_cells", look)
    done("report", "study")
    assert seen == [Path("study")]
