"""Pairs of convolutions, as ``factorize`` leaves them, back into one: exact but for rounding."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from lwdna.transforms.pairs import has_hooks, obstacle, users_of


def pairs_in(network: nn.Module) -> dict[str, nn.Sequential]:
    """Return the pairs of a network that are linear and can be merged, by name.

    A pair is what :func:`lwdna.factorize` puts in a convolution's place. One that has something
    between its halves, or whose halves are themselves pairs or share their weights, is none here.
    """
    users = users_of(network)
    return {
        name: module
        for name, module in network.named_modules(remove_duplicate=False)
        if isinstance(module, nn.Sequential) and _is_linear(module, users)
    }


def _is_linear(module: nn.Sequential, users: dict[int, list[str]]) -> bool:
    if list(module._modules) != ["basis", "mix"]:
        return False
    basis, mix = module.basis, module.mix
    if not (isinstance(basis, _ConvNd) and isinstance(mix, _ConvNd)) or basis.bias is not None:
        return False
    if obstacle(basis, users) or obstacle(mix, users) or has_hooks(module):
        return False
    return {*mix.kernel_size, *mix.stride, *mix.dilation} == {1} and not any(
        mix._reversed_padding_repeated_twice
    )


def gains_by_merging(pair: nn.Sequential) -> bool:
    """Tell whether a pair costs at least what the convolution does that it is equal to.

    From C to O channels with a kernel of K weights and rank r, a pixel costs r (C K + O) MACs
    instead of O C K, and the parameters compare in the same way.
    """
    basis, mix = pair.get_parameter("basis.weight"), pair.get_parameter("mix.weight")
    rank, inputs, outputs = len(basis), basis[0].numel(), len(mix)
    return rank * (inputs + outputs) >= outputs * inputs


@torch.no_grad()
def merge_pairs(network: nn.Module, names: Collection[str]) -> nn.Module:
    """Replace pairs of :func:`pairs_in` by one convolution each, in place; return the network."""
    pairs = pairs_in(network)
    merged = {id(pairs[name]): pairs[name] for name in names}
    convolutions = {key: _merged(pair) for key, pair in merged.items()}
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if id(child) in convolutions:
                setattr(parent, name, convolutions[id(child)])
    return convolutions.get(id(network), network)


def _merged(pair: nn.Sequential) -> nn.Module:
    """Return the first half of a pair with the weights of both: it has kernel and stride."""
    basis, mix = pair.basis, pair.mix
    assert isinstance(basis, _ConvNd)
    assert isinstance(mix, _ConvNd)
    product = mix.weight.double().flatten(1) @ basis.weight.double().flatten(1)
    trained = basis.weight.requires_grad or mix.weight.requires_grad
    weight = product.view(-1, *basis.weight.shape[1:]).to(basis.weight)
    basis.weight = nn.Parameter(weight, requires_grad=trained)
    basis.bias, basis.out_channels = mix.bias, mix.out_channels
    return basis
