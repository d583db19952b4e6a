"""Layers as the same operators on every device, whatever kernels it would choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel

from lwdna.channels.tracing.recurrence import WholeRecurrence


@contextmanager
def plain_attention() -> Iterator[None]:
    """Decompose fused attention inside the block, and keep recurrent layers whole.

    Kernels of attention differ in what widths they take, and ``nn.MultiheadAttention`` has a short
    cut that it takes only while nobody watches its calls.
    """
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), WholeRecurrence():
            yield
    finally:
        mha.set_fastpath_enabled(before)
