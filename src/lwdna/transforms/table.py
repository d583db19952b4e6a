"""The table of transforms, and how recipes and architecture files write one down.

Neither needs torch: a recipe is checked without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SerializationInfo, ValidationError, model_serializer, model_validator

from lwdna.errors import nearest
from lwdna.registry import Registry
from lwdna.settings import Settings

if TYPE_CHECKING:
    from torch import nn

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class TransformKind:
    """A transform as recipes know it."""

    apply: Callable[[nn.Module, Any], nn.Module]
    settings: type[Settings]
    """What a recipe may say of it."""


TRANSFORMS: Registry[TransformKind] = Registry(
    "transform", "lwdna.transforms", "register_transform"
)
"""The transforms by the name that recipes give them."""

Apply = Callable[["nn.Module", S], "nn.Module"]


def register_transform(name: str, *, settings: type[S]) -> Callable[[Apply[S]], Apply[S]]:
    """Register a function that rewrites a network under a name (a decorator).

    The function is given a network, which is its own and may be changed, and checked settings; it
    returns the network that takes its place. What it does must follow from both: an architecture
    file names the transform and replays it. Random weights are drawn from torch's global
    generator, as the constructors of networks draw them; callers seed it. A module that defines a
    built-in transform is imported to check recipes, so it imports torch inside the function.

    Args:
        name: what recipes call it.
        settings: what recipes may say of it; a field ``name`` is not among them.

    Example:
        >>> class Smooth(Settings):
        ...     slope: float = 0.1
        >>> @register_transform("smooth", settings=Smooth)
        ... def smooth(network, settings):
        ...     for module in network.modules():
        ...         if isinstance(module, nn.LeakyReLU):
        ...             module.negative_slope = settings.slope
        ...     return network

    Raises:
        ValueError: another function has that name, or the settings have a field ``name``.
    """
    if "name" in settings.model_fields:
        raise ValueError(f"settings of the transform {name!r} cannot have a field 'name'")

    def register(function: Apply[S]) -> Apply[S]:
        TRANSFORMS.add(name, TransformKind(function, settings), function)
        return function

    return register


class Transform(Settings):
    """A transform by its name with its settings, in one flat mapping.

    ``{name: factorize, rank: 0.5}`` in a recipe; a bare name where there is nothing to set.
    """

    name: str
    settings: Settings

    @model_validator(mode="before")
    @classmethod
    def _with_its_settings(cls, given: Any) -> Any:
        if isinstance(given, Transform):
            return given
        values = dict(given) if isinstance(given, Mapping) else {"name": given}
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise ValueError("a transform needs its name, for example {name: factorize}")
        try:
            kind = TRANSFORMS[TRANSFORMS.check(name)]
        except ValueError as error:
            raise ValueError(f"{error} (import your own first)") from error
        try:
            return {"name": name, "settings": kind.settings.model_validate(values)}
        except ValidationError as error:
            raise ValueError(f"transform {name}: {_faults(error, kind.settings)}") from error

    @model_serializer
    def _flat(self, info: SerializationInfo) -> dict[str, Any]:
        return {"name": self.name, **self.settings.model_dump(mode=info.mode)}

    def __str__(self) -> str:
        said = self.settings.model_dump(mode="json", exclude_defaults=True)
        return " ".join([self.name, *(f"{key}={value}" for key, value in said.items())])


def _faults(error: ValidationError, settings: type[Settings]) -> str:
    """Return all faults of settings as one line."""
    faults = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            hint = nearest(key, settings.model_fields) or (
                f"; it has {', '.join(settings.model_fields) or 'none'}"
            )
            faults.append(f"there is no setting {key!r}{hint}")
        else:
            what = fault["msg"].removeprefix("Value error, ")
            faults.append(f"{key}={fault['input']}: {what[0].lower()}{what[1:]}")
    return "; ".join(faults)
