"""Recipes: everything that decides an experiment, as one YAML file."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    BaseModel,
    Field,
    JsonValue,
    SerializeAsAny,
    ValidationError,
    create_model,
    field_validator,
)

from lwdna.arms import CompareSettings
from lwdna.channels.graph.edits import Edits
from lwdna.engine import TrainSettings
from lwdna.errors import RecipeError, nearest
from lwdna.methods.settings import DistillSettings, ShrinkSettings
from lwdna.methods.slimming.settings import SlimSettings
from lwdna.settings import Keys, Settings, flattened
from lwdna.shipped import list_recipes, shipped_recipes
from lwdna.tasks import TASKS
from lwdna.transforms.table import Transform

ALIKE = 0.9
"""How similar a key is to the one that is meant, at least, where a letter or two are wrong."""
MOST_SHOWN = 200
"""Letters of a value that an error message repeats."""


class ModelSettings(Settings):
    """The baseline network."""

    name: str
    """As ``lwdna list`` shows it, for example ``timm:resnet50``."""
    args: dict[str, JsonValue] = Field(default_factory=dict)
    """Arguments of the function that builds it."""
    pretrained: bool | str = False
    """Whether baseline and network found start from trained weights: those that timm or torchvision
    publish (true), or those of a file or a run."""
    transforms: tuple[Transform, ...] = ()
    """Rewrites of the network, before anything else is done with it: the network so rewritten is
    the baseline, which is searched, trained and compared with."""

    @field_validator("args")
    @classmethod
    def _same_start(cls, args: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if args.get("pretrained"):
            raise ValueError(
                "pretrained is no argument here, because the network found would start from fresh "
                "weights; say model.pretrained=true (--pretrained), and both start from trained "
                "ones"
            )
        return args


class Recipe(Settings):
    """An experiment: a network, data, how to search, how to train and how to make smaller."""

    task: str = "classification"
    """One of :data:`lwdna.tasks.TASKS`, which says what the data settings are."""
    model: ModelSettings
    edits: Edits = Edits()
    data: SerializeAsAny[Settings]
    shrink: ShrinkSettings = ShrinkSettings()
    slim: SlimSettings = SlimSettings()
    train: TrainSettings = TrainSettings()
    compare: CompareSettings = CompareSettings()
    distill: DistillSettings | None = None
    seed: int = Field(default=0, ge=0)

    def to_yaml(self) -> str:
        """Return the recipe with every default filled in; loading it gives the recipe again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def flat(self) -> dict[str, Any]:
        """Return all values by their keys, as ``{"train.epochs": 30}``."""
        return dict(flattened(self.model_dump(mode="json")))

    def proxy(self) -> Recipe | None:
        """Return the recipe of the network that trials try in the baseline's place, if any.

        Raises:
            RecipeError: ``shrink.trials.proxy`` makes no recipe.
        """
        trials = self.shrink.trials
        if trials is None or trials.proxy is None:
            return None
        changes = {**trials.proxy, "shrink.trials.proxy": None}
        return change_recipe(self, changes, "shrink.trials.proxy")

    def tuning(self) -> TrainSettings:
        """Return the protocol by which a network is fine-tuned that was made smaller.

        Raises:
            RecipeError: ``slim.tune`` makes none.
        """
        values = {f"train.{key}": value for key, value in self.slim.tuning(self.train).items()}
        return change_recipe(self, {**values, "slim.tune": {}}, "slim.tune").train

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the values: the class follows from the task and has no name of its own."""
        return _checked, (self.model_dump(mode="json"), "a recipe")


def load_recipe(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path_or_name: a YAML file or the name of a recipe that comes with lwdna, such as
            ``digits`` or ``imagenet/resnet50`` (see :func:`lwdna.shipped.list_recipes`).
        overrides: values that replace those of the file, as ``"train.epochs=3"``; what follows
            the equals sign is read as YAML.

    Raises:
        RecipeError: the file is missing or is not YAML, or the recipe has unknown keys or values
            that are not allowed; all such faults are named at once.
    """
    values = _parse(_read(path_or_name), str(path_or_name))
    for override in overrides:
        _override(values, override)
    return _checked(values, str(path_or_name))


def values_made(text: str, source: str) -> dict[str, Any]:
    """Return what a recipe's text sets to other values than the defaults, by key.

    Args:
        text: YAML.
        source: what to call it in an error message.

    Raises:
        RecipeError: it is no recipe.
    """
    recipe = _checked(_parse(text, source), source)
    return dict(flattened(recipe.model_dump(mode="json", exclude_defaults=True)))


def change_recipe(recipe: Recipe, changes: Mapping[str, Any], title: str) -> Recipe:
    """Return a recipe with other values, checked as a whole.

    Args:
        recipe: stays as it is.
        changes: values by key, as ``{"shrink.floor": 0.2}``; sections replace only the values
            that they hold, other mappings (``shrink.keep``) all of what was there.
        title: what to call the result in an error message.

    Raises:
        RecipeError: unknown keys or values that are not allowed.
    """
    values = recipe.model_dump(mode="json")
    sections = set(_sections(type(recipe)))
    for key, value in flattened(changes, sections=sections):
        _set(values, key, value)
    return _checked(values, title)


def _checked(values: Mapping[str, Any], source: str) -> Recipe:
    kind = _recipe_of(values.get("task", "classification"), source)
    try:
        recipe = kind.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{source}: {_explain(error, kind)}") from error
    recipe.proxy()  # whose faults are the recipe's, too
    if recipe.slim.tune:
        recipe.tuning()
    return recipe


def _recipe_of(task: Any, source: str) -> type[Recipe]:
    try:
        return _recipe_kind(TASKS[TASKS.check(task)].settings)
    except ValueError as error:
        raise RecipeError(f"{source}: {error}") from error


@cache
def _recipe_kind(settings: type[Settings]) -> type[Recipe]:
    """Return the recipes of one task: their data settings are known, and so are all keys."""
    data = (settings, Field(default={}, validate_default=True))
    return create_model("Recipe", __base__=Recipe, data=data)


def _read(path_or_name: str | Path) -> str:
    path = Path(path_or_name)
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8")
        # "recipes/digits.yaml" is how the repository calls it, wherever lwdna is used
        name = path.as_posix().removeprefix("recipes/").removesuffix(".yaml")
        known = list_recipes()
        if name in known:
            return shipped_recipes().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read recipe {path}: {error}") from error
    hint = nearest(name, known) or f"; give a file or one of {', '.join(known)}"
    raise RecipeError(f"there is no recipe {path_or_name}{hint}")


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{source} is not YAML: {_one_line(error)}") from error
    if not isinstance(values, dict):
        raise RecipeError(
            f"{source} is not a recipe: it must hold sections such as model and train"
        )
    return values


def _override(values: dict[str, Any], override: str) -> None:
    """Set one ``a.b=value`` in the nested ``values``."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(f"cannot read {override!r}: write key=value, for example train.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"the value of {key} is not YAML: {_one_line(error)}") from error
    _set(values, key, value)


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = values.get(section)
        if not isinstance(inner, dict):
            inner = values[section] = {}
        values = inner
    values[last] = value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _explain(error: ValidationError, kind: type[Recipe]) -> str:
    """Return all faults of a recipe as one line; those of one key are alternatives."""
    known = list(_known_keys(kind))
    faults: dict[str, list[str]] = {}
    for fault in error.errors():
        # past the last known key, the place names alternatives of a type, not keys
        parts = [str(part) for part in fault["loc"]]
        if fault["type"] == "extra_forbidden":
            key = ".".join(parts)
            faults[f"{key} is no known key{_nearest_key(key, known)}"] = []
            continue
        while len(parts) > 1 and ".".join(parts) not in known:
            parts.pop()
        key = ".".join(parts)
        if fault["type"] == "missing":
            faults[f"{key} is missing"] = []
            continue
        what = fault["msg"].removeprefix("Value error, ")
        what = what[0].lower() + what[1:]
        given = fault["input"]
        shown = key if isinstance(given, dict) else f"{key}={_short(given)}"
        faults.setdefault(shown, []).append(what)
    return "; ".join(
        f"{key}: {' or '.join(dict.fromkeys(what))}" if what else key
        for key, what in faults.items()
    )


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _known_keys(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield prefix + name
        for inner in _models_in(field.annotation):
            yield from _known_keys(inner, f"{prefix}{name}.")
        for mark in field.metadata:
            if isinstance(mark, Keys):
                yield from (f"{prefix}{name}.{key}" for key in mark.known())


def _sections(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        for inner in _models_in(field.annotation):
            yield prefix + name
            yield from _sections(inner, f"{prefix}{name}.")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [model for part in typing.get_args(annotation) for model in _models_in(part)]
    return []


def _nearest_key(key: str, known: Sequence[str]) -> str:
    """Return a suggestion: nearly this key, the same name in another section, or similar."""
    section, _, name = key.rpartition(".")
    beside = [other for other in known if other.rpartition(".")[0] == section]
    if misspelt := get_close_matches(key, beside, n=1, cutoff=ALIKE):
        return f"; did you mean {misspelt[0]}?"
    elsewhere = [other for other in known if other.rpartition(".")[2] == name]
    elsewhere.sort(key=lambda other: other.count("."))  # sections of the recipe come first
    if elsewhere:
        return f"; did you mean {', '.join(elsewhere[:3])}?"
    return nearest(key, known)
