"""A run in a storage: nothing is lost whatever fails, and one process writes it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from lwdna.errors import CheckpointError, FileError, LockedError
from lwdna.workflows import stored_run
from lwdna.workflows.storing import fetch
from lwdna.workflows.storing import lease as leases
from lwdna.workflows.storing.run import working_folder
from lwdna.workflows.storing.upload import Pace
from tests.cli.command import DIGITS, done, fault
from tests.storages import Flaky

FAST = Pace(every=0.02, stall=5.0, first_wait=0.01, longest_wait=0.05, give_up=5.0, lease=60.0)
URL = "memory://bucket/runs/x"


@pytest.fixture(autouse=True)
def storage() -> Iterator[None]:
    yield
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def stored(url: str = URL) -> dict[str, bytes]:
    """What lies at an address, by its path from there."""
    files, root = fsspec.core.url_to_fs(url)
    return {name[len(root) + 1 :]: files.cat_file(name) for name in files.find(root)}


def local(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder: Path, **contents: str) -> None:
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new.lock")  # is not the run's yet
        new.write_text(content)
        new.replace(path)


def test_a_run_goes_on_elsewhere_and_comes_back(tmp_path: Path) -> None:
    with stored_run(URL, tmp_path / "one" / "x", pace=FAST) as folder:
        write(folder, a_json="1", c__last_safetensors="weights", run_lock="mine")
    assert stored().pop(".lwdna/manifest-00000002.json", None) or len(stored()) == 3
    assert {"a.json", "c/last.safetensors"} <= stored().keys()
    with stored_run(URL, tmp_path / "two" / "x", pace=FAST) as folder:
        assert local(folder) == {"a.json": b"1", "c/last.safetensors": b"weights"}
        write(folder, a_json="2", d_json="new")
        (folder / "c" / "last.safetensors").unlink()
    with stored_run(URL, tmp_path / "one" / "x", pace=FAST) as folder:
        assert local(folder).items() >= {"a.json": b"2", "d.json": b"new"}.items()
        assert not (folder / "c" / "last.safetensors").exists()
    assert sorted(name for name in stored() if not name.startswith(".lwdna/")) == [
        "a.json",
        "d.json",
    ]
    assert not [name for name in stored() if "objects" in name or "lease" in name]


def test_a_folder_that_was_emptied_or_half_fetched_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored_run(URL, tmp_path / "x", pace=FAST) as folder:
        write(folder, a_json="1", b_json="2")
    kept = local(folder)
    for path in folder.iterdir():
        path.unlink()
    with stored_run(URL, tmp_path / "x", pace=FAST):
        assert local(folder) == kept
    fetched = fetch._fetch
    calls = []

    def dying(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        fetched(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(fetch, "_fetch", dying)
        with pytest.raises(KeyboardInterrupt), stored_run(URL, tmp_path / "y", pace=FAST):
            pass
    assert len(local(tmp_path / "y")) == 1
    with stored_run(URL, tmp_path / "y", pace=FAST) as other:
        assert local(other) == kept


def test_states_that_do_not_follow_from_each_other(tmp_path: Path) -> None:
    with stored_run(URL, tmp_path / "one", pace=FAST) as folder:
        write(folder, a_json="1")
    write(tmp_path / "one", a_json="changed here while nobody stored it")
    with stored_run(URL, tmp_path / "two", pace=FAST) as folder:
        write(folder, a_json="changed there")
    with (
        pytest.raises(FileError, match="do not follow from each other"),
        stored_run(URL, tmp_path / "one", pace=FAST),
    ):
        pass
    with stored_run(URL, tmp_path / "two", pace=FAST) as folder:
        assert local(folder)["a.json"] == b"changed there"


def test_what_is_there_at_any_moment_belongs_together(tmp_path: Path) -> None:
    """Files are written one after the other, as a checkpoint and then what rests on it."""
    seen = set()
    with stored_run(URL, tmp_path / "x", pace=FAST) as folder:
        until = time.monotonic() + 0.6
        number = 0
        while time.monotonic() < until:
            number += 1
            write(folder, first_json=str(number))
            write(folder, second_safetensors=str(number))
            time.sleep(0.003)
            manifests = sorted(name for name in stored() if "manifest" in name)
            if manifests:
                # what was stored may go the next moment, but then there is a newer manifest
                now = stored()
                files = json.loads(now[max(n for n in now if "manifest" in n)])["files"]
                values = [int(now[entry["key"]]) for entry in files.values()]
                if len(values) == 2:
                    first, second = (
                        int(now[files[name]["key"]])
                        for name in ("first.json", "second.safetensors")
                    )
                    assert first - second in (0, 1)
                    seen.add(first)
    assert len(seen) > 2
    assert stored()["first.json"] == str(number).encode()


def test_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stored_run(URL, tmp_path / "one", pace=FAST) as folder:
        write(folder, a_json="1")
        with (
            pytest.raises(LockedError, match=rf"{URL} is being written by process \d+ on"),
            stored_run(URL, tmp_path / "two", pace=FAST),
        ):
            pass
    # a lease of another machine counts until it has ended
    with stored_run(URL, tmp_path / "one", pace=FAST):
        held = next(content for name, content in stored().items() if "lease" in name)
    left = {**json.loads(held), "host": "elsewhere", "renewed": time.time()}
    place = "/bucket/runs/x/.lwdna/lease-00000007.json"
    files = fsspec.filesystem("memory")
    files.pipe_file(place, json.dumps(left).encode())
    with (
        pytest.raises(LockedError, match=r"on elsewhere, since .* its lease ends in 60 s"),
        stored_run(URL, tmp_path / "one", pace=FAST),
    ):
        pass
    files.pipe_file(place, json.dumps({**left, "renewed": time.time() - 61}).encode())
    with stored_run(URL, tmp_path / "one", pace=FAST):
        assert [name for name in stored() if "lease" in name] == [".lwdna/lease-00000008.json"]
    # a process of this machine that has died holds nothing
    dead = {**json.loads(held), "process": 2**22 + 1, "renewed": time.time()}
    files.pipe_file(place, json.dumps(dead).encode())
    with stored_run(URL, tmp_path / "one", pace=FAST):
        pass
    files.pipe_file(place, json.dumps({**dead, "myself": "another", "process": 1}).encode())
    monkeypatch.setattr(leases.os, "getpid", lambda: 1)  # a container that was started again
    with stored_run(URL, tmp_path / "one", pace=FAST):
        pass


def test_who_loses_the_lease_stores_nothing_more(tmp_path: Path) -> None:
    said: list[str] = []

    def run() -> None:
        with stored_run(URL, tmp_path / "one", pace=FAST, say=said.append) as folder:
            lease = next(name for name in stored() if "lease" in name)
            taken = {**json.loads(stored()[lease]), "token": "of another process"}
            files = fsspec.filesystem("memory")
            files.pipe_file(f"/bucket/runs/x/{lease}", json.dumps(taken).encode())
            write(folder, a_json="1")
            time.sleep(0.2)

    with pytest.raises(FileError, match=r"last state of the run is not in .* it is kept in"):
        run()
    assert "storing ends" in said[0]
    assert not [name for name in stored() if "manifest" in name]
    assert local(tmp_path / "one") == {"a.json": b"1"}


@pytest.mark.parametrize("seed", range(6))
def test_writes_that_fail_stall_or_seem_to_fail(tmp_path: Path, seed: int) -> None:
    Flaky.reset(seed, share=0.3, stall=0.02)
    url = "flaky://bucket/x"
    Flaky.share = 0.0  # a start that fails is an error at once
    with stored_run(url, tmp_path / "one", pace=FAST) as folder:
        Flaky.share = 0.3
        for number in range(12):
            write(folder, a_json=str(number), c__last_safetensors=f"weights {number}")
            time.sleep(0.02)
    assert Flaky.failed > 3
    Flaky.share = 0.0
    with stored_run(url, tmp_path / "two", pace=FAST) as other:
        assert local(other) == local(folder)
        assert local(other)["a.json"] == b"11"
        time.sleep(0.1)
    found = {name for name in stored(url) if not name.startswith(".lwdna/manifest")}
    assert found == {"a.json", "c/last.safetensors"}, "what was left by failures is removed"


def test_a_storage_that_does_not_come_back(tmp_path: Path) -> None:
    Flaky.reset(0, share=0.0)
    said: list[str] = []
    url = "flaky://bucket/x"
    impatient = Pace(every=0.01, first_wait=0.01, longest_wait=0.01, give_up=0.2)

    def run() -> None:
        with stored_run(url, tmp_path / "one", pace=impatient, say=said.append) as folder:
            Flaky.share = 1e9  # always, and before anything is done
            write(folder, a_json="1")
            time.sleep(0.1)
            raise RuntimeError("stopped")

    with pytest.raises(FileError, match=r"out of order.*kept in .*what ended the run: stopped"):
        run()
    assert len(said) == 1
    assert "fails (" in said[0]
    assert "tried again" in said[0]
    Flaky.share = 0.0
    for name in stored(url):  # what the process would leave with its end
        Flaky().rm_file(f"/bucket/x/{name}")
    with stored_run(url, tmp_path / "one", pace=FAST):  # the same machine goes on
        pass
    assert stored(url)["a.json"] == b"1"


def test_a_request_without_an_answer_is_given_up(tmp_path: Path) -> None:
    Flaky.reset(0, share=0.0, stall=0.5)
    said: list[str] = []
    pace = Pace(every=0.01, stall=0.1, first_wait=0.01, longest_wait=0.01, give_up=5.0)
    with stored_run("flaky://bucket/x", tmp_path / "x", pace=pace, say=said.append) as folder:
        write(folder, a_json="1")
        time.sleep(0.1)
        Flaky.generator.random = lambda: 0.5  # type: ignore[method-assign]
        Flaky.share = 1.0
        write(folder, a_json="2")
        time.sleep(0.3)
        Flaky.share = 0.0
    assert "no answer for" in said[0]
    assert "works again" in said[1]
    assert stored("flaky://bucket/x")["a.json"] == b"2"


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_damaged_object_is_named(tmp_path: Path, damage: str) -> None:
    with stored_run(URL, tmp_path / "one", pace=FAST) as folder:
        write(folder, a_json="1", c__last_safetensors="weights")
    files = fsspec.filesystem("memory")
    place = "/bucket/runs/x/c/last.safetensors"
    files.rm_file(place) if damage == "removed" else files.pipe_file(place, b"weightz")
    why = "is missing" if damage == "removed" else "is damaged"
    with (
        pytest.raises(CheckpointError, match=rf"{URL}/c/last\.safetensors {why}"),
        stored_run(URL, tmp_path / "two", pace=FAST),
    ):
        pass
    (manifest,) = (name for name in stored() if "manifest" in name)
    files.pipe_file(
        f"/bucket/runs/x/{manifest}", stored()[manifest].replace(b"weights", b"weightz") + b"}"
    )
    with (
        pytest.raises(CheckpointError, match=rf"{URL}/\.lwdna/manifest-\d+\.json is damaged"),
        stored_run(URL, tmp_path / "two", pace=FAST),
    ):
        pass


def test_the_command_line_keeps_a_run_in_a_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert working_folder(URL) == Path("runs/memory/bucket/runs/x")
    done("train", *DIGITS, "train.epochs=1", "--out", URL)
    kept = stored()
    assert {"model.safetensors", "results.json", "checkpoints/last.safetensors"} <= kept.keys()
    assert (
        kept["model.safetensors"]
        == Path("runs/memory/bucket/runs/x/model.safetensors").read_bytes()
    )
    line = fault("train", *DIGITS, "train.epochs=1", "--out", URL)
    assert "already holds a run" in line
    monkeypatch.setenv("LWDNA_SCRATCH", str(tmp_path / "elsewhere"))
    assert "already holds a run" in fault("train", *DIGITS, "train.epochs=1", "--out", URL)
    done("train", "--resume", "--out", URL)
    assert (tmp_path / "elsewhere/memory/bucket/runs/x/model.safetensors").is_file()
    from lwdna.recipe import load_recipe
    from lwdna.workflows import run_training

    with pytest.raises(FileError, match=r"no folder of this machine; .*stored_run"):
        run_training(load_recipe("digits"), URL)
