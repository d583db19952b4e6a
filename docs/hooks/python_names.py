"""The page of public names in Python; mkdocstrings fills it in from the docstrings."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import lwdna
from lwdna import workflows

HEAD = """# Python

`import lwdna` gives everything below its own name, without importing torch before it is needed.
What a user can cause is raised as [`LwdnaError`][lwdna.LwdnaError] or one of its kinds.
"""
TITLES = {
    "architecture": "Architectures and files",
    "channels": "The channel graph",
    "data": "Data",
    "errors": "Errors",
    "interface": "What a trained network says of itself",
    "methods": "Search and slimming",
    "models": "Networks by name",
    "rewriting": "Networks rewritten with their weights",
    "tasks": "Tasks",
    "transforms": "Transforms",
}
"""What the parts of the library are called; others go by their module's name."""
BESIDE = {
    "Data": ("lwdna.data.DataFormat", "lwdna.data.Defaults"),
    "Tasks": ("lwdna.engine.task.Task", "lwdna.engine.Metric"),
    "Transforms": ("lwdna.transforms.dense_of", "lwdna.transforms.costs_of_pairs"),
    "Search and slimming": ("lwdna.methods.criteria.problem.Problem",),
}
"""What one needs to add something of one's own, and what guides use, below other names."""


def page() -> str:
    """The page, as Markdown."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, room in _rooms().items():
        groups[TITLES.get(room, room.capitalize())].append(f"lwdna.{name}")
    for title, names in BESIDE.items():
        groups[title].extend(names)
    groups["What the command line does"] = [f"lwdna.workflows.{n}" for n in workflows.__all__]
    groups["What the command line does"].append("lwdna.run_options.RunOptions")
    parts = [HEAD]
    for title, names in groups.items():
        parts += [f"## {title}", *(f"::: {name}" for name in names)]
    return "\n\n".join(parts) + "\n"


def _rooms() -> dict[str, str]:
    """The part of the library that each public name is from, without importing it."""
    tree = ast.parse(Path(lwdna.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    rooms = {one.name: (node.module or "") for node in imports for one in node.names}
    return {name: rooms[name].split(".")[1] for name in lwdna.__all__}
