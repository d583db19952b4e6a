"""Networks by name: our own, timm's, torchvision's and the user's.

A full name carries a prefix that says where the network comes from: ``lwdna:resnet56_cifar``,
``timm:resnet50``, ``torchvision:resnet50`` or ``python:package.module:callable`` (a module that is
installed or lies in the current folder). A name without
a prefix is looked up in that order, so that ``resnet50`` is timm's.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import re
import reprlib
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from lwdna.errors import ModelError, nearest
from lwdna.models.names import is_timm_model, timm_models, torchvision_models
from lwdna.registry import declared

if TYPE_CHECKING:
    from torch import nn

# torch, timm, torchvision and the networks of this package are imported when one is built: that
# takes seconds, and names need none of them.

Builder = Callable[..., "nn.Module"]
B = TypeVar("B", bound=Builder)

PREFIXES = ("lwdna", "timm", "torchvision", "python")

_builders: dict[str, Builder] = {}
"""What has been registered so far: the networks of this package when their module is imported."""


def register_model(builder: B) -> B:
    """Register a function that returns a network under the function's name (a decorator).

    The same function may be defined again (a reloaded module, a notebook cell run twice).

    Raises:
        ModelError: another function has that name already.
    """
    name = builder.__name__
    known = _origin_of(name)
    if known is not None and known != (builder.__module__, builder.__qualname__):
        raise ModelError(
            f"a model named {name!r} is registered already, by {'.'.join(known)}; "
            "give the new function another name"
        )
    _builders[name] = builder
    return builder


def _own_names() -> dict[str, None]:
    """Return the names of this package's networks and of those registered from outside."""
    return dict.fromkeys([*declared("lwdna.models", "register_model"), *_builders])


def _origin_of(name: str) -> tuple[str, str] | None:
    """Return the module and the function that a name belongs to, if any."""
    if name in _builders:
        return _builders[name].__module__, _builders[name].__qualname__
    known = declared("lwdna.models", "register_model").get(name)
    return (known.module, known.function) if known else None


def _builder(name: str) -> Builder:
    """Return the function that builds one of our own networks, importing its module."""
    if name not in _builders:
        known = declared("lwdna.models", "register_model")[name]
        builder: Builder = getattr(importlib.import_module(known.module), known.function)
        return builder
    return _builders[name]


def create_model(
    name: str, *, trust_code: bool = False, with_weights: bool = True, **args: Any
) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: a name as :func:`resolve_name` takes it.
        trust_code: allow ``python:`` names, which import and run the module they name.
        with_weights: False leaves the parameters without memory
            (:func:`lwdna.models.weightless.without_weights`), for a network that is only traced.
        args: passed to the network's own function. ``pretrained=True`` asks timm or torchvision
            for trained weights, whose output layer is a fresh one for another number of classes;
            without it nothing is ever downloaded, not even the backbone of a detector.

    Raises:
        ModelError: the name is unknown, the arguments do not fit, or ``trust_code`` is missing.
    """
    full = resolve_name(name)
    prefix, _, bare = full.partition(":")
    if prefix == "python":
        build = partial(_create_python, full, bare, args, trust_code)
    elif prefix == "lwdna":
        build = partial(_create_own, full, bare, args)
    else:
        build = partial(_create_timm if prefix == "timm" else _create_torchvision, bare, args)
    from lwdna.models.memory import limited_memory, physical_memory
    from lwdna.models.weightless import without_weights

    limit = limited_memory(physical_memory(), "this machine's memory", together=with_weights)
    try:
        with limit, nullcontext() if with_weights else without_weights():
            return build()
    except ModelError as error:
        if full in str(error):
            raise
        raise ModelError(f"cannot build {full} with {_shown(args)}: {error}") from error
    except Exception as error:  # whatever the network's own code raises for its arguments
        raise ModelError(
            f"cannot build {full} with {_shown(args)}: {type(error).__name__}: {_one_line(error)} "
            f"({_place(error)})"
        ) from error


def _shown(args: Mapping[str, Any]) -> str:
    """Return arguments as they would be written in a call, long values cut short."""
    written = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in args.items())
    return f"the arguments {written}" if written else "no arguments"


def resolve_name(name: str) -> str:
    """Return the full name, with its prefix, of a network.

    A hyphen in the name of one of our own networks stands for an underscore.
    ``python:`` names are checked for their form only; nothing is imported.

    Raises:
        ModelError: there is no such network; the message names the nearest ones.
    """
    prefix, colon, bare = name.partition(":")
    if not colon:
        found = _everywhere(name)
        if found:
            return found[0]
        known = {full.partition(":")[2] for full in list_models()}
        raise _unknown(name, nearest(name.lower(), known))
    if prefix == "python":
        return _python_name(name, bare)
    if prefix not in PREFIXES:
        raise ModelError(
            f"unknown source {prefix!r} in model name {name!r}; "
            f"allowed are {', '.join(f'{known}:' for known in PREFIXES)} or no prefix"
        )
    resolved = _find(prefix, bare)
    if resolved is not None:
        return resolved
    raise _unknown(name, nearest(name.lower(), _everywhere(bare) or list_models()))


def list_models(pattern: str = "*") -> list[str]:
    """Return the full names that match a shell pattern, in natural order (``resnet20`` first).

    The pattern is compared with the name, with and without its prefix. ``python:`` names are open
    and therefore not listed.
    """
    names = [f"lwdna:{name}" for name in _own_names()]
    names += [f"timm:{name}" for name in timm_models()]
    names += [f"torchvision:{name}" for name in torchvision_models()]
    return sorted(
        (name for name in names if _matches(name, pattern)),
        key=lambda name: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", name)],
    )


def _matches(full: str, pattern: str) -> bool:
    bare = full.partition(":")[2]
    return fnmatch.fnmatchcase(full, pattern) or fnmatch.fnmatchcase(bare, pattern)


def _everywhere(bare: str) -> list[str]:
    """Return the full names that a name without prefix may stand for, the preferred one first."""
    found = (_find(source, bare) for source in ("lwdna", "timm", "torchvision"))
    return [full for full in found if full is not None]


def _find(source: str, bare: str) -> str | None:
    """Return the full name of a network of one source, or None."""
    if source == "lwdna":
        own = bare.replace("-", "_")
        return f"lwdna:{own}" if own in _own_names() else None
    known = is_timm_model(bare) if source == "timm" else bare in torchvision_models()
    return f"{source}:{bare}" if known else None


def _unknown(name: str, hint: str) -> ModelError:
    return ModelError(f"unknown model {name!r}{hint or '; `lwdna list` shows every name'}")


def _python_name(name: str, bare: str) -> str:
    module, _, attribute = bare.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise ModelError(f"{name!r} does not name a callable; write python:package.module:callable")
    return name


def _create_own(full: str, bare: str, args: dict[str, Any]) -> nn.Module:
    args = dict(args)
    if args.pop("pretrained", False):
        raise ModelError(f"{full} has no trained weights to load; drop pretrained=True")
    builder = _builder(bare)
    _check_arguments(full, builder, args)
    return builder(**args)


def _create_timm(bare: str, args: dict[str, Any]) -> nn.Module:
    import timm

    args = dict(args)
    if args.get("pretrained"):
        from lwdna.models.pretrained import published_weights

        overlay = published_weights(f"timm:{bare}", args).overlay
        args |= {"pretrained_cfg_overlay": dict(overlay)} if overlay else {}
    model: nn.Module = timm.create_model(bare, **args)
    return model


def _create_torchvision(bare: str, args: dict[str, Any]) -> nn.Module:
    from torchvision.models import get_model_builder

    args = dict(args)
    builder = get_model_builder(bare)
    if args.pop("pretrained", False):
        return _create_trained(builder, args)
    if args.get("weights") is not None or args.get("weights_backbone") is not None:
        raise ValueError("weights are only loaded together with pretrained=True")
    if "weights_backbone" in inspect.signature(builder).parameters:
        # Detectors and segmenters fetch a trained backbone unless told not to.
        args["weights_backbone"] = None
    model: nn.Module = builder(**args)
    return model


def _create_trained(builder: Builder, args: dict[str, Any]) -> nn.Module:
    """Return a network of torchvision with its published weights.

    torchvision's own function takes no other number of classes with them; the output layer is then
    a fresh one.
    """
    from torchvision.models import get_model_weights

    from lwdna.models.pretrained import load_start

    weights = get_model_weights(builder)[args.pop("weights", "DEFAULT")]
    classes = len(weights.meta.get("categories", ()))
    if args.get("num_classes", classes) == classes:
        return builder(weights=weights, **args)
    if "weights_backbone" in inspect.signature(builder).parameters:
        args["weights_backbone"] = None
    model: nn.Module = builder(weights=None, **args)
    load_start(model, weights.get_state_dict(check_hash=True), weights.url)
    return model


def _create_python(full: str, bare: str, args: dict[str, Any], trust_code: bool) -> nn.Module:
    from torch import nn

    if not trust_code:
        raise ModelError(
            f"{full} imports and runs Python code; if you trust that code, pass trust_code=True "
            "(--trust-code)"
        )
    module, _, attribute = bare.partition(":")
    # an installed script knows its own folder only; last, so that nothing installed is hidden
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        builder: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"cannot import {module!r} for {full}: {_one_line(error)}; "
            "install it, start in its folder or add that to PYTHONPATH"
        ) from error
    for part in attribute.split("."):
        if not hasattr(builder, part):
            raise ModelError(f"{full}: no {part!r} in {module!r}{nearest(part, dir(builder))}")
        builder = getattr(builder, part)
    if not callable(builder):
        raise ModelError(f"{full} is not callable; name a class or a function that returns a model")
    _check_arguments(full, builder, args)
    model = builder(**args)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{full} returned {type(model).__name__}; it must return a torch.nn.Module"
        )
    return model


def _check_arguments(full: str, builder: Builder, args: dict[str, Any]) -> None:
    """Refuse arguments that do not fit, before any code of the network runs."""
    try:
        signature = inspect.signature(builder)
    except ValueError:  # callables written in C have none; they check for themselves
        return
    try:
        signature.bind(**args)
    except TypeError as error:
        names = ", ".join(signature.parameters) or "none"
        raise ModelError(f"{full}: {error}; its arguments are: {names}") from error


def _place(error: BaseException) -> str:
    """Return the file and line at which an error was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{PurePath(frame.filename).name}, line {frame.lineno}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
