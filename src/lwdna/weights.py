"""Weights as safetensors: written whole or not at all, loaded strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lwdna.errors import CheckpointError
from lwdna.files import CHECKSUM, atomic, checksum


def save_weights(
    path: str | Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write ``weights`` by name atomically to ``path``, as a plain safetensors file.

    What several layers share is written once, under the first of its names.

    Raises:
        FileError: the file cannot be written; what stood at ``path`` is untouched.
    """
    first = _first_names(weights)
    written = {name: own_memory(weights[name]) for name in weights if first[name] == name}
    write_tensors(path, written, metadata)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy ``weights`` into ``model``.

    What several layers share may be given under any of its names.

    Raises:
        CheckpointError: names or shapes differ; the first differences are named.
    """
    own = model.state_dict()
    first = _first_names(own)
    given = {first[name]: tensor for name, tensor in weights.items() if name in own}
    weights = {**{name: given[first[name]] for name in own if first[name] in given}, **weights}
    faults = [f"{name} is not in the network" for name in weights if name not in own]
    faults += [f"{name} is not in the file" for name in own if name not in weights]
    faults += [
        f"{name} is {_shape(weights[name])} in the file and {_shape(own[name])} in the network"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(
            f"{source} belongs to another network: {'; '.join(faults[:3])}{more}; "
            "use the network it was made with"
        )
    model.load_state_dict(dict(weights))


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors on the CPU that share no memory atomically to ``path``, with a checksum."""
    notes = {**metadata, CHECKSUM: checksum_of(tensors, metadata)}
    with atomic(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=notes)
        except SafetensorError as error:  # a full disk arrives as this, not as an OSError
            raise OSError(str(error)) from error
        _order_metadata(temporary)


def _order_metadata(path: Path) -> None:
    """Sort a file's metadata by name: safetensors leaves them in random order.

    So equal contents give equal bytes.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= size:  # it is as long as before, without the spaces at its end
            file.seek(8)
            file.write(text.ljust(size))


def read_tensors(
    path: str | Path, what: str = "weights", way_out: str = "restore the file"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file, on the CPU, and its metadata.

    Args:
        path: the file.
        what: what errors call it.
        way_out: what they say is to be done.

    Raises:
        CheckpointError: the file is missing, or damaged; that a tensor or a note is not what was
            written shows in files with a checksum, as :func:`write_tensors` writes them.
    """
    try:
        with safe_open(path, framework="pt") as file:
            notes: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        why = " ".join(str(error).split())
        raise CheckpointError(f"cannot read {what} {path}: {why}; {way_out}") from error
    if CHECKSUM in notes and notes[CHECKSUM] != checksum_of(tensors, notes):
        raise CheckpointError(
            f"cannot read {what} {path}: its contents changed after they were written (the "
            f"checksum differs); {way_out}"
        )
    return tensors, notes


def checksum_of(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """Return the checksum of contiguous tensors on the CPU and of notes."""
    return checksum(
        (
            (
                name,
                str(tensor.dtype).removeprefix("torch."),
                tensor.shape,
                tensor.reshape(-1).view(torch.uint8).numpy(),
            )
            for name, tensor in tensors.items()
        ),
        notes,
    )


def own_memory(tensor: Tensor) -> Tensor:
    """Return a copy in memory of its own, because safetensors refuses shared or strided memory."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return for each name the first one of the same tensor: it is another where it is shared."""
    firsts: dict[object, str] = {}
    found = {}
    for name, tensor in tensors.items():
        place = tensor.data_ptr()  # zero where there is no memory to be shared
        key = (place, tensor.device, tensor.dtype, tensor.shape, tensor.stride()) if place else name
        found[name] = firsts.setdefault(key, name)
    return found


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
