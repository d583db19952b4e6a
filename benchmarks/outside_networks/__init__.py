"""The networks of the outside benchmark: tables by family, nothing of which is imported early."""

from __future__ import annotations

from . import audio, detection, documents, features, hub, medical, restoration, segmentation, zoos
from .spec import Network, build, draw, to_double

FAMILIES = (detection, segmentation, medical, restoration, hub, features, audio, documents, zoos)


def families() -> list[list[Network]]:
    """Return all networks, family by family, in these library by library."""
    found = [list(family.NETWORKS) for family in FAMILIES]
    titles = [network.title for family in found for network in family]
    if len(set(titles)) < len(titles):
        raise ValueError(f"twice: {sorted({t for t in titles if titles.count(t) > 1})}")
    return found


__all__ = ["Network", "build", "draw", "families", "to_double"]
