"""A few validation images, and which class each network took them for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lwdna.reports.class_figures import Predictions, name_of
from lwdna.reports.formats import format_percent
from lwdna.reports.pictures import address
from lwdna.tasks.classification.sheet import Sheet

_SHOWN = 12
"""Images that a page shows."""
_UNANIMOUS = 2
"""Of these, about which networks agree: so many at most that all get wrong, and that all get right,
where there are others."""

Judged = tuple[bool, ...]
"""Which networks are right about an image."""


@dataclass(frozen=True)
class Guess:
    """What a network takes an image for."""

    network: str
    label: str
    probability: str
    right: bool


@dataclass(frozen=True)
class Sample:
    """An image."""

    address: str
    """A ``data:`` address of its picture."""
    label: str
    """Its class."""
    guesses: list[Guess]


@dataclass(frozen=True)
class Samples:
    """Images worth a look, those first about which networks differ."""

    images: list[Sample]
    count: int
    """Images of the validation set."""
    shown_from: int
    """Those of which there are pictures."""
    counts: list[tuple[str, int]]
    """Who is right, in words, and about how many images of the set."""
    smooth: bool
    """Whether pictures are large enough to be enlarged smoothly."""


def samples(
    networks: Mapping[str, Predictions], sheet: Sheet | None, names: Sequence[str] | None
) -> Samples | None:
    """Choose images to show; ``None`` where there are no pictures, or none of this set.

    Args:
        networks: what each chose, by what it is called, all for the same images.
        sheet: pictures of some of these.
        names: of the classes, if they have names.
    """
    if sheet is None or not networks:
        return None
    right = np.stack([one.right for one in networks.values()], axis=1)
    if max(sheet.positions, default=0) >= len(right):
        return None
    places = _choose({place: tuple(right[place].tolist()) for place in sheet.positions})
    titles = list(networks)
    kinds, counts = np.unique(right, axis=0, return_counts=True)
    told = [
        (_in_words(titles, tuple(kind)), count)
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)
    ]
    return Samples(
        images=[_sample(place, networks, sheet, names) for place in places],
        count=len(right),
        shown_from=len(sheet.positions),
        counts=told[::-1],
        smooth=sheet.side >= 64,
    )


def _choose(judged: Mapping[int, Judged]) -> list[int]:
    """Return places of images, in turns of each pattern of who is right; agreement comes last."""
    by_pattern: dict[Judged, list[int]] = {}
    for place, pattern in judged.items():
        by_pattern.setdefault(pattern, []).append(place)
    mixed = [by_pattern[one] for one in sorted(by_pattern, reverse=True) if len({*one}) > 1]
    networks = len(next(iter(judged.values()), ()))
    wrong, right = (by_pattern.get((which,) * networks, []) for which in (False, True))
    deepest = max(map(len, mixed), default=0)
    turns = [places[turn] for turn in range(deepest) for places in mixed if turn < len(places)]
    kept = turns[: _SHOWN - min(_UNANIMOUS, len(wrong)) - min(_UNANIMOUS, len(right))]
    room = _SHOWN - len(kept) - min(_UNANIMOUS, len(right))
    kept += wrong[:room]
    return kept + right[: _SHOWN - len(kept)]


def _sample(
    place: int, networks: Mapping[str, Predictions], sheet: Sheet, names: Sequence[str] | None
) -> Sample:
    true = int(next(iter(networks.values())).true[place])
    guesses = []
    for title, found in networks.items():
        chosen = int(found.chosen[place])
        known = chosen >= 0
        probability = format_percent(100 * float(found.probability[place]), 0) if known else ""
        label = name_of(chosen, names) if known else "no class"
        guesses.append(Guess(title, label, probability, chosen == true))
    return Sample(address(sheet.picture(place)), name_of(true, names), guesses)


def _in_words(titles: Sequence[str], right: Judged) -> str:
    if len(titles) == 1:
        return "right" if right[0] else "wrong"
    if len({*right}) == 1:
        which = "both" if len(titles) == 2 else "all"
        return f"{which} right" if right[0] else f"{which} wrong"
    return f"only {' and '.join(t for t, good in zip(titles, right, strict=True) if good)} right"
