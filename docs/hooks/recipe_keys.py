"""The page of all keys of a recipe, from the settings that check them."""

from __future__ import annotations

import logging
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from lwdna.methods.keep import table as keep
from lwdna.recipe import Recipe
from lwdna.settings import Settings
from lwdna.tasks import TASKS
from lwdna.transforms.table import TRANSFORMS, Transform
from plain import described_fields, line

log = logging.getLogger("mkdocs.hooks.recipe_keys")

HEAD = """# Recipe keys

A recipe is a YAML file. Each section below is a mapping in it. On the command line a value goes by
its whole key: `lwdna train digits train.epochs=3 data.train_limit=50`. An unknown key is an error
that names the nearest known one. This page is made from the settings that check a recipe.

A default of `null` means that nothing is said; the description tells what happens then. Where a
section is `null` by default, it is off until you name one of its keys.
"""

OPTIONS = """Keys that `shrink.keep` and `slim.keep` may have beside `rule`, the name of the rule:
`shrink.keep={rule: proportional, curvature: 0}`."""
SETTINGS = """Keys that an entry of `model.transforms` or `slim.transforms` may have beside `name`:
`{name: factorize, rank: 0.5}`."""

USUAL = {
    "batch_size": "Examples per step.",
    "betas": "The two decay rates of Adam and its kin; by default those of the optimizer.",
    "channels_last": "Whether tensors of images lie channels last in memory, which makes most "
    "convolutional networks faster.",
    "clip_grad": "Largest norm of the gradient of all parameters together.",
    "crop_pct": "Side of the central crop over the shorter side of the image, in validation.",
    "decay_rate": "By what the learning rate is multiplied at every decay.",
    "embedding_dim": "Size m of the embedding in the hypernetwork.",
    "epochs": "Passes through the training set.",
    "eps": "What the optimizer adds to denominators; by default its own.",
    "factor": "By what the weight is divided.",
    "at": "Sums of norms at which the weight is divided, in falling order.",
    "interpolation": "How images are resized.",
    "label_smoothing": "Share of the target that is spread over all classes.",
    "lr": "Learning rate.",
    "macs": "Multiply-accumulates, as a fraction.",
    "mixed_precision": "Number format of the forward pass; `no` is float32.",
    "momentum": "Momentum of SGD and RMSprop.",
    "nesterov": "Whether momentum is Nesterov's.",
    "of": "What the fractions are of.",
    "optimizer": "Any name of `timm.optim.list_optimizers()`.",
    "params": "Parameters, as a fraction.",
    "rand_magnitude": "Strength of RandAugment's operations.",
    "rand_ops": "Operations of RandAugment per image.",
    "second": "The same for the second set.",
    "seed": "What everything random follows from.",
    "std": "Per channel, pixel values counted from 0 to 1.",
    "steps": "How many steps there are.",
    "temperature": "What the logits of both networks are divided by.",
    "warmup_lr": "Where the warm-up begins.",
    "weight_decay": "Weight decay, as the optimizer has it.",
}
"""What settings of the field's usual names mean, where their own class does not say."""


def page() -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    top = list(Recipe.model_fields.items())
    places = {kind: name for name, field in top for kind in _inner(field)}
    plain = [(name, field) for name, field in top if not _inner(field) and name != "data"]
    parts += ["## Top of the file", *_table(Recipe, "", plain, places)]
    for name, field in top:
        if name == "data":
            for task, kind in TASKS.items():
                if not _ours(kind.settings):
                    continue
                parts += [f"## data of a {task} task", *_section(kind.settings, "data", places)]
        elif inner := _inner(field):
            parts += [f"## {name}", *_section(inner[0], name, places)]
    parts += ["## Options of keep rules", OPTIONS, *_options(keep.KEEP_RULES, "options")]
    parts += ["## Settings of transforms", SETTINGS, *_options(TRANSFORMS, "settings")]
    return "\n\n".join(parts) + "\n"


def _ours(kind: type) -> bool:
    """Whether settings come with lwdna; who builds the page may have registered others."""
    return kind.__module__.startswith("lwdna.")


def _section(kind: type[BaseModel], path: str, places: dict[type, str]) -> Iterator[str]:
    """What stands below the heading of a section: its purpose, a table, and its own sections.

    ``places`` says under which key a kind of section is described, if it stands under several.
    """
    if kind.__doc__:
        yield line(kind.__doc__)
    yield from _table(kind, path, list(kind.model_fields.items()), places)
    for name, field in kind.model_fields.items():
        for inner in _inner(field):
            if places[inner] == f"{path}.{name}":
                yield f"### {path}.{name}"
                yield from _section(inner, f"{path}.{name}", places)


def _table(
    kind: type, path: str, fields: list[tuple[str, FieldInfo]], places: dict[type, str]
) -> Iterator[str]:
    words = described_fields(kind)
    rows = ["| key | what it says |", "|---|---|"]
    for name, field in fields:
        key = f"{path}.{name}" if path else name
        what = [line(words[name])] if name in words else []
        for inner in _inner(field):
            place = places.setdefault(inner, key)
            what += [] if what else [line(inner.__doc__ or "")]
            what.append(f"See [{place}](#{_slug(place)}).")
        if not what and name in USUAL:
            what = [USUAL[name]]
        elif not what:
            log.warning(f"the setting {key} ({kind.__qualname__}.{name}) has no description")
        rows.append(f"| `{key}`<br>{_said(field)} | {' '.join(what).strip()} |")
    if fields:
        yield "\n".join(rows)


def _options(table: Any, attribute: str) -> Iterator[str]:
    for name in table:
        kind = getattr(table[name], attribute)
        if kind.model_fields and _ours(kind):
            yield f"### {name}"
            yield "\n".join(
                row.replace(f"`{name}.", "`")
                for row in _table(kind, name, list(kind.model_fields.items()), {})
            )


def _said(field: FieldInfo) -> str:
    """Type and default, as they stand below a key."""
    limits = " and ".join(filter(None, map(_limit, field.metadata)))
    alternatives = typing.get_args(field.annotation)
    optional = type(None) in alternatives
    kinds = [one for one in alternatives if one is not type(None)] if optional else []
    kind = " or ".join(map(_type, kinds)) if optional else _type(field.annotation)
    kind = " ".join(filter(None, (kind, limits, "or null" if optional else "")))
    if field.is_required():
        return f"*{kind}; required*"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        said = default.model_dump(mode="json", exclude_defaults=True)
        return f"*{kind}*" + (f"; default `{_value(said)}`" if said else "")
    return f"*{kind}*; default `{_value(default)}`"


def _limit(mark: Any) -> str:
    match mark:
        case annotated_types.Ge(ge=number):
            return f"≥ {number:g}"
        case annotated_types.Gt(gt=number):
            return f"> {number:g}"
        case annotated_types.Le(le=number):
            return f"≤ {number:g}"
        case annotated_types.Lt(lt=number):
            return f"< {number:g}"
    if isinstance(mark, FieldInfo):
        return " and ".join(filter(None, map(_limit, mark.metadata)))
    return ""


def _type(kind: Any) -> str:
    """A type in words."""
    if kind is None or kind is type(None):
        return "null"
    simple = {
        bool: "true or false",
        int: "whole number",
        float: "number",
        str: "text",
        Path: "path",
    }
    if kind in simple:
        return simple[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is JsonValue:
        return "any value"
    if origin is typing.Annotated:
        limits = " and ".join(filter(None, map(_limit, arguments[1:])))
        return f"{_type(arguments[0])} {limits}".strip()
    if origin is typing.Literal:
        return " or ".join(str(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(one) for one in arguments)
    if origin is tuple and arguments[-1] is not ...:
        kinds = list(dict.fromkeys(map(_type, arguments)))
        return f"list of {len(arguments)}, each {' or '.join(kinds)}"
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type(arguments[1])}"
    if kind is Transform:
        return "transform"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section"
    return "text"  # a name that a validator reads


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(_value(one) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_value(one)}' for key, one in value.items())}}}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _inner(field: FieldInfo) -> list[type[BaseModel]]:
    """The sections that a field may hold, in lists and beside other types, too."""
    return list(dict.fromkeys(_models(field.annotation)))


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel) and typing.get_origin(kind) is None:
        if kind not in (Settings, Transform) and kind.model_fields:
            yield kind
        return
    for one in typing.get_args(kind):
        yield from _models(one)


def _slug(heading: str) -> str:
    return heading.lower().replace(".", "")
