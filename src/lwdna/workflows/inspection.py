"""``lwdna inspect``: the channel graph of a network."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn

from lwdna.architecture import Architecture
from lwdna.channels import ChannelGraph, Edits, trace
from lwdna.engine import LatencyModel
from lwdna.errors import EditError, GraphError, ModelError
from lwdna.input_size import InputSize, check_size, describe, only
from lwdna.inputs import zeros
from lwdna.model_source import ModelSource, traced_without_weights
from lwdna.run_options import RunOptions

_USUAL = (3, 224, 224)


def trace_network(
    model: str,
    *,
    size: int | None = None,
    channels: int | None = None,
    edits: Edits | None = None,
    options: RunOptions = RunOptions(),
) -> tuple[ChannelGraph, InputSize]:
    """Return the channel graph of a network and the input size it is for, (C, H, W) for images.

    Args:
        model: a network's name, or an architecture (``.json``) or weights (``.safetensors``) file.
        size: side of the square input in pixels; by default what the network is made for.
        channels: channels of the input; by default what the network is made for.
        edits: decisions by hand; by default those of an architecture file.
        options: trust.

    Raises:
        ModelError: there is no such network, or size or channels are given for one that does not
            take one image.
        ArchitectureError: the file cannot be read.
        GraphError: the network does not run on such images.
        EditError: an edit names nothing or cannot hold.
    """
    architecture = _architecture(model)
    types = architecture.input_types if architecture else None
    edits = edits or (architecture.edits if architecture else None)
    made: Architecture | ModelSource = architecture or ModelSource(name=model)
    build = made.build if isinstance(made, Architecture) else made.create
    create = partial(build, trust_code=options.trust_code)
    skeleton = made.skeleton(options.trust_code)
    network = create() if skeleton is None else skeleton
    chosen = _at(
        architecture.input_size if architecture else _made_for(network), size, channels, model
    )
    inputs = zeros(chosen, types)
    try:
        if skeleton is None:
            return trace(network, inputs, edits), chosen
        return traced_without_weights(skeleton, create, inputs, edits), chosen
    except EditError:
        raise
    except GraphError as error:
        raise GraphError(
            f"{error}; set --size and --channels to what {model} takes; for several inputs use "
            "lwdna.trace or an architecture file"
        ) from error


def _architecture(model: str) -> Architecture | None:
    """Return what a file says; None of a network's name.

    Raises:
        ModelError: it is another file.
        ArchitectureError: the file cannot be read.
    """
    if model.endswith((".json", ".safetensors")):
        return Architecture.load(Path(model))
    if Path(model).exists():
        raise ModelError(
            f"{model} is no architecture file; give one (*.lwdna.json), weights (*.safetensors) "
            "or a network's name"
        )
    return None


def _at(usual: InputSize, size: int | None, channels: int | None, model: str) -> InputSize:
    """Return the size of a network's inputs with the sides and channels that are asked for."""
    if size is None and channels is None:
        return usual
    image = only(usual)
    if image is None or len(image) != 3:
        raise ModelError(
            f"--size and --channels are for networks that take one image, {model} takes "
            f"{describe(usual)}; leave them out"
        )
    return (channels or image[0], size or image[1], size or image[2])


def added_latency(graph: ChannelGraph) -> float:
    """Return the milliseconds of a forward pass on this machine: its operators' times, added."""
    widths = [group.width for group in graph.groups]
    return float(LatencyModel(graph, torch.get_default_device())([widths])[0])


def _made_for(network: nn.Module) -> InputSize:
    """Return the input size that timm notes on a network, or the usual one."""
    noted = getattr(network, "default_cfg", None)
    found = noted.get("input_size") if isinstance(noted, dict) else None
    return check_size(found) if found else _USUAL
