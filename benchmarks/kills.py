"""Runs that are killed or stopped at random moments, resumed, and compared with undisturbed ones.

    python benchmarks/kills.py --interruptions 60

Trains, searches with a warm-up, searches with trials and compares arms on a few generated images,
on the CPU. Each run gets one to three signals (SIGKILL, SIGTERM or SIGINT), after a random share of
the time that the job takes, or as soon as a file is being written. The command that a user would
give goes on each time. At the end every file must be what an undisturbed run leaves, but for times,
and no other file may be there. Prints a table and writes ``benchmarks/results/kills.json``; exits
with 1 if anything differs.

Processes are forked off this one, which has imported torch, so that no time goes into that. They
draw from ``--seed``, but the moments are those of a clock: no two runs are interrupted alike.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import lwdna.data.memory_batches
import lwdna.data.worker_batches
import lwdna.methods.trials
import lwdna.models.small_input
import lwdna.reports.study_page
import lwdna.tasks.classification.task
import lwdna.workflows.compare  # noqa: F401 - all imported once, for all processes
from lwdna.cli.app import app
from lwdna.engine import machine, versions
from lwdna.engine.checkpoint import load_state
from lwdna.files import CHECKSUM, read_json, write_json
from lwdna.run_folder import RECIPE, last_checkpoint

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 300.0
"""Seconds after which a process is taken to hang."""
TIMES = {
    "seconds", "images_per_second", "train_seconds", "total_seconds", "latency_ms", CHECKSUM,
}  # fmt: skip
"""Names of what may differ; a checksum covers times, too."""
DATA = (
    "images", "--model", "lwdna:resnet8_digits", "data.image_size=8", "data.resize=8",
    "train.batch_size=12", "train.epochs=3", "train.warmup_epochs=0", "train.checkpoint_every=2",
    "train.lr=0.05", "shrink.batch_size=12", "shrink.multiple=1",
)  # fmt: skip
JOBS = {
    "training": ("train", "data.workers=1", "data.in_memory=false"),
    "warm-up": (
        "shrink", "shrink.warmup.epochs=2", "shrink.warmup.batch_size=12",
        "shrink.warmup.checkpoint_every=1", "shrink.inherit=true",
    ),
    "trials": ("shrink", "shrink.trials.count=6", "shrink.trials.length=1"),
    "comparison": ("compare", "--arms", "baseline,lwdna,random", "--seeds", "2"),
}  # fmt: skip
"""A command by the name of the job; the data and a folder are added."""


@dataclass(frozen=True)
class Run:
    """A run that was interrupted."""

    job: str
    signals: tuple[str, ...]
    """Those that met a process at work."""
    writing: int
    """How many of them came while a file was being written."""
    failed: str
    """The last line of a command that did not end well; empty if all did."""
    different: tuple[str, ...]
    """Files that are not what an undisturbed run leaves."""
    left_over: tuple[str, ...]
    """Files that an undisturbed run does not leave."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interruptions", type=int, default=60, help="how many at least")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/kills.json")
    arguments = parser.parse_args()
    arguments.out = arguments.out.absolute()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        runs = disturbed(arguments.jobs, arguments.interruptions, arguments.seed)
    table = summed(runs)
    print(f"{'job':<11} {'runs':>5} {'signals':>8} {'while writing':>14} {'other result':>13} left")
    for job, row in table.items():
        print(
            f"{job:<11} {row['runs']:>5} {row['signals']:>8} {row['while_writing']:>14} "
            f"{row['other_result']:>13} {row['left_over']:>4}"
        )
    record = {"seed": arguments.seed, "table": table, "runs": [asdict(run) for run in runs]}
    write_json(arguments.out, {**record, "versions": versions(), "machine": machine()})
    faults = [run for run in runs if run.failed or run.different or run.left_over]
    for run in faults:
        print(run)
    sys.exit(bool(faults))


def disturbed(jobs: Sequence[str], interruptions: int, seed: int) -> list[Run]:
    """Interrupt runs of some jobs in turn until there were so many interruptions."""
    make_images(Path("images"), seed)
    undisturbed = {}
    for job in jobs:
        start = time.monotonic()
        whole = Path("whole") / job
        code, said = finished(start_process(command(job, whole, goes_on=False)))
        if code != 0:
            raise SystemExit(f"{job} fails undisturbed: {said}")
        undisturbed[job] = contents(whole), time.monotonic() - start
        unwanted = [name for name in undisturbed[job][0] if name.endswith((".lock", "-part"))]
        if unwanted:
            raise SystemExit(f"{job} leaves {', '.join(unwanted)} undisturbed")
    draws = random.Random(seed)
    runs: list[Run] = []
    while sum(len(run.signals) for run in runs) < interruptions:
        job = jobs[len(runs) % len(jobs)]
        expected, seconds = undisturbed[job]
        runs.append(interrupted(job, expected, seconds, Path(f"run{len(runs)}"), draws))
        print(f"{sum(len(run.signals) for run in runs)} of {interruptions}", file=sys.stderr)
    return runs


def interrupted(
    job: str, expected: dict[str, Any], seconds: float, out: Path, draws: random.Random
) -> Run:
    """Run a job, interrupt it up to three times, let it finish and compare what it leaves."""
    met, writing, code = [], 0, 1
    for _ in range(draws.randint(1, 3)):
        chosen = draws.choice(SIGNALS)
        while_writing = draws.random() < 0.4
        process = start_process(command(job, out, goes_on(job, out)))
        deadline = time.monotonic() + draws.random() * seconds
        count = draws.randint(1, 12)  # the so-manieth file that is seen being written
        if alive_at(process, deadline, out, count if while_writing else None):
            writing += bool(parts_in(out))
            os.kill(process, chosen)
            met.append(chosen.name)
        code, said = finished(process)
        if code == 0 or was_done(said):
            break
        if code not in (130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
            return Run(job, tuple(met), writing, f"{code}: {said}", (), ())
    if code != 0:  # maybe after the last file was written: a user does not know
        code, said = finished(start_process(command(job, out, goes_on(job, out))))
        if code != 0 and not was_done(said):
            return Run(job, tuple(met), writing, f"{code}: {said}", (), ())
    found = contents(out)
    different = [name for name in expected if found.get(name) != expected[name]]
    left_over = [name for name in found if name not in expected]
    return Run(job, tuple(met), writing, "", tuple(different), tuple(left_over))


def command(job: str, out: Path, goes_on: bool) -> list[str]:
    """Return what a user would type."""
    verb, *options = JOBS[job]
    if goes_on:
        return [verb, "--resume", "--out", str(out)]
    return [verb, *DATA, *options, "--data", "images", "--out", str(out)]


def goes_on(job: str, out: Path) -> bool:
    """Whether there is something to resume; otherwise the command is given again."""
    return last_checkpoint(out).exists() if job == "training" else (out / RECIPE).exists()


def was_done(said: str) -> bool:
    """Whether a search refuses to go on because it had come to its end."""
    return "already holds an architecture" in said


def start_process(arguments: Sequence[str]) -> int:
    """Start the command line in a process that is forked off; return its number."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # a shell in the background hides it
        said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        app(list(arguments), standalone_mode=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    finally:
        sys.stdout.flush()
        os._exit(code)


def finished(process: int) -> tuple[int, str]:
    """Wait for a process; return its code and the last line that it printed."""
    deadline = time.monotonic() + PATIENCE
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            lines = Path("said.txt").read_text(errors="replace").splitlines() or [""]
            return os.waitstatus_to_exitcode(status), lines[-1]
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.005)


def alive_at(process: int, deadline: float, out: Path, count: int | None) -> bool:
    """Wait for a moment; return whether the process is still at work then.

    The moment is ``deadline`` or, with a ``count``, when so many files were seen being written.
    """
    seen: set[str] = set()
    while count is not None or time.monotonic() < deadline:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        if count is None:
            time.sleep(0.0005)
            continue
        now = parts_in(out)
        seen.update(now)
        if now and len(seen) >= count:
            return True
    return True


def parts_in(out: Path) -> list[str]:
    """Return the files that are being written at the moment."""
    return [name for name in everything(out) if ".lwdna-part" in name]


def everything(out: Path) -> Iterator[str]:
    """Yield all files, and folders of files that are being written, below a folder."""
    for place, folders, files in os.walk(out):
        for name in [*files, *(folder for folder in folders if "lwdna-part" in folder)]:
            yield str(Path(place, name).relative_to(out))


def contents(out: Path) -> dict[str, Any]:
    """Return what a run left, by file, without times. Events and pages are only there or not."""
    found: dict[str, Any] = {}
    for name in everything(out):
        path = out / name
        if "tensorboard" in name:  # each sitting has a file of its own
            continue
        if name.endswith(("report.html", "timings.json")) or path.is_dir():
            found[name] = None
        elif path.name == "last.safetensors":
            found[name] = timeless(load_state(path))
        elif path.suffix == ".json":
            found[name] = timeless(read_json(path))
        elif path.suffix == ".jsonl":
            found[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        else:
            found[name] = path.read_bytes()
    return found


def timeless(value: Any) -> Any:
    """Return data without what depends on time; tensors become bytes."""
    if isinstance(value, dict):
        return {key: timeless(part) for key, part in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [timeless(part) for part in value]
    return value.numpy().tobytes() if isinstance(value, torch.Tensor) else value


def make_images(root: Path, seed: int) -> None:
    """Write three classes of eight training and four validation images, which differ in colour."""
    generator = np.random.default_rng(seed)
    for half, count in (("train", 8), ("val", 4)):
        for number, name in enumerate(("ant", "bee", "cat")):
            folder = root / half / name
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = generator.integers(0, 150, (10, 10, 3))
                pixels[..., number] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{image}.png")


def summed(runs: Sequence[Run]) -> dict[str, dict[str, int]]:
    """Return the figures of each job and of all."""
    table = {}
    for job in (*JOBS, "all"):
        own = [run for run in runs if job in (run.job, "all")]
        by_signal = {one.name: sum(run.signals.count(one.name) for run in own) for one in SIGNALS}
        table[job] = {
            "runs": len(own),
            "signals": sum(by_signal.values()),
            **by_signal,
            "while_writing": sum(run.writing for run in own),
            "other_result": sum(bool(run.failed or run.different) for run in own),
            "left_over": sum(len(run.left_over) for run in own),
        }
    return table


if __name__ == "__main__":
    main()
