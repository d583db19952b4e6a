"""What CONTRIBUTING.md says of the structure holds: floors, rooms, no circles, limits of length."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "lwdna"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FRONT = {"__init__", "__main__"}
"""What stands before the top floor: the package itself, which imports when asked."""


def floors(heading: str) -> list[set[str]]:
    """Return the names in the first column of the table below a heading, from the top floor."""
    section = CONTRIBUTING.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [set(re.findall(r"`([a-z_]+)`", row)) for row in rows]


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of lwdna that a file names in imports, wherever in the file they stand."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("lwdna"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lwdna"):
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in FILES else node.module


FILES = {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
ARROWS = {name: sorted({*imported(path)} - {name}) for name, path in FILES.items()}


def rising(package: str, order: list[set[str]]) -> list[str]:
    """Return the imports inside a package that point from a lower floor to a higher one."""
    height = {name: -number for number, floor in enumerate(order) for name in floor}

    def floor_of(module: str) -> int | None:
        name = module.removeprefix(package).lstrip(".").partition(".")[0]
        return height[name] if module.startswith(f"{package}.") and name not in FRONT else None

    found = []
    for name, others in ARROWS.items():
        own = floor_of(name)
        for other in others if own is not None else ():
            above = floor_of(other)
            if above is not None and own is not None and above > own:
                found.append(f"{name} imports {other}")
    return found


@pytest.mark.parametrize(
    ("heading", "package"), [("## Floors", "lwdna"), ("### Rooms of `channels`", "lwdna.channels")]
)
def test_every_module_has_a_floor_and_imports_point_downwards(heading, package):
    order = floors(heading)
    named = [name for floor in order for name in floor]
    folder = SOURCE.joinpath(*package.split(".")[1:])
    there = {path.stem for path in folder.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert sorted(named) == sorted(there - FRONT - {"__pycache__", "py", "recipes"})
    assert rising(package, order) == []


def test_an_import_upwards_is_seen():
    order = floors("## Floors")
    assert len(order) > 10
    assert any("imports lwdna.channels" in arrow for arrow in rising("lwdna", order[::-1]))


def circles() -> list[list[str]]:
    """Return the sets of files that import each other, all on the way round (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in ARROWS[name]:
            if other not in number:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == number[name]:
            members = [stack.pop()]
            while members[-1] != name:
                members.append(stack.pop())
            if len(members) > 1:
                found.append(sorted(members))

    for name in ARROWS:
        if name not in number:
            visit(name)
    return found


def test_no_file_imports_itself_by_way_of_others():
    assert circles() == []


def test_files_and_functions_keep_the_limits():
    said = re.search(r"files below (\d+) lines, functions\s+below (\d+)", CONTRIBUTING)
    assert said
    most, longest = map(int, said.groups())
    too_long = []
    for path in FILES.values():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) >= most:
            too_long.append(f"{path.relative_to(ROOT)}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno
                if node.end_lineno - node.lineno + 1 >= longest:
                    too_long.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert too_long == []


def test_places_that_contributing_names_exist():
    paths = re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./]+)`", CONTRIBUTING)
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
