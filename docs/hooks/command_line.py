"""The page of all commands, from the command line itself."""

from __future__ import annotations

import inspect
import re
import textwrap
import typing
from pathlib import Path
from typing import Any

import typer

from lwdna.cli.app import VERBS, app
from plain import line

HEAD = """# Command line

Every command explains itself: `lwdna slim --help`. This page says the same. Where a command takes
a recipe, any value of it can be replaced: `train.lr=0.05` ([all keys](recipe.md)).
"""
_EXAMPLES = re.compile(r"^Examples?:$", re.MULTILINE)


def page() -> str:
    """The page, as Markdown."""
    group: Any = typer.main.get_command(app)
    rows = ["| command | what it does |", "|---|---|"]
    parts: list[str] = []
    for name in VERBS:
        command = group.commands[name]
        words = inspect.cleandoc(command.callback.__doc__ or "")
        what, *examples = _EXAMPLES.split(words)
        summary = line(what.partition("\n\n")[0])
        rows.append(f"| [`lwdna {name}`](#lwdna-{name}) | {summary} |")
        parts += [f"## lwdna {name}", *(line(part) for part in what.strip().split("\n\n"))]
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join([f"lwdna {name} [OPTIONS]", *(_placeholder(one) for one in arguments)])
        parts += [f"    {usage}", _parameters(command)]
        for example in examples:
            lines = [one.strip() for one in example.splitlines() if one.strip()]
            parts += ["Examples:", textwrap.indent("\n".join(lines), "    ")]
    return "\n\n".join([HEAD, "\n".join(rows), *parts]) + "\n"


def _parameters(command: Any) -> str:
    rows = ["| option | what it says |", "|---|---|"]
    hints = typing.get_type_hints(command.callback)
    for one in command.params:
        if one.name == "help" or getattr(one, "hidden", False):
            continue
        if one.param_type_name == "argument":
            name = f"`{_placeholder(one)}`"
        else:
            value = "" if one.is_flag else f" {one.metavar or _metavar(hints[one.name])}"
            name = ", ".join(f"`{flag}{value}`" for flag in one.opts)
        default = one.default() if callable(one.default) else one.default
        shown = default not in (None, False, (), []) and one.show_default is not False
        rows.append(
            f"| {name.replace('|', '&#124;')} | {line(one.help or '')}"
            f"{f' Default: `{default}`.' if shown else ''} |"
        )
    return "\n".join(rows)


def _metavar(kind: Any) -> str:
    kinds = typing.get_args(kind) or (kind,)
    words = {Path: "PATH", int: "INTEGER", float: "NUMBER"}
    return next((words[one] for one in kinds if one in words), "TEXT")


def _placeholder(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"
