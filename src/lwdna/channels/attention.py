"""Attention as the matrix products it is made of, whatever kernel a device would choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


class _Watch(TorchFunctionMode):
    """Reports queries whose products are scaled by their own length."""

    def __init__(self, scaled: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.scaled = scaled

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and kwargs.get("scale") is None:
            self.scaled(args[0] if args else kwargs["query"])
        return func(*args, **kwargs)


@contextmanager
def plain_attention(scaled: Callable[[Tensor], None] = lambda query: None) -> Iterator[None]:
    """Decompose fused attention inside the block; kernels differ in what widths they take.

    ``scaled`` is called with every query whose scale follows from its width, so that slices of it
    do not compute what the whole network computes.
    """
    with sdpa_kernel(SDPBackend.MATH), _Watch(scaled):
        yield
