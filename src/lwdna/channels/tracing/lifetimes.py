"""When the activations of a forward pass are allocated and freed, operator by operator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from lwdna.channels.algebra.layout import fixed
from lwdna.channels.rules.call import Axes


@dataclass
class Stored:
    """Memory that a forward pass holds from its operator number ``first`` through ``last``."""

    axes: Axes
    itemsize: int
    first: int
    last: int | None = None


class Lifetimes:
    """Watches storages without keeping them alive; views and in-place operators make none."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []
        self.time = 0
        self._alive: dict[int, tuple[StorageWeakRef, Stored]] = {}
        self._owned: set[int] = set()
        self._kept: list[Tensor] = []

    def own(self, tensor: Tensor) -> None:
        """Leave a tensor out that is there before and after: a parameter, buffer or constant."""
        self._owned.add(tensor.untyped_storage()._cdata)
        self._kept.append(tensor)  # so that its address is not used again

    def owns(self, tensor: Tensor) -> bool:
        """Return whether a tensor is, or views, one that is left out."""
        return tensor.untyped_storage()._cdata in self._owned

    def next_operator(self) -> None:
        """Note what has been freed before the next operator runs."""
        freed = [key for key, (reference, _) in self._alive.items() if reference.expired()]
        for key in freed:
            self._alive.pop(key)[1].last = self.time
        self.time += 1

    def see(self, tensor: Tensor, axes: Axes) -> None:
        """Note a tensor that an operator has just returned, or an input of the network."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not size or key in self._alive or key in self._owned:
            return
        itemsize = tensor.element_size()
        if size != tensor.numel() * itemsize:  # no closed form: a part of something larger
            axes, itemsize = (fixed(size),), 1
        stored = Stored(axes, itemsize, self.time)
        self._alive[key] = StorageWeakRef(storage), stored
        self.stored.append(stored)
