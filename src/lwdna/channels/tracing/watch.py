"""Watch the calls that a network's own code makes, before torch turns their sizes into numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.init
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lwdna.channels.algebra.lengths import Length
from lwdna.channels.rules.call import Axes

_READ_SHAPE = (Tensor.shape.__get__, Tensor.size)  # type: ignore[attr-defined]
_LIKE_ANOTHER = frozenset({Tensor.expand_as, Tensor.reshape_as, Tensor.view_as})
_TAKES_SIZES = frozenset(
    {
        *_LIKE_ANOTHER,
        *(Tensor.view, Tensor.reshape, torch.reshape, Tensor.expand),
        *(Tensor.split, torch.split, Tensor.split_with_sizes, torch.split_with_sizes),
        *(Tensor.__getitem__, Tensor.narrow, torch.narrow, Tensor.unflatten),
        *(F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d),
    }
)
PUTS_DATA = Tensor.data.__set__  # type: ignore[attr-defined]
SHARES_MEMORY = frozenset({PUTS_DATA, torch.ops.aten.set_.source_Tensor})
_PUTS = SHARES_MEMORY | {Tensor.copy_, Tensor.__setitem__}
_TAKES_VALUES = frozenset(
    {
        *(Tensor.mul, Tensor.div, torch.mul, torch.div, Tensor.mul_, Tensor.div_),
        *(Tensor.__mul__, Tensor.__rmul__, Tensor.__truediv__, Tensor.new_tensor, Tensor.new_full),
        *(torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.full, torch.full_like),
    }
)
_INITIALISERS = torch.nn.init.__file__
"""Here widths only say how weights are drawn that begin to exist: no value follows from them."""


class Watch(TorchFunctionMode):
    """Answers questions for shapes with lengths; keeps the sizes that the running call asks for."""

    def __init__(
        self,
        axes_of: Callable[[Tensor], Axes],
        scaled: Callable[[Tensor], None],
        put: Callable[[Any, Tensor, Any], None],
    ) -> None:
        super().__init__()
        self.axes_of, self.scaled, self.put = axes_of, scaled, put
        self.asked: tuple[int, ...] = ()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _READ_SHAPE and sys._getframe(1).f_code.co_filename != _INITIALISERS:
            return self._shape(args[0], func(*args, **kwargs), *args[1:], **kwargs)
        if func is F.scaled_dot_product_attention and kwargs.get("scale") is None:
            self.scaled(args[0] if args else kwargs["query"])
        if func in _PUTS:
            self.put(func, args[0], args[-1])
        if func is F.multi_head_attention_forward:
            with _seen_through(), self:
                return func(*args, **kwargs)
        if func in _TAKES_VALUES:
            for value in (*args[:2], *kwargs.values()):
                if isinstance(value, Length):
                    value.enters_arithmetic()
        if func not in _TAKES_SIZES:
            return func(*args, **kwargs)
        self.asked = self._sizes(func, args, kwargs)
        try:
            return func(*args, **kwargs)
        finally:
            self.asked = ()

    def _sizes(self, func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[int, ...]:
        """Return the sizes that a call asks for, those of another tensor included."""
        if func in _LIKE_ANOTHER:
            other = args[1] if len(args) > 1 else kwargs["other"]
            return tuple(map(Length.of, self.axes_of(other)))
        asked = tuple(_integers((args, *kwargs.values())))
        if func is Tensor.unflatten:
            dim, *parts = asked
            sizes = list(map(Length.of, self.axes_of(args[0])))
            dim %= len(sizes)
            return (*sizes[:dim], *parts, *sizes[dim + 1 :])
        return asked

    def _shape(self, tensor: Tensor, answer: Any, dim: int | None = None) -> Any:
        axes = self.axes_of(tensor)
        if dim is not None:
            return Length.of(axes[dim])
        return torch.Size(map(Length.of, axes))


@contextmanager
def _seen_through() -> Iterator[None]:
    """Let functions of torch that are written in Python show what they call.

    Each asks once whether somebody watches its arguments and leaves the call to him; then he sees
    no more of it.
    """
    asks = vars(F)["has_torch_function"]
    vars(F)["has_torch_function"] = lambda _: False
    try:
        yield
    finally:
        vars(F)["has_torch_function"] = asks


def _integers(values: Any) -> Iterator[int]:
    for value in values:
        if isinstance(value, int):
            yield value
        elif isinstance(value, list | tuple):
            yield from _integers(value)
        elif isinstance(value, slice):
            yield from _integers((value.start, value.stop))
