"""Training networks compiled by ``torch.compile``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from lwdna.errors import TrainingError


def compiled(model: nn.Module) -> nn.Module:
    """Return a network that shares everything with ``model`` and is compiled when it first runs."""
    return cast(nn.Module, torch.compile(model, dynamic=False))


@contextmanager
def compile_errors() -> Iterator[None]:
    """Say what to do where a network cannot be compiled.

    Raises:
        TrainingError: it cannot.
    """
    try:
        yield
    except (TorchDynamoException, RuntimeError) as error:
        kind = type(error)
        if not kind.__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        why = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"the network cannot be compiled here ({kind.__name__}: {why}); set train.compile=false"
        ) from error
