"""Fresh weights for new shapes, drawn as the network's own constructor drew the old ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvTransposeNd

from lwdna.channels.copies.computed import magnitudes, parametrized

GAINS = (1 / 3, 1.0, 2.0)
"""Variance times fan of the usual initialisers: torch's default, LeCun's, He's."""

TOLERANCE = 0.15
"""Relative deviation of an empirical variance that still counts as one of ``GAINS``."""

SAMPLE = 1 << 16
"""Entries of a tensor that stand for its distribution (a table that fits into a cache)."""


def redraw(
    source: nn.Module,
    target: nn.Module,
    seed: int | None = None,
    skip: Collection[str] = (),
) -> None:
    """Fill ``target``, a resized copy of ``source``, with fresh weights in place.

    An initialiser is known by what it leaves behind: each new entry is drawn, with replacement,
    from the entries of the old tensor, so constants stay constants (a zero-initialised last
    BatchNorm, for example) and other tensors keep their distribution. Weights whose variance is
    one of the usual gains over the fan-in (or fan-out) are rescaled to the new fan; which of the
    two is a majority vote over the network's layers of one kind. Running statistics are reset.
    Parameters named in ``skip`` stay as they are.
    """
    generator = None
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
    old, new = dict(source.named_parameters()), dict(target.named_parameters())
    owners = _owners(source)
    lengths = {one.g for one in magnitudes(source)}
    rules = _scaling_rules({n: t for n, t in old.items() if n not in lengths}, owners)
    with torch.no_grad():
        for name, tensor in new.items():
            if name in skip:
                continue
            values = _sample(old[name])
            low, high = values.aminmax()
            if low == high:
                tensor.fill_(low)
                continue
            _resample(values, tensor, generator)
            kind = _kind(old[name], owners[name])
            if (
                name not in lengths
                and tensor.ndim > 1
                and rules.get(kind, "constant") != "constant"
            ):
                before = _fans(old[name], owners[name])[rules[kind]]
                after = _fans(tensor, owners[name], old[name])[rules[kind]]
                tensor.mul_(math.sqrt(before / after))
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


def _sample(weight: Tensor) -> Tensor:
    """Return at most ``SAMPLE`` entries, evenly spread: enough to know the distribution."""
    values = weight.detach().reshape(-1)
    return values[:: max(1, len(values) // SAMPLE)]


def _resample(values: Tensor, target: Tensor, generator: torch.Generator | None) -> None:
    """Fill ``target`` with entries of ``values``, drawn in chunks that stay in the cache."""
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
        variance = float(_sample(weight).float().var())
        fitting = [
            rule
            for rule, fan in _fans(weight, owners[name]).items()
            if any(abs(variance * fan / gain - 1) < TOLERANCE for gain in GAINS)
        ]
        kind = _kind(weight, owners[name])
        votes.setdefault(kind, Counter()).update(fitting or ["constant"])
    return {kind: counter.most_common(1)[0][0] for kind, counter in votes.items()}
