"""The weights of every unit: those that make it, those that read it, or its latent.

A weight between two layers belongs to two units, one on either side.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from lwdna.channels import ChannelGraph
from lwdna.channels.graph.axes import AxisLayout, Part
from lwdna.hypernet import Latents, generated_weights, sum_by_unit
from lwdna.methods.sparse.settings import Affine, Side


@dataclass(frozen=True)
class Piece:
    """A parameter of which every entry along one axis belongs to a unit."""

    parameter: nn.Parameter
    dim: int
    axis: AxisLayout
    """The layout of that axis."""

    def along(self, entries: Tensor) -> Tensor:
        """Return values per entry of the axis, shaped and typed to act on the whole parameter."""
        shape = [1] * self.parameter.ndim
        shape[self.dim] = -1
        exact = self.parameter.ndim == 1  # what is short is computed in double precision
        return (entries if exact else entries.to(self.parameter)).reshape(shape)


class UnitVectors:
    """One vector per unit: all entries of some parameters that belong to it.

    Args:
        pieces: the parameters.
        widths: units by group, in the graph's order.
    """

    def __init__(self, pieces: Sequence[Piece], widths: Sequence[int]) -> None:
        self.pieces = tuple(pieces)
        self._widths = list(widths)

    @property
    def groups(self) -> frozenset[int]:
        """The groups that have entries here, by their position in the graph."""
        return frozenset(group for piece in self.pieces for group in piece.axis.groups)

    @torch.no_grad()
    def squares(self) -> list[Tensor]:
        """Return the sum of squares of every unit's vector by group, (n,) float64 each."""
        device = self.pieces[0].parameter.device if self.pieces else None
        totals = [torch.zeros(n, dtype=torch.float64, device=device) for n in self._widths]
        for piece in self.pieces:
            values = piece.parameter.detach()
            others = [dim for dim in range(values.ndim) if dim != piece.dim]
            norms = torch.linalg.vector_norm(values, dim=others) if others else values
            sum_by_unit(norms.double().square(), piece.axis, totals)
        return totals

    def norms(self) -> list[Tensor]:
        """Return the l2 norm of every unit's vector by group, (n,) float64 each."""
        return [total.sqrt() for total in self.squares()]

    @torch.no_grad()
    def scale(self, factors: Sequence[Tensor], among: Collection[int]) -> None:
        """Multiply the vectors, in place.

        Args:
            factors: one per unit by group in the graph's order, (n,) each.
            among: the groups whose vectors are scaled.
        """
        for piece in self.pieces:
            if not set(among).isdisjoint(piece.axis.groups):
                by = piece.along(piece.axis.spread(factors, among=among))
                piece.parameter.mul_(by)

    @torch.no_grad()
    def add_to_gradients(self, factors: Sequence[Tensor], among: Collection[int]) -> None:
        """Add a multiple of the vectors to their gradients, where there are any.

        Args:
            factors: one per unit by group in the graph's order, (n,) each.
            among: the groups that count.
        """
        for piece in self.pieces:
            gradient = piece.parameter.grad
            if gradient is not None and not set(among).isdisjoint(piece.axis.groups):
                by = piece.along(piece.axis.spread(factors, among=among, elsewhere=0.0))
                gradient.add_(piece.parameter * by)


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
