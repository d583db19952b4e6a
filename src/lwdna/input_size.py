"""Sizes and types of a network's inputs as data: what an architecture file says of them."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from lwdna.errors import InputError

Size = tuple[int, ...]
"""Shape of one input without the batch axis, (C, H, W) for images."""

InputSize = Size | tuple[Size, ...] | dict[str, Size]
"""Sizes of a network's inputs: of its only one, of several by position, or of several by name."""

InputTypes = str | tuple[str, ...] | dict[str, str]
"""Names of the inputs' types, in the form of their sizes."""

USUAL_TYPE = "float32"
TYPES = (
    USUAL_TYPE,
    "float64",
    "float16",
    "bfloat16",
    *("int8", "int16", "int32", "int64"),
    *("uint8", "bool"),
)
"""The types of torch that an input may have."""

MOST_INPUTS = 64
MOST_AXES = 8
MOST_ELEMENTS = 2**31
"""Of one input of one example; more is a damaged file rather than an image."""


def check_size(value: Any) -> InputSize:
    """Return sizes of inputs, lists made tuples.

    Args:
        value: ``[3, 32, 32]``, ``[[3, 127, 127], [3, 255, 255]]`` or
            ``{"template": [3, 127, 127], "search": [3, 255, 255]}``.

    Raises:
        InputError: this is no such thing.
    """
    if isinstance(value, Mapping):
        _check_count(value)
        for name in value:
            if not isinstance(name, str):
                raise InputError(f"names of inputs must be texts, one is {_shown(name)}")
        named = {name: _one_size(one) for name, one in value.items()}
        _check_any_axes(named.values())
        return named
    if isinstance(value, list | tuple):
        _check_count(value)
        if any(isinstance(one, list | tuple) for one in value):
            sizes = tuple(_one_size(one) for one in value)
            _check_any_axes(sizes)
            return sizes
    return _one_size(value)


def check_types(value: Any, size: InputSize) -> InputTypes:
    """Return names of types, lists made tuples.

    Args:
        value: ``"int64"``, ``["float32", "int64"]`` or ``{"image": "float32", "text": "int64"}``.
        size: the inputs' sizes, whose form the types must have.

    Raises:
        InputError: the form is another, or there is no such type.
    """
    if isinstance(size, dict):
        if not isinstance(value, Mapping) or set(value) != set(size):
            raise InputError(f"input types must name the type of each input: {', '.join(size)}")
        return {name: _one_type(value[name]) for name in size}
    if only(size) is not None:
        return _one_type(value)
    if not isinstance(value, list | tuple) or len(value) != len(size):
        raise InputError(f"input types must be a list of {len(size)}, one per input")
    return tuple(_one_type(one) for one in value)


def only(size: InputSize) -> Size | None:
    """Return the size of a network's only input, or None where it takes several or by name."""
    if isinstance(size, dict):
        return None
    plain = tuple(part for part in size if isinstance(part, int))
    return plain if len(plain) == len(size) else None


def describe(size: Any, types: InputTypes | None = None, times: str = "x") -> str:
    """Return sizes as text: ``template 3x127x127, search 3x255x255``.

    Args:
        size: sizes of inputs, also as a file of another version may have them.
        types: named too, where there are any.
        times: what stands between the axes.
    """
    if not isinstance(size, Mapping | list | tuple):
        return str(size)
    if isinstance(size, Mapping):
        kinds = types if isinstance(types, dict) else {}
        told = [f"{name} {describe(one, kinds.get(name), times)}" for name, one in size.items()]
        return ", ".join(told)
    if any(isinstance(one, list | tuple) for one in size):
        listed = types if isinstance(types, tuple) else (None,) * len(size)
        return " and ".join(
            describe(one, kind, times) for one, kind in zip(size, listed, strict=True)
        )
    text = times.join(map(str, size)) or "one number"
    return f"{text} ({types})" if types else text


def _one_size(value: Any) -> Size:
    if not isinstance(value, list | tuple):
        raise InputError(
            "an input's size must be a list of axes such as [3, 32, 32], several inputs have a "
            f"list of such lists, or such lists by name; got {_shown(value)}"
        )
    if len(value) > MOST_AXES:
        raise InputError(f"an input may have {MOST_AXES} axes at most, got {len(value)}")
    for axis in value:
        if type(axis) is not int or axis < 1:
            raise InputError(f"axes must be whole numbers above 0, got {_shown(axis)}")
    if math.prod(value) > MOST_ELEMENTS:
        raise InputError(f"an input may have {MOST_ELEMENTS} elements at most, got {_shown(value)}")
    return tuple(value)


def _one_type(value: Any) -> str:
    if not isinstance(value, str) or value not in TYPES:
        raise InputError(f"an input's type must be one of {', '.join(TYPES)}, got {_shown(value)}")
    return value


def _check_count(values: Mapping[Any, Any] | Sequence[Any]) -> None:
    if not 1 <= len(values) <= MOST_INPUTS:
        raise InputError(f"sizes must have from 1 to {MOST_INPUTS} entries, got {len(values)}")


def _check_any_axes(sizes: Any) -> None:
    """A number per example may come beside an image, but a network has to have the image."""
    if not any(sizes):
        raise InputError("one input at least must have axes beside that of the batch")


def _shown(value: Any) -> str:
    return reprlib.repr(value)
