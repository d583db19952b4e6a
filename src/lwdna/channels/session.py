"""What one tracing knows: the skeleton of the network and what was recorded while it ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lwdna.channels.call import Axes
from lwdna.channels.record import Record


@dataclass
class Session:
    """A skeleton of the network (fake tensors) and what was recorded while it ran."""

    fake: FakeTensorMode
    skeleton: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    axes: dict[str, Axes] = field(default_factory=dict)
    passes: dict[bool, list[Record]] = field(default_factory=dict)
    """Records by mode: False for evaluation, True for training where that runs more modules."""
    touched: set[str] = field(default_factory=set)
    unknown: dict[str, None] = field(default_factory=dict)
