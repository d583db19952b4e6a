"""Extension of griffe: the roles of reStructuredText in docstrings become code."""

from __future__ import annotations

from typing import Any

import griffe

from plain import roles_as_code


class Roles(griffe.Extension):
    """Rewrites every docstring when it is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = roles_as_code(obj.docstring.value)
