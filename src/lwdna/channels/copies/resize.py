"""Give a network other widths: an ordinary module of the same class, fresh or sliced."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lwdna.channels.copies import computed
from lwdna.channels.copies.accepted import check_network, check_values
from lwdna.channels.copies.duplicate import divide, reading_axes
from lwdna.channels.copies.entries import added_entries, cut
from lwdna.channels.copies.fake_shapes import fake_like
from lwdna.channels.copies.redraw import redraw
from lwdna.channels.copies.skeleton import (
    copy_with,
    empty_like,
    frozen_parameters,
    named_tensors,
    sync_layer_sizes,
)
from lwdna.channels.graph.axes import AxisLayout
from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.graph.structure import Metadata
from lwdna.errors import GraphError, nearest
from lwdna.models.memory import physical_memory

Widths = Mapping[str, int | Tensor]
"""By group name: a width, or a 1-D integer tensor of the units to keep."""

_DONE = {"slice": "sliced", "pad": "padded", "duplicate": "duplicated"}


def resize(
    model: nn.Module,
    graph: ChannelGraph,
    widths_or_indices: Widths,
    init: Literal["fresh", "slice", "pad", "duplicate"] = "fresh",
    seed: int | None = None,
    undefined: Collection[str] = (),
    inexact: Literal["refuse", "allow"] = "refuse",
) -> nn.Module:
    """Return a copy of ``model`` whose groups have other widths; groups not named keep theirs.

    Args:
        model: the network ``graph`` was traced from; it stays as it is.
        widths_or_indices: by group name, a width or the units to keep (ascending or not).
        init: ``"slice"`` keeps the weights of the units kept (a width keeps the first ones), which
            computes what the whole network computes with the other units silenced; ``"fresh"``
            draws new weights from the distributions of the model's own, scaled to the new fan, and
            keeps the order that its constructor made, such as identities and fixed kernels (see
            :func:`lwdna.channels.copies.redraw.redraw`), also for units beyond the old width;
            frozen parameters stay as they are; ``"pad"`` adds units whose parameters are zero
            (their buffers repeat those of others), so that the network computes what it did;
            ``"duplicate"`` repeats units, in turn or as they are named more than once, and divides
            the weights that read them among copies (:func:`lwdna.channels.widen_exactly`).
        seed: makes what is drawn repeatable; None draws from torch's global generator.
        inexact: whether groups whose slices are not exact may be sliced: what stays then starts
            from the old weights, but the network no longer computes the same.
        undefined: parameters that get no fresh weights because the caller will fill them.

    Raises:
        GraphError: unknown groups, units out of range, a slice wider than the network, padding
            narrower than it, a slice or padding of a group whose slices are not exact, a graph of
            another network, or a network whose tensors have no values.
    """
    check_network(model)
    check_values(model, init, undefined)
    _check_fits(model, graph)
    kept = _kept_units(graph, widths_or_indices, init, inexact == "allow")
    widths = graph.complete({name: len(units) for name, units in kept.items()})

    old = graph.in_order(graph.widths)
    units = {graph.index[name]: units for name, units in kept.items()}

    def replace(name: str, tensor: Tensor) -> Tensor:
        return cut(tensor, graph.tensors[name], old, units)

    if init == "fresh":
        result = _fresh(model, graph, widths, replace, seed, undefined)
    else:
        result = copy_with(model, replace)
        if init == "duplicate":
            divide(result, graph, units, reading_axes(model), seed)
        else:
            _silence_added(result, graph, widths)
    _forget(result, graph)
    computed.give_own_classes(result)
    computed.renew_singular_vectors(model, result, init == "fresh", undefined)
    _set_attributes(result, graph, widths)
    write_metadata(result, graph.metadata, graph, widths)
    return result


def _forget(model: nn.Module, graph: ChannelGraph) -> None:
    """Empty what the network fills when it first runs: it may have run since it was traced."""
    modules = dict(model.named_modules())
    for cache in graph.caches:
        module = modules.get(cache.module)
        if module is None or cache.name not in vars(module):
            continue
        value = getattr(module, cache.name)
        delattr(module, cache.name)
        if cache.exists:
            container = isinstance(value, dict | list | set | tuple)
            setattr(module, cache.name, type(value)() if container else None)


def _fresh(
    model: nn.Module,
    graph: ChannelGraph,
    widths: Mapping[str, int],
    replace: Callable[[str, Tensor], Tensor],
    seed: int | None,
    undefined: Collection[str],
) -> nn.Module:
    """Return a copy with new weights; buffers and frozen parameters are replaced by ``replace``."""
    frozen = {  # tracing has pinned them, unless they were frozen since
        name
        for name in frozen_parameters(model)
        if graph.shape(name, widths) == graph.shape(name, graph.widths)
    }
    drawn = set(graph.parameters) - frozen

    def new(name: str, tensor: Tensor) -> Tensor:
        if name in drawn:
            return empty_like(tensor, graph.shape(name, widths))
        return replace(name, tensor)

    def old_entries(name: str) -> list[Tensor | None]:
        return [_places(axis, old, after) for axis in graph.tensors[name]]

    old, after = graph.in_order(graph.widths), graph.in_order(widths)
    result = copy_with(model, new)
    redraw(model, result, old_entries, seed, skip={*undefined, *frozen})
    computed.renew_magnitudes(model, result, skip={*undefined, *frozen})
    return result


def widen(
    model: nn.Module,
    graph: ChannelGraph,
    factor: float | Mapping[str, float],
    seed: int | None = None,
) -> nn.Module:
    """Return a copy of ``model`` with groups ``factor`` times as wide and fresh weights.

    Args:
        model: the network ``graph`` was traced from; it stays as it is.
        factor: of every group, or by shell patterns of groups' names, ``{"layer1*": 1.5}``. Of
            several patterns that match a group the last counts; a group that none matches keeps
            its width.
        seed: makes the weights repeatable.

    Raises:
        GraphError: a factor is not positive, or a pattern matches no group.
    """
    return resize(model, graph, widened_widths(graph, factor), init="fresh", seed=seed)


def widened_widths(graph: ChannelGraph, factor: float | Mapping[str, float]) -> dict[str, int]:
    """Return the widths of :func:`widen`: rounded, at least one."""
    widths = graph.widths
    factors = dict.fromkeys(widths, 1.0)
    for pattern, one in (factor if isinstance(factor, Mapping) else {"*": factor}).items():
        if not one > 0:
            raise GraphError(f"a network cannot be made {one} times as wide; use a positive factor")
        matching = [name for name in widths if fnmatchcase(name, pattern)]
        if not matching and pattern != "*":
            raise GraphError(
                f"width_mult names {pattern!r}, which matches no group{nearest(pattern, widths)}; "
                "`lwdna inspect` lists the groups"
            )
        factors.update(dict.fromkeys(matching, one))
    return {name: max(1, round(width * factors[name])) for name, width in widths.items()}


def reshaped(
    model: nn.Module, graph: ChannelGraph, widths: Mapping[str, int], fake: FakeTensorMode
) -> nn.Module:
    """Return a copy of a model on fake tensors, whose tensors have the new shapes."""

    def replace(name: str, tensor: Tensor) -> Tensor:
        return fake_like(fake, tensor, graph.shape(name, widths))  # a run may change the tensor

    result = copy_with(model, replace)
    _set_attributes(result, graph, widths)
    return result


def _silence_added(model: nn.Module, graph: ChannelGraph, widths: Mapping[str, int]) -> None:
    """Let parameters be zero in units that the network of ``graph`` does not have, if any."""
    new = graph.in_order(widths)
    added = {
        position: torch.arange(group.width, new[position])
        for position, group in enumerate(graph.groups)
        if group.width < new[position]
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for axis, layout in enumerate(graph.tensors[name]):
                for group in added.keys() & set(layout.groups):
                    zero = added_entries(layout, new, group, added[group])
                    parameter.index_fill_(axis, zero.to(parameter.device), 0)


def _places(axis: AxisLayout, old: Sequence[int], new: Sequence[int]) -> Tensor | None:
    """Return the old entry whose place each new one takes: units spread evenly over old ones."""
    if all(old[group] == new[group] for group in axis.groups):
        return None
    pieces = []
    for (outer, group, inner), start, end in axis.runs(old):
        entries = torch.arange(start, end).reshape(outer, -1, inner)
        if group is not None:
            entries = entries[:, torch.arange(new[group]) * old[group] // new[group]]
        pieces.append(entries.reshape(-1))
    return torch.cat(pieces)


def _check_fits(model: nn.Module, graph: ChannelGraph) -> None:
    widths = graph.widths
    for name, tensor in named_tensors(model):
        if name in graph.remade:
            continue
        expected = graph.shape(name, widths) if name in graph.tensors else None
        if expected != tuple(tensor.shape):
            raise GraphError(
                f"the channel graph is of another network: {name} has shape "
                f"{tuple(tensor.shape)}, the graph says {expected}; trace this network"
            )


def _kept_units(
    graph: ChannelGraph, wanted: Widths, init: str, allow_inexact: bool
) -> dict[str, Tensor]:
    if init not in ("fresh", "slice", "pad", "duplicate"):
        raise GraphError(f"init is {init!r}; use 'fresh', 'slice', 'pad' or 'duplicate'")
    kept: dict[str, Tensor] = {}
    counts = _counts(graph, wanted)
    for name, value in wanted.items():
        group = graph.groups[graph.index[name]]
        if isinstance(value, Tensor) and value.ndim and init == "pad":
            raise GraphError(
                f"init='pad' keeps all units of {name!r} and takes the width to pad to, not units"
            )
        if isinstance(value, Tensor) and value.ndim:
            units = _checked_units(name, group.width, value, init == "duplicate")
        elif init == "slice" and counts[name] > group.width:
            raise GraphError(
                f"group {name!r} has {group.width} units; a slice cannot have {counts[name]}; "
                "use init='pad', 'duplicate' or 'fresh' to grow"
            )
        elif init == "pad" and counts[name] < group.width:
            raise GraphError(
                f"group {name!r} has {group.width} units; padding cannot leave {counts[name]}; "
                "use init='slice' to shrink"
            )
        else:
            units = torch.arange(counts[name]) % group.width
        if len(units) == group.width and torch.equal(units, torch.arange(group.width)):
            continue
        if init != "fresh" and group.inexact is not None and not allow_inexact:
            raise GraphError(
                f"weights cannot be {_DONE[init]} along group "
                f"{name!r}: {group.inexact}; keep its {group.width} units or use init='fresh'"
            )
        kept[name] = units
    return kept


def _counts(graph: ChannelGraph, wanted: Any) -> dict[str, int]:
    """Return the width of every group, of which units or widths are wanted of some."""
    if not isinstance(wanted, Mapping):
        raise GraphError(
            f"widths must be given by group name, got {type(wanted).__name__}; pass a dict"
        )
    counts = graph.complete(
        {n: len(w) if isinstance(w, Tensor) and w.ndim else w for n, w in wanted.items()}
    )
    size = sum(math.prod(graph.shape(name, counts)) for name in graph.tensors)
    size *= torch.float32.itemsize
    if size > physical_memory():
        raise GraphError(
            f"a network of these widths would take {size / 1e9:.3g} GB, more than this machine's "
            "memory; choose smaller ones"
        )
    return counts


def _checked_units(name: str, width: int, units: Tensor, may_repeat: bool) -> Tensor:
    if units.ndim != 1 or units.is_floating_point() or units.dtype == torch.bool:
        raise GraphError(f"units of {name!r} must be a 1-D integer tensor")
    units = units.detach().cpu().long()
    if int(units.min()) < 0 or int(units.max()) >= width:
        raise GraphError(
            f"units of {name!r} must be between 0 and {width - 1}, "
            f"got {int(units.min())} to {int(units.max())}"
        )
    if not may_repeat and len(units.unique()) != len(units):
        raise GraphError(f"units of {name!r} name a unit twice; init='duplicate' may")
    return units


def write_metadata(
    model: nn.Module, sizes: Iterable[Metadata], graph: ChannelGraph, widths: Mapping[str, int]
) -> None:
    """Bring sizes that modules note down for their users in step with the widths."""
    for note in sizes:
        place: Any = model.get_submodule(note.module)
        *outer, last = note.path
        for key in outer:
            place = getattr(place, key) if isinstance(key, str) else place[key]
        size = graph.length(note.axis, widths)
        if isinstance(place, dict):
            place[last] = size
        else:
            setattr(place, str(last), size)


def _set_attributes(model: nn.Module, graph: ChannelGraph, widths: Mapping[str, int]) -> None:
    computed.compute_weights(model)
    sync_layer_sizes(model)
    for attribute in graph.attributes:
        module, size = model.get_submodule(attribute.module), graph.length(attribute.axis, widths)
        if attribute.index is None:
            setattr(module, attribute.name, size)
            continue
        old = getattr(module, attribute.name)
        new = [size if i == attribute.index else item for i, item in enumerate(old)]
        setattr(module, attribute.name, new if isinstance(old, list) else tuple(new))
