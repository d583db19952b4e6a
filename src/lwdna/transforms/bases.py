"""Replace convolutions of a network by a basis of filters on parts of their input, and a mix."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import skip_init

from lwdna.errors import ModelError
from lwdna.transforms.basis_settings import FilterBasisSettings
from lwdna.transforms.pairs import chosen_convolutions, replaced

_CONVOLUTIONS: tuple[type[_ConvNd], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_LINEAR = {"split", "to_batch", "basis", "from_batch", "join", "mix"}
"""What a pair may consist of that is equal to one convolution."""
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class FirstChannels2d(nn.Conv2d):
    """A convolution whose filters are wider than its input, of which it uses the first channels.

    So layers of different widths share one weight, (n, widest, k, k). Input (N, C, H, W),
    output (N, n, H', W').
    """

    def forward(self, input: Tensor) -> Tensor:
        used = self.weight[:, : input.shape[1]]
        result: Tensor = self._conv_forward(input, used, self.bias)
        return result


class Residual(nn.Module):
    """What a module ``added`` returns, added to the input, which has the same shape."""

    def __init__(self, added: nn.Module) -> None:
        super().__init__()
        self.added = added

    def forward(self, input: Tensor) -> Tensor:
        total: Tensor = input + self.added(input)
        return total


@dataclass(frozen=True)
class _Layer:
    """A convolution (N, C, k, ...) that becomes a mix of a basis."""

    name: str
    conv: _ConvNd
    parts: int
    """G, of C / G input channels each."""

    @property
    def size(self) -> int:
        """Input channels of a part."""
        return self.conv.in_channels // self.parts

    @property
    def form(self) -> tuple[object, ...]:
        """What layers that share a basis have in common, but for the size of their parts."""
        weight = self.conv.weight
        return type(self.conv), tuple(weight.shape[2:]), weight.dtype, weight.device

    def rows(self, *, residual: bool) -> Tensor:
        """Return the weights that the basis spans, one row per output and part: (N G, S k k).

        In double precision, because the best approximation is worked out from them. With
        ``residual`` the identity is left to the input that is added.
        """
        weight = self.conv.weight.detach().double()
        if residual:
            weight = weight - nn.init.dirac_(torch.empty_like(weight))
        return weight.reshape(weight.shape[0] * self.parts, -1)

    @property
    def variance(self) -> float:
        """The mean square of the weights."""
        return float(self.conv.weight.detach().double().square().mean())


def to_bases(network: nn.Module, settings: FilterBasisSettings) -> nn.Module:
    """Replace convolutions in place and return the network; see :func:`filter_basis`.

    A module that several others hold is replaced in all of them, by the same modules.
    """
    chosen = chosen_convolutions(network, settings.layers, "filter-basis")
    layers: dict[int, _Layer] = {}
    for name, conv in chosen.items():
        if id(conv) not in layers:  # a module may have several names
            layers[id(conv)] = _Layer(name, conv, _parts(name, conv, settings.size))
            if settings.residual:
                _check_keeps_shape(name, conv)
    pairs: dict[int, nn.Module] = {}
    for alike in _sets(list(layers.values()), settings.shared):
        basis, mixes = _started(alike, settings)
        shared = nn.Parameter(basis, any(layer.conv.weight.requires_grad for layer in alike))
        for layer, mix in zip(alike, mixes, strict=True):
            pairs[id(layer.conv)] = _pair(layer, shared, mix, settings)
    return replaced(network, pairs)


def _parts(name: str, conv: _ConvNd, size: int | None) -> int:
    """Return how many parts of a size the inputs of a convolution have."""
    channels = conv.in_channels
    if size is None:
        return 1
    if channels % size:
        divisors = [str(one) for one in range(1, channels + 1) if channels % one == 0]
        raise ModelError(
            f"filter-basis: parts of {size} channels (size) do not divide the {channels} inputs of "
            f"{name}; choose one of {', '.join(divisors)} or leave size out"
        )
    return channels // size


def _check_keeps_shape(name: str, conv: _ConvNd) -> None:
    same = conv.padding == "same" or all(
        isinstance(pad, int) and side % 2 == 1 and 2 * pad == dilation * (side - 1)
        for pad, dilation, side in zip(conv.padding, conv.dilation, conv.kernel_size, strict=True)
    )
    if conv.in_channels != conv.out_channels or {*conv.stride} != {1} or not same:
        raise ModelError(
            f"filter-basis: {name} does not keep the shape of its input, which residual=true adds "
            "to its output; leave residual out, or choose patterns of layers that leave it out"
        )


def _sets(layers: Sequence[_Layer], shared: bool | str) -> list[list[_Layer]]:
    """Return the layers that have one basis together."""
    found: dict[object, list[_Layer]] = {}
    for layer in layers:
        if shared == "first-channels":
            _check_takes_first(layer)
            key: object = layer.form
        else:
            parent = layer.name.rpartition(".")[0]
            among = {True: "", "siblings": parent}.get(shared, layer.name)
            key = (among, layer.size, layer.form)
        found.setdefault(key, []).append(layer)
    return list(found.values())


def _check_takes_first(layer: _Layer) -> None:
    if type(layer.conv) is not nn.Conv2d:
        raise ModelError(
            f"filter-basis: {layer.name} is a {type(layer.conv).__name__}, and "
            "shared=first-channels is for Conv2d; choose patterns of layers that leave it out"
        )


def _started(
    layers: Sequence[_Layer], settings: FilterBasisSettings
) -> tuple[Tensor, list[Tensor]]:
    """Return what a basis (n, S, k, ...) and the mixes (N, G n) of its layers start from.

    Raises:
        ModelError: the basis has more filters than are independent, or weights are not finite.
    """
    widest = max(layers, key=lambda layer: layer.size)
    shape = (widest.size, *widest.conv.weight.shape[2:])
    most = min(math.prod(shape), sum(layer.conv.out_channels * layer.parts for layer in layers))
    count = settings.filters or most
    if count > most:
        others = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        raise ModelError(
            f"filter-basis: a basis of {count} filters is larger than {layers[0].name}{others}, "
            f"which need at most {most}; set filters to {most} or less, or leave it out"
        )
    if settings.init == "fresh":
        basis, mixes = _drawn(layers, (count, *shape), settings)
    else:
        basis, mixes = _fitted(layers, count, residual=settings.residual)
    weight = widest.conv.weight
    return basis.reshape(count, *shape).to(weight), [mix.to(weight) for mix in mixes]


def _fitted(layers: Sequence[_Layer], count: int, *, residual: bool) -> tuple[Tensor, list[Tensor]]:
    """Return the best approximation of the weights of layers by mixes of one basis.

    By Eckart and Young, the basis are the first right singular vectors of all rows stacked, and
    the mixes the projections onto them. QR first: it leaves a small square matrix with the same
    vectors of the tall ones that many layers make.
    """
    for layer in layers:
        if not layer.conv.weight.isfinite().all():
            raise ModelError(
                f"filter-basis: the weights of {layer.name} are not finite; give finite ones or "
                "init=fresh"
            )
    rows = [layer.rows(residual=residual) for layer in layers]
    stacked = torch.cat(rows)
    if stacked.shape[0] > stacked.shape[1]:
        stacked = torch.linalg.qr(stacked, mode="r").R
    basis = torch.linalg.svd(stacked, full_matrices=False).Vh[:count]
    outputs = [layer.conv.out_channels for layer in layers]
    mixes = [(one @ basis.T).view(count, -1) for one, count in zip(rows, outputs, strict=True)]
    return basis, mixes


def _drawn(
    layers: Sequence[_Layer], shape: Sequence[int], settings: FilterBasisSettings
) -> tuple[Tensor, list[Tensor]]:
    """Return normal weights such that the mixes' outputs are as large as the layers' were.

    With nothing between, a product of basis and mix has the variance of the weights it replaces.
    A basis that stands in for C inputs starts as a layer of S inputs would, G times as large, so
    that both variances are ones that fresh weights of other widths are known to follow
    (:mod:`lwdna.channels.copies.redraw`). What is normalised between is as large as an input.
    """
    count, window = shape[0], settings.mix_kernel
    size = sum(layer.parts * layer.variance for layer in layers) / len(layers)
    basis = torch.randn(*shape) * math.sqrt(size)
    mixes = []
    for layer in layers:
        outputs, width = layer.conv.out_channels, layer.parts * count
        positions = window ** (layer.conv.weight.ndim - 2)
        if settings.between:
            variance = layer.variance * layer.conv.weight[0].numel() / (width * positions)
        else:
            variance = layer.variance / (size * count * positions) if size else 0.0
        kernel = [window] * (layer.conv.weight.ndim - 2)
        mixes.append(torch.randn(outputs, width, *kernel) * math.sqrt(variance))
    return basis, mixes


def _pair(
    layer: _Layer, basis: nn.Parameter, mix: Tensor, settings: FilterBasisSettings
) -> nn.Module:
    """Return what replaces a convolution, which becomes the basis in it.

    So the basis keeps kernel, stride, padding, dilation and class; the bias moves to the mix. Parts
    are convolved as further images of the batch: (B, G S, ...) is seen as (B G, S, ...).
    """
    conv, weight, bias = layer.conv, layer.conv.weight, layer.conv.bias
    count = len(basis)
    second = _mix_of(layer, count, mix, settings.mix_kernel)
    second.weight.requires_grad_(weight.requires_grad)
    second.bias = bias
    if settings.shared == "first-channels":
        conv.__class__ = FirstChannels2d
    conv.weight, conv.bias = basis, None
    conv.in_channels, conv.out_channels = basis.shape[1], count
    chain: OrderedDict[str, nn.Module] = OrderedDict()
    if layer.parts > 1:
        chain["split"] = nn.Unflatten(1, (layer.parts, -1))
        chain["to_batch"] = nn.Flatten(0, 1)
    chain["basis"] = conv
    if layer.parts > 1:
        chain["from_batch"] = nn.Unflatten(0, (-1, layer.parts))
        chain["join"] = nn.Flatten(1, 2)
    chain.update(_between(settings.between, layer.parts * count, weight))
    chain["mix"] = second
    pair = nn.Sequential(chain)
    return (Residual(pair) if settings.residual else pair).train(conv.training)


def _mix_of(layer: _Layer, count: int, mix: Tensor, side: int) -> _ConvNd:
    """Return the mix as a convolution of a layer's dimensions: a matrix is its kernel's centre."""
    weight = layer.conv.weight
    dimensions = weight.ndim - 2
    kind = _CONVOLUTIONS[dimensions - 1]
    second: _ConvNd = skip_init(
        kind,
        layer.parts * count,
        weight.shape[0],
        side,
        padding=side // 2,
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad():
        if mix.ndim == 2:
            centre: tuple[slice | int, ...] = (slice(None), slice(None), *[side // 2] * dimensions)
            second.weight.zero_()[centre] = mix
        else:
            second.weight.copy_(mix)
    return second


def _between(kinds: Sequence[str], channels: int, weight: Tensor) -> dict[str, nn.Module]:
    """Return what stands between basis and mix, by name."""
    found: dict[str, nn.Module] = {}
    for place, kind in enumerate(kinds):
        module: nn.Module
        if kind == "batch-norm":
            norm = _NORMS[weight.ndim - 3]
            module = norm(channels, device=weight.device, dtype=weight.dtype)
        elif kind == "relu":
            module = nn.ReLU(inplace=True)
        else:
            module = nn.PReLU(device=weight.device, dtype=weight.dtype)
        name = "norm" if kind == "batch-norm" else "act"
        found[f"{name}{place}" if name in found else name] = module
    return found


@torch.no_grad()
def dense_of(pair: nn.Module, name: str = "the pair") -> _ConvNd:
    """Return the one convolution that a basis and its mix are equal to.

    Its weight is W[o, g S + s] = sum_b A[o, g n + b] B[b, s] for the basis B, the mix A and parts
    of S channels, its bias p[o] + sum_{g, b} A[o, g n + b] beta[b]; to a residual pair the identity
    is added. Exact but for rounding.

    Args:
        pair: as the transforms ``filter-basis`` and ``factorize`` leave it; is not changed.
        name: for messages.

    Raises:
        ModelError: it is no such pair; something stands between the two, the mix has a kernel, or
            the basis is wider than its input (``first-channels``).
    """
    if isinstance(pair, Residual):
        dense = dense_of(pair.added, name)
        dense.weight.add_(nn.init.dirac_(torch.empty_like(dense.weight)))
        return dense
    basis, mix = _halves(pair, name)
    coefficients = mix.weight.double().view(mix.out_channels, -1, basis.out_channels)
    product = coefficients @ basis.weight.double().flatten(1)
    bias = None if mix.bias is None else mix.bias.double()
    if basis.bias is not None:
        moved = (coefficients @ basis.bias.double()).sum(1)
        bias = moved if bias is None else bias + moved
    dense = copy.deepcopy(basis)
    trained = basis.weight.requires_grad or mix.weight.requires_grad
    weight = product.view(mix.out_channels, -1, *basis.weight.shape[2:]).to(basis.weight)
    dense.weight = nn.Parameter(weight, requires_grad=trained)
    dense.bias = None if bias is None else nn.Parameter(bias.to(weight), requires_grad=trained)
    dense.out_channels, dense.in_channels = weight.shape[:2]
    return dense


def _halves(pair: nn.Module, name: str) -> tuple[_ConvNd, _ConvNd]:
    """Return basis and mix of a pair that is equal to one convolution."""
    children = pair._modules
    basis, mix = children.get("basis"), children.get("mix")
    if not (isinstance(basis, _ConvNd) and isinstance(mix, _ConvNd)):
        raise ModelError(
            f"{name} is no basis and mix of the transforms filter-basis and factorize, but "
            f"{type(pair).__name__}; give a pair that they made"
        )
    between = [type(child).__name__ for key, child in children.items() if key not in _LINEAR]
    if between:
        raise ModelError(
            f"{name} is equal to no convolution, because there is {' and '.join(between)} between "
            "its basis and its mix; leave it as it is"
        )
    if isinstance(basis, FirstChannels2d):
        raise ModelError(
            f"{name} says nothing of how many channels come in, because its filters are those of a "
            "wider layer; leave it as it is"
        )
    if {*mix.kernel_size} != {1}:
        raise ModelError(
            f"{name} is equal to no convolution at the image's border, because its mix has kernel "
            f"{'x'.join(map(str, mix.kernel_size))}; leave it as it is"
        )
    return basis, mix
