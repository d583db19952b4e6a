"""Replace convolutions of a network by pairs: onto a basis of filters, then a mix of these."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, skip_init

from lwdna.errors import ModelError, nearest

_KINDS: tuple[type[_ConvNd], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_IMAGE = 4
"""Most channels that an image has. Convolutions from or to images are cheap, and the network reads
and writes through them: by default they stay."""


def split(
    network: nn.Module, layers: Sequence[str] | None, rank: float | None, init: str
) -> nn.Module:
    """Replace convolutions in place and return the network; see :func:`lwdna.factorize`.

    A module that several others hold is replaced in all of them, by the same pair.
    """
    pairs: dict[int, nn.Module] = {}
    for name, conv in chosen_convolutions(network, layers, "factorize").items():
        if id(conv) not in pairs:  # a module may have several names
            pairs[id(conv)] = _pair(name, conv, rank or 1.0, init)
    return replaced(network, pairs)


def chosen_convolutions(
    network: nn.Module, layers: Sequence[str] | None, transform: str
) -> dict[str, _ConvNd]:
    """Return the convolutions that a transform splits, by name; a module may have several names.

    Args:
        network: that holds them.
        layers: shell patterns of their names; None is all that can be split and may gain from it.
        transform: its name, for messages.

    Raises:
        ModelError: a pattern names no convolution or one that cannot be split; there is none.
    """
    named = {
        name: module
        for name, module in network.named_modules(remove_duplicate=False)
        if isinstance(module, _ConvNd)
    }
    users = users_of(network)
    if layers is None:
        return _usual(named, users, transform)
    return _named(named, users, layers, transform)


def replaced(network: nn.Module, others: Mapping[int, nn.Module]) -> nn.Module:
    """Put other modules in the place of some, in all modules that hold them.

    Args:
        network: is changed in place.
        others: by the address (``id``) of the module whose place they take.
    """
    places = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent._modules.items()
    ]
    for parent, name, child in places:
        if id(child) in others:
            setattr(parent, name, others[id(child)])
    return others.get(id(network), network)


def users_of(network: nn.Module) -> dict[int, list[str]]:
    """Return the names of the modules that use each parameter, by its address."""
    users: dict[int, list[str]] = {}
    for name, module in network.named_modules():
        for parameter in module._parameters.values():
            users.setdefault(id(parameter), []).append(name)
    return users


def _usual(
    named: Mapping[str, _ConvNd], users: Mapping[int, list[str]], transform: str
) -> dict[str, _ConvNd]:
    chosen = {
        name: conv
        for name, conv in named.items()
        if obstacle(conv, users) is None
        and max(conv.kernel_size) > 1
        and min(conv.in_channels, conv.out_channels) > _IMAGE
    }
    if not chosen:
        raise ModelError(
            f"{transform}: the network has no convolution that can be split, has a kernel larger "
            f"than 1 and more than {_IMAGE} channels on either side; name some (layers) or leave "
            "the transform out"
        )
    return chosen


def _named(
    named: Mapping[str, _ConvNd],
    users: Mapping[int, list[str]],
    patterns: Sequence[str],
    transform: str,
) -> dict[str, _ConvNd]:
    chosen = {}
    for pattern in patterns:
        matching = {name: conv for name, conv in named.items() if fnmatchcase(name, pattern)}
        if not matching:
            hint = nearest(pattern, named) or f"; there are {', '.join(list(named)[:4]) or 'none'}"
            raise ModelError(f"{transform}: the pattern {pattern!r} names no convolution{hint}")
        chosen.update(matching)
    for name, conv in chosen.items():
        why = obstacle(conv, users)
        if why is not None:
            raise ModelError(
                f"{transform}: {name} cannot be split, because {why}; choose patterns of layers "
                "that leave it out"
            )
    return chosen


def obstacle(conv: _ConvNd, users: Mapping[int, list[str]]) -> str | None:
    """Return why a convolution cannot be split, None where it can."""
    if isinstance(conv, _ConvTransposeNd):
        return "it is transposed"
    if conv.groups > 1:
        return f"it has {conv.groups} groups"
    if parametrize.is_parametrized(conv) or "weight" not in conv._parameters:
        return "its weight is parametrised (remove the parametrisation first)"
    if not _plain(conv):
        return f"{type(conv).__name__} has a forward pass of its own"
    if is_lazy(conv.weight):
        return "its weight has no shape yet (run the network once)"
    if has_hooks(conv):
        return "it has hooks, which would see another layer (remove them first)"
    if len(users[id(conv.weight)]) > 1:
        return f"its weight is shared by {' and '.join(users[id(conv.weight)])}"
    return None


def has_hooks(module: nn.Module) -> bool:
    """Tell whether others are called with what a module is given or returns."""
    return any(
        getattr(module, f"_{kind}_hooks")
        for kind in ("forward", "forward_pre", "backward", "backward_pre")
    )


def _plain(conv: _ConvNd) -> bool:
    """Tell whether a module convolves what it is given, at most padded, and does nothing else."""
    base = next(kind for kind in _KINDS if isinstance(conv, kind))
    kind = type(conv)
    if "forward" in vars(conv) or kind._conv_forward is not base._conv_forward:
        return False
    if kind.forward is base.forward:
        return True
    from timm.layers import Conv2dSame  # seconds, which plain convolutions need not wait for

    return kind is Conv2dSame


def _pair(name: str, conv: _ConvNd, fraction: float, init: str) -> nn.Sequential:
    """Return the pair that replaces a convolution, which becomes its first half.

    The first half so keeps kernel, stride, padding, dilation and class; the bias moves to the
    second one.
    """
    weight, bias = conv.weight, conv.bias
    outputs = weight.shape[0]
    basis, mix = _started(name, weight.detach().flatten(1), fraction, init)
    rank = len(basis)
    kernel = conv.kernel_size
    second: _ConvNd = skip_init(
        _KINDS[len(kernel) - 1], rank, outputs, 1, device=weight.device, dtype=weight.dtype
    )
    ones = (1,) * len(kernel)
    second.weight = nn.Parameter(mix.view(outputs, rank, *ones), weight.requires_grad)
    second.bias = bias
    conv.weight = nn.Parameter(basis.view(rank, conv.in_channels, *kernel), weight.requires_grad)
    conv.bias = None
    conv.out_channels = rank
    pair = nn.Sequential(OrderedDict(basis=conv, mix=second.train(conv.training)))
    pair.training = conv.training
    return pair


def _started(name: str, matrix: Tensor, fraction: float, init: str) -> tuple[Tensor, Tensor]:
    """Return the factors that a pair starts from, (rank, inputs) and (outputs, rank)."""
    if init == "identity":
        return matrix, torch.eye(len(matrix)).to(matrix)
    rank = max(1, round(fraction * min(matrix.shape)))
    if init == "fresh":
        return _drawn(matrix, rank)
    return _decomposed(name, matrix, rank, values_in_mix=init == "svd-mix")


def _decomposed(
    name: str, matrix: Tensor, rank: int, *, values_in_mix: bool
) -> tuple[Tensor, Tensor]:
    """Return the best factors of a matrix of a given rank, (rank, inputs) and (outputs, rank).

    By Eckart and Young, these project onto the first left singular vectors. QR first: of the wide
    matrices at hand it leaves a small square one with the same vectors, six times as quickly.
    """
    if not matrix.isfinite().all():
        raise ModelError(
            f"factorize: the weights of {name} are not finite; give finite ones or init=fresh"
        )
    exact = matrix.cpu().double()
    square = torch.linalg.qr(exact.T, mode="r").R.T
    vectors, values, _ = torch.linalg.svd(square, full_matrices=False)
    mix, values = vectors[:, :rank], values[:rank]
    basis = mix.T @ exact
    if values_in_mix:
        # a filter of a vanishing singular value has no direction; it stays as small as it is
        size = values.where(values > values[0] * torch.finfo(values.dtype).eps, 1)
        basis, mix = basis / size[:, None], mix * size
    return basis.to(matrix), mix.to(matrix)


def _drawn(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return normal factors: the basis with the size of the old weights, variance 1/rank after it.

    So outputs keep their variance, and both variances are ones that fresh weights of other widths
    are known to follow (:mod:`lwdna.channels.copies.init`).
    """
    outputs, inputs = matrix.shape
    size = float(matrix.double().square().mean().sqrt())
    basis = torch.randn(rank, inputs) * size
    mix = torch.randn(outputs, rank) / math.sqrt(rank)
    return basis.to(matrix), mix.to(matrix)
