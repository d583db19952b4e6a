"""The names of a run's files stand in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import lwdna
from lwdna import run_folder


def test_names_of_files_are_written_once() -> None:
    source = Path(lwdna.__file__).parent
    files = {
        value
        for name, value in vars(run_folder).items()
        if name.isupper() and isinstance(value, str) and "." in value
    } | {run_folder.last_checkpoint(".").name, run_folder.best_checkpoint(".").name}
    assert {"results.json", "metrics.jsonl", "last.safetensors"} <= files
    written = {
        f"{path.relative_to(source)}: {node.value}"
        for path in source.rglob("*.py")
        if path.name != "run_folder.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in files
    }
    assert written == set()
