"""Change the code of a package in small ways, one at a time, and see whether a test fails.

    python benchmarks/mutants.py channels --sample 200
    python benchmarks/mutants.py methods --minutes 20

A mutant (another comparison, a number off by one, a condition negated) that no test notices is
behaviour that no test describes. All mutants of a package would take days; a sample drawn by a
seed estimates the share that is noticed. The changes are made by Cosmic Ray in a clone of the last
commit. Prints the diffs of those that survived, and writes ``results/mutants-PACKAGE.json``.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cosmic_ray.commands import init
from cosmic_ray.modules import find_modules
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec
from rich.progress import track

from lwdna.engine import machine, versions
from lwdna.files import write_json

ROOT = Path(__file__).parent.parent
TESTS = {"channels": "tests/channels", "methods": "tests/methods tests/hypernet"}
"""Which tests have to notice; those marked slow are left out."""
UNIONS = "core/ReplaceBinaryOperator_BitOr_"
"""Operators whose mutants change nothing as a rule: unions of types are never evaluated."""
TIMEOUT = 300.0
"""Seconds after which a mutant counts as noticed: it never ends."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", choices=TESTS)
    parser.add_argument("--sample", type=int, default=200, help="how many mutants")
    parser.add_argument("--minutes", type=float, default=60.0, help="no new mutant after these")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "lwdna"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        os.chdir(clone)
        os.environ |= {"PYTHONPATH": str(clone / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        every = mutants(Path("src/lwdna") / arguments.package)
        chosen = random.Random(arguments.seed).sample(every, min(arguments.sample, len(every)))
        outcomes, survivors = judge(chosen, TESTS[arguments.package], arguments.minutes)
    judged = sum(outcomes.values())
    noticed = judged - len(survivors)
    print(f"{arguments.package}: {noticed} of {judged} noticed ({noticed / max(judged, 1):.0%})")
    record: dict[str, Any] = {
        "package": arguments.package,
        "mutants": len(every),
        "sample": judged,
        "seed": arguments.seed,
        "outcomes": outcomes,
        "survivors": survivors,
        "versions": versions(),
        "machine": machine(),
    }
    write_json(ROOT / f"benchmarks/results/mutants-{arguments.package}.json", record)


def mutants(package: Path) -> list[MutationSpec]:
    """Return all changes that Cosmic Ray knows to make in a package."""
    with use_db("mutants.sqlite", WorkDB.Mode.create) as session:
        init(find_modules([package]), session, {})
        items = session.work_items
    specs = [mutation for item in items for mutation in item.mutations]
    specs = [spec for spec in specs if not spec.operator_name.startswith(UNIONS)]
    return sorted(specs, key=lambda s: (str(s.module_path), s.operator_name, s.occurrence))


def judge(
    chosen: list[MutationSpec], tests: str, minutes: float
) -> tuple[dict[str, int], list[str]]:
    """Return how often each outcome came, and the diffs of the mutants that no test noticed.

    Their order is random, so that those before the time is over are a sample, too.
    """
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider -m 'not slow' {tests}"
    clean = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    if clean.returncode:
        sys.exit(f"the tests fail without any change:\n{clean.stdout[-3000:]}")
    outcomes: Counter[str] = Counter()
    survivors: list[str] = []
    start = time.monotonic()
    for spec in track(chosen, description="mutants"):
        if time.monotonic() - start > 60 * minutes:
            break
        result = mutate_and_test([spec], command, TIMEOUT)
        outcome = result.test_outcome.value if result.test_outcome else result.worker_outcome.value
        outcomes[outcome] += 1
        if outcome == "survived":
            survivors.append(result.diff or str(spec))
            print(survivors[-1], end="\n\n", flush=True)
    return dict(outcomes), survivors


if __name__ == "__main__":
    main()
