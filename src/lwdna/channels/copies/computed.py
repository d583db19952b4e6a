"""Weights that modules compute from others: weight norm, spectral norm, parametrizations.

``torch.nn.utils`` has two forms of the norms. Those of ``parametrizations`` make ``weight`` a
property of a class of the module's own; the older ones put a plain tensor in its place before every
call of the module. Copies at other widths need both brought in step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd
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
        for name, steps in parametrized(module):
            if isinstance(steps[0], parametrizations._WeightNorm):
                own = f"{prefix}parametrizations.{name}.original"
                yield Magnitude(f"{own}0", f"{own}1", steps[0].dim)


def renew_magnitudes(source: nn.Module, target: nn.Module, skip: Collection[str] = ()) -> None:
    """Let lengths be those of the new slices, where they are those of the old ones in ``source``.

    So torch itself begins: a weight under a new weight norm is the weight as it was.
    """
    old, new = (dict(net.named_parameters(remove_duplicate=False)) for net in (source, target))
    with torch.no_grad():
        for one in magnitudes(source):
            if {one.g, one.v} & set(skip):
                continue
            if torch.allclose(old[one.g], _lengths(old[one.v], one.dim), rtol=1e-3):
                new[one.g].copy_(_lengths(new[one.v], one.dim))


def _lengths(v: Tensor, dim: int) -> Tensor:
    return torch.norm_except_dim(v, 2, dim)


def renew_singular_vectors(
    source: nn.Module, target: nn.Module, fresh: bool, skip: Collection[str] = ()
) -> None:
    """Bring the estimates of spectral norms in step with new weights.

    Where weights are not ``fresh``, only estimates of other lengths are renewed.
    """
    old = dict(source.named_buffers())
    new = dict(target.named_buffers())
    with torch.no_grad(), at_rest(target):
        for one in _estimates(target):
            changed = any(old[name].shape != new[name].shape for name in (one.u, one.v))
            if (fresh or changed) and not set(one.weights) & set(skip):
                u, v = new[one.u], new[one.v]
                matrix = one.matrix()
                for _ in range(POWER_ITERATIONS):
                    u.copy_(F.normalize(matrix @ v, dim=0, eps=one.eps))
                    v.copy_(F.normalize(matrix.T @ u, dim=0, eps=one.eps))


@dataclass(frozen=True)
class _Estimate:
    """The singular vectors of a spectral norm, by name, and the matrix they belong to."""

    u: str
    v: str
    weights: tuple[str, ...]
    matrix: Callable[[], Tensor]
    eps: float


def _estimates(model: nn.Module) -> Iterator[_Estimate]:
    for path, module in model.named_modules():
        prefix = path and f"{path}."
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                original = getattr(module, f"{hook.name}_orig")
                name = prefix + hook.name
                yield _Estimate(
                    *(f"{name}_u", f"{name}_v", (f"{name}_orig",)),
                    *(partial(hook.reshape_weight_to_matrix, original), hook.eps),
                )
        for name, steps in parametrized(module):
            own = f"{prefix}parametrizations.{name}"
            weights = tuple(f"{own}.{name}" for name, _ in steps.named_parameters(recurse=False))
            for position, step in enumerate(steps):
                if isinstance(step, parametrizations._SpectralNorm) and hasattr(step, "_u"):
                    yield _Estimate(
                        *(f"{own}.{position}._u", f"{own}.{position}._v", weights),
                        *(partial(_matrix, steps, position), step.eps),
                    )


def _matrix(steps: Any, position: int) -> Tensor:
    """Return what the spectral norm at a position of a chain of parametrizations is taken of."""
    value = _originals(steps)
    for step in list(steps)[:position]:
        value = [step(*value)]
    matrix: Tensor = steps[position]._reshape_weight_to_matrix(value[0])
    return matrix


def _originals(steps: Any) -> list[Tensor]:
    """Return what the first of a chain of parametrizations is given."""
    if steps.is_tensor:
        return [steps.original]
    return [getattr(steps, f"original{i}") for i in range(steps.ntensors)]


def kernels(model: nn.Module) -> Iterator[str]:
    """Yield the names of convolutions' weights, or of what these are computed from.

    Their first two axes are channels, the others space.
    """
    for path, module in model.named_modules():
        if isinstance(module, _ConvNd):
            prefix = path and f"{path}."
            names = [name for name, _ in module.named_parameters(recurse=False)]
            for name, steps in parametrized(module):
                parts = (own for own, _ in steps.named_parameters(recurse=False))
                names += [f"parametrizations.{name}.{own}" for own in parts]
            yield from (prefix + name for name in names)


def never_silent(model: nn.Module) -> set[str]:
    """Return the names of parameters from whose zeros other weights than zeros are computed.

    ``exp`` and ``softplus`` do that, and what divides by a norm. The parametrizations are copied
    and asked, as nobody can read it off their code; one that fails counts, too.
    """
    found = {one.v for one in magnitudes(model)}
    for path, module in model.named_modules():
        prefix = path and f"{path}."
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                found.add(f"{prefix}{hook.name}_orig")
        for name, steps in parametrized(module):
            own = [own for own, _ in steps.named_parameters(recurse=False)]
            if not _keeps_zeros(steps):
                found |= {f"{prefix}parametrizations.{name}.{one}" for one in own}
    return found


def _keeps_zeros(steps: Any) -> bool:
    try:
        with torch.no_grad():
            value = [torch.zeros_like(tensor) for tensor in _originals(steps)]
            for step in copy.deepcopy(steps).eval():
                value = [step(*value)]
            return not value[0].any()
    except Exception:  # whatever a user's parametrization raises
        return False


def computes_weights(model: nn.Module) -> bool:
    """Tell whether modules of a network compute weights from others."""
    return any(
        is_parametrized(module)
        or any(isinstance(h, WeightNorm | SpectralNorm) for h in module._forward_pre_hooks.values())
        for module in model.modules()
    )


def is_parametrized(module: nn.Module) -> bool:
    """Tell whether torch computes tensors of a module; torch's own asks the module's code."""
    return isinstance(module._modules.get("parametrizations"), nn.ModuleDict)


def parametrized(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the parametrizations of a module's tensors by their names."""
    if is_parametrized(module):
        yield from module._modules["parametrizations"].items()  # type: ignore[operator,union-attr]


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Inside the block, parametrizations evaluate: each weight once, and no buffer changes."""
    training = [
        step
        for module in model.modules()
        for _, steps in parametrized(module)
        for step in steps.modules()
        if step.training
    ]
    for step in training:
        step.training = False
    try:
        with torch.no_grad(), parametrize.cached():
            yield
    finally:
        for step in training:
            step.training = True


def compute_weights(model: nn.Module) -> None:
    """Put weights in place that older norms compute before a module is called."""
    with torch.no_grad():
        for module in model.modules():
            for hook in module._forward_pre_hooks.values():
                if isinstance(hook, WeightNorm):
                    setattr(module, hook.name, hook.compute_weight(module))
                elif isinstance(hook, SpectralNorm):
                    weight = hook.compute_weight(module, do_power_iteration=False)
                    setattr(module, hook.name, weight)


def give_own_classes(model: nn.Module) -> None:
    """Let parametrized modules not share their classes with those they were copied from.

    ``remove_parametrizations`` takes the property from the class, for all copies at once.
    """
    for module in model.modules():
        if is_parametrized(module):
            cls = type(module)
            parts = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
            module.__class__ = type(cls.__name__, cls.__bases__, parts)
