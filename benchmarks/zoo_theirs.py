"""Torch-Pruning on one network: time of half the channels pruned, and what is left of it."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch_pruning
from torch import nn

from workers import brief
from zoo_ours import outputs

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
CLASSES = {1000, 400, 21}
"""Outputs of the networks' last layers: ImageNet, Kinetics, Pascal VOC."""


def prune(
    model: nn.Module, inputs: Any, ignored: list[nn.Module] | None = None, any_shape: bool = False
) -> dict[str, Any]:
    """Build its dependency graph, group, take one step at 50 %; then see whether the rest runs.

    As its documentation says, layers that make the output are ignored: those given, or else those
    of :func:`output_layers`. Dictionaries are passed because those it has as defaults are shared
    between calls. ``any_shape``: the outputs' shapes depend on values, so that they may differ.
    """
    expected, found_layers = output_layers(model, inputs)
    ignored = found_layers if ignored is None else ignored
    before = {name: width(m) for name, m in model.named_modules() if isinstance(m, LAYERS)}
    skipped = {name for name, m in model.named_modules() if m in ignored}
    found: dict[str, Any] = {"built": False, "finished": False, "runs": False, "changed": False}
    wall, start = time.perf_counter(), time.process_time()
    try:
        pruner = torch_pruning.pruner.BasePruner(
            model,
            inputs,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=0.5,
            ignored_layers=ignored,
            in_channel_groups={},
            out_channel_groups={},
            num_heads=heads(model),
        )
        found |= {"built": True, "build_seconds": time.process_time() - start}
        pruner.step()
        found["finished"] = True
    except Exception as error:
        found["error"] = brief(error)
    found["seconds"] = time.process_time() - start
    found["wall_seconds"] = time.perf_counter() - wall
    if not found["finished"]:
        return found
    try:
        shapes = [output.shape for output in outputs(model, inputs)]
        found["runs"] = any_shape or shapes == expected
        if not found["runs"]:
            found["error"] = "the output has another shape"
    except Exception as error:
        found["error"] = brief(error)
    after = {name: width(m) for name, m in model.named_modules() if isinstance(m, LAYERS)}
    layers = [name for name, size in before.items() if size > 1 and name not in skipped]
    found["layers"] = len(layers)
    found["layers_changed"] = sum(after[name] < before[name] for name in layers)
    found["changed"] = 0 < found["layers_changed"] == len(layers)
    return found


def width(layer: nn.Module) -> int:
    """Return the number of outputs of a layer, read off its weight."""
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    return int(layer.weight.shape[axis])


def output_layers(model: nn.Module, inputs: Any) -> tuple[list[torch.Size], list[nn.Module]]:
    """Return the outputs' shapes and the layers that make them.

    These are the classifiers, those of a feature pyramid, or else the last layer to run.
    """
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, LAYERS)]
    ran: list[nn.Module] = []
    handles = [m.register_forward_hook(lambda m, *_: ran.append(m)) for _, m in layers]
    shapes = [output.shape for output in outputs(model, inputs)]
    for handle in handles:
        handle.remove()
    classes = {shape[1] for shape in shapes if len(shape) > 1} & CLASSES
    found = [m for name, m in layers if width(m) in classes or "fpn.layer_blocks" in name]
    return shapes, found or ran[-1:]


def heads(model: nn.Module) -> dict[nn.Module, int]:
    """Return the number of heads of attention's projections, as its examples for timm do."""
    return {
        layer: module.num_heads
        for module in model.modules()
        if isinstance(getattr(module, "num_heads", None), int)
        for name in ("qkv", "q", "k", "v", "q_proj", "k_proj", "v_proj")
        if isinstance(layer := getattr(module, name, None), nn.Linear)
    }
