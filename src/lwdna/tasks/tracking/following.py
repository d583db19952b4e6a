"""Targets followed through whole sequences, as an evaluation needs them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lwdna.data.sequences import Sequence
from lwdna.errors import TrainingError
from lwdna.tasks.tracking.kinds.kind import TrackerKind
from lwdna.tasks.tracking.metrics import Track
from lwdna.tasks.tracking.online.tracker import follow
from lwdna.tasks.tracking.sampling import showing

SEED = 0
"""Of what is random about tracking: the same for all networks and runs."""


class Follower:
    """Follows targets with networks, and remembers where the last one found them.

    What it finds follows from weights, sequence and seed, so asking again for the same takes no
    time: the report shows the tracks that the metrics judged.

    Args:
        kind: makes the tracker.
    """

    def __init__(self, kind: TrackerKind) -> None:
        self._kind = kind
        self._weights = ""
        self._tracks: dict[str, Track] = {}

    def __call__(self, network: nn.Module, sequence: Sequence) -> Track:
        """Return where ``network`` finds the target of a sequence from its first box on.

        Frames before the first that shows the target with a box are left out. If any output of
        the network is not finite, all boxes but the first are NaN.

        Raises:
            DataError: a frame cannot be read, or the first box does not suit it.
            ModelError: the network has not the parts that such a tracker needs.
        """
        weights = digest(network)
        if weights != self._weights:
            self._weights, self._tracks = weights, {}
        if sequence.name not in self._tracks:
            self._tracks[sequence.name] = self._follow(network, sequence)
        return self._tracks[sequence.name]

    def _follow(self, network: nn.Module, sequence: Sequence) -> Track:
        part = Followed(sequence)
        truth = sequence.boxes[part.first :]
        found = np.full(truth.shape, np.nan)
        tracker = self._kind.tracker(network, SEED)
        try:
            found[:] = follow(tracker, map(part.frame, range(len(truth))), truth[0]).boxes
        except TrainingError:  # an evaluation counts that as the worst, and goes on
            found[0] = truth[0]
        return Track(sequence.name, found, truth, sequence.visible[part.first :], sequence.size)


@dataclass(frozen=True)
class Followed:
    """The part of a sequence that a tracker is shown: from where its target is first seen."""

    sequence: Sequence

    @cached_property
    def first(self) -> int:
        """Number of the first frame that shows the target, or else of the first with a box."""
        shown = showing(self.sequence)
        known = np.isfinite(self.sequence.boxes).all(axis=1)
        return int(np.argmax(shown if shown.any() else known))

    def frame(self, number: int) -> NDArray[np.uint8]:
        """Return a frame, counted from the first one.

        Raises:
            DataError: it is missing or damaged.
        """
        return self.sequence.frame(self.first + number)


def digest(network: nn.Module) -> str:
    """Return a text that differs between networks of one class with other weights."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in network.state_dict().items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype} {value.device}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
