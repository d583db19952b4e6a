"""Training checkpoints: one safetensors file each, written whole or not at all.

Tensors are stored by their place in the state (``model/conv1.weight``), everything else as JSON
in the header. Nothing is pickled, so a checkpoint from anywhere is safe to open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lwdna.errors import CheckpointError
from lwdna.weights import own_memory, read_tensors, write_tensors

_FORMAT = "lwdna-checkpoint"
_VERSION = "2"
_WAY_OUT = "restore the file, or delete the run's folder and start it again"


def save_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (nested dicts, lists, tuples, tensors, plain values) atomically to ``path``.

    Raises:
        FileError: the file cannot be written; what stood at ``path`` is untouched.
    """
    tensors: dict[str, Tensor] = {}
    layout = {name: _encode(value, name, tensors) for name, value in state.items()}
    header = {"format": _FORMAT, "version": _VERSION, "state": json.dumps(layout)}
    write_tensors(path, tensors, header)


def load_state(path: str | Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote; tensors arrive on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind or version.
    """
    tensors, header = read_tensors(path, "checkpoint", _WAY_OUT)
    if header.get("format") != _FORMAT:
        raise CheckpointError(f"{path} is not a training checkpoint of lwdna")
    if header.get("version") != _VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {header.get('version')}, this lwdna reads "
            f"{_VERSION}; resume with the lwdna that wrote it"
        )
    try:
        layout = json.loads(header["state"])
        return {name: _decode(value, tensors) for name, value in layout.items()}
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error}; {_WAY_OUT}") from error


def _encode(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON, its tensors moved to ``tensors`` under their place."""
    if isinstance(value, Tensor):
        tensors[place] = own_memory(value)
        return {"tensor": place}
    if isinstance(value, Mapping):
        return {"dict": [[k, _encode(v, f"{place}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encode(v, f"{place}/{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {place}: {type(value).__name__}")


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _decode(item, tensors) for key, item in content}
    items = [_decode(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
