"""Attention as the matrix products it is made of, whatever kernel a device would choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def plain_attention() -> Iterator[None]:
    """Decompose fused attention inside the block; kernels differ in what widths they take."""
    with sdpa_kernel(SDPBackend.MATH):
        yield
