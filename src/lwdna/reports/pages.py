"""What all pages share: templates, and one HTML file that needs nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lwdna.reports.formats import shorten


def render(template: str, *, styles: tuple[str, ...], script: str, **view: Any) -> str:
    """Render a page with its style sheets and its script inside.

    The page's security policy allows this script, by its hash, and nothing from outside.
    """
    environment = _environment()
    text = _source(environment, script)
    return environment.get_template(template).render(
        style="\n".join(_source(environment, name) for name in styles),
        script=text,
        script_hash=base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
        **view,
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lwdna.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(at=_place, shorten=shorten)
    return environment


def _source(environment: Environment, name: str) -> str:
    """Return a template's own text: style and script are not templates."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _place(share: float, length: float = 100.0, offset: float = 0.0) -> str:
    """Return a share of a length as a short number for an SVG attribute."""
    return f"{offset + share * length:.2f}".rstrip("0").rstrip(".")
