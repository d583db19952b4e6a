"""Gates on units: what the loss says about everything that reads a unit.

A gate g[u] multiplies what each layer reads of unit u. At 0 nothing reads the unit: that is the
network without it. The derivative with respect to a gate at 1 needs no gate,

    dL/dg[u] = sum of x * dL/dx over all places where a layer reads channels x of unit u.

Layers that keep channels apart (depthwise convolutions, normalisation) pass a unit on and do not
read it. A unit that no layer reads (queries and keys of attention, say) has its gate where it is
made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lwdna.channels import ChannelGraph
from lwdna.channels.graph.axes import AxisLayout
from lwdna.hypernet import generated_weights


@dataclass(frozen=True)
class Site:
    """A place where units are gated: what a layer reads or, with ``made``, its result."""

    module: nn.Module
    axis: AxisLayout
    """Layout of the channels there."""
    groups: frozenset[int]
    """The groups on this axis that are gated here."""
    dim: int
    """Which axis of the activations: 1 for convolutions, -1 for linear layers."""
    made: bool


def sites(network: nn.Module, graph: ChannelGraph) -> list[Site]:
    """Return every place where units are gated, in no particular order."""
    read, made = [], []
    for name, layer in generated_weights(network, graph).items():
        out, inside = graph.tensors[name][:2]
        copies, dim = 1, -1
        if isinstance(layer, _ConvNd):
            copies, dim = layer.groups, 1
            if copies == layer.in_channels > 1:
                continue
            if layer.transposed:
                out, inside = inside.repeated(copies), out
                copies = 1
        inside = inside.repeated(copies)
        read.append(Site(layer, inside, frozenset(inside.groups), dim, made=False))
        made.append(Site(layer, out, frozenset(out.groups), dim, made=True))
    missing = frozenset(range(len(graph.groups))).difference(*(site.groups for site in read))
    made = [Site(s.module, s.axis, s.groups & missing, s.dim, made=True) for s in made]
    return [site for site in (*read, *made) if site.groups]


@contextmanager
def transformed(where: list[Site], transform: Callable[[Tensor, Site], Tensor]) -> Iterator[None]:
    """Replace the activations at every site by ``transform(activations, site)``."""

    def before(site: Site) -> Callable[..., Any]:
        return lambda _, inputs: (transform(inputs[0], site), *inputs[1:])

    def after(site: Site) -> Callable[..., Any]:
        return lambda _, __, output: transform(output, site)

    handles = [
        site.module.register_forward_hook(after(site))
        if site.made
        else site.module.register_forward_pre_hook(before(site))
        for site in where
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class GateGradients:
    """Collects dL/dg of every unit for every example while the loss is differentiated."""

    def __init__(self, network: nn.Module, graph: ChannelGraph, widths: Mapping[str, int]) -> None:
        self._sites = sites(network, graph)
        self._widths = [widths[group.name] for group in graph.groups]
        self._names = [group.name for group in graph.groups]
        self._found: dict[int, list[Tensor]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch all forward passes inside the block; their backward passes may come later."""
        anchor = torch.zeros((), requires_grad=True)  # else frozen layers would not be watched

        def watch(x: Tensor, site: Site) -> Tensor:
            result: Tensor = _Watch.apply(x, anchor, lambda product: self._note(product, site))
            return result

        with transformed(self._sites, watch):
            yield

    def take(self, examples: int) -> dict[str, Tensor]:
        """Return what was collected since the last time, (examples, n) by group; zero if unseen."""
        found, self._found = self._found, {}
        totals = {}
        for group, (name, width) in enumerate(zip(self._names, self._widths, strict=True)):
            totals[name] = torch.zeros(examples, width, dtype=torch.float64)
            for one in found.get(group, ()):
                totals[name] += one.reshape(examples, -1, width).sum(1)
        return totals

    def _note(self, product: Tensor, site: Site) -> None:
        dim = site.dim % product.ndim
        others = [d for d in range(1, product.ndim) if d != dim]
        values = (product.sum(others) if others else product).double().cpu()
        for group, piece in site.axis.split(values, self._widths):
            if group in site.groups:
                self._found.setdefault(group, []).append(piece.sum((1, 3)))


class _Watch(torch.autograd.Function):
    """The identity; its backward pass reports x * dL/dx."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _: Tensor, note: Callable[[Tensor], None]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.note = note
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        ctx.note(x * gradients[0])
        return gradients[0], None, None


def gate(x: Tensor, site: Site, vectors: list[Tensor]) -> Tensor:
    """Multiply activations by their units' values where the units are gated here."""
    shape = [1] * x.ndim
    shape[site.dim] = -1
    return x * site.axis.spread(vectors, among=site.groups).reshape(shape).to(x)
