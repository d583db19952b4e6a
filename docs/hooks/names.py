"""The page of names that recipes can say, from the tables that a decorator adds to."""

from __future__ import annotations

from importlib import import_module
from itertools import groupby

import yaml

from lwdna.cli.list_ import TABLES
from lwdna.registry import declared
from lwdna.shipped import list_recipes, shipped_recipes
from plain import line

HEAD = """# Names in recipes

What a recipe can name. `lwdna list WHAT` prints the same lists, with what you have registered
yourself. Networks are not listed here, because there are more than a thousand: see
`lwdna list models '*resnet*'`.
"""
TITLES = {
    "criteria": ("Criteria", "`shrink.criterion`, `slim.criterion`: how units are scored."),
    "keep-rules": ("Keep rules", "`shrink.keep`, `slim.keep`: how scores become widths."),
    "tasks": ("Tasks", "`task`: what a network is for."),
    "formats": ("Data formats", "`data.kind`: how images lie on disk; most are recognised."),
    "transforms": ("Transforms", "`model.transforms`, `slim.transforms`: rewrites of a network."),
}


def page() -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    for what, (module, table) in TABLES.items():
        title, sentence = TITLES.get(what, (what.capitalize(), ""))
        rows = ["| name | what it is | source |", "|---|---|---|"]
        for name, known in sorted(getattr(import_module(module), table).declarations.items()):
            paper = known.arguments.get("paper") or ""
            rows.append(f"| `{name}` | {line(known.summary)} | {line(paper)} |")
        parts += [f"## {title}", f"{sentence} `lwdna list {what}`", "\n".join(rows)]
    parts += ["## Recipes", "Recipes that come with lwdna. `lwdna list recipes`", _recipes()]
    parts += ["## Operators", "Operators with a rule. `lwdna list ops`", _operators()]
    return "\n\n".join(parts) + "\n"


def _recipes() -> str:
    rows = ["| recipe | task | network |", "|---|---|---|"]
    for name in list_recipes():
        text = shipped_recipes().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        values = yaml.safe_load(text)
        task = values.get("task", "classification")
        rows.append(f"| `{name}` | {task} | `{values['model']['name']}` |")
    return "\n".join(rows)


def _operators() -> str:
    known = declared("lwdna.channels.rules", "register_rule")
    by_module = sorted((known[name].module.rpartition(".")[2], name) for name in known)
    rows = ["| family | operators |", "|---|---|"]
    for family, pairs in groupby(by_module, lambda pair: pair[0]):
        rows.append(f"| {family} | {', '.join(f'`{name}`' for _, name in pairs)} |")
    return "\n".join(rows)
