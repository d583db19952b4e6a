"""Claims that must hold for every channel graph, whatever the network."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torchvision  # noqa: F401  its operators exist once it is imported
from torch import Tensor, nn
from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from lwdna.channels import ChannelGraph, resize


def _bilinear_flops(*shapes: Any, out_shape: Any = None, **_: Any) -> int:
    """(B, 1, n, 1), (1, m, n, k) and (B, 1, 1, k): each entry of a weight, for each of a batch."""
    return 2 * shapes[0][0] * math.prod(shapes[1])


def _deformable_flops(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Each entry of a weight once per place of the result, for each image."""
    return 2 * out_shape[0] * math.prod(weight) * math.prod(out_shape[2:])


def _first_axis_flops(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """(T, B, C): each entry of a weight (k, C_in, C_out) once per step and sequence."""
    return 2 * math.prod(out_shape[:2]) * math.prod(weight)


def _summed_flops(added: Any, left: Any, right: Any, **_: Any) -> int:
    """(B, n, k) and (B, k, m), and a matrix to which the products are added."""
    return 2 * math.prod(left) * right[2]


UNCOUNTED = {
    torch.ops.aten.addbmm: _summed_flops,
    torch.ops.aten._trilinear: _bilinear_flops,
    torch.ops.aten.conv_tbc: _first_axis_flops,
    torch.ops.torchvision.deform_conv2d: _deformable_flops,
}
"""Floating point operations of what torch does not count."""


@contextmanager
def without_fused_kernels() -> Iterator[None]:
    """Inside the block, recurrent layers and attention are the matrix products in them."""
    before = torch._C._get_mkldnn_enabled(), mha.get_fastpath_enabled()
    torch._C._set_mkldnn_enabled(False)
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before[0])
        mha.set_fastpath_enabled(before[1])


def outputs_of(model: nn.Module, inputs: Any) -> list[Tensor]:
    """Run the network in evaluation mode; return its output tensors, flattened."""
    model.eval()
    with torch.no_grad():
        if isinstance(inputs, dict):
            result = model(**inputs)
        else:
            result = model(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    return [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]


def as_type(inputs: Any, dtype: torch.dtype) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(dtype) if inputs.is_floating_point() else inputs
    if isinstance(inputs, dict):
        return {key: as_type(value, dtype) for key, value in inputs.items()}
    return tuple(as_type(value, dtype) for value in inputs)


def make_nontrivial(model: nn.Module, seed: int = 0) -> None:
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


def random_widths(graph: ChannelGraph, seed: int) -> dict[str, int]:
    """Some groups wider, some narrower."""
    draw = random.Random(seed)
    return {
        name: max(1, round(width * draw.choice((0.4, 0.6, 0.8, 1.0, 1.2, 1.5))))
        for name, width in graph.widths.items()
    }


def random_units(graph: ChannelGraph, seed: int) -> dict[str, Tensor]:
    """Units to keep of every group that can be sliced exactly; at least one goes."""
    generator = torch.Generator().manual_seed(seed)
    draw = random.Random(seed)
    return {
        group.name: torch.randperm(group.width, generator=generator)[
            : draw.randint(max(1, group.width // 2), group.width - 1)
        ]
        .sort()
        .values
        for group in graph.groups
        if group.exact and group.width > 1
    }


def atoms(graph: ChannelGraph, tensor: str, axis: int) -> list[tuple[int, int] | None]:
    """Return (group, unit) of every channel of an axis; None where it is fixed."""
    found: list[tuple[int, int] | None] = []
    for outer, group, inner in graph.tensors[tensor][axis].parts:
        if group is None:
            found += [None] * (outer * inner)
            continue
        for _ in range(outer):
            for unit in range(graph.groups[group].width):
                found += [(group, unit)] * inner
    return found


def silenced(model: nn.Module, graph: ChannelGraph, kept: dict[str, Tensor]) -> nn.Module:
    """Return a copy with every parameter entry of a removed unit set to zero."""
    result = copy.deepcopy(model)
    alive = {graph.index[name]: set(units.tolist()) for name, units in kept.items()}
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            for axis in range(parameter.ndim):
                mask = torch.tensor(
                    [
                        atom is None or atom[0] not in alive or atom[1] in alive[atom[0]]
                        for atom in atoms(graph, name, axis)
                    ]
                )
                shape = [-1 if d == axis else 1 for d in range(parameter.ndim)]
                parameter.mul_(mask.view(shape))
    return result


@torch.no_grad()
def relative_error(ours: list[Tensor], theirs: list[Tensor]) -> float:
    return max(
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
        for a, b in zip(ours, theirs, strict=True)
    )


def assert_resizes(model: nn.Module, inputs: Any, graph: ChannelGraph, rounds: int = 3) -> None:
    """At random widths the network runs, its outputs keep their shape, the cost is exact."""
    expected = [output.shape for output in outputs_of(model, inputs)]
    candidates = [random_widths(graph, seed) for seed in range(rounds)]
    table = np.array([[widths[name] for name in graph.widths] for widths in candidates])
    macs, params = graph.costs(table.reshape(rounds, len(graph.groups)))
    for seed, widths in enumerate(candidates):
        other = resize(model, graph, widths, init="fresh", seed=seed)
        assert type(other) is type(model)
        # torch does not count fused kernels, up to 2.11 not even those of attention
        with (
            FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter,
            sdpa_kernel(SDPBackend.MATH),
            without_fused_kernels(),
        ):
            found = [output.shape for output in outputs_of(other, inputs)]
        assert found == expected
        cost = graph.cost(widths)
        assert cost.macs == counter.get_total_flops() / 2
        assert cost.params == sum(p.numel() for p in other.parameters())
        assert (cost.macs, cost.params) == (macs[seed], params[seed])
        layers = graph.layers(widths)
        assert sum(layer.macs for layer in layers) == cost.macs
        assert sum(layer.params for layer in layers) == cost.params


def assert_slices(model: nn.Module, inputs: Any, graph: ChannelGraph, double: bool = True) -> None:
    """A sliced network computes what the whole one computes with the removed units silenced."""
    model = copy.deepcopy(model)
    make_nontrivial(model)
    cases = [(torch.float32, 1e-4)] + [(torch.float64, 1e-9)] * double
    for dtype, tolerance in cases:
        model.to(dtype)
        x = as_type(inputs, dtype)
        whole = outputs_of(model, x)
        kept = random_units(graph, seed=7)
        sliced = outputs_of(resize(model, graph, kept, init="slice"), x)
        masked = outputs_of(silenced(model, graph, kept), x)
        assert relative_error(sliced, masked) < tolerance
        if kept:
            assert relative_error(masked, whole) > 1e-6, "silencing changed nothing"
        same = resize(
            model, graph, {name: torch.arange(w) for name, w in graph.widths.items()}, "slice"
        )
        assert relative_error(outputs_of(same, x), whole) == 0


def assert_holds(model: nn.Module, inputs: Any, graph: ChannelGraph) -> None:
    assert_resizes(model, inputs, graph)
    assert_slices(model, inputs, graph)
