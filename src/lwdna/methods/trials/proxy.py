"""A law learnt on a proxy, a smaller network of the family, carried over to the network itself.

Groups correspond that play one role at one stage. Stages are counted from the coarsest resolution,
so that a network that begins at a finer one has its first stages more. An exponent is that of all
groups of a feature together and of relative widths, so that it holds for other widths, depths and
sizes of images, as far as a law does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lwdna.channels import ChannelGraph
from lwdna.methods.limits import FloatArray
from lwdna.methods.trials.features import Feature, by_stage, joined, single
from lwdna.methods.trials.law import Law, relative

TRANSFER = 0.2
"""Standard deviation of what an exponent of the network differs from that of the proxy, as part of
the exponents' root mean square. Between networks of NATS-Bench's size space and others of half the
widths it is 0.1 (but for one factor on all, which changes no choice); the smallest of 0, 0.1, 0.2
and 0.3 with which no search on CIFAR-10's table lost more than 0.1 points."""


@dataclass(frozen=True)
class Origin:
    """Which feature of the proxy tells the exponent of one of the network itself."""

    number: int | None
    """None where the proxy has no feature of that role."""
    exact: bool
    """Whether it is of the same stage, too."""
    name: str

    def __str__(self) -> str:
        if self.number is None:
            return "its number of layers"
        return self.name if self.exact else f"{self.name}, the nearest"


@dataclass(frozen=True)
class Pairing:
    """Features of a proxy and of the network itself that correspond."""

    learnt: list[Feature]
    """Of the proxy."""
    features: list[Feature]
    """Of the network itself."""
    origins: list[Origin]
    """Of each of these."""

    @classmethod
    def of(cls, proxy: ChannelGraph, network: ChannelGraph, most: int) -> Pairing:
        """Gather the groups of both networks alike.

        Where each has at most ``most`` groups, and as many of every role and stage, every group is
        a feature, and of those of one role and stage the order decides. Else those of a role and
        stage are one feature. What the proxy lacks is a feature that has the nearest stage for its
        origin, or none.

        Args:
            proxy: on which a law is learnt.
            network: to which it is carried over.
            most: features of the proxy.
        """
        theirs, own = single(proxy), single(network)
        shift = _last(theirs) - _last(own)
        if len(theirs) <= most and _counted(theirs) == _counted(own, shift):
            return _one_to_one(theirs, own, shift)
        learnt = by_stage(proxy, most)
        origins = [_origin(one.role, one.stages[0] + shift, learnt) for one in own]
        keys = [
            (origin.number,) if origin.exact else (one.role, one.stages)
            for one, origin in zip(own, origins, strict=True)
        ]
        first = dict(zip(reversed(keys), reversed(origins), strict=True))
        features = joined(zip(own, keys, strict=True))
        return cls(learnt, features, [first[key] for key in dict.fromkeys(keys)])

    def carried(self, law: Law) -> Law:
        """Return the law of the network itself.

        Exponents keep their covariance, to which is added by how much they differ between networks
        (:data:`TRANSFER`). What the proxy lacks has, added to the variance of its origin, that of
        an exponent around the common multiple of the numbers of layers; without an origin it is
        that multiple.

        Args:
            law: of the features of the proxy.
        """
        theirs, own = _layers(self.learnt), _layers(self.features)
        common = theirs / (theirs @ theirs)  # exponents to the multiple
        rows = np.outer(own, common)
        unknown = np.array([not origin.exact for origin in self.origins], dtype=np.float64)
        for row, origin in enumerate(self.origins):
            if origin.number is not None:
                rows[row] = np.eye(len(theirs))[origin.number]
        rest = law.exponents - theirs * (common @ law.exponents)
        spread = float(np.mean(rest**2) + np.mean(np.diag(law.covariance)))
        exponents = rows @ law.exponents
        differs = TRANSFER**2 * float(np.mean(exponents**2))
        covariance = rows @ law.covariance @ rows.T + np.diag(differs + spread * unknown)
        return Law(exponents, covariance, law.noise)

    @property
    def notes(self) -> list[str]:
        """What users should know of features that the proxy lacks, in sentences."""
        return [
            f"the proxy has nothing like {feature.name}: its exponent is guessed from {origin}"
            for feature, origin in zip(self.features, self.origins, strict=True)
            if not origin.exact
        ]


def _one_to_one(theirs: Sequence[Feature], own: Sequence[Feature], shift: int) -> Pairing:
    """Pair single groups of one role and stage in their order."""
    waiting: dict[tuple[str, int], list[int]] = {}
    for number, one in enumerate(theirs):
        waiting.setdefault((one.role, one.stages[0]), []).append(number)
    numbers = [waiting[one.role, one.stages[0] + shift].pop(0) for one in own]
    origins = [Origin(number, True, theirs[number].name) for number in numbers]
    return Pairing(list(theirs), list(own), origins)


def _origin(role: str, stage: int, learnt: Sequence[Feature]) -> Origin:
    """Return the feature nearest to a role and stage of the proxy, the finer of two."""
    near = [
        (min(abs(stage - other) for other in one.stages), number)
        for number, one in enumerate(learnt)
        if one.role == role
    ]
    if not near:
        return Origin(None, False, "")
    distance, number = min(near)
    return Origin(number, distance == 0, learnt[number].name)


def _last(features: Sequence[Feature]) -> int:
    """Return the number of the coarsest stage."""
    return max(one.stages[-1] for one in features)


def _counted(features: Sequence[Feature], shift: int = 0) -> Counter[tuple[str, int]]:
    return Counter((one.role, one.stages[0] + shift) for one in features)


def _layers(features: Sequence[Feature]) -> FloatArray:
    return relative(np.array([float(one.layers) for one in features]))
