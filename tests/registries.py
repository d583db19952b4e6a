"""Tables that anybody may add to, as they were before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lwdna.channels import rules
from lwdna.data import FORMATS
from lwdna.methods.criteria import CRITERIA
from lwdna.methods.keep import KEEP_RULES
from lwdna.models import registry
from lwdna.tasks import TASKS
from lwdna.transforms import TRANSFORMS


@contextmanager
def as_before() -> Iterator[None]:
    """Forget at the end what was registered inside, but not what comes with lwdna."""
    tables: list[tuple[dict[str, Any], set[str]]] = [
        (table._entries, set(table)) for table in (FORMATS, CRITERIA, KEEP_RULES, TASKS, TRANSFORMS)
    ]
    tables += [
        (rules.RULES, set(rules.RULES)),
        (registry._builders, set(registry._own_names())),
    ]
    try:
        yield
    finally:
        for entries, before in tables:
            for name in set(entries) - before:
                del entries[name]
