"""Which parameters and buffers a run reads, and into which it puts other values."""

from __future__ import annotations

from torch import Tensor


class Weights:
    """Knows parameters and buffers by identity, and by their memory, which ``.data`` shares."""

    def __init__(self) -> None:
        self.touched: set[str] = set()
        """Names of those that an operator has had among its arguments."""
        self.overwritten: set[str] = set()
        """Names of those that the run gave other values, all of them at once."""
        self._names: dict[int, str] = {}
        self._memory: dict[int, str] = {}
        self._kept: list[Tensor] = []

    def own(self, name: str, tensor: Tensor) -> None:
        """Watch a tensor from now on."""
        self._names[id(tensor)] = name
        self._memory[_memory(tensor)] = name
        self._kept.append(tensor)  # so that its address is not used again

    def touch(self, tensor: Tensor) -> None:
        """Note that an operator takes a tensor."""
        name = self._names.get(id(tensor))
        if name is not None:
            self.touched.add(name)

    def put(self, tensor: Tensor, source: Tensor, memory: bool) -> None:
        """Note that a tensor, or what shares its memory, takes the values of another.

        With ``memory`` it will share that of ``source``.
        """
        key = _memory(tensor)
        name = self._memory.get(key)
        if name is None or tensor.numel() != source.numel():
            return
        self.overwritten.add(name)
        if memory:
            del self._memory[key]
            self._memory[_memory(source)] = name


def _memory(tensor: Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key
