"""Which tensors of a run are zero in channels that are silenced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from lwdna.channels.algebra.layout import Segment
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.silence import loud_sums, result_is_silent


class Silence:
    """Follows the operators of a run without keeping tensors alive."""

    def __init__(self) -> None:
        self._silent: dict[int, ref[Tensor]] = {}
        """By identity; tensors not in here are loud: their silenced channels are not zero."""
        self._overwritten: dict[int, StorageWeakRef] = {}
        """Memory into parts of which something loud was written."""

    def add(self, tensor: Tensor) -> None:
        """Note a tensor that is zero where its channels are silenced, such as a parameter."""
        self._silent[id(tensor)] = ref(tensor)

    def put(self, tensor: Tensor, source: Tensor) -> None:
        """Note that a tensor takes the values of another."""
        silent = self.holds(source)
        self._silent.pop(id(tensor), None)
        if silent:
            self.add(tensor)

    def holds(self, tensor: Tensor) -> bool:
        """Tell whether a tensor is zero where its channels are silenced."""
        found = self._silent.get(id(tensor))
        if found is None or found() is not tensor:
            return False
        if not self._overwritten:
            return True
        written = self._overwritten.get(tensor.untyped_storage()._cdata)
        return written is None or written.expired()

    def follow(self, func: Any, call: Call, results: Sequence[Axes]) -> None:
        """Note an operator that has run; mark as inexact what it sums over that is loud."""
        for unit in loud_sums(call, results, self.holds):
            why = "a sum over channels of which no factor is zero when they are silenced"
            call.mark_inexact((Segment(1, unit, 1),), why)
        if result_is_silent(call, self.holds):
            for output in call.outputs:
                self.add(output)
            return
        for output in call.outputs:
            self._silent.pop(id(output), None)
            if func._schema.is_mutable:
                storage = output.untyped_storage()
                self._overwritten[storage._cdata] = StorageWeakRef(storage)
