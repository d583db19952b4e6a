"""Copies of a module with other tensors in place of its own."""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lwdna.channels.copies.computed import at_rest, is_parametrized
from lwdna.channels.copies.rebind import rebind
from lwdna.errors import GraphError

_CONV = ("in_channels", "out_channels", "groups", "kernel_size", "stride", "padding", "dilation")
LAYER_SIZES: dict[type, tuple[str, ...]] = {
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.Conv3d: _CONV,
    nn.Linear: ("in_features", "out_features"),
    nn.MultiheadAttention: ("embed_dim", "kdim", "vdim", "num_heads", "head_dim"),
    **dict.fromkeys((nn.LSTM, nn.GRU, nn.RNN), ("input_size", "hidden_size", "proj_size")),
    nn.MultiheadAttention: ("embed_dim", "kdim", "vdim", "num_heads", "head_dim"),
    **dict.fromkeys((nn.LSTMCell, nn.GRUCell, nn.RNNCell), ("input_size", "hidden_size")),
}
"""Integer attributes of torch's own layers that :func:`sync_layer_sizes` or nobody may change."""

DEPTH = 4
"""Containers within containers that are looked through for what a module holds."""


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter and buffer once, with its first name."""
    seen: set[int] = set()
    buffers = []
    for path, module in model.named_modules():  # torch's own iterators would walk it twice
        prefix = path and f"{path}."
        buffers += [(prefix + name, tensor) for name, tensor in module._buffers.items()]
        for name, tensor in module._parameters.items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield prefix + name, tensor
    for name, tensor in buffers:
        if tensor is not None and id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def copy_with(model: nn.Module, replace: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """Deep-copy ``model``, each parameter and buffer replaced by ``replace(name, tensor)``.

    No tensor of the model is copied on the way; tensors shared by several modules stay shared.

    Raises:
        GraphError: something in the model cannot be copied; the message names it.
    """
    memo: dict[int, Any] = {}
    modules = list(model.modules())
    known = {id(tensor) for _, tensor in named_tensors(model)}
    for value in held_tensors(modules):  # neither parameters nor buffers, perhaps no leaf
        if id(value) not in known:
            memo[id(value)] = value.detach().clone()
    for name, tensor in named_tensors(model):
        new = replace(name, tensor)
        if isinstance(tensor, nn.Parameter) and not isinstance(new, FakeTensor):
            new = nn.Parameter(new, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = new
    kinds = {kind for kind in set(map(type, modules)) if _copies_plainly(kind)}
    plain = [module for module in modules if type(module) in kinds]
    for module in plain:
        memo[id(module)] = object.__new__(type(module))
    try:
        for module in reversed(plain):  # children first, as deepcopy has it
            state = {
                key: value if type(value) in _ATOMS else _copied(value, memo)
                for key, value in module.__getstate__().items()
            }
            memo[id(module)].__setstate__(state)
        result = copy.deepcopy(model, memo)
        rebind(result, memo)
    except Exception as error:  # whatever an attribute's class raises
        raise GraphError(_uncopied(model, error)) from error
    originals = set(map(id, modules))
    for path, module in result.named_modules():
        if id(module) in originals:
            raise GraphError(
                f"module {path!r} of class {type(module).__name__} does not let itself be copied: "
                "copy.deepcopy returns the module itself; let its __deepcopy__ make a copy"
            )
    return result


def held_tensors(modules: Iterable[nn.Module], only: str | None = None) -> Iterator[Tensor]:
    """Yield tensors among modules' attributes, and in containers and objects that these are.

    ``only`` names one attribute to look at.
    """
    seen: set[int] = set()  # containers may hold one another
    stack = [
        (value, DEPTH)
        for module in modules
        for name, value in vars(module).items()
        if name not in ("_parameters", "_buffers", "_modules")
        and only in (None, name)
        # most of what a module has are numbers, and hooks that nobody has registered
        and not (type(value) in _ATOMS or (isinstance(value, dict) and not value))
    ]
    while stack:
        value, depth = stack.pop()
        if isinstance(value, Tensor):
            yield value
        elif depth and type(value) not in _ATOMS and id(value) not in seen:
            seen.add(id(value))
            stack.extend((item, depth - 1) for item in contents(value))


def contents(value: Any) -> list[Any]:
    """Return what a container holds, or an object of Python that is neither module nor code."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    apart = (nn.Module, Tensor, type, FunctionType, MethodType, ModuleType)
    if hasattr(value, "__dict__") and not isinstance(value, apart):
        return list(vars(value).values())
    return []


def _uncopied(model: nn.Module, error: Exception) -> str:
    """Return what of a model cannot be copied, and what to do."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                copy.deepcopy(value)
            except Exception as cause:  # found
                return (
                    f"the network cannot be copied: attribute {name!r} of module {path!r}, "
                    f"{type(value).__name__}: {first_line(cause)}; make it where it is used "
                    "instead of keeping it, or give its class a __deepcopy__"
                )
    return (
        f"the network cannot be copied: {first_line(error)}; make copy.deepcopy(network) work, "
        "which a __deepcopy__ or __getstate__ of one of its modules may prevent"
    )


def first_line(error: BaseException) -> str:
    """Return an error's class and the first line of what it says, if it says anything."""
    try:
        said = str(error).strip().splitlines()
    except Exception:  # whatever its class raises
        said = []
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def _copies_plainly(cls: Any) -> bool:
    """Tell whether deepcopy would do nothing with its instances but copy their attributes."""
    return (
        not any(
            hasattr(cls, name) for name in ("__deepcopy__", "__getnewargs__", "__getnewargs_ex__")
        )
        and not any(vars(base).get("__slots__") for base in cls.__mro__)
        and cls.__getstate__ in (nn.Module.__getstate__, object.__getstate__)
        and cls.__new__ is object.__new__
        and cls.__reduce__ is object.__reduce__
        and cls.__reduce_ex__ is object.__reduce_ex__
    )


_ATOMS = frozenset(
    {NoneType, bool, float, int, str, FunctionType, ModuleType, torch.jit.ScriptFunction}
)


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """Do as deepcopy does, quicker for what attributes of modules mostly are."""
    kind = type(value)
    if kind in _ATOMS or (kind is tuple and all(type(item) in _ATOMS for item in value)):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind is dict or kind is OrderedDict:
        result: dict[Any, Any] = kind()
        memo[id(value)] = result
        for key, item in value.items():
            new = key if type(key) in _ATOMS else _copied(key, memo)
            result[new] = item if type(item) in _ATOMS else _copied(item, memo)
        return result
    if kind is set and not value:
        return memo.setdefault(id(value), set())
    return copy.deepcopy(value, memo)


def sync_layer_sizes(model: nn.Module) -> None:
    """Make the size attributes of torch's own layers agree with their tensors."""
    with at_rest(model):
        for module in model.modules():
            try:
                _sync(module)
            except Exception:  # whatever a user's parametrization raises: a run will show why
                if not is_parametrized(module):
                    raise


def _sync(module: nn.Module) -> None:
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
    elif isinstance(module, nn.MultiheadAttention):
        _sync_attention(module)
    elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
        _sync_recurrence(module)
    elif isinstance(module, nn.Bilinear):
        sizes = module.weight.shape
        module.out_features, module.in1_features, module.in2_features = sizes
    elif _is_deformable(module):
        _sync_convolution(module)
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        module.embedding_dim = module.weight.shape[1]


def _is_deformable(module: nn.Module) -> bool:
    """Tell whether this is torchvision's layer, which nobody can have without importing it."""
    found = sys.modules.get("torchvision.ops")
    return found is not None and isinstance(module, found.DeformConv2d)


def _sync_convolution(module: Any) -> None:
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


def _sync_attention(module: nn.MultiheadAttention) -> None:
    """One weight for queries, keys and values of one width, or one for each."""
    weights = [module.in_proj_weight] * 3
    if module.in_proj_weight is None:
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    module.embed_dim, module.kdim, module.vdim = (weight.shape[1] for weight in weights)
    module.head_dim = module.embed_dim // module.num_heads


def _sync_recurrence(module: Any) -> None:
    """All layers and directions of a recurrent layer have the sizes of the first."""
    suffix = "" if isinstance(module, nn.RNNCellBase) else "_l0"
    inputs, states, narrowing = (
        getattr(module, f"weight_{kind}{suffix}", None) for kind in ("ih", "hh", "hr")
    )
    if inputs is None or states is None:
        return
    module.input_size, module.hidden_size = inputs.shape[1], states.shape[1]
    if narrowing is not None:
        module.proj_size, module.hidden_size = narrowing.shape


def empty_like(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return an uninitialised tensor of another shape, otherwise alike."""
    return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)


def frozen_parameters(module: nn.Module) -> set[str]:
    """Return the names of parameters that are not trained although others are.

    They are constants of the network, such as a mean colour. Where nothing at all is trained, the
    network was merely made ready for inference.
    """
    parameters = dict(module.named_parameters())
    if not any(parameter.requires_grad for parameter in parameters.values()):
        return set()
    return {name for name, parameter in parameters.items() if not parameter.requires_grad}
