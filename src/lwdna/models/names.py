"""The names that timm and torchvision know, read from their source.

Importing the two takes seconds, and a name that is mistyped should be an error at once. So as long
as nobody has imported a library, its files say what it registers; afterwards it is asked itself,
and names that a program has added count too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_REGISTERED = re.compile(r"\n@register_model\s*\n(?:@.*\n)*def (\w+)")
_RENAMED = re.compile(r"\nregister_model_deprecations\(__name__, \{(.*?)\n\}\)", re.DOTALL)
_KEY = re.compile(r"""^\s*['"]([\w.]+)['"]\s*:""", re.MULTILINE)
_NAMED = re.compile(
    r"\n@register_model\(\s*(?:(?:name\s*=\s*)?['\"](\w+)['\"]\s*)?\)\s*\n"
    r"(?:(?!def ).*\n)*?def (\w+)"
)
_OPTIMIZER = re.compile(r"(?:OptimInfo\(\s*(?:name\s*=\s*)?|register_alias\(\s*)['\"](\w+)['\"]")


def timm_models() -> Collection[str]:
    """Return what ``timm.list_models()`` does, in any order."""
    if "timm" not in sys.modules:
        found = set(_found(_REGISTERED, _texts("timm", "models")))
        if found:
            return found
    import timm

    names: list[str] = timm.list_models()
    return names


def is_timm_model(name: str) -> bool:
    """Whether timm builds a network of this name.

    A name may be an old one of a network that timm has renamed, or carry a tag, as
    ``resnet50.a1_in1k``, which names a set of trained weights.
    """
    architecture, dot, _ = name.partition(".")
    known = timm_models()
    if "timm" not in sys.modules:
        if not dot:
            return name in known or name in _found(_KEY, _found(_RENAMED, _texts("timm", "models")))
        if architecture not in known:
            return False
        # most tags are written out; of those that timm puts together, only timm knows
        if any(f"'{name}':" in text for text in _texts("timm", "models")):
            return True
    import timm

    if not timm.is_model(architecture):
        return False
    return not dot or name in timm.list_models(f"{architecture}.*", include_tags=True)


def torchvision_models() -> Collection[str]:
    """Return what ``torchvision.models.list_models()`` does, in any order."""
    if "torchvision.models" not in sys.modules:
        pairs = _found(_NAMED, _texts("torchvision", "models"))
        found = {given or function for given, function in pairs}
        if found:
            return found
    from torchvision.models import list_models

    names: list[str] = list_models()
    return names


def timm_optimizers() -> Collection[str]:
    """Return what ``timm.optim.list_optimizers()`` does, in any order."""
    if "timm.optim" not in sys.modules:
        found = set(_found(_OPTIMIZER, _texts("timm", "optim")))
        if found:
            return found
    from timm.optim import list_optimizers

    return [str(name) for name in list_optimizers()]


def _found(pattern: re.Pattern[str], texts: Iterable[str]) -> list[Any]:
    """Return all that a pattern finds: what its group holds, or pairs where it has two."""
    return [match for text in texts for match in pattern.findall(text)]


@cache
def _texts(library: str, folder: str) -> tuple[str, ...]:
    """Return the source files in a folder of a library and below, without importing it."""
    spec = find_spec(library)
    roots = spec.submodule_search_locations or () if spec else ()
    return tuple(
        path.read_text(encoding="utf-8")
        for root in roots
        for path in sorted((Path(root) / folder).rglob("*.py"))
    )
