"""The channel graph: which axes share a width, and what every operator costs.

A :class:`ChannelGraph` is plain data: names, sizes and layouts, no tensors and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy.typing as npt

from lwdna.channels.graph.cost import ClosedForm, Cost, IntArray, LayerCost
from lwdna.channels.graph.describe import macs_by_group, report
from lwdna.channels.graph.notebook import table
from lwdna.channels.graph.structure import Structure


@dataclass(frozen=True, repr=False)
class ChannelGraph(Structure):
    """Groups of channels of a network, and its cost as a closed form of their widths."""

    def cost(self, widths: Mapping[str, int] | None = None) -> Cost:
        """Return MACs, parameters and peak memory at the given widths (default: as traced)."""
        row = [self.in_order(self.complete(widths))]
        macs, params = self.costs(row)
        return Cost(int(macs[0]), int(params[0]), int(self.peak_memory(row)[0]))

    def costs(self, widths: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        """Return MACs and parameters, each (N,), of N candidates: widths (N, groups)."""
        return self._closed_form.costs(widths)

    def peak_memory(self, widths: npt.ArrayLike) -> IntArray:
        """Return the most bytes of activations alive at once, (N,), at widths (N, groups).

        Of one forward pass in evaluation mode without gradients: the network's inputs and every
        result of an operator, from the operator that allocates it until Python lets go of it.
        Views and in-place operators share memory; parameters, buffers and what a kernel needs for
        itself are not counted.
        """
        return self._closed_form.peak_memory(widths)

    def layers(self, widths: Mapping[str, int] | None = None) -> list[LayerCost]:
        """Return the cost of each module that has MACs or parameters, in execution order."""
        full = self.complete(widths)
        ordered = self.in_order(full)
        macs: dict[str, int] = {}
        ops: dict[str, str] = {}
        params: dict[str, int] = {}
        for operator in self.operators:
            if operator.terms:
                macs[operator.module] = macs.get(operator.module, 0) + operator.macs(ordered)
                ops.setdefault(operator.module, operator.op)
        for name in self.parameters:
            module = name.rpartition(".")[0]
            params[module] = params.get(module, 0) + prod(self.shape(name, full))
        return [
            LayerCost(name, ops.get(name, ""), macs.get(name, 0), params.get(name, 0))
            for name in dict.fromkeys([*macs, *params])
        ]

    def report(self) -> str:
        """Return a text: groups with members and share of MACs, pins and why, unknown operators."""
        return report(self)

    def __repr__(self) -> str:
        return f"<ChannelGraph: {self._summary()}; .report() tells more>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a row for every group."""
        touched, _ = macs_by_group(self)
        total = max(self.cost().macs, 1)
        rows = [
            (group.name, f"{group.width}", f"{macs / total:.1%}", f"{len(group.members)}")
            for group, macs in zip(self.groups, touched, strict=True)
        ]
        heading = ("group", "width", "share of MACs", "axes of tensors")
        return table(f"Channel graph: {self._summary()}", heading, rows)

    def _summary(self) -> str:
        cost, count = self.cost(), len(self.groups)
        return (
            f"{count} group{'s' if count != 1 else ''}, {cost.macs:,} MACs, "
            f"{cost.params:,} parameters"
        )

    @cached_property
    def _closed_form(self) -> ClosedForm:
        parameters = [self.tensors[name] for name in self.parameters]
        return ClosedForm(len(self.groups), self.operators, parameters, self.activations)
