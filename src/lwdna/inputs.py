"""What a network is called with: one tensor, a tuple of tensors, or a dict of tensors by name.

A tuple holds positional arguments of ``forward``, a dict holds keyword arguments. The first axis of
every tensor counts the examples of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from lwdna.errors import DataError, InputError
from lwdna.input_size import USUAL_TYPE, InputSize, InputTypes, check_size, check_types, only

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""Inputs of a network, see above; a list is as good as a tuple."""


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return inputs as positional and keyword arguments."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list):
        return tuple(inputs), {}
    return (inputs,), {}


def call(network: nn.Module, inputs: Any) -> Any:
    """Return what a network makes of inputs."""
    args, kwargs = arguments(inputs)
    return network(*args, **kwargs)


def plain(inputs: Any) -> Any:
    """Return inputs by name as a dict, whose values torch finds, and others as they are."""
    return dict(inputs) if isinstance(inputs, Mapping) else inputs


def move(inputs: Any, device: torch.device) -> Any:
    """Return inputs in the same form on another device."""
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), plain(inputs))


def device_of(inputs: Any) -> torch.device:
    """Return where the first tensor is."""
    return _first(plain(inputs)).device


def examples(batch: Any) -> int:
    """Return how many examples a batch holds: the length of its first tensor.

    Raises:
        DataError: there is no tensor with a batch axis.
    """
    first = _first(batch)
    if first.ndim == 0:
        raise DataError("a batch's tensors need a first axis that counts its examples")
    return len(first)


def size_of(inputs: Inputs) -> InputSize:
    """Return the sizes of inputs without the batch axis, in the form of the inputs.

    Raises:
        InputError: the inputs are not one tensor, a tuple or a dict of tensors.
    """
    return check_size(_each(inputs, lambda tensor: tuple(tensor.shape[1:])))


def types_of(inputs: Inputs) -> InputTypes | None:
    """Return the types of inputs by name, in their form, or None if all are float32.

    Raises:
        InputError: the inputs are not one tensor, a tuple or a dict of tensors.
    """
    names = _each(inputs, lambda tensor: str(tensor.dtype).removeprefix("torch."))
    if set(tree_leaves(names)) == {USUAL_TYPE}:
        return None
    return check_types(names, size_of(inputs))


def zeros(size: InputSize, types: InputTypes | None = None, *, batch: int = 1) -> Inputs:
    """Return inputs of zeros that take no memory: all elements of a tensor are the same one.

    Args:
        size: without the batch axis.
        types: in the same form; default: float32.
        batch: how many examples.

    Raises:
        InputError: sizes or types that no inputs have.
    """
    sizes = check_size(size)
    if types is None:
        types = tree_map(lambda _: USUAL_TYPE, sizes, is_leaf=_is_size)
    types = check_types(types, sizes)

    def make(one: Sequence[int], dtype: str) -> Tensor:
        return torch.zeros(1, dtype=getattr(torch, dtype)).expand(batch, *one)

    made: Inputs = tree_map(make, sizes, types, is_leaf=_is_size)
    return made


def _is_size(part: Any) -> bool:
    return isinstance(part, tuple) and only(part) is not None


def _each(inputs: Any, function: Any) -> Any:
    """Apply a function to every tensor of inputs; keep their form."""

    def apply(value: Any, place: str) -> Any:
        if not isinstance(value, Tensor):
            raise InputError(
                "inputs must be one tensor, a tuple of tensors or a dict of tensors by name, but "
                f"{place} is of type {type(value).__name__}; let a module around the network set "
                "what is no tensor"
            )
        if value.ndim == 0:
            raise InputError(
                f"{place} is a tensor without axes, but its first axis must count the examples; "
                "give it the shape (1,)"
            )
        return function(value)

    if isinstance(inputs, Mapping):
        return {name: apply(value, f"input {name!r}") for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(apply(value, f"input {i}") for i, value in enumerate(inputs))
    return apply(inputs, "the input")


def _first(values: Any) -> Tensor:
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor):
            return leaf
    raise DataError(f"there must be a tensor in a batch, got {type(values).__name__}")
