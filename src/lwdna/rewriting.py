"""Rewrite a network with its weights and its architecture: transforms later, and pairs merged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase

from torch import nn

from lwdna.architecture import Architecture
from lwdna.channels import ChannelGraph, Edits
from lwdna.errors import ArchitectureError, ModelError, nearest
from lwdna.inputs import zeros
from lwdna.model_source import ModelSource, traced
from lwdna.transforms import FactorizeSettings, Transform, rewrite, transforms_of
from lwdna.transforms.merge import gains_by_merging, merge_pairs, pairs_in
from lwdna.transforms.rewrite import Entry


def rewritten(
    model: nn.Module,
    architecture: Architecture,
    transforms: Iterable[Entry],
    trust_code: bool = False,
    edits: Edits | None = None,
) -> tuple[nn.Module, Architecture]:
    """Apply transforms to a network that has its weights, trained ones for example.

    Args:
        model: is not changed.
        architecture: of ``model``.
        transforms: as a recipe says them; they follow those that the baseline had.
        trust_code: allow a baseline whose source imports Python code.
        edits: decisions by hand about the groups of the rewritten network; default: those of
            ``architecture``.

    Returns:
        The rewritten network and its architecture: of the baseline so rewritten, too.

    Raises:
        ModelError: a transform cannot be applied.
        EditError: an edit names nothing.
        ArchitectureError: the file does not say how its baseline is made.

    Example:
        >>> plain = lwdna.load("runs/plain/model.safetensors")
        >>> model, architecture = lwdna.rewritten(*plain, [{"name": "factorize"}])
    """
    source = _source(architecture, "be rewritten")
    added = transforms_of(transforms)
    source = source.model_copy(update={"transforms": (*source.transforms, *added)})
    network = rewrite(deepcopy(model), added)
    baseline = source.create(trust_code)
    decided = architecture.edits if edits is None else edits
    return network, _described(network, architecture, source, baseline, decided)


def merge(
    model: nn.Module,
    architecture: Architecture,
    layers: Sequence[str] | str | None = None,
    trust_code: bool = False,
) -> tuple[nn.Module, Architecture]:
    """Turn pairs that ``factorize`` made back into single convolutions.

    A pair from C to O channels of rank r and kernel k x k costs less than its convolution only
    below r = O C k k / (C k k + O). At or above it one convolution with the product of the weights
    computes the same, but for rounding, at the same cost or a smaller one.

    Args:
        model: is not changed.
        architecture: of ``model``; it says that ``factorize`` was applied to the baseline.
        layers: shell patterns of the names of pairs to merge, whatever they cost; by default those
            that cost at least as much as their convolution.
        trust_code: allow a baseline whose source imports Python code.

    Returns:
        The merged network and its architecture: of a baseline in which fewer layers are
        factorised. Where nothing is to be merged, a copy with the architecture given.

    Raises:
        ModelError: a pattern names no pair.
        ArchitectureError: the file does not say how its baseline is made.

    Example:
        >>> model, architecture = lwdna.merge(*lwdna.load("runs/split/model.safetensors"))
    """
    source = _source(architecture, "be merged")
    network = deepcopy(model)
    names = _chosen(network, layers)
    if not names:
        return network, architecture
    network = merge_pairs(network, names)
    baseline, source = _with_fewer_pairs(source, set(names), trust_code)
    edits = _renamed(architecture.edits, names, baseline)
    described = _described(network, architecture, source, baseline, edits)
    before = described.found.get("merged", [])
    return network, described.model_copy(
        update={"found": {**described.found, "merged": [*before, *names]}}
    )


def _source(architecture: Architecture, what: str) -> ModelSource:
    if architecture.model is None:
        raise ArchitectureError(
            "this architecture does not say how to make its baseline, so that the network cannot "
            f"{what}; give one that a recipe or a name made"
        )
    return architecture.model


def _described(
    network: nn.Module,
    before: Architecture,
    source: ModelSource,
    baseline: nn.Module,
    edits: Edits,
) -> Architecture:
    """Return the architecture of a rewritten network, whose baseline was rewritten alike."""
    graph = traced(baseline, zeros(before.input_size, before.input_types), edits, source)
    widths = widths_of(network, graph)
    return Architecture.of(
        graph, before.input_size, source, widths, before.found, before.input_types
    )


def _chosen(network: nn.Module, layers: Sequence[str] | str | None) -> list[str]:
    """Return the names of the pairs to merge."""
    pairs = pairs_in(network)
    if layers is None:
        return [name for name, pair in pairs.items() if gains_by_merging(pair)]
    chosen: dict[str, None] = {}
    for pattern in (layers,) if isinstance(layers, str) else layers:
        matching = [name for name in pairs if fnmatchcase(name, pattern)]
        if not matching:
            hint = nearest(pattern, pairs) or f"; there are {', '.join(list(pairs)[:4]) or 'none'}"
            raise ModelError(f"merge: the pattern {pattern!r} names no pair{hint}")
        chosen.update(dict.fromkeys(matching))
    return list(chosen)


def _with_fewer_pairs(
    source: ModelSource, names: Collection[str], trust_code: bool
) -> tuple[nn.Module, ModelSource]:
    """Return the baseline in which some layers stay as they were, and how it is made."""
    kept: list[Transform] = []
    network = source.model_copy(update={"transforms": ()}).create(trust_code)
    made: set[str] = set()
    for transform in source.transforms:
        settings = transform.settings
        if isinstance(settings, FactorizeSettings):
            own = _made_by(settings, transform, network)
            left = tuple(name for name in own if name not in names)
            made |= set(own)
            if not left:
                continue
            if len(left) < len(own):
                settings = settings.model_copy(update={"layers": left})
                transform = transform.model_copy(update={"settings": settings})
        kept.append(transform)
        network = rewrite(network, [transform])
    unknown = sorted(set(names) - made)
    if unknown:
        raise ModelError(
            f"merge: {', '.join(unknown)} was not made by factorize, as the architecture has it; "
            "give the architecture that came with the network"
        )
    return network, source.model_copy(update={"transforms": tuple(kept)})


def _made_by(settings: FactorizeSettings, transform: Transform, network: nn.Module) -> list[str]:
    """Return the names of the pairs that a transform makes of a network."""
    quick = settings.model_copy(update={"init": "identity", "rank": None})  # without decompositions
    rewritten = rewrite(network, [transform.model_copy(update={"settings": quick})])
    before = pairs_in(network)
    return [name for name in pairs_in(rewritten) if name not in before]


def _renamed(edits: Edits, names: Iterable[str], baseline: nn.Module) -> Edits:
    """Return edits in terms of the merged network: what named ranks that are gone is left out."""
    new = {f"{name}.mix": name for name in names}
    modules = [name for name, _ in baseline.named_modules()]

    def rename(patterns: Iterable[str]) -> list[str]:
        found = []
        for pattern in patterns:
            module, colon, op = pattern.partition(":")
            module = new.get(module, module)
            if any(fnmatchcase(name, module) for name in modules):
                found.append(f"{module}{colon}{op}")
        return found

    ties = [tuple(rename(patterns)) for patterns in edits.tie]
    return Edits(
        pin=tuple(rename(edits.pin)),
        tie=tuple(patterns for patterns in ties if len(patterns) > 1),
        cut=tuple(rename(edits.cut)),
    )


def widths_of(network: nn.Module, graph: ChannelGraph) -> dict[str, int]:
    """Return the width of every group in a network that has the groups of a graph.

    Lengths of axes that hold one unknown group tell its width, until all are known.

    Raises:
        ArchitectureError: the network is not one of the graph's.
    """
    found: dict[int, int] = {}
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    axes = [
        (axis, length)
        for name, tensor in tensors.items()
        for axis, length in zip(graph.tensors.get(name, ()), tensor.shape, strict=False)
    ]
    while True:
        known = len(found)
        for axis, length in axes:
            unknown = [group for group in axis.groups if group not in found]
            if len(unknown) == 1:
                counts = dict(axis.per_unit)
                rest = sum(counts[group] * found[group] for group in axis.groups if group in found)
                found[unknown[0]] = (length - axis.constant - rest) // counts[unknown[0]]
        if len(found) == known:
            break
    widths = {group.name: found.get(i, group.width) for i, group in enumerate(graph.groups)}
    for name in graph.parameters:
        if tuple(graph.shape(name, widths)) != tuple(tensors[name].shape):
            raise ArchitectureError(
                f"{name} is {tuple(tensors[name].shape)}, which no widths of the baseline give; "
                "give the architecture that came with the network"
            )
    return widths
