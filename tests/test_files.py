"""Files are written whole or not at all, say whether they are damaged, and nothing is left over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lwdna.architecture import Architecture, load, save
from lwdna.arrays import read_arrays, write_arrays
from lwdna.channels import trace
from lwdna.engine.checkpoint import load_state, save_state
from lwdna.errors import ArchitectureError, CheckpointError, FileError
from lwdna.files import atomic, remove_unfinished, sealed, unsealed
from lwdna.interface import Interface
from lwdna.weights import read_tensors, save_weights

KILLED = """
import os, signal, sys
from lwdna.files import atomic
with atomic(sys.argv[1]) as temporary:
    temporary.write_bytes(bytes(1000))
    (temporary.parent / ".tmpAb3x").touch()  # as safetensors does
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    (tmp_path / ".mine").touch()
    (tmp_path / ".hidden").mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    left = {file.name for file in tmp_path.iterdir()} - {"model.safetensors", ".mine", ".hidden"}
    assert len(left) == 1
    remove_unfinished(tmp_path, older_than=3600)
    assert (tmp_path / left.pop()).is_dir(), "somebody may be writing it"
    remove_unfinished(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"model.safetensors", ".mine", ".hidden"}
    assert path.read_text() == "old"
    remove_unfinished(tmp_path / "nowhere")


def test_what_was_left_long_ago(tmp_path: Path) -> None:
    with atomic(tmp_path / "a") as temporary:
        (temporary.parent / "b").touch()
        for place in (temporary, temporary.parent / "b", temporary.parent):
            os.utime(place, (0, 0))
        remove_unfinished(tmp_path, older_than=3600)
        assert not temporary.exists()
        temporary.parent.mkdir()
        temporary.touch()
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


STATE = {
    "position": {"epoch": 3, "lr": 0.1, "metrics": {"top1": 12.5}, "best": None},
    "model": {
        "weight": torch.arange(35, dtype=torch.float32).reshape(5, 7) / 11,
        "count": torch.tensor(3),
        "none": torch.zeros(0, 3),
        "half": torch.ones(3, dtype=torch.bfloat16) / 3,
        "flags": torch.tensor([True, False]),
    },
    "list": [1, (2, 'ä\x1f"')],
}


def write_checkpoint(path: Path) -> None:
    save_state(path, STATE)


def read_checkpoint(path: Path) -> object:
    return load_state(path)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 3))


def write_network(path: Path) -> None:
    model = network()
    graph = trace(model, torch.zeros(1, 3, 8, 8))
    save(model, Architecture.of(graph, (3, 8, 8), None), path, Interface(classes=("ant", "bee")))


def read_network(path: Path) -> object:
    tensors, notes = read_tensors(path)
    return load(path, network())[0].state_dict(), tensors, notes


def write_outcomes(path: Path) -> None:
    save_weights(path, {"top1": torch.tensor([0.0, 100.0, 100.0])}, {})


def write_list(path: Path) -> None:
    write_arrays(path, {"labels": np.arange(7), "letters": np.zeros((2, 3), np.uint8)})


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "checkpoint": (write_checkpoint, read_checkpoint),
    "network": (write_network, read_network),
    "outcomes": (write_outcomes, read_arrays),
    "arrays": (write_list, read_arrays),
}


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def damaged(content: bytes, draws: random.Random) -> bytes:
    """Return what a fault of a disk or of a copy makes of a file."""
    kind, place = draws.randrange(4), draws.randrange(len(content))
    if kind == 0:
        return content[:place]
    if kind == 1:
        return (
            content[:place]
            + bytes([content[place] ^ 1 << draws.randrange(8)])
            + (content[place + 1 :])
        )
    length = draws.randrange(1, 300)
    filling = bytes(length) if kind == 2 else draws.randbytes(length)
    return (content[:place] + filling + content[place + length :])[: len(content)]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_noticed_wherever_it_is(tmp_path: Path, kind: str) -> None:
    write, read = KINDS[kind]
    path = tmp_path / "file.safetensors"
    write(path)
    content, expected = path.read_bytes(), read(path)
    draws, refused = random.Random(0), 0
    for _ in range(400):
        path.write_bytes(damaged(content, draws))
        said: list[str] = []
        try:
            found = read(path)
        except (CheckpointError, FileError, ArchitectureError) as error:
            said.append(str(error))
        if said:
            assert str(path) in said[0]
            assert "\n" not in said[0]
            refused += 1
        else:
            # what differs says nothing: zeros instead of zeros, the name of the checksum
            assert same(without_names(found), without_names(expected))
    assert refused > 300


def without_names(found: object) -> object:
    """Leave out metadata, among which a damaged name is an unknown one."""
    return found[:2] if isinstance(found, tuple) else found


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_state(path, STATE)
    content = bytearray(path.read_bytes())
    content[-40:] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_state(path)
    message = str(caught.value)
    assert message.startswith(f"cannot read checkpoint {path}: its contents changed")
    assert "restore the file, or delete the run's folder" in message


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    """safetensors itself writes metadata in another order each time."""
    for name in "abcde":
        save_state(tmp_path / name, STATE)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_files_without_a_checksum_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "file.safetensors"
    save_file({"top1": torch.ones(3)}, path)
    assert read_tensors(path)[0]["top1"].tolist() == [1, 1, 1]
    assert read_arrays(path)["top1"].tolist() == [1, 1, 1]
    with pytest.raises(FileError, match="checksum"):
        read_arrays(path, checked=True)


def test_json_with_a_checksum() -> None:
    value = {"name": "ä", "widths": {"a": 3}, "loss": 0.1}
    whole = sealed(value)
    assert unsealed(whole) == value
    assert unsealed(dict(reversed(whole.items()))) == value
    assert unsealed(value) == value, "written by an earlier version"
    with pytest.raises(ValueError, match="checksum"):
        unsealed({**whole, "loss": 0.2})
    with pytest.raises(ValueError, match="no JSON object"):
        unsealed([1])
