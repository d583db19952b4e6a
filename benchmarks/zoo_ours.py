"""The channel graph of one network: its time, what it frees, and checks that it is right."""

from __future__ import annotations

import copy
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.backends import mha
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

import lwdna
from lwdna.channels import ChannelGraph
from lwdna.inputs import call
from workers import brief

FACTORS = (0.4, 0.6, 0.8, 1.2, 1.5)
TOLERANCE, TOLERANCE_64 = 1e-4, 1e-9
"""Largest difference of an output, relative to its largest entry; for float32 and float64."""


def analyse(model: nn.Module, inputs: Any) -> tuple[dict[str, Any], ChannelGraph]:
    """Time tracing (proof by a second run included) and resizing to half of every width."""
    wall, start = time.perf_counter(), time.process_time()
    graph = lwdna.trace(model, inputs)
    traced = time.process_time()
    half = {name: max(1, width // 2) for name, width in graph.widths.items()}
    lwdna.resize(model, graph, half, init="fresh", seed=0)
    end = time.process_time()
    found = {
        "seconds": end - start,
        "trace_seconds": traced - start,
        "resize_seconds": end - traced,
        "wall_seconds": time.perf_counter() - wall,
        "groups": len(graph.groups),
        "inexact": sum(not group.exact for group in graph.groups),
        "unknown_ops": list(graph.unknown_ops),
        **shares(graph),
        "why_inexact": counted(
            str(group.inexact.why) for group in graph.groups if group.inexact is not None
        ),
    }
    return found, graph


def check(model: nn.Module, image: Tensor, graph: ChannelGraph, seed: int) -> dict[str, Any]:
    """Check random widths and slices; a check that raises says so in its own entry."""
    model = copy.deepcopy(model)
    make_nontrivial(model, seed)
    whole = outputs(model, image)
    return {
        "resized": attempt(lambda: resized(model, image, graph, whole, seed)),
        "sliced": attempt(lambda: sliced(model, image, graph, whole, seed)),
    }


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``work`` returns, or the error it raises."""
    try:
        return work()
    except Exception as error:
        return {"ok": False, "error": brief(error)}


def shares(graph: ChannelGraph) -> dict[str, Any]:
    """Return the shares of MACs and parameters that can move, and why the rest cannot.

    An operator moves if at least one of its axes depends on a group, and so does a parameter.
    """
    macs, params = Counter[bool](), Counter[bool]()
    stuck = Counter[str]()
    widths = graph.in_order(graph.widths)
    for operator in graph.operators:
        for term in operator.terms:
            moves, count = bool(term.groups), term.at(widths)
            macs[moves] += count
            if not moves:
                stuck[operator.module] += count
    for name in graph.parameters:
        moves = not all(axis.is_fixed for axis in graph.tensors[name])
        params[moves] += int(np.prod(graph.shape(name, graph.widths), dtype=np.int64))
    total = max(1, macs.total())
    return {
        "macs": macs.total(),
        "macs_share": macs[True] / total if macs else 1.0,
        "params_share": params[True] / max(1, params.total()),
        "why_fixed": _reasons(graph, stuck, total),
    }


def _reasons(graph: ChannelGraph, stuck: Mapping[str, int], total: int) -> dict[str, float]:
    """Return the reasons for axes not moving with the share of MACs each one holds."""
    found = Counter[str]()
    by_module: dict[str, list[str]] = {}
    for pin in graph.pinned:
        texts = [
            " ".join(filter(None, [r.why, r.op and f"at {r.op}", r.line and f"({r.line})"]))
            for r in pin.reasons
        ]
        by_module.setdefault(pin.tensor.rpartition(".")[0], []).extend(texts)
    for module, macs in stuck.items():
        texts = list(dict.fromkeys(by_module.get(module, ["no parameter of its own"])))
        inner = [text for text in texts if not text.startswith(("network input", "network output"))]
        found["; ".join((inner or texts)[:2])] += macs
    return {text: macs / total for text, macs in found.most_common(4)}


def counted(texts: Any) -> dict[str, int]:
    """Return how often each text occurs, the commonest first."""
    return dict(Counter(texts).most_common(6))


def resized(
    model: nn.Module, inputs: Any, graph: ChannelGraph, whole: list[Tensor], seed: int
) -> dict[str, Any]:
    """Run at random widths, wider and narrower; compare shapes and cost with what was predicted."""
    draw = random.Random(seed)
    widths = {
        name: max(1, round(width * draw.choice(FACTORS))) for name, width in graph.widths.items()
    }
    other = lwdna.resize(model, graph, widths, init="fresh", seed=seed).eval()
    cost = graph.cost(widths)
    other.requires_grad_(False)  # the counter's hooks fail on parameters given to modules as inputs
    mha.set_fastpath_enabled(False)  # the counter knows no operator that is an attention layer
    torch._C._set_mkldnn_enabled(False)  # nor one that is a recurrent layer
    with FlopCounterMode(display=False) as counter:
        found = [output.shape for output in outputs(other, inputs)]
    counted_macs = counter.get_total_flops() // 2
    params = sum(parameter.numel() for parameter in other.parameters())
    shapes_kept = found == [output.shape for output in whole]
    return {
        "ok": shapes_kept and (cost.macs, cost.params) == (counted_macs, params),
        "shapes_kept": shapes_kept,
        "macs_exact": cost.macs == counted_macs,
        "params_exact": cost.params == params,
        "macs_predicted": cost.macs,
        "macs_counted": counted_macs,
    }


def sliced(
    model: nn.Module, image: Tensor, graph: ChannelGraph, whole: list[Tensor], seed: int
) -> dict[str, Any]:
    """Compare the sliced network with the whole one whose removed units are silenced."""
    kept = _units(graph, seed)
    small = outputs(lwdna.resize(model, graph, kept, init="slice"), image)
    silent = outputs(silence(model, graph, kept), image)
    found = {
        "error": distance(small, silent),
        "changed": distance(silent, whole),
        "groups": len(kept),
    }
    if found["error"] < TOLERANCE:
        return {"ok": True, **found}
    # Random weights amplify rounding in some networks; double precision tells that from a fault.
    model, image = copy.deepcopy(model).double(), image.double()
    small = outputs(lwdna.resize(model, graph, kept, init="slice"), image)
    error = distance(small, outputs(silence(model, graph, kept), image))
    return {"ok": error < TOLERANCE_64, **found, "error_64": error}


def distance(left: list[Tensor], right: list[Tensor]) -> float:
    """Return the largest difference, relative to the largest entry of the output concerned.

    Not a number counts as 1e30, which JSON can write.
    """
    worst = [
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))
        for a, b in zip(left, right, strict=True)
    ]
    return max(value if value < 1e30 else 1e30 for value in worst)


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """Run in evaluation mode with one seed; return the output tensors, flattened."""
    torch.manual_seed(0)
    with torch.no_grad():
        # lists and dicts anew for every run: some networks write into those that they are given
        return list(tensors_in(call(model.eval(), tree_map(lambda value: value, inputs))))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a network returns, those in dataclasses included."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            for field in fields(leaf):
                yield from tensors_in(getattr(leaf, field.name))


def make_nontrivial(model: nn.Module, seed: int) -> None:
    """Move every parameter and running statistic away from its initial value."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(noise(parameter), alpha=0.02 if parameter.ndim > 1 else 0.1)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(noise(buffer), alpha=0.2)
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + noise(buffer).abs())


def _units(graph: ChannelGraph, seed: int) -> dict[str, Tensor]:
    """Choose units to keep of every group with exact slices; at least one goes."""
    generator = torch.Generator().manual_seed(seed)
    draw = random.Random(seed)
    return {
        group.name: torch.randperm(group.width, generator=generator)[
            : draw.randint(max(1, group.width // 2), group.width - 1)
        ]
        for group in graph.groups
        if group.exact and group.width > 1
    }


def silence(model: nn.Module, graph: ChannelGraph, kept: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy with every parameter entry of a removed unit set to zero.

    Where a layer's weight is computed from its parameters (weight and spectral normalisation),
    those keep their values, which the norm depends on; the layer's outputs are set to zero.
    """
    result = copy.deepcopy(model)
    alive = [torch.ones(group.width) for group in graph.groups]
    for name, units in kept.items():
        alive[graph.index[name]] = torch.zeros(len(alive[graph.index[name]]))
        alive[graph.index[name]][units] = 1.0

    def entries(name: str, position: int, like: Tensor) -> Tensor:
        return graph.tensors[name][position].spread(alive).to(like)

    computed = dict(_computed_weights(result))
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            if name in computed:
                continue
            for position, axis in enumerate(graph.tensors[name]):
                if not axis.is_fixed:
                    shape = [-1 if d == position else 1 for d in range(parameter.ndim)]
                    parameter.mul_(entries(name, position, parameter).view(shape))
    for name, module in computed.items():
        transposed = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d)
        parameter = result.get_parameter(name)
        if parameter.shape == module.weight.shape:
            module.register_forward_hook(_masked(entries(name, int(transposed), parameter)))
    return result


def _computed_weights(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the parameters that normalised weights are computed from, and their layers."""
    for path, module in model.named_modules():
        for name, _ in module.named_parameters():
            if name in ("weight_g", "weight_v", "weight_orig") or (
                name.startswith("parametrizations.weight.")
            ):
                yield f"{path}.{name}".lstrip("."), module


def _masked(alive: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        if isinstance(module, nn.Linear):
            return output * alive
        return output * alive.view(-1, *[1] * (module.weight.ndim - 2))

    return hook
