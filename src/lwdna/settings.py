"""Base of everything that a recipe may say: data, checked, with no unknown keys."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from lwdna.storage import is_url


def _place(value: object) -> object:
    return Path(value) if isinstance(value, str) and not is_url(value) else value


Place = Annotated[Path | str, BeforeValidator(_place)]
"""A local path, or the address of a folder in a storage as text."""


class Settings(BaseModel):
    """A section of a recipe: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


@dataclass(frozen=True)
class Keys:
    """Marks a field that holds a mapping, in ``Annotated``: which keys it may have.

    Errors suggest them for a key that is unknown elsewhere.
    """

    known: Callable[[], Iterable[str]]


def flattened(
    values: Mapping[str, Any], prefix: str = "", sections: Container[str] | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield values by their full keys, as ``("train.epochs", 30)``.

    With ``sections`` mappings that are none of these stay whole.
    """
    for key, value in values.items():
        opens = sections is None or prefix + key in sections
        if isinstance(value, Mapping) and value and opens:
            yield from flattened(value, f"{prefix}{key}.", sections)
        else:
            yield prefix + key, value
