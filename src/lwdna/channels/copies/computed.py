"""Weights that modules compute from others: weight norm, spectral norm, parametrizations.

``torch.nn.utils`` has two forms of the norms. Those of ``parametrizations`` make ``weight`` a
property of a class of the module's own; the older ones put a plain tensor in its place before every
call of the module. Copies at other widths need both brought in step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

POWER_ITERATIONS = 15
"""Steps from old singular vectors to those of new weights; as many as torch takes at first."""


@dataclass(frozen=True)
class Magnitude:
    """Names of the parameters of a weight norm: lengths ``g`` of the slices of ``v`` along dim."""

    g: str
    v: str
    dim: int


def magnitudes(model: nn.Module) -> Iterator[Magnitude]:
    """Yield the weight norms of a network."""
    for path, module in model.named_modules():
        prefix = path and f"{path}."
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                name = prefix + hook.name
                yield Magnitude(f"{name}_g", f"{name}_v", hook.dim)
        for name, steps in _parametrizations(module):
            if isinstance(steps[0], parametrizations._WeightNorm):
                own = f"{prefix}parametrizations.{name}.original"
                yield Magnitude(f"{own}0", f"{own}1", steps[0].dim)


def renew_magnitudes(source: nn.Module, target: nn.Module, skip: Collection[str] = ()) -> None:
    """Let lengths be those of the new slices, where they are those of the old ones in ``source``.

    So torch itself begins: a weight under a new weight norm is the weight as it was.
    """
    old, new = dict(source.named_parameters()), dict(target.named_parameters())
    with torch.no_grad():
        for one in magnitudes(source):
            if {one.g, one.v} & set(skip):
                continue
            if torch.allclose(old[one.g], _lengths(old[one.v], one.dim), rtol=1e-3):
                new[one.g].copy_(_lengths(new[one.v], one.dim))


def _lengths(v: Tensor, dim: int) -> Tensor:
    return torch.norm_except_dim(v, 2, dim)


def renew_singular_vectors(source: nn.Module, target: nn.Module) -> None:
    """Bring the estimates of spectral norms in step with new weights, where shapes have changed."""
    with torch.no_grad():
        for before, after in zip(source.modules(), target.modules(), strict=True):
            for hook in before._forward_pre_hooks.values():
                if isinstance(hook, SpectralNorm) and _differ(before, after, f"{hook.name}_orig"):
                    matrix = hook.reshape_weight_to_matrix(getattr(after, f"{hook.name}_orig"))
                    u, v = (getattr(after, f"{hook.name}_{side}") for side in "uv")
                    _iterate(matrix, u, v, hook.eps)
            for name, steps in _parametrizations(after):
                weight = _originals(steps)
                for step, old in zip(steps, _parametrizations_of(before, name), strict=True):
                    if isinstance(step, parametrizations._SpectralNorm) and hasattr(step, "_u"):
                        if (step._u.shape, step._v.shape) != (old._u.shape, old._v.shape):
                            matrix = step._reshape_weight_to_matrix(weight[0])
                            _iterate(matrix, step._u, step._v, step.eps)
                    weight = [step(*weight)]


