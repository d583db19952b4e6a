"""Networks found, as a model of timm: importing this package adds the name ``lwdna`` to timm's.

>>> import timm, lwdna.timm_models
>>> timm.create_model("lwdna", architecture="better.lwdna.json")

timm's own scripts get it by ``python -m lwdna.timm_models train.py --model lwdna --model-kwargs
architecture=better.lwdna.json ...``. What ``lwdna push`` uploads is a model of timm's, too:
``timm.create_model("hf-hub:user/name", pretrained=True)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models import register_model
from torch import nn

from lwdna.architecture import Architecture, traced
from lwdna.errors import ArchitectureError, ModelError
from lwdna.files import json_text
from lwdna.inputs import zeros
from lwdna.interface import Interface, read_interface
from lwdna.interop.hub import fetch_weights
from lwdna.interop.timm_config import as_timm
from lwdna.models.pretrained import load_start
from lwdna.run_folder import find_weights
from lwdna.weights import read_tensors


@register_model
def lwdna(
    pretrained: bool = False,
    *,
    architecture: str | Path | Mapping[str, Any],
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    cache_dir: str | Path | None = None,
    pretrained_model_args: Mapping[str, Any] | None = None,
    **args: Any,
) -> nn.Module:
    """Build a network found, as ``timm.create_model`` asks for it.

    Args:
        pretrained: load the weights of a ``.safetensors`` file, or those that were pushed; else
            they are fresh. An output layer for another number of classes is always a fresh one.
        architecture: an architecture file, a ``.safetensors`` file with an architecture inside, or
            what an architecture file holds.
        pretrained_cfg: what timm knows of the weights, from the hub or from a local folder.
        pretrained_cfg_overlay: replaces parts of it.
        cache_dir: where files from the hub are kept.
        pretrained_model_args: timm's note of the arguments that the weights were made with.
        args: replace arguments of the network, as ``num_classes`` or ``drop_path_rate``.

    Raises:
        ArchitectureError: the file is damaged, or does not say how to make the network.
        ModelError: there are no weights to load, or the network does not take the arguments.
        CheckpointError: the weights do not fit.
    """
    cfg = {**_of_timm(pretrained_cfg), **(pretrained_cfg_overlay or {})}
    weights = _weights_of(architecture, cfg, cache_dir) if pretrained else None
    found = _with_arguments(_read(architecture), args)
    network = found.build()
    if weights is not None:
        load_start(network, read_tensors(weights)[0], weights)
    interface = _interface_of(architecture)
    _describe(network, found, {**as_timm(interface), **cfg})
    return network


def _of_timm(cfg: Any) -> dict[str, Any]:
    """Return timm's configuration as a dict; a mere tag says nothing."""
    return dict(cfg) if isinstance(cfg, Mapping) else {}


def _read(given: str | Path | Mapping[str, Any]) -> Architecture:
    if isinstance(given, Mapping):
        return Architecture.from_json(json_text(given), "the architecture given")
    return Architecture.load(given)


def _weights_of(
    architecture: str | Path | Mapping[str, Any],
    cfg: Mapping[str, Any],
    cache_dir: str | Path | None,
) -> Path:
    """Return the file that trained weights are in."""
    if isinstance(architecture, str | Path) and Path(architecture).suffix == ".safetensors":
        return Path(architecture)
    if cfg.get("hf_hub_id"):
        repository, _, revision = str(cfg["hf_hub_id"]).partition("@")
        return fetch_weights(repository, revision or None, cache_dir=cache_dir)
    if cfg.get("file"):
        return find_weights(cfg["file"])
    raise ModelError(
        "an architecture file holds no trained weights; give the .safetensors file of a training "
        "as architecture, load them by checkpoint_path, or leave out pretrained"
    )


def _interface_of(architecture: str | Path | Mapping[str, Any]) -> Interface:
    if isinstance(architecture, str | Path) and Path(architecture).suffix == ".safetensors":
        return read_interface(architecture)
    return Interface()


def _with_arguments(found: Architecture, args: Mapping[str, Any]) -> Architecture:
    """Return the same widths of a baseline with other arguments."""
    source, size = found.model, found.input_size
    if source is None:
        raise ArchitectureError(
            "the architecture does not say how to make its baseline; build it in Python: "
            "architecture.build(model)"
        )
    asked = dict(args)
    if isinstance(size, tuple) and asked.get("in_chans") == size[0]:
        del asked["in_chans"]  # it is so already, and not every network has such an argument
    if not source.name.startswith("timm:"):  # timm's script says of all that they are 0
        asked = {name: value for name, value in asked.items() if value or name in source.args}
    if all(source.args.get(name) == value for name, value in asked.items()):
        return found
    source = source.model_copy(update={"args": {**source.args, **asked}})
    inputs = zeros(size, found.input_types)
    graph = traced(source.create(), inputs, found.edits, source)
    return Architecture.of(graph, size, source, found.widths, found.found, found.input_types)


def _describe(network: Any, found: Architecture, cfg: Mapping[str, Any]) -> None:
    """Leave what timm's scripts look for: the number of classes, and how images are prepared."""
    if not hasattr(network, "num_classes"):
        network.eval()
        with torch.no_grad():
            network.num_classes = network(zeros(found.input_size, found.input_types)).shape[-1]
        network.train()
    network.pretrained_cfg = network.default_cfg = {
        **getattr(network, "pretrained_cfg", {}),
        "input_size": found.input_size,
        **cfg,
        "architecture": "lwdna",
        "num_classes": network.num_classes,
    }
