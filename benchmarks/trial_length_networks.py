"""Networks of equal cost around a baseline, for ``trial_length.py``."""

from __future__ import annotations

import numpy as np

from lwdna.channels import ChannelGraph
from lwdna.methods.budget import Budget
from lwdna.methods.limits import FloatArray, IntArray, Limits

BUDGET = Budget(macs=1.0, params=1.5)
SPREAD = 0.4
"""Standard deviation of a group's log width."""
REACH = 2.0
"""Widths stay within this factor of the baseline's."""


def limits_of(graph: ChannelGraph) -> Limits:
    """Return what the networks may cost."""
    return Limits.of(graph, graph.widths, BUDGET)


def drawn(graph: ChannelGraph, count: int, seed: int) -> IntArray:
    """Return the baseline and networks around it, (count, groups), each as wide as it may be."""
    base = np.array(list(graph.widths.values()))
    steps = np.random.default_rng(seed).standard_normal((count - 1, len(base)))
    wanted = SPREAD * steps @ np.linalg.cholesky(likeness(graph)).T
    return np.vstack([base, fitted(wanted, base, limits_of(graph))])


def fitted(wanted: FloatArray, base: IntArray, limits: Limits) -> IntArray:
    """Return widths of wanted log ratios to ``base``, (N, groups), with one factor for the budget.

    They stay within a factor of :data:`REACH` of the baseline's.
    """

    def widths(shift: FloatArray) -> IntArray:
        ratios = np.exp(np.clip(wanted + shift, -np.log(REACH), np.log(REACH)))
        return np.asarray(np.maximum(np.round(base * ratios), 1), dtype=np.int64)

    low, high = np.full((2, len(wanted), 1), [[[-4.0]], [[4.0]]])
    for _ in range(30):
        middle = (low + high) / 2
        fits = limits.fits(widths(middle))[:, None]
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return widths(low)


def likeness(graph: ChannelGraph) -> FloatArray:
    """Return the correlation of the groups' log widths, (groups, groups).

    Alike are groups at the same depth and resolution that as many layers write and read.
    """
    depth, writers, readers = touching(graph).T
    places = np.stack([4 * depth, np.log2(writers), np.log2(readers)], axis=1)
    distances = ((places[:, None] - places[None]) ** 2).sum(-1)
    return np.asarray(np.exp(-distances / 2) + 1e-3 * np.eye(len(places)))


def touching(graph: ChannelGraph) -> FloatArray:
    """Return of every group, (groups, 3), the mean depth of the operators in which it takes part,
    from 0 to 1, and how many of them write and read it, one at least."""
    operators = [operator for operator in graph.operators if operator.terms]
    found: list[list[tuple[float, bool]]] = [[] for _ in graph.groups]
    for number, operator in enumerate(operators):
        written = {group for axis in operator.produces for group in axis.groups}
        for group in set().union(*(term.groups for term in operator.terms)):
            found[group].append((number / len(operators), group in written))
    rows = []
    for places in found:
        writers = sum(written for _, written in places)
        depth = float(np.mean([depth for depth, _ in places]))
        rows.append((depth, max(1, writers), max(1, len(places) - writers)))
    return np.array(rows, dtype=np.float64)
