"""What penalties do to a network while it trains: before and after every step of SGD.

All that a penalty needs follows from the weights before the training, the present weights and the
number of the step. So nothing of it is saved, every process does the same, and a training that was
stopped goes on exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from lwdna.errors import RecipeError, nearest
from lwdna.methods.sparse import operators
from lwdna.methods.sparse.settings import SQUARED, PenaltySettings
from lwdna.methods.sparse.units import Units, UnitVectors

Removed = Mapping[str, Tensor]
"""Which units the search would remove before the training, by group: (n,) bool each."""
Spares = Callable[[str, Tensor], Tensor]
"""Says of a group's name and the norms of its units, (n,), whether to leave it alone, a bool
scalar: because no fewer units may stay than still count, say."""


@dataclass
class Penalty:
    """One penalty on the units of one network."""

    settings: PenaltySettings
    names: Sequence[str]
    """Of all groups, in the graph's order."""
    vectors: Sequence[UnitVectors]
    """What it acts on, one after the other."""
    among: frozenset[int]
    """The groups it acts on, by their position."""
    removed: Tensor | None = None
    """For a growing penalty: which units the search would remove, of all groups, (units,) bool."""
    spares: Spares | None = None

    def __post_init__(self) -> None:
        widths = torch.tensor(self.vectors[0].widths)
        self._group = torch.arange(len(widths)).repeat_interleave(widths)
        """The group of every unit, (units,)."""
        self._acts = torch.isin(self._group, torch.tensor(sorted(self.among)))
        self._balance = [torch.ones(len(self._group))] * len(self.vectors)
        """By what the weight is multiplied, for every one of ``vectors``, (units,)."""
        if self.settings.balance == "mean-norm":
            means = [torch.stack([n.mean() for n in one.norms()]) for one in self.vectors]
            self._balance = [mean[self._group.to(mean.device)] for mean in means]

    def before_step(self, step: int) -> None:
        """Add the penalty's gradient to that of the loss, where it acts so.

        Args:
            step: how many steps of SGD were done before.
        """
        if self.settings.by == "gradient":
            for vectors, slopes in self._each(self._slopes, self._weight(), step, unchanged=0.0):
                vectors.add_to_gradients(slopes)

    def after_step(self, step: int, lr: float) -> None:
        """Do the proximal step, where the penalty acts so.

        Args:
            step: how many steps of SGD were done before the one that has just been done.
            lr: the learning rate of that step.
        """
        if self.settings.by == "prox":
            weight = lr * self._weight()
            for vectors, factors in self._each(self._factors, weight, step, unchanged=1.0):
                vectors.scale(factors)

    def _each(
        self,
        values: Callable[[Tensor, Tensor, int], Tensor],
        weight: float,
        step: int,
        unchanged: float,
    ) -> Iterator[tuple[UnitVectors, Tensor]]:
        """Yield the vectors with what those of every unit are multiplied by, (units,)."""
        for place, vectors in enumerate(self.vectors):
            by_group = vectors.norms()
            norms = torch.cat(by_group)
            self._move(norms.device)
            found = values(norms, weight * self._balance[place], step)
            acts = self._acts
            if self.spares:
                pairs = zip(self.names, by_group, strict=True)
                spared = torch.stack([self.spares(name, n) for name, n in pairs])
                acts = acts & ~spared[self._group]
            yield vectors, torch.where(acts, found, unchanged)

    def _move(self, device: torch.device) -> None:
        if self._group.device != device:
            self._group, self._acts = self._group.to(device), self._acts.to(device)
            self._balance = [one.to(device) for one in self._balance]
            self.removed = None if self.removed is None else self.removed.to(device)

    def _weight(self) -> float:
        """Return the weight as it is annealed by now."""
        settings, anneal = self.settings, self.settings.anneal
        if anneal is None:
            return settings.weight
        looked_at = self.vectors if settings.kind == "scale" else self.vectors[:1]
        norms = (one.norms() for one in looked_at)
        total = sum(float(n.sum()) for one in norms for g, n in enumerate(one) if g in self.among)
        total /= len(self.among) if anneal.of == "mean" else 1
        times = sum(total <= limit for limit in anneal.at)
        return settings.weight / anneal.factor**times

    def _factors(self, norms: Tensor, strength: Tensor, step: int) -> Tensor:
        """Return what a proximal step multiplies the vectors by, (units,)."""
        if self.settings.kind in SQUARED:
            return operators.shrunk(norms, self._of_squares(norms, strength, step))
        if self.settings.kind == "l1-2":
            pairs = zip(self._split(norms), self._split(strength), strict=True)
            return torch.cat([operators.l1_minus_l2(n, r) for n, r in pairs])
        return PROXIMAL[self.settings.kind](norms, strength)

    def _slopes(self, norms: Tensor, strength: Tensor, step: int) -> Tensor:
        """Return the gradients of the vectors as multiples of the vectors, (units,).

        A vector of norm zero has no gradient: zero is one of its subgradients.
        """
        if self.settings.kind in SQUARED:
            return self._of_squares(norms, strength, step)
        slopes = strength / norms
        if self.settings.kind == "l1-2":
            sizes = [torch.linalg.vector_norm(n).expand(len(n)) for n in self._split(norms)]
            slopes = slopes - strength / torch.cat(sizes)
        return torch.where(norms > 0, slopes, 0.0)

    def _of_squares(self, norms: Tensor, strength: Tensor, step: int) -> Tensor:
        """Return the weight of half the square of every vector, (units,)."""
        settings = self.settings
        if settings.kind == "growing":
            assert self.removed is not None
            grown = min(settings.weight, (1 + step // settings.every) * settings.growth)
            return self.removed * strength * (grown / (settings.weight or 1.0))
        places = []
        for one in self._split(norms.square()):
            most, least = one.max(), one.min()
            span = (most - least).clamp_min(torch.finfo(one.dtype).tiny)
            places.append((most - one) / span)
        return strength * 2 ** (settings.alpha * torch.cat(places))

    def _split(self, values: Tensor) -> tuple[Tensor, ...]:
        """Take values of all units, (units,), apart by group."""
        return torch.split(values, list(self.vectors[0].widths))


PROXIMAL: dict[str, operators.Operator] = {
    "l1": operators.soft,
    "l1/2": operators.half,
    "logsum": operators.log_sum,
    "scale": operators.soft,
}
"""The proximal operators of the kinds that act on every norm by itself."""


def make_penalties(
    units: Units,
    settings: Sequence[PenaltySettings],
    removed: Removed | None = None,
    spares: Spares | None = None,
) -> list[Penalty]:
    """Return penalties on the units of a network, whose weights are those before the training.

    Args:
        units: of the network.
        settings: what the recipe says of them.
        removed: which units the search would remove now; for growing penalties.
        spares: says which groups are left alone at a step.

    Raises:
        RecipeError: patterns match no group, or there is nothing that a penalty could act on.
    """
    if removed is None and any(one.kind == "growing" for one in settings):
        raise ValueError("a growing penalty needs to know which units are to be removed")
    names = [group.name for group in units.graph.groups]
    gone = None if removed is None else torch.cat([removed[name] for name in names])
    return [Penalty(one, names, *acts_on(units, one), gone, spares) for one in settings]


def acts_on(
    units: Units, settings: PenaltySettings
) -> tuple[Sequence[UnitVectors], frozenset[int]]:
    """Return the vectors that a penalty acts on, one after the other, and of which groups."""
    if settings.kind == "scale":
        vectors = units.scales()
    elif settings.kind in SQUARED or settings.sides != "both" or units.latents is not None:
        vectors = [units.vectors(settings.sides, settings.beside_filters)]
    else:
        vectors = [units.vectors("write", settings.beside_filters), units.vectors("read")]
    among = _matching(units, settings) & frozenset().union(*(one.groups for one in vectors))
    if not among:
        what = "scales of normalisation" if settings.kind == "scale" else "weights"
        raise RecipeError(
            f"the penalty of kind {settings.kind} would act on no {what} of a group: there are "
            "none; leave it out or choose other groups"
        )
    return vectors, among


def _matching(units: Units, settings: PenaltySettings) -> frozenset[int]:
    """Return the groups that the patterns of a penalty name, by their position."""
    index = units.graph.index
    if settings.groups is None:
        return frozenset(index.values())
    found: set[int] = set()
    for pattern in settings.groups:
        matching = {place for name, place in index.items() if fnmatchcase(name, pattern)}
        if not matching:
            raise RecipeError(
                f"a penalty names the groups {pattern!r}, which matches none"
                f"{nearest(pattern, index)}; `lwdna inspect` lists the groups"
            )
        found |= matching
    return frozenset(found)
