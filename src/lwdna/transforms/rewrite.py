"""Apply transforms to a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import nn

from lwdna.errors import ModelError
from lwdna.transforms.table import TRANSFORMS, Transform

Entry = Transform | Mapping[str, Any] | str
"""A transform, or what a recipe says of one: ``{"name": "factorize", "rank": 0.5}``."""

_ENTRIES = TypeAdapter(tuple[Transform, ...])


def transforms_of(entries: Iterable[Entry]) -> tuple[Transform, ...]:
    """Return checked transforms.

    Raises:
        ModelError: there is no such transform, or it has no such settings.
    """
    try:
        return _ENTRIES.validate_python(tuple(entries))
    except ValidationError as error:
        raise ModelError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def rewrite(network: nn.Module, transforms: Iterable[Entry]) -> nn.Module:
    """Return a network as transforms make it, one after another.

    Args:
        network: is not changed.
        transforms: as a recipe says them.

    Raises:
        ModelError: there is no such transform, it has no such settings, or it cannot be applied to
            this network.
    """
    checked = transforms_of(transforms)
    if checked:
        network = deepcopy(network)
    for transform in checked:
        network = TRANSFORMS[transform.name].apply(network, transform.settings)
        if not isinstance(network, nn.Module):
            raise ModelError(
                f"the transform {transform.name} returned {type(network).__name__}; it must return "
                "the network (a torch.nn.Module)"
            )
    return network
