"""Checkpoints as pytracking saves them: with pickled objects of its own classes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


@contextmanager
def packages(package: str) -> Iterator[ModuleType]:
    """Inside the block there is a module of their name with classes that can be pickled."""
    parts = package.split(".")
    names = [".".join(parts[: count + 1]) for count in range(len(parts))]
    modules = {name: ModuleType(name) for name in names}
    sys.modules.update(modules)
    try:
        yield modules[package]
    finally:
        for name in modules:
            sys.modules.pop(name, None)


def instance(module: ModuleType, name: str, **attributes: Any) -> Any:
    """Return an object of a class made for the module."""
    made = type(name, (), {"__module__": module.__name__})
    setattr(module, name, made)
    found = made()
    vars(found).update(attributes)
    return found


def save_checkpoint(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    root: str = "ltr.admin",
    legacy: bool = False,
    **arguments: Any,
) -> Path:
    """Write a checkpoint whose constructor got these arguments."""
    with packages(f"{root}.model_constructor") as constructors, packages(f"{root}.stats") as stats:
        content = {
            "net": dict(state),
            "constructor": instance(
                constructors,
                "NetConstructor",
                fun_name="dimpnet18",
                fun_module="ltr.models.tracking.dimpnet",
                args=(),
                kwds=arguments,
            ),
            "stats": {"Loss/total": instance(stats, "AverageMeter", avg=1.5, count=3)},
            "epoch": 50,
        }
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path
