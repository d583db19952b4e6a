"""The networks that a search by trials may choose: a trust region around a reference, as ladders.

Every feature climbs a ladder of widths between half and twice those of the reference, as far as
floors and widened widths allow. A network is one rung of every ladder, so that what is best under a
budget is found by exchanging rungs: the law is linear in the logarithms of the widths and the cost
is a sum of products of widths (a geometric programme: Boyd et al., "A tutorial on geometric
programming", Optimization and Engineering 2007), so that but for whole channels there is one
optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lwdna.methods.grid import one_changed
from lwdna.methods.limits import BoolArray, FloatArray, IntArray
from lwdna.methods.space import Space
from lwdna.methods.trials.features import Feature

FACTOR = 2.0
"""How far widths may depart from the reference: further, no law is to be trusted."""
RUNGS = 24
"""Steps from the reference to twice its width, 3 % each; whole channels make fewer."""
HALVINGS = 24
"""Of the interval in which the common amount is looked for that meets the budget."""
SPREAD = 0.4
"""Standard deviation of the log widths of networks drawn at random: by a factor of 1.5."""
POOL = 2048
"""Networks at the budget that are compared before the best one is improved."""
CHUNK = 128
"""Networks whose costs are computed at once."""
NEAR = 4
"""How many rungs up or down at once an exchange may go."""

Value = Callable[[FloatArray], FloatArray]
"""Maps changes of N networks' log widths by feature, (N, F), to what they are worth, (N,)."""


@dataclass(frozen=True)
class Region:
    """Networks within a budget around a reference."""

    space: Space
    features: Sequence[Feature]
    reference: IntArray
    """Widths of the network that is kept unless another is surely better, (groups,)."""

    @cached_property
    def ladders(self) -> list[IntArray]:
        """Widths of each feature's groups, narrow to wide, (rungs, groups of the feature)."""
        factors = FACTOR ** np.linspace(-1, 1, 2 * RUNGS + 1)
        every = self.space.grid.nearest(self.reference * factors[:, None])
        every[RUNGS] = self.reference
        inside = np.abs(np.log(every / self.reference)).max(1) <= np.log(FACTOR) + 1e-9
        return [np.unique(every[inside][:, feature.groups], axis=0) for feature in self.features]

    @cached_property
    def _logs(self) -> list[FloatArray]:
        """Mean log widths of each feature's rungs, relative to the reference."""
        return [
            np.log(ladder / self.reference[list(feature.groups)]).mean(1)
            for ladder, feature in zip(self.ladders, self.features, strict=True)
        ]

    def widths(self, rungs: IntArray) -> IntArray:
        """Return the widths, (N, groups), of N networks given by their rungs, (N, F)."""
        found = np.empty((len(rungs), len(self.reference)), dtype=np.int64)
        for column, (ladder, feature) in enumerate(zip(self.ladders, self.features, strict=True)):
            found[:, feature.groups] = ladder[rungs[:, column]]
        return found

    def moves(self, widths: IntArray) -> FloatArray:
        """Return mean log widths by feature relative to the reference: (N, groups) to (N, F)."""
        logs = np.log(widths / self.reference)
        return np.stack([logs[:, feature.groups].mean(1) for feature in self.features], axis=1)

    def fits(self, rungs: IntArray) -> BoolArray:
        """Return which of N networks, (N, F), are within the budget, (N,)."""
        return self.space.limits.fits(self.widths(rungs))

    def drawn(self, generator: np.random.Generator, count: int) -> IntArray:
        """Return rungs of networks drawn around the reference, as wide as the budget allows.

        The logarithms of the widths are normal but for one common amount; of ``count`` drawn, those
        that have no common amount within the budget are left out.
        """
        wanted = SPREAD * generator.standard_normal((count, len(self.features)))
        low, high = np.full((2, count, 1), [[[-4.0]], [[4.0]]])
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fits = self.fits(self._nearest(wanted + middle))[:, None]
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        found = self._nearest(wanted + low)
        return found[self.fits(found)]

    @cached_property
    def pool(self) -> IntArray:
        """Many such networks and the reference, each once, (N, F)."""
        drawn = self.drawn(np.random.default_rng(0), POOL)
        return np.unique(
            np.vstack([self._nearest(np.zeros((1, len(self.features)))), drawn]), axis=0
        )

    def best(self, value: Value) -> IntArray:
        """Return the rungs, (F,), of the network that is worth most; the reference is worth 0."""
        here: IntArray = self.pool[int(np.argmax(value(self._moved(self.pool))))]
        while True:
            near = here + self._exchanges
            near = near[((near >= 0) & (near < self._heights)).all(1)]
            worth = value(self._moved(near))
            better = np.flatnonzero(worth > float(value(self._moved(here[None]))[0]) + 1e-12)
            better = better[np.argsort(-worth[better], kind="stable")]
            first = self._first_fitting(near[better])
            if first is None:
                return here
            here = first

    def _first_fitting(self, rungs: IntArray) -> IntArray | None:
        for start in range(0, len(rungs), CHUNK):
            some = rungs[start : start + CHUNK]
            fitting = self.fits(some)
            if fitting.any():
                found: IntArray = some[int(np.argmax(fitting))]
                return found
        return None

    def filled(self, widths: IntArray, value: Value) -> IntArray:
        """Return a network, (groups,), with the units more that fit and are worth most for their
        cost; exchanges move whole features, which leaves a rest."""
        limits = self.space.limits

        def worth(now: IntArray, wider: IntArray) -> FloatArray:
            more = one_changed(now, wider)
            usage, before = limits.usage(more), limits.usage(now[None])
            cost = sum((usage[n] - before[n]) / limits.allowed[n] for n in limits.allowed)
            gained = value(self.moves(more)) - value(self.moves(now[None]))
            inside = wider <= FACTOR * self.reference
            return np.where(inside, gained / np.maximum(cost, 1e-12), 0)

        return self.space.filled(widths, worth)

    @cached_property
    def _exchanges(self) -> IntArray:
        """Rungs up for one feature, down for another, or up for one alone, (N, F)."""
        count = len(self.features)
        single = np.vstack([k * np.eye(count, dtype=np.int64) for k in range(-NEAR, NEAR + 1) if k])
        pairs = (single[:, None] + single[None]).reshape(-1, count)
        return np.unique(np.vstack([single, pairs]), axis=0)

    @cached_property
    def _heights(self) -> IntArray:
        return np.array([len(ladder) for ladder in self.ladders], dtype=np.int64)

    def _moved(self, rungs: IntArray) -> FloatArray:
        return np.stack([logs[rungs[:, i]] for i, logs in enumerate(self._logs)], axis=1)

    def _nearest(self, wanted: FloatArray) -> IntArray:
        """Return the rungs next to changes of log widths, (N, F)."""
        columns = [
            np.abs(logs[None] - wanted[:, column, None]).argmin(1)
            for column, logs in enumerate(self._logs)
        ]
        return np.stack(columns, axis=1)
