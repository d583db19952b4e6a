"""Networks built without their weights, for what only asks for shapes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ref

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook


@contextmanager
def without_weights() -> Iterator[None]:
    """Inside the block, the parameters that modules get are on the meta device: without memory.

    A parameter's memory is given back as soon as its module takes it, before anybody fills it, so
    that building costs neither memory nor time. Buffers, and whatever else a constructor computes,
    keep their values, unlike under ``torch.device("meta")``: constructors read such numbers, and so
    does tracing. Parameters of classes of their own stay as they are. Other threads are not
    concerned.
    """
    here = threading.get_ident()
    seen: dict[int, tuple[ref[Any], nn.Parameter]] = {}

    def emptied(module: nn.Module, name: str, given: Any) -> nn.Parameter | None:
        if type(given) is not nn.Parameter or given.is_meta or threading.get_ident() != here:
            return None
        known = seen.get(id(given))
        if known is not None and known[0]() is given:  # shared by several modules
            return known[1]
        made = nn.Parameter(torch.empty_like(given, device="meta"), given.requires_grad)
        vars(made).update(vars(given))
        seen[id(given)] = ref(given), made
        return made

    hook: Any = emptied  # torch declares that it returns nothing, and documents that it may
    handle = register_module_parameter_registration_hook(hook)
    try:
        yield
    finally:
        handle.remove()
