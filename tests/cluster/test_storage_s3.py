"""Data and runs in an S3 server, which is started here."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from lwdna.errors import CheckpointError, LockedError
from lwdna.files import read_json
from lwdna.tasks.classification import ClassificationTask
from lwdna.workflows import stored_run
from lwdna.workflows.storing.upload import Pace
from tests.cli.command import done, fault, lwdna
from tests.launch import in_processes
from tests.storages import (
    COUNT,
    numbered_folder,
    numbered_shards,
    numbered_task,
    read_epoch,
    upload,
)

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # more than there are cores
]
BUCKET = "s3://lwdna-test"
PROTOCOL = (
    "images",
    "model.name=lwdna:resnet8_digits",
    "data.image_size=16",
    "data.crop_pct=1",
    "train.epochs=2",
    "train.warmup_epochs=0",
    "train.batch_size=8",
    "data.in_memory=false",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    started = ThreadedMotoServer(port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        }.items():
            patched.setenv(name, value)
        fsspec.filesystem("s3").mkdir(BUCKET)
        yield
    started.stop()


@pytest.fixture(scope="module")
def sets(server: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | str]:
    root = tmp_path_factory.mktemp("numbered")
    folder = numbered_folder(root / "folder")
    tars = numbered_shards(folder, root / "shards")
    return {
        "folder": folder,
        "shards": tars,
        "S3 folder": upload(folder, f"{BUCKET}/folder"),
        "S3 shards": upload(tars, f"{BUCKET}/shards"),
    }


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(data: Path | str, out: Path | str, *more: object) -> None:
    done("train", *PROTOCOL, "--data", data, "--out", out, *more)


def results(folder: Path) -> dict[str, Any]:
    found = read_json(folder / "results.json")
    return {key: found[key] for key in ("top1", "top5", "val_loss", "epochs", "file_bytes")}


def assert_same_run(folder: Path, other: Path) -> None:
    assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert results(folder) == results(other)
    epochs = [
        [
            line.partition('"seconds"')[0]
            for line in (run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in (folder, other)
    ]
    assert len(epochs[0]) == 2, "each epoch has one line"
    assert epochs[0] == epochs[1]


@pytest.mark.parametrize(("ranks", "workers"), [(4, 1), (2, 2), (1, 4)])
@pytest.mark.parametrize("where", ["folder", "shards", "S3 folder", "S3 shards", "few S3 shards"])
def test_every_image_once_per_epoch_also_after_a_stop(
    sets: dict[str, Path | str], where: str, ranks: int, workers: int
) -> None:
    more: dict[str, Any] = {"workers": workers}
    if where.startswith("few"):
        where, more["shards_at_once"] = where.removeprefix("few "), 2
    read = read_epoch(lambda: numbered_task(sets[where], **more), ranks, stop=2)
    assert sorted(read) == list(range(COUNT))


@pytest.mark.parametrize(
    ("near", "far", "more"),
    [
        ("folder", "S3 folder", ()),
        ("shards", "S3 shards", ()),
        ("shards", "S3 shards", ("data.shards_at_once=2",)),
    ],
)
def test_training_from_s3_is_training_from_files(
    sets: dict[str, Path | str], near: str, far: str, more: tuple[str, ...]
) -> None:
    train(sets[near], "near", *more)
    train(sets[far], "far", *more, "data.workers=2")
    assert_same_run(Path("near"), Path("far"))


def test_a_run_stopped_here_goes_on_there(
    sets: dict[str, Path | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(sets["folder"], "undisturbed")
    address = f"{BUCKET}/runs/moved"
    calls = 0
    loss = ClassificationTask.loss

    def stopping(self: ClassificationTask, model: Any, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:  # the second of three steps of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, model, batch)

    with monkeypatch.context() as patched:
        patched.setattr(ClassificationTask, "loss", stopping)
        patched.setenv("LWDNA_SCRATCH", "here")
        stopped = lwdna("train", *PROTOCOL, "--data", sets["S3 folder"], "--out", address)
    assert stopped.code == 130, stopped.err
    assert f"--resume --out {address}" in stopped.err
    monkeypatch.setenv("LWDNA_SCRATCH", "there")
    done("train", "--resume", "--out", address)
    there = Path("there/s3") / address.removeprefix("s3://")
    assert_same_run(Path("undisturbed"), there)
    files = fsspec.filesystem("s3")
    files.invalidate_cache()
    names = {name.removeprefix("lwdna-test/runs/moved/") for name in files.find(address)}
    local = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith(".lwdna/")} == local
    assert len([name for name in names if name.startswith(".lwdna/")]) == 1, "the manifest"
    files.pipe_file(f"{address}/checkpoints/last.safetensors", b"damaged")
    monkeypatch.setenv("LWDNA_SCRATCH", "third")
    line = fault("train", "--resume", "--out", address)
    assert f"{address}/checkpoints/last.safetensors is damaged" in line


def test_the_server_lets_one_writer_in(server: None, tmp_path: Path) -> None:
    address = f"{BUCKET}/runs/one"
    said: list[str] = []
    pace = Pace(every=0.05)
    with stored_run(address, tmp_path / "a", say=said.append, pace=pace) as folder:
        folder.mkdir()
        (folder / "a.json").write_text("1")
        with (
            pytest.raises(LockedError, match="is being written by process"),
            stored_run(address, tmp_path / "b", pace=pace),
        ):
            pass
    assert said == [], "the server knows conditional writes"
    files = fsspec.filesystem("s3")
    with pytest.raises(OSError, match="pre-conditions"):
        files.pipe_file(f"{address}/a.json", b"2", mode="create")
    files.rm_file(f"{address}/a.json")
    with (
        pytest.raises(CheckpointError, match=r"a\.json is missing"),
        stored_run(address, tmp_path / "c"),
    ):
        pass


def _trained(environment: dict[str, str], *arguments: object) -> None:
    os.environ.update(environment)
    done("train", *PROTOCOL, *arguments)


def test_two_processes_keep_one_run(sets: dict[str, Path | str], tmp_path: Path) -> None:
    address, scratch = f"{BUCKET}/runs/two", tmp_path / "both"
    known = {name: os.environ[name] for name in os.environ if name.startswith(("AWS_", "XDG_"))}
    environment = {**known, "LWDNA_SCRATCH": str(scratch)}
    data = ("data.workers=1", "--data", sets["S3 shards"])
    in_processes(2, _trained, environment, *data, "--out", address)
    folder = scratch / "s3" / address.removeprefix("s3://")
    with stored_run(address, tmp_path / "copy") as copy:
        for name in ("model.safetensors", "checkpoints/last.safetensors", "results.json"):
            assert (copy / name).read_bytes() == (folder / name).read_bytes()
