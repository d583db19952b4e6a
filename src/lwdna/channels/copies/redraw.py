"""Fresh weights for new shapes, drawn as the network's own constructor drew the old ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvTransposeNd

from lwdna.channels.copies.computed import magnitudes, parametrized
from lwdna.channels.copies.structure import DRAWN, FEW, FIXED, Kind, Structure, structure_of
from lwdna.channels.copies.structured import Draw

GAINS = (1 / 3, 1.0, 2.0)
"""Variance times fan of the usual initialisers: torch's default, LeCun's, He's."""

TOLERANCE = 0.15
"""Relative deviation of an empirical variance that still counts as one of ``GAINS``."""

SAMPLE = 1 << 16
"""Entries of a tensor that stand for its distribution (a table that fits into a cache)."""


OldEntries = Callable[[str], Sequence[Tensor | None]]
"""By a tensor's name, for each axis: which old entry each new one takes the place of; None where
the axis keeps its length."""


def redraw(
    source: nn.Module,
    target: nn.Module,
    old_entries: OldEntries,
    seed: int | None = None,
    skip: Collection[str] = (),
) -> None:
    """Fill ``target``, a resized copy of ``source``, with fresh weights in place.

    An initialiser is known by what it leaves behind: each new entry is drawn, with replacement,
    from the entries of the old tensor, so constants stay constants (a zero-initialised last
    BatchNorm, for example) and other tensors keep their distribution. Where the entries show an
    order (see :mod:`lwdna.channels.copies.structure`), it is kept, and drawn is what inside it is
    random. Weights whose variance is one of the usual gains over the fan-in (or fan-out) are
    rescaled to the new fan; which of the two is a majority vote over the network's layers of one
    kind. Running statistics are reset. Parameters named in ``skip`` stay as they are.
    """
    generator = None
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
    old, new = dict(source.named_parameters()), dict(target.named_parameters())
    owners = _owners(source)
    lengths = {one.g for one in magnitudes(source)}
    found = _structures(source, {name: old[name] for name in new if name not in skip}, owners)
    votes = {n: t for n, t in old.items() if n not in lengths} if found else {}
    rules = _scaling_rules(votes, owners)
    with torch.no_grad():
        for name, structure in found.items():
            before, tensor = _real(old[name]), _real(new[name])
            drawn = structure.kind is Kind.DRAWN
            draw = None if drawn else Draw(_generator_apart(generator), resample)
            values = _sample(before)
            if bool((values != values[:1]).any()):  # also below what is overwritten, so that an
                resample(before, tensor, generator)  # order here changes no draw elsewhere
            if draw is not None:
                entries = [*old_entries(name), *[None] * (before.ndim - old[name].ndim)]
                tensor.copy_(draw(before, structure, tensor.shape, entries))
            if not structure.scales:
                continue
            kind = _kind(old[name], owners[name])
            rule = "constant" if name in lengths else rules.get(kind, "constant")
            if tensor.ndim > 1 and rule != "constant":
                fan_before = _fans(old[name], owners[name])[rule]
                fan_after = _fans(tensor, owners[name], old[name])[rule]
                tensor.mul_(math.sqrt(fan_before / fan_after))
        for module in target.modules():
            if isinstance(module, _NormBase):
                module.reset_running_stats()


def _owners(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layer of every parameter; what a parametrization keeps is the layer's."""
    owners: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        prefix = path and f"{path}."
        owners.update((prefix + name, module) for name in module._parameters)
    for path, module in model.named_modules():
        prefix = path and f"{path}."
        for name, steps in parametrized(module):
            for own, _ in steps.named_parameters():
                owners[f"{prefix}parametrizations.{name}.{own}"] = module
    return owners


def _generator_apart(generator: torch.Generator | None) -> torch.Generator:
    """Return a generator that follows from another, which stays as it is."""
    state = torch.get_rng_state() if generator is None else generator.get_state()
    copy = torch.Generator()
    copy.set_state(state)
    return torch.Generator().manual_seed(int(torch.randint(1 << 62, (1,), generator=copy)))


def _structures(
    model: nn.Module, tensors: Mapping[str, Tensor], owners: Mapping[str, nn.Module]
) -> dict[str, Structure]:
    """Return the structure of every tensor; of a trained network only what training leaves."""
    found: dict[str, Structure] = {}
    for name, tensor in tensors.items():
        values, owner = _real(tensor.detach()), owners[name]
        found[name] = structure_of(values, getattr(owner, "groups", 1))
        if found[name] == DRAWN and _is_set_by_hand(name, values, owner):
            found[name] = replace(FIXED, certain=False)
    if _is_trained(model, tensors, found):
        return {name: structure.settled() for name, structure in found.items()}
    return found


def _is_set_by_hand(name: str, values: Tensor, owner: nn.Module) -> bool:
    """Tell whether a few numbers, of which no statistics can be made, were given one by one.

    Those of torch's layers were if they lie outside of the range in which torch draws biases;
    those of modules that torch does not know most probably were.
    """
    if values.numel() >= FEW:
        return False
    known = any(
        base.__module__.startswith("torch.nn.modules") and base not in _CONTAINERS
        for base in type(owner).__mro__
    )
    if not known:
        return True
    weight = getattr(owner, "weight", None)
    if not name.endswith("bias") or not isinstance(weight, Tensor) or weight.ndim < 2:
        return False
    return float(values.abs().max()) > 1.001 / math.sqrt(max(1, weight[0].numel()))


def _is_trained(
    model: nn.Module, tensors: Mapping[str, Tensor], found: Mapping[str, Structure]
) -> bool:
    """Tell whether a network's weights are learnt: most then have an order of some kind."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    batches = [int(n.num_batches_tracked) for n in norms if n.num_batches_tracked is not None]
    if max(batches, default=0) > FEW:
        return True
    large = [
        found[name] for name, tensor in tensors.items() if tensor.ndim > 1 and tensor.numel() >= 64
    ]
    ordered = sum(not structure.certain for structure in large)
    return ordered >= 8 and ordered > 3 * sum(structure == DRAWN for structure in large)


_CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)


def _real(tensor: Tensor) -> Tensor:
    """Return complex numbers as pairs of real ones on a last axis, others as they are."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _sample(weight: Tensor) -> Tensor:
    """Return at most ``SAMPLE`` entries, evenly spread: enough to know the distribution."""
    values = weight.detach().reshape(-1)
    return values[:: max(1, len(values) // SAMPLE)]


def resample(old: Tensor, target: Tensor, generator: torch.Generator | None) -> None:
    """Fill ``target`` with entries of ``old``, drawn in chunks that stay in the cache."""
    values = _sample(old)
    for chunk in target.detach().view(-1).split(SAMPLE):
        chosen = torch.randint(len(values), (len(chunk),), generator=generator)
        torch.index_select(values, 0, chosen.to(values.device), out=chunk)


def _kind(weight: Tensor, owner: nn.Module) -> tuple[int, bool]:
    return weight.ndim, getattr(owner, "groups", 1) > 1


def _fans(weight: Tensor, owner: nn.Module, original: Tensor | None = None) -> dict[str, float]:
    """Return fan-in, fan-out and fan-out per group of a weight."""
    kernel = math.prod(weight.shape[2:])
    groups = getattr(owner, "groups", 1)
    if original is not None and groups > 1 and original.shape[0] == groups:
        groups = weight.shape[0]  # depthwise: the groups follow the channels
    first, second = weight.shape[0] * kernel, weight.shape[1] * kernel
    if isinstance(owner, _ConvTransposeNd):
        first, second = second, first
    return {"fan-in": second, "fan-out": first, "fan-out per group": first / groups}


def _scaling_rules(
    weights: dict[str, nn.Parameter], owners: dict[str, nn.Module]
) -> dict[tuple[int, bool], str]:
    votes: dict[tuple[int, bool], Counter[str]] = {}
    for name, weight in weights.items():
        if weight.ndim < 2 or weight.numel() < 64:
            continue
        variance = float(_sample(_real(weight)).float().var())
        fitting = [
            rule
            for rule, fan in _fans(weight, owners[name]).items()
            if any(abs(variance * fan / gain - 1) < TOLERANCE for gain in GAINS)
        ]
        kind = _kind(weight, owners[name])
        votes.setdefault(kind, Counter()).update(fitting or ["constant"])
    return {kind: counter.most_common(1)[0][0] for kind, counter in votes.items()}
