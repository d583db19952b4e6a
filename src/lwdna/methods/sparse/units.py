"""The weights of every unit: those that make it, those that read it, or its latent.

A weight between two layers belongs to two units, one on either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from lwdna.channels import ChannelGraph
from lwdna.channels.graph.axes import AxisLayout, Part
from lwdna.hypernet import Latents, generated_weights
from lwdna.methods.sparse.settings import Affine, Side


@dataclass(frozen=True)
class Piece:
    """A parameter of which every entry along one axis belongs to a unit."""

    parameter: nn.Parameter
    dim: int
    axis: AxisLayout
    """The layout of that axis."""


class UnitVectors:
    """One vector per unit: all entries of some parameters that belong to it.

    Units are numbered through all groups, and so are the entries of the pieces' axes. So what is
    done per unit takes as many kernels for a hundred layers as for one. Sums have one order, on
    every device and in every process.

    Args:
        pieces: the parameters.
        widths: units by group, in the graph's order.
    """

    def __init__(self, pieces: Sequence[Piece], widths: Sequence[int]) -> None:
        self.pieces = tuple(pieces)
        self.widths = tuple(widths)
        starts = torch.tensor([0, *widths]).cumsum(0)
        self._total = int(starts[-1])
        units = [starts[group] + torch.arange(width) for group, width in enumerate(self.widths)]
        owners = [torch.cat(list(_owners(piece.axis, units, self._total))) for piece in self.pieces]
        self._sizes = [len(one) for one in owners]
        self._owner = torch.cat([torch.arange(0), *owners])
        """The unit of every entry, (entries,); ``_total`` for entries of none."""
        self._entries = _members(self._owner, self._total)
        """The entries of every unit, (units, most of any unit); where there are fewer, their
        number."""

    @property
    def groups(self) -> frozenset[int]:
        """The groups that have entries here, by their position in the graph."""
        return frozenset(group for piece in self.pieces for group in piece.axis.groups)

    @torch.no_grad()
    def squares(self) -> list[Tensor]:
        """Return the sum of squares of every unit's vector by group, (n,) float64 each."""
        found = []
        for piece in self.pieces:
            values = piece.parameter.detach()
            others = [dim for dim in range(values.ndim) if dim != piece.dim]
            found.append(torch.linalg.vector_norm(values, dim=others) if others else values)
        if not found:
            return [torch.zeros(width, dtype=torch.float64) for width in self.widths]
        self._move(found[0].device)
        norms = torch.cat([*(one.double() for one in found), self._owner.new_zeros(1).double()])
        totals = norms.square()[self._entries].sum(1)
        return list(totals.split(self.widths))

    def norms(self) -> list[Tensor]:
        """Return the l2 norm of every unit's vector by group, (n,) float64 each."""
        return [total.sqrt() for total in self.squares()]

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """Multiply the vectors, in place.

        Args:
            factors: of all units, one group after the other, (units,).
        """
        for piece, by in self._spread(factors, elsewhere=1.0):
            piece.parameter.mul_(by)

    @torch.no_grad()
    def add_to_gradients(self, factors: Tensor) -> None:
        """Add a multiple of the vectors to their gradients, where there are any.

        Args:
            factors: of all units, one group after the other, (units,).
        """
        for piece, by in self._spread(factors, elsewhere=0.0):
            if piece.parameter.grad is not None:
                piece.parameter.grad.add_(piece.parameter * by)

    def _spread(self, factors: Tensor, elsewhere: float) -> Iterator[tuple[Piece, Tensor]]:
        """Yield every parameter with the factors of its entries, shaped to act on all of it."""
        self._move(factors.device)
        exact = torch.cat([factors.double(), factors.new_full((1,), elsewhere).double()])
        exact = exact[self._owner]
        rounded = exact.to(self.pieces[0].parameter.dtype) if self.pieces else exact
        pairs = zip(exact.split(self._sizes), rounded.split(self._sizes), strict=True)
        for piece, (double, single) in zip(self.pieces, pairs, strict=True):
            shape = [1] * piece.parameter.ndim
            shape[piece.dim] = -1
            # what is short is computed in double precision
            yield piece, (double if piece.parameter.ndim == 1 else single).reshape(shape)

    def _move(self, device: torch.device) -> None:
        if self._owner.device != device:
            self._owner, self._entries = self._owner.to(device), self._entries.to(device)


def _owners(axis: AxisLayout, units: Sequence[Tensor], nobody: int) -> Iterator[Tensor]:
    """Yield the unit that every entry of an axis belongs to."""
    for outer, group, inner in axis.parts:
        if group is None:
            yield torch.full((outer * inner,), nobody)
        else:
            yield units[group][None, :, None].expand(outer, -1, inner).reshape(-1)


def _members(owner: Tensor, units: int) -> Tensor:
    """Return the entries of every unit in their order, (units, most), filled with their number."""
    counts = owner.bincount(minlength=units + 1)[:units]
    table = torch.full((units, max(1, int(counts.max()))), len(owner))
    order = owner.argsort(stable=True)
    order = order[owner[order] < units]
    first = (counts.cumsum(0) - counts)[owner[order]]
    table[owner[order], torch.arange(len(order)) - first] = order
    return table


@dataclass(frozen=True)
class Units:
    """The units of a network that is being trained."""

    network: nn.Module
    graph: ChannelGraph
    """The channel graph of the baseline."""
    widths: Mapping[str, int]
    """The widths of ``network``."""
    latents: Latents | None = None
    """What generates the weights: then a unit's vector is its latent, of length one."""

    def vectors(self, side: Side = "both", affine: Affine = "none") -> UnitVectors:
        """Return the vector of every unit.

        Args:
            side: of the weights of convolutions and linear layers those that make a unit, those
                that read it, or both together. A depthwise convolution makes its units and reads
                none, for it passes on what it is given.
            affine: what belongs to the side that makes a unit, too: scales of normalisation, or
                every parameter with one axis (biases, shifts, slopes).
        """
        if self.latents is not None:
            return self._gathered(_latents(self.latents))
        pieces: list[Piece] = []
        for written, read in _sides(self.network, self.graph):
            pieces += [written] if side != "read" else []
            pieces += [read] if side != "write" else []
        if side != "read" and affine == "scale":
            pieces += norm_scales(self.network, self.graph)
        elif side != "read" and affine == "all":
            pieces += _flat_parameters(self.network, self.graph)
        return self._gathered(pieces)

    def scales(self) -> list[UnitVectors]:
        """Return the scales of every normalisation layer as vectors of their own."""
        return [self._gathered([piece]) for piece in norm_scales(self.network, self.graph)]

    def _gathered(self, pieces: Sequence[Piece]) -> UnitVectors:
        trained = [piece for piece in pieces if piece.parameter.requires_grad and piece.axis.groups]
        return UnitVectors(trained, self.graph.in_order(self.widths))


def norm_scales(network: nn.Module, graph: ChannelGraph) -> list[Piece]:
    """Return the scales of all normalisation layers, in the order of the network's modules."""
    found = []
    for path, module in network.named_modules():
        if isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
            axes = graph.tensors.get(f"{path}.weight", ())
            if len(axes) == 1 and module.weight is not None:
                found.append(Piece(module.weight, 0, axes[0]))
    return found


def _sides(network: nn.Module, graph: ChannelGraph) -> Iterator[tuple[Piece, Piece]]:
    """Yield the weight of every layer twice: by the units it makes, and by those it reads."""
    for name, layer in generated_weights(network, graph).items():
        out, inside = graph.tensors[name][:2]
        weight = cast(nn.Parameter, layer.weight)
        sides = Piece(weight, 0, out), Piece(weight, 1, inside)
        made = made_axis(layer)
        yield sides[made], sides[1 - made]


def made_axis(layer: _ConvNd | nn.Linear) -> int:
    """Return the axis of a layer's weight that numbers what the layer makes, 0 or 1.

    A transposed convolution has its inputs first, but a depthwise one makes what it has there.
    """
    if not (isinstance(layer, _ConvNd) and layer.transposed):
        return 0
    return 0 if layer.groups == layer.in_channels > 1 else 1


def _flat_parameters(network: nn.Module, graph: ChannelGraph) -> list[Piece]:
    return [
        Piece(parameter, 0, graph.tensors[name][0])
        for name, parameter in network.named_parameters()
        if name in graph.tensors and len(graph.tensors[name]) == 1
    ]


def _latents(latents: Latents) -> list[Piece]:
    return [
        Piece(vector, 0, AxisLayout((Part(1, group, 1),)))
        for group, vector in enumerate(latents.vectors)
    ]
