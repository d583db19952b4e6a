"""A limit on the memory that building a network may ask for, checked before it is allocated.

A number in a file decides how large a network gets. A wrong one should be an error at once, not a
computer that stands still.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lwdna.errors import ModelError

MOST_TENSORS = 25_000
"""Tensors that building one network may make; large ones have some thousands."""


@contextmanager
def limited_memory(most: int, why: str, together: bool = True) -> Iterator[None]:
    """Inside the block, making larger tensors than fit is an error.

    Args:
        most: bytes of a tensor, and of all those together that are made from nothing.
        why: where the limit comes from, for the message.
        together: False lets the sum be larger, where no tensor is kept.

    Raises:
        ModelError: the limit would be exceeded, or more than ``MOST_TENSORS`` tensors be made.
    """
    with _Limit(most, why, together):
        yield


def physical_memory() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class _Limit(TorchDispatchMode):  # type: ignore[misc]
    def __init__(self, most: int, why: str, together: bool) -> None:
        super().__init__()
        self.most, self.why, self.together = most, why, together
        self.made = self.tensors = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        wanted = _elements(func, args, kwargs)
        if wanted is not None and getattr(kwargs.get("device"), "type", "") != "meta":
            dtype = kwargs.get("dtype") or next(_types(args), torch.get_default_dtype())
            size = wanted * dtype.itemsize
            if not any(isinstance(arg, Tensor) for arg in args):
                self.made += size if self.together else 0
                self.tensors += 1
            if max(size, self.made) > self.most:
                raise ModelError(
                    f"its tensors would take {max(size, self.made) / 1e9:.3g} GB, more than "
                    f"{self.why} ({self.most / 1e9:.3g} GB)"
                )
            if self.tensors > MOST_TENSORS:
                raise ModelError(f"it has more than {MOST_TENSORS} tensors")
        return func(*args, **kwargs)


def _types(args: Sequence[Any]) -> Iterator[torch.dtype]:
    return (arg.dtype for arg in args if isinstance(arg, Tensor))


def _elements(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> int | None:
    """Return how many elements an operator's result has, where that can be many at once."""
    names = (one.name for one in func._schema.arguments)
    named: dict[str, Any] = {**dict(zip(names, args, strict=False)), **kwargs}
    for name in ("size", "repeats"):
        if isinstance(named.get(name), list | tuple) and not func.is_view:
            old = args[0].numel() if name == "repeats" and isinstance(args[0], Tensor) else 1
            return int(math.prod(named[name]) * old)
    if "steps" in named:
        return int(named["steps"])
    if "end" in named and "self" not in named:  # arange
        count = float((named["end"] - named.get("start", 0)) / (named.get("step", 1) or 1))
        return math.ceil(count) if math.isfinite(count) and count > 0 else None
    if "n" in named and "self" not in named:  # eye
        return int(named["n"] * named.get("m", named["n"]))
    if torch.Tag.pointwise in func.tags and not func._schema.is_mutable:
        shapes: list[tuple[int, ...]] = [
            tuple(arg.shape) for arg in args if isinstance(arg, Tensor)
        ]
        rank = max(map(len, shapes), default=0)
        full = [[1] * (rank - len(shape)) + list(shape) for shape in shapes]
        longest = [max(lengths) for lengths in zip(*full, strict=True)]
        return int(math.prod(longest))
    return None
