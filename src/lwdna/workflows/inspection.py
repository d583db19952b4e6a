"""``lwdna inspect``: the channel graph of a network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lwdna.architecture import Architecture
from lwdna.channels import ChannelGraph, Edits, trace
from lwdna.engine import LatencyModel
from lwdna.errors import EditError, GraphError, ModelError
from lwdna.models import create_model
from lwdna.run_options import RunOptions

_USUAL = (3, 224, 224)


def trace_network(
    model: str,
    *,
    size: int | None = None,
    channels: int | None = None,
    edits: Edits | None = None,
    options: RunOptions = RunOptions(),
) -> tuple[ChannelGraph, tuple[int, ...]]:
    """Return the channel graph of a network and the input shape (C, H, W) it is for.

    Args:
        model: a network's name, or an architecture (``.json``) or weights (``.safetensors``) file.
        size: side of the square input in pixels; by default what the network is made for.
        channels: channels of the input; by default what the network is made for.
        edits: decisions by hand; by default those of an architecture file.
        options: trust.

    Raises:
        ModelError: there is no such network.
        ArchitectureError: the file cannot be read.
        GraphError: the network does not run on such images.
        EditError: an edit names nothing or cannot hold.
    """
    if model.endswith((".json", ".safetensors")):
        architecture = Architecture.load(Path(model))
        network, usual = architecture.build(trust_code=options.trust_code), architecture.input_size
        edits = edits or architecture.edits
    else:
        if Path(model).exists():
            raise ModelError(
                f"{model} is no architecture file; give one (*.lwdna.json), weights "
                "(*.safetensors) or a network's name"
            )
        network = create_model(model, trust_code=options.trust_code)
        usual = _made_for(network)
    shape = (channels or usual[0], size or usual[1], size or usual[2])
    try:
        return trace(network, torch.zeros(1, *shape), edits), shape
    except EditError:
        raise
    except GraphError as error:
        raise GraphError(f"{error}; set --size and --channels to what {model} takes") from error


def added_latency(graph: ChannelGraph) -> float:
    """Return the milliseconds of a forward pass on this machine: its operators' times, added."""
    widths = [group.width for group in graph.groups]
    return float(LatencyModel(graph, torch.get_default_device())([widths])[0])


def _made_for(network: nn.Module) -> tuple[int, ...]:
    """Return the input size that timm notes on a network, or the usual one."""
    noted = getattr(network, "default_cfg", None)
    return tuple(noted.get("input_size") or _USUAL) if isinstance(noted, dict) else _USUAL
