"""Attention as the matrix products it is made of, whatever kernel a device would choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def plain_attention() -> Iterator[None]:
    """Decompose fused attention inside the block; kernels differ in what widths they take.

    ``nn.MultiheadAttention`` has a short cut that it takes only while nobody watches its calls.
    """
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(before)
