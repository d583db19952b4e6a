"""Which widths to try next, from the losses of those tried: Bayesian optimisation at equal cost.

The loss of a short training is taken as a Gaussian process of the widths' logarithms along a few
directions, plus noise. What is tried next is the best of many candidates for one function drawn
from the process (Thompson sampling; Russo et al., "A Tutorial on Thompson Sampling", 2018, arXiv
1707.02038), so that both what looks good and what is unknown is tried. In the end the candidate
with the lowest mean wins, which averages the noise over all trainings.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from lwdna.methods.directions import directions
from lwdna.methods.grid import Grid, one_changed
from lwdna.methods.limits import FloatArray, IntArray, Limits

DIRECTIONS = 6
"""How many directions are searched: about as many as two dozen noisy values can tell apart."""
SPREAD = 0.4
"""Standard deviation of a group's log width: by a factor of 1.5."""
EXPLORED = 8
"""First networks, in pairs of opposite directions, before the process is asked."""
CANDIDATES = 160
"""Networks compared for each proposal: a quarter from anywhere, the rest around the best."""
FAR, NEAR, LEADERS = 1.2, 0.6, 4
"""How far candidates lie, in standard deviations, from the baseline or from one of the leaders."""
HALVINGS = 40


@dataclass(frozen=True)
class Space:
    """The widths between floors and widened widths that a budget allows."""

    limits: Limits
    least: Mapping[str, int]
    most: Mapping[str, int]
    steps: Mapping[str, int] = field(default_factory=dict)
    """Of what widths are multiples, by group; groups left out take any width."""

    @cached_property
    def base(self) -> IntArray:
        """The baseline's widths, (groups,)."""
        return self._row(self.limits.graph.widths)

    @cached_property
    def grid(self) -> Grid:
        """The widths that groups may take."""
        return Grid.of(self.limits.graph, self.least, self.most, self.steps)

    @cached_property
    def basis(self) -> FloatArray:
        """Log widths of a step along each direction, (groups, directions)."""
        return np.asarray(SPREAD * directions(self.limits.graph, DIRECTIONS))

    def place(self, widths: IntArray) -> FloatArray:
        """Return where networks lie: (N, groups) to (N, directions), by least squares."""
        return np.asarray(np.linalg.lstsq(self.basis, np.log(widths / self.base).T)[0].T)

    def networks(self, places: FloatArray) -> IntArray:
        """Return the widest networks, (N, groups), of places (N, directions) within the budget.

        All widths of a place have one common factor, as large as the budget allows.
        """
        wanted = self.base * np.exp(places @ self.basis.T)
        low, high = np.full((2, len(places), 1), [[[-4.0]], [[4.0]]])
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fits = self.limits.fits(self.grid.nearest(wanted * np.exp(middle)))[:, None]
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return self.grid.nearest(wanted * np.exp(low))

    def filled(self, place: FloatArray, widths: IntArray) -> IntArray:
        """Return the network of a place, (groups,), with as many units more as fit.

        The group grows that is furthest from what its place asks for.
        """
        wanted = self.base * np.exp(self.basis @ place)
        while True:
            wider = self.grid.wider(widths)
            more = one_changed(widths, wider)
            may = self.limits.fits(more) & (wider > widths)
            if not may.any():
                return widths
            widths = more[int(np.argmax(np.where(may, wanted / widths, -1)))]

    def _row(self, widths: Mapping[str, int]) -> IntArray:
        names = [group.name for group in self.limits.graph.groups]
        return np.array([widths[name] for name in names], dtype=np.int64)


def narrowed(space: Space) -> IntArray:
    """Return the baseline with one factor on all widths, (groups,), as the budget wants it."""
    origin = np.zeros((1, space.basis.shape[1]))
    return space.filled(origin[0], space.networks(origin)[0])


def explore(space: Space, number: int, seed: int) -> IntArray:
    """Return the ``number``-th network to explore from the baseline, (groups,).

    Those of even number and their successors depart from it in opposite directions.
    """
    count = space.basis.shape[1]
    place = np.random.default_rng([seed, number // 2]).standard_normal((1, count))
    if number % 2:
        place = -place
    return space.filled(place[0], space.networks(place)[0])


def propose(
    space: Space, tried: Sequence[IntArray], losses: Sequence[float], seed: int
) -> IntArray:
    """Return the network to try next, (groups,)."""
    surface = _Surface(space, np.array(tried), np.array(losses))
    places = surface.candidates(seed)
    networks = space.networks(places)
    best = int(np.argmin(surface.drawn(space.place(networks), seed)))
    return space.filled(places[best], networks[best])


def choose(space: Space, tried: Sequence[IntArray], losses: Sequence[float], seed: int) -> IntArray:
    """Return the network, (groups,), of the lowest expected loss; it may have been tried."""
    surface = _Surface(space, np.array(tried), np.array(losses))
    places = surface.candidates(seed)
    filled = map(space.filled, places, space.networks(places))
    every = np.array([*tried, *filled])
    found: IntArray = every[int(np.argmin(surface.process.predict(space.place(every))))]
    return found


@dataclass(frozen=True)
class _Surface:
    """What the losses of the networks tried say of others."""

    space: Space
    tried: IntArray
    losses: FloatArray

    @cached_property
    def process(self) -> GaussianProcessRegressor:
        """The process, fitted to losses scaled to mean 0 and deviation 1."""
        kernel = ConstantKernel(1.0, (0.05, 20.0)) * RBF(3.0, (1.5, 15.0))
        process = GaussianProcessRegressor(
            kernel + WhiteKernel(0.3, (0.02, 1.0)), n_restarts_optimizer=2, random_state=0
        )
        scaled = (self.losses - self.losses.mean()) / max(float(self.losses.std()), 1e-12)
        with warnings.catch_warnings():  # a parameter at its bound is no fault
            warnings.simplefilter("ignore", ConvergenceWarning)
            return process.fit(self.space.place(self.tried), scaled)

    def drawn(self, places: FloatArray, seed: int) -> FloatArray:
        """Return the values of one function of the process, without noise, at N places, (N,)."""
        mean, covariance = self.process.predict(places, return_cov=True)
        noise = self.process.kernel_.k2.noise_level
        variances, axes = np.linalg.eigh(covariance - noise * np.eye(len(places)))
        generator = np.random.default_rng([seed, len(self.tried), 1])
        steps = np.sqrt(np.maximum(variances, 0)) * generator.standard_normal(len(places))
        return np.asarray(mean + axes @ steps)

    def candidates(self, seed: int) -> FloatArray:
        """Return places from anywhere and around the best, (:data:`CANDIDATES`, directions)."""
        generator = np.random.default_rng([seed, len(self.tried)])
        count = self.space.basis.shape[1]
        leaders = self.space.place(self.tried[np.argsort(self.losses, kind="stable")[:LEADERS]])
        near = CANDIDATES - CANDIDATES // 4
        around = leaders[generator.integers(len(leaders), size=near)]
        return np.concatenate(
            [
                FAR * generator.standard_normal((CANDIDATES - near, count)),
                around + NEAR * generator.standard_normal((near, count)),
            ]
        )
