"""Run a network for real once and note what its operators return, where that depends on values.

Rows picked by ``nonzero`` or a mask, numbers read by ``.item()``, branches on values: a run without
values cannot know them. The example inputs decide them once, in evaluation mode, and every later
run is given the same outcomes: the graph then holds for networks that take this path.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

READS: tuple[Any, ...] = (Tensor.numpy, Tensor.__array__)
"""How a network reads values without an operator."""


@dataclass(frozen=True)
class Outcome:
    """What one call returned: plain values, and of tensors their shapes and types."""

    plain: Any

    def result(self, fake: FakeTensorMode, predicted: Sequence[Sequence[int]] | None) -> Any:
        """Return the same with fake tensors, of the shapes that are predicted."""
        leaves, spec = tree_flatten(self.plain)
        shapes = iter(predicted or [])

        def faked(leaf: Any) -> Any:
            if not isinstance(leaf, _Form):
                return leaf
            shape = tuple(next(shapes, leaf.shape))
            with fake:
                return torch.empty(shape, dtype=leaf.dtype, device=leaf.device)

        return tree_unflatten([faked(leaf) for leaf in leaves], spec)


@dataclass(frozen=True)
class _Form:
    """A tensor without values."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


@dataclass
class Outcomes:
    """By operator, what its calls returned, in their order."""

    calls: dict[Any, list[Outcome]] = field(default_factory=lambda: defaultdict(list))

    def note(self, func: Any, result: Any) -> None:
        """Note what a call returned."""

        def form(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return _Form(tuple(leaf.shape), leaf.dtype, leaf.device)
            return copy.deepcopy(leaf)

        self.calls[func].append(Outcome(tree_map(form, result)))


class Playback:
    """Gives the outcomes of a real run again, call by call."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.outcomes = outcomes
        self.calls: Counter[Any] = Counter()

    def next(self, func: Any) -> Outcome | None:
        """Return the outcome of the next call of an operator; None where it had no such call."""
        position = self.calls[func]
        self.calls[func] += 1
        known = self.outcomes.calls.get(func, ())
        return known[position] if position < len(known) else None


class _Operators(TorchDispatchMode):  # type: ignore[misc]
    def __init__(self, outcomes: Outcomes) -> None:
        super().__init__()
        self.outcomes = outcomes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.outcomes.note(func, result)
        return result


class _Reads(TorchFunctionMode):
    def __init__(self, outcomes: Outcomes) -> None:
        super().__init__()
        self.outcomes = outcomes

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in READS:
            self.outcomes.note(func, result)
        elif func is Tensor.tolist:  # fake tensors read each entry on its own
            for number in tree_flatten(result)[0]:
                self.outcomes.note(torch.ops.aten._local_scalar_dense.default, number)
        return result


def observe(replica: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcomes:
    """Run a copy of a network on real inputs; return what its operators gave.

    The random state is put back, and the inputs do not change.

    Raises:
        Exception: whatever the network raises.
    """
    outcomes = Outcomes()

    def copied(value: Any) -> Any:
        return value.detach().clone() if isinstance(value, Tensor) else value

    args, kwargs = tree_map(copied, (tuple(args), dict(kwargs)))
    devices = {p.device for p in replica.parameters() if p.device.type == "cuda"}
    with (
        torch.random.fork_rng(devices),
        torch.no_grad(),
        _Reads(outcomes),
        _Operators(outcomes),
    ):
        replica(*args, **kwargs)
    return outcomes
