"""Networks widened by copies of their units, proved to compute what they did.

Where widening is exact is not read off the network but seen: the wide network is run in double
precision beside the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from lwdna.channels.copies.resize import resize
from lwdna.channels.copies.skeleton import copy_with, first_line
from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.tracing.results import tensors_in
from lwdna.errors import GraphError
from lwdna.inputs import call, plain

BATCH = 2
RELATIVE = 1e-7
"""What rounding in double precision may do to an output, of its largest entry."""
SHOWN = 4
"""Groups that an error names."""


def widen_exactly(
    model: nn.Module,
    graph: ChannelGraph,
    widths: Mapping[str, int],
    example_inputs: Any,
    seed: int | None = None,
) -> nn.Module:
    """Return a copy of ``model`` that is wider and computes the same in evaluation mode.

    Units are repeated in turn, and the weights that read them are divided among the copies in
    unequal random shares (Net2Net, arXiv 1511.05641). A copy in double precision is compared with
    the original on random inputs first.

    Args:
        model: the network ``graph`` was traced from; it stays as it is.
        graph: of this network.
        widths: by group name, none below the network's own; groups not named keep theirs.
        example_inputs: as for :func:`lwdna.trace`.
        seed: of the shares.

    Raises:
        GraphError: some groups cannot be widened so; they are named, with the reason if it is
            known. Also where a group is to be narrower, or the network does not run in double
            precision.
    """
    own = graph.widths
    full = graph.complete(widths)
    narrower = [name for name, width in full.items() if width < own[name]]
    if narrower:
        raise GraphError(
            f"copies can only widen a network, but group {narrower[0]!r} has {own[narrower[0]]} "
            f"units and is to have {full[narrower[0]]}; give at least its own width"
        )
    added = {name: width for name, width in full.items() if width > own[name]}
    trial = _Trial(model, graph, example_inputs)
    if not trial.alike(added):
        guilty = [name for name in added if not trial.alike({name: added[name]})]
        raise GraphError(
            f"copies of units change what the network computes {_named(graph, guilty)}"
        )
    return resize(model, graph, added, init="duplicate", seed=seed, inexact="allow")


def _named(graph: ChannelGraph, guilty: Iterable[str]) -> str:
    known = list(guilty)
    if not known:
        return "in several groups together"
    reasons = [graph.groups[graph.index[name]].inexact for name in known]
    parts = [
        f"{name} ({reason})" if reason else name
        for name, reason in list(zip(known, reasons, strict=True))[:SHOWN]
    ]
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"in {'group' if len(known) == 1 else 'groups'} {', '.join(parts)}{more}"


class _Trial:
    """Compares a network in double precision with wider copies of it."""

    def __init__(self, model: nn.Module, graph: ChannelGraph, inputs: Any) -> None:
        self._model = copy_with(model, _in_double).cpu().eval()
        self._graph = graph
        self._inputs = _random(inputs)
        self._own = self._outputs(self._model)

    def alike(self, widths: Mapping[str, int]) -> bool:
        """Whether the network of these widths computes the same."""
        given = self._model, self._graph, widths
        wide = resize(*given, init="duplicate", seed=0, inexact="allow").eval()
        try:
            found = self._outputs(wide)
        except GraphError:
            return False
        return all(
            one.shape == own.shape
            and float((one - own).abs().max()) <= RELATIVE * float(own.abs().max())
            for one, own in zip(found, self._own, strict=True)
            if own.numel()
        )

    @torch.no_grad()
    def _outputs(self, network: nn.Module) -> list[Tensor]:
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return [one.double() for one in tensors_in(call(network, self._inputs))]
        except Exception as error:  # whatever the network raises in double precision
            raise GraphError(
                f"the network does not run in double precision, in which wider copies are "
                f"compared with it: {first_line(error)}"
            ) from error


def _in_double(_: str, tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().clone()
    return tensor.double() if tensor.is_floating_point() else tensor


def _random(inputs: Any) -> Any:
    generator = torch.Generator().manual_seed(0)

    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor[:1].expand(BATCH, *tensor.shape[1:]).to("cpu", copy=True)
        return torch.randn((BATCH, *tensor.shape[1:]), generator=generator, dtype=torch.float64)

    return tree_map_only(Tensor, drawn, plain(inputs))
