"""Copies of a module with other tensors in place of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

_CONV = ("in_channels", "out_channels", "groups", "kernel_size", "stride", "padding", "dilation")
MODULE_SIZES: dict[type, tuple[str, ...]] = {
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.Conv3d: _CONV,
    nn.Linear: ("in_features", "out_features"),
}
"""Integer attributes of torch's own layers that :func:`sync_attributes` or nobody may change."""


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter and buffer once, with its first name."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def copy_with(model: nn.Module, replace: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """Deep-copy ``model``, each parameter and buffer replaced by ``replace(name, tensor)``.

    No tensor of the model is copied on the way; tensors shared by several modules stay shared.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor):  # neither parameter nor buffer, perhaps not a leaf
                memo[id(value)] = value.detach()
    for name, tensor in named_tensors(model):
        new = replace(name, tensor)
        if isinstance(tensor, nn.Parameter) and not isinstance(new, FakeTensor):
            new = nn.Parameter(new, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = new
    return copy.deepcopy(model, memo)


def sync_attributes(model: nn.Module) -> None:
    """Make the size attributes of torch's own layers agree with their tensors."""
    for module in model.modules():
        if isinstance(module, _ConvNd):
            _sync_convolution(module)
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, _NormBase):
            tensor = module.weight if module.weight is not None else module.running_mean
            if tensor is not None:
                module.num_features = tensor.shape[0]
        elif isinstance(module, nn.GroupNorm):
            if module.weight is not None:
                module.num_channels = module.weight.shape[0]
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            if module.weight is not None:
                module.normalized_shape = tuple(module.weight.shape)
        elif isinstance(module, nn.PReLU):
            module.num_parameters = module.weight.numel()
        elif isinstance(module, nn.Embedding):
            module.embedding_dim = module.weight.shape[1]


def _sync_convolution(module: _ConvNd) -> None:
    weight = module.weight
    first, second = (1, 0) if isinstance(module, _ConvTransposeNd) else (0, 1)
    if 1 < module.groups == module.in_channels:  # depthwise: the groups follow the channels
        multiplier = module.out_channels // module.groups
        module.in_channels = module.groups = weight.shape[0] // (multiplier if first == 0 else 1)
        module.out_channels = module.groups * multiplier
        return
    # Of the two channel axes the second counts the channels of one group.
    channels = [weight.shape[0], weight.shape[1] * module.groups]
    module.out_channels, module.in_channels = channels[first], channels[second]


def empty_like(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return an uninitialised tensor of another shape, otherwise alike."""
    return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
