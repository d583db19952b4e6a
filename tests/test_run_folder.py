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


def test_a_folder_is_free_until_something_was_done(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_folder.is_free(folder)
    (folder / "search" / "trials").mkdir(parents=True)
    (folder / "recipe.yaml").touch()
    assert not run_folder.is_free(folder), "somebody's own recipe"
    early = ("data.json", "run.lock", "search/recipe.yaml", "search/trials/wanted.json")
    for name in early:
        (folder / name).touch()
    assert run_folder.is_free(folder)
    for name in ("search/architecture.lwdna.json", "search/trials/0.json", "notes.txt", "other/x"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
        assert not run_folder.is_free(folder), name
        (folder / name).unlink()
    (folder / "other").rmdir()
    run_folder.clear(folder)
    assert [path.name for path in folder.iterdir()] == ["run.lock"]
