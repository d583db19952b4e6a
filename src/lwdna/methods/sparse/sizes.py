"""How large a unit is: the norm of the weights by which penalties make it vanish."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lwdna.methods.sparse.penalty import acts_on
from lwdna.methods.sparse.settings import PenaltySettings
from lwdna.methods.sparse.units import Units

Sizes = Callable[[], Mapping[str, Tensor]]
"""Returns the present size of every unit by group, (n,) each."""


def sizes_of(units: Units, penalties: Sequence[PenaltySettings] = ()) -> Sizes:
    """Return what says how large units are: their latents, or their penalised norms.

    Units without weights are infinitely large: nothing makes them vanish.
    """
    names = [group.name for group in units.graph.groups]
    if units.latents is not None:
        latents = units.latents.vectors
        return lambda: {name: z.abs() for name, z in zip(names, latents, strict=True)}
    weighty = {names[place] for place in units.vectors().groups}

    def norms() -> dict[str, Tensor]:
        return {
            name: size if name in weighty else torch.full_like(size, torch.inf)
            for name, size in penalised_norms(units, penalties).items()
        }

    return norms


def penalised_norms(units: Units, penalties: Sequence[PenaltySettings]) -> dict[str, Tensor]:
    """Return the size of every unit by group, (n,) float64 each.

    It is the l2 norm of the vector that a penalty acts on; of several, the smallest, because a unit
    is worth nothing as soon as one side of it vanishes. Where no penalty acts on a group, it is the
    norm of all weights that make or read a unit.

    Raises:
        RecipeError: a penalty's patterns match no group, or there is nothing that it could act on.
    """
    sizes: dict[int, list[Tensor]] = {}
    for penalty in penalties:
        vectors, among = acts_on(units, penalty)
        for one in vectors:
            norms = one.norms()
            for group in among & one.groups:
                sizes.setdefault(group, []).append(norms[group])
    usual = units.vectors().norms()
    return {
        group.name: torch.stack(sizes.get(place, [usual[place]])).amin(0)
        for place, group in enumerate(units.graph.groups)
    }
