"""Base of everything that a recipe may say: data, checked, with no unknown keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A section of a recipe: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


@dataclass(frozen=True)
class Keys:
    """Marks a field that holds a mapping, in ``Annotated``: which keys it may have.

    Errors suggest them for a key that is unknown elsewhere.
    """

    known: Callable[[], Iterable[str]]
