"""Functions of a network's own in its copies: hooks that close over its modules.

``copy.deepcopy`` copies methods but takes functions as they are. A hook such as ``lambda module,
args, result: self.features.append(result)`` in a copy would fill the list of the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import CellType, FunctionType
from typing import Any

from torch import nn


def rebind(copied: nn.Module, memo: Mapping[int, Any]) -> None:
    """Let functions among the attributes and hooks of a copy refer to it and not to its original.

    ``memo`` has by the identities of the originals what :func:`copy.deepcopy` made of them.
    """
    for module in copied.modules():
        attributes = vars(module)
        hooks = [value for name, value in attributes.items() if "hooks" in name]
        for functions in (attributes, *(value for value in hooks if isinstance(value, dict))):
            for key, function in functions.items():
                if isinstance(function, FunctionType):
                    functions[key] = _rebound(function, memo, {})


def _rebound(function: FunctionType, memo: Mapping[int, Any], known: dict[int, Any]) -> Any:
    """Return a function whose enclosed variables and defaults are copies, where there are copies.

    Functions that are enclosed are rebound, too; ``known`` has those begun with.
    """
    if id(function) in known:
        return known[id(function)]
    known[id(function)] = function  # if it encloses itself

    def new(value: Any) -> Any:
        if isinstance(value, FunctionType):
            return _rebound(value, memo, known)
        return memo.get(id(value), value)

    cells = function.__closure__ or ()
    values = [cell.cell_contents for cell in cells if _filled(cell)]
    defaults = function.__defaults__ or ()
    if all(new(value) is value for value in (*values, *defaults)):
        return function
    copied = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        tuple(map(new, defaults)) or None,
        tuple(CellType(new(cell.cell_contents)) if _filled(cell) else cell for cell in cells),
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    vars(copied).update(vars(function))
    return copied


def _filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
