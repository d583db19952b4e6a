"""What a kind of tracker is: examples, inputs and loss of its training, and the tracker itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lwdna.registry import Registry

if TYPE_CHECKING:  # a recipe is checked without torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from lwdna.data.draws import Draws
    from lwdna.data.sequences import Sequence
    from lwdna.tasks.tracking.online.tracker import Tracker


class TrackerKind(Protocol):
    """One kind of tracker, made from :class:`lwdna.tasks.tracking.settings.TrackingSettings`.

    It keeps no state between examples, so several threads may call :meth:`sample` at once.
    """

    def example_inputs(self) -> dict[str, Tensor]:
        """Return one example's inputs of the network by name, the first axis of length 1."""
        ...

    def model_args(self) -> dict[str, Any]:
        """Return the arguments by which a network of lwdna's own is made for these settings."""
        ...

    def sample(self, sequence: Sequence, draws: Draws) -> dict[str, NDArray[Any]]:
        """Make a training example of a sequence that has at least one frame with a visible target.

        Args:
            sequence: gives the frames.
            draws: everything random follows from them.

        Returns:
            Inputs and what is wanted of them, by name: images as uint8, (..., 3, S, S), and numbers
            as float32. Every example has the same names and shapes, because batches stack them.

        Raises:
            DataError: a frame cannot be read.
        """
        ...

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the network is called with, images normalised, where the batch is.

        Args:
            batch: examples of :meth:`sample`, stacked: every tensor has a first axis more.
        """
        ...

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Return the training loss of what the network gave, a scalar: the mean of the examples."""
        ...

    def tracker(self, network: nn.Module, seed: int) -> Tracker:
        """Return a tracker that uses a network in eval mode, where its weights are.

        Raises:
            ModelError: the network has not the parts that this kind of tracker needs.
        """
        ...


TRACKERS: Registry[Callable[[Any], TrackerKind]] = Registry(
    "tracker", "lwdna.tasks.tracking.kinds", "register_tracker"
)
"""What makes a kind of tracker from settings, by the name that ``data.tracker`` gives it."""

K = TypeVar("K", bound="Callable[[Any], TrackerKind]")


def register_tracker(name: str) -> Callable[[K], K]:
    """Register a class as the kind of tracker ``name``; a name is taken only once.

    It is made from a :class:`lwdna.tasks.tracking.settings.TrackingSettings`.

    Raises:
        ValueError: another class has that name.
    """

    def register(make: K) -> K:
        TRACKERS.add(name, make, make)
        return make

    return register
