"""Run operators on fake tensors, and follow the values of tensors that are constants.

A fake tensor has a shape and no values. Some values are known all the same: those that follow from
the network's code and its buffers alone, such as ``torch.arange(5)``, the strides of a detector or
``torch.tensor(x.shape[1])``. Their operators run for real beside the fake ones, so that a network
can read such numbers, and so that the proof sees which of them change with the widths. What
depends on the network's inputs or parameters has no value; where a network reads one all the same,
the outcome of a real run is given (:mod:`lwdna.channels.copies.outcomes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from lwdna.channels.copies import fake_shapes
from lwdna.channels.copies.outcomes import READS, Outcomes, Playback

LARGEST = 2**20
"""Entries of the largest tensor whose values are followed."""

_UNSET = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})
"""Operators whose results have any values, until they are written to."""

_PUTS_DATA = Tensor.data.__set__  # type: ignore[attr-defined]

Shapes = Sequence[Sequence[int]]


class Constants:
    """Runs the operators of one forward pass on fake tensors; knows the values of constants.

    Args:
        fake: the mode of the fake tensors.
        given: fake tensors whose values are known before: the network's buffers.
        outcomes: what a real run gave where fake tensors have no answer.
        predicted: returns the shapes of the results of the operator that runs now, where they are
            known; else its outcome tells.
    """

    def __init__(
        self,
        fake: FakeTensorMode,
        given: Sequence[tuple[Tensor, Tensor]] = (),
        outcomes: Outcomes | None = None,
        predicted: Callable[[], Shapes | None] = lambda: None,
    ) -> None:
        self.fake, self.predicted = fake, predicted
        self.playback = Playback(outcomes) if outcomes is not None else None
        self.reads = _Reads(self)
        """A mode in which a network may read constants as arrays and lists."""
        self.on_read: Callable[[Tensor], None] = lambda tensor: None
        """Told of every tensor that is no constant and is read like that."""
        self._given = {id(tensor): (tensor, value) for tensor, value in given}
        self._values: dict[int, tuple[ref[Tensor], Tensor]] = {}
        self._written: set[int] = set()
        """Memory of values that operators wrote to."""
        self._stale: set[int] = set()
        """Memory of values that were overwritten by what has none."""
        self._kept: list[Tensor] = []

    def value(self, tensor: Tensor) -> Tensor | None:
        """Return the value of a constant; None for other tensors, and for large ones."""
        found = self._values.get(id(tensor))
        if found is not None and found[0]() is tensor:
            return None if _memory(found[1]) in self._stale else found[1]
        fake, real = self._given.get(id(tensor), (None, tensor))
        if fake is not tensor and isinstance(tensor, FakeTensor):
            return None
        if real.is_meta or real.numel() > LARGEST or isinstance(real, nn.Parameter):
            return None
        with unset_fake_temporarily():  # a copy, as the network may write to it
            self._note(tensor, real.detach().clone())
        return self._values[id(tensor)][1]

    def entering(
        self, arguments: Iterable[Tensor], results: Iterable[Tensor]
    ) -> list[Tensor | None]:
        """Return copies of values that the network's code made and that enter its activations.

        One for each of an operator's tensor arguments; none where its results are constants too.
        """
        if all(self.value(tensor) is not None for tensor in results):
            return []
        return list(map(self._computed, arguments))

    def _computed(self, tensor: Tensor) -> Tensor | None:
        given = id(tensor) in self._given
        if given and id(tensor) not in self._values:  # never written to
            return None
        value = self.value(tensor)
        if value is None or (given and _memory(value) not in self._written):
            return None
        with unset_fake_temporarily():
            return value.clone()

    def put(self, tensor: Tensor, source: Tensor) -> None:
        """Note that a tensor takes the values of another: by ``.data = ``, which is no operator."""
        value = self.value(source)
        self._given.pop(id(tensor), None)
        self._values.pop(id(tensor), None)
        if value is not None:
            self._note(tensor, value)

    def run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call an operator on fake tensors; follow what it does to constants."""
        random = torch.Tag.nondeterministic_seeded in func.tags
        if random or any(self.value(tensor) is None for tensor in _tensors((args, kwargs))):
            result = self._fake(func, args, kwargs)
            self._overwritten(func, args, kwargs)
            return result
        return self._constant(func, args, kwargs)

    def _fake(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self.playback is None:
            return fake_shapes.run(self.fake, func, args, kwargs)
        outcome = self.playback.next(func)
        try:
            return fake_shapes.run(self.fake, func, args, kwargs)
        except Exception:  # whatever an operator raises that has no answer for fake tensors
            if outcome is None:
                raise
            return outcome.result(self.fake, self.predicted())

    def _constant(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an operator that takes constants only, on fake tensors and on their values."""
        try:
            result = self._fake(func, args, kwargs)
        except Exception:
            value = self._real(func, args, kwargs)
            if value is None:
                raise
            result = tree_map(self._faked, value)
        else:
            if any(t.numel() > LARGEST or t.is_sparse for t in _tensors(result)):
                self._overwritten(func, args, kwargs)
                return result
            value = self._real(func, args, kwargs)
        for fake, real in zip(_tensors(result), _tensors(value), strict=False):
            if real.shape == fake.shape:
                self._note(fake, real)
        return result

    def _real(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        def real(leaf: Any) -> Any:
            return self.value(leaf) if isinstance(leaf, Tensor) else leaf

        try:
            with unset_fake_temporarily():
                result = func(*tree_map(real, tuple(args)), **tree_map(real, dict(kwargs)))
                if func._schema.name.partition("::")[2] in _UNSET:
                    result.zero_()
        except Exception:  # then it has no value
            self._overwritten(func, args, kwargs)
            return None
        for tensor in _written(func, args, kwargs):
            self._written.add(_memory(self._values[id(tensor)][1]))
        return result

    def _faked(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return fake_shapes.fake_like(self.fake, leaf, tuple(leaf.shape))

    def _note(self, tensor: Tensor, value: Tensor) -> None:
        key = id(tensor)
        self._values[key] = ref(tensor, lambda _: self._values.pop(key, None)), value

    def _overwritten(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Forget the values of tensors that an operator writes to."""
        for tensor in _written(func, args, kwargs):
            value = self.value(tensor)
            if value is not None:
                self._stale.add(_memory(value))
                self._kept.append(value)  # so that its address is not used again


class Steps(TorchDispatchMode):  # type: ignore[misc]
    """Runs a network's operators, and does nothing else."""

    def __init__(self, constants: Constants) -> None:
        super().__init__()
        self.constants = constants

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.constants.run(func, args, kwargs or {})


class _Reads(TorchFunctionMode):
    """Lets a network read values of fake tensors as arrays and lists."""

    def __init__(self, constants: Constants) -> None:
        super().__init__()
        self.constants = constants

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func == _PUTS_DATA:
            self.constants.put(args[0], args[1])
        if func not in READS:
            return func(*args, **kwargs)
        playback = self.constants.playback
        outcome = playback.next(func) if playback is not None else None
        value = self.constants.value(args[0])
        if value is not None:
            with unset_fake_temporarily():
                return func(value, *args[1:], **kwargs)
        self.constants.on_read(args[0])
        if outcome is not None:
            return outcome.plain
        return func(*args, **kwargs)


def _tensors(values: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists of arguments or results."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(tuple(values.values()))


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that an operator writes to."""
    if func._schema.is_mutable:
        for position, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[position : position + 1] or kwargs.get(argument.name)
                yield from _tensors(given)
