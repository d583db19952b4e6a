"""State dicts whose layers are narrower (or wider) than the model's default.

A pruned network's weights say how wide it is: the channel graph of the default network turns the
shapes of the tensors into widths of groups.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lwdna.architecture import Architecture
from lwdna.channels import ChannelGraph, Edits, resize, trace
from lwdna.errors import CheckpointError
from lwdna.input_size import InputSize, InputTypes
from lwdna.inputs import zeros
from lwdna.model_source import ModelSource
from lwdna.models import resolve_name
from lwdna.weights import load_weights, read_tensors

WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema")
"""Keys under which training scripts keep the state dict inside a checkpoint."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read tensors by name from ``.safetensors`` or a PyTorch file; nothing is unpickled freely.

    Raises:
        CheckpointError: the file is missing, damaged, holds more than tensors or no tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return read_tensors(path)[0]
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{path} was not read: it is damaged or holds more than tensors, and lwdna unpickles "
            "nothing else; save its state dict alone, torch.save(model.state_dict(), file)"
        ) from error
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state dict")
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors by name; give a state dict")
    return tensors


def widths_of(
    graph: ChannelGraph, tensors: Mapping[str, Tensor], origin: str = "the state dict"
) -> dict[str, int]:
    """Return the width of every group that the shapes of ``tensors`` imply.

    Raises:
        CheckpointError: naming a tensor that no widths explain.
    """
    widths: dict[str, int] = {}
    open_axes = [
        (name, axis, int(tensors[name].shape[axis]))
        for name, axes in graph.tensors.items()
        if name in tensors and tensors[name].ndim == len(axes)
        for axis in range(len(axes))
    ]
    while True:  # an axis with one unknown group settles it
        waiting = []
        for name, axis, size in open_axes:
            layout = graph.tensors[name][axis]
            rest = size - layout.constant
            unknown: dict[int, int] = {}
            for group, count in layout.per_unit:
                known = widths.get(graph.groups[group].name)
                if known is None:
                    unknown[group] = count
                else:
                    rest -= count * known
            if len(unknown) > 1:
                waiting.append((name, axis, size))
            elif unknown:
                ((group, factor),) = unknown.items()
                if rest < factor or rest % factor:
                    raise CheckpointError(_misfit(graph, tensors, name, origin))
                widths[graph.groups[group].name] = rest // factor
            elif rest:
                raise CheckpointError(_misfit(graph, tensors, name, origin))
        if len(waiting) == len(open_axes):
            break
        open_axes = waiting
    missing = [group.name for group in graph.groups if group.name not in widths]
    if missing:
        raise CheckpointError(
            f"{origin} does not determine the width of {', '.join(missing[:3])}; "
            "is it of this network?"
        )
    return widths


def import_state_dict(
    model_name: str,
    tensors: Mapping[str, Tensor],
    input_size: InputSize,
    *,
    input_types: InputTypes | None = None,
    model_args: Mapping[str, object] | None = None,
    origin: str = "the state dict",
    edits: Edits | None = None,
) -> tuple[nn.Module, Architecture]:
    """Build the network a state dict belongs to, at the widths its shapes imply, and load it.

    Args:
        model_name: the network at its default widths, for example ``"torchvision:resnet50"``.
        tensors: the state dict.
        input_size: without the batch axis, (C, H, W) for an image; for the MACs.
        input_types: types of the inputs; default: float32.
        model_args: arguments for the network.
        origin: names the file in errors.
        edits: decisions by hand about the groups.

    Raises:
        CheckpointError: the tensors do not fit the network at any widths.
    """
    source = ModelSource(name=resolve_name(model_name), args=dict(model_args or {}))
    model = source.create()
    graph = trace(model, zeros(input_size, input_types), edits)
    widths = widths_of(graph, tensors, origin)
    network = resize(model, graph, widths)
    load_weights(network, tensors, origin)
    architecture = Architecture.of(
        graph,
        input_size,
        source,
        widths,
        {"method": "import", "from": Path(origin).name},
        input_types,
    )
    return network.eval(), architecture


def _misfit(graph: ChannelGraph, tensors: Mapping[str, Tensor], name: str, origin: str) -> str:
    default = graph.shape(name, graph.widths)
    return (
        f"{origin} is of another network: no widths explain {name} of shape "
        f"{tuple(tensors[name].shape)} (by default {default})"
    )
