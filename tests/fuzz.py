"""Files with odd values and flipped bytes, read under a limit on memory; prints what went wrong.

    python tests/fuzz.py --seed 0 --count 300

An outcome is right if the file is read, or refused by an LwdnaError. The process limits its own
memory, so that what a file makes it allocate ends as an error, too.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MEMORY = 12 * 2**30
"""Bytes of addresses, of which importing torch takes several GB."""

MOST_RESIDENT = 2 * 2**30
"""Bytes that may be used in the end."""

ODD: list[Any] = [
    *(None, True, 0, 1, -1, 2, 7, 10**7, 10**9, 10**12, 2**63, 10**30, -(10**12), 0.5, 1e300),
    *(float("nan"), float("inf"), "", "x", "3", "\x00", "timm:resnet18", "python:os:system"),
    *([], {}, [1], {"a": 1}, [[[]]], [None], [10**9] * 3, {"": {}}, "a" * 10**5, [0] * 10**4),
    *({"trust_code": True}, {"a": {"b": {"c": [1, {"d": 2}]}}}, [[3, 8, 8], [1]]),
]

NETWORKS: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("lwdna:resnet8_digits", {"num_classes": 10, "in_chans": 1}, (1, 8, 8)),
    ("timm:test_resnet", {"num_classes": 5, "in_chans": 3, "drop_rate": 0.1}, (3, 32, 32)),
    ("torchvision:shufflenet_v2_x0_5", {"num_classes": 3}, (3, 32, 32)),
    ("timm:test_vit", {"img_size": 32, "patch_size": 16, "embed_dim": 48}, (3, 32, 32)),
]

Case = tuple[str, Callable[[], Any]]
"""What is done, and a function that does it."""


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value inside, this one first."""
    yield at
    if isinstance(value, dict | list):
        items: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inside in items:
            yield from places(inside, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """Return a copy with another value at a place."""
    if not at:
        return new
    result = copy.deepcopy(value)
    inside = result
    for key in at[:-1]:
        inside = inside[key]
    inside[at[-1]] = new
    return result


def flipped(data: bytes, draw: random.Random) -> bytes:
    """Return the bytes with some changed, taken out or put in."""
    result = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        # a header is small beside what follows, and has more to break
        place = draw.randrange(draw.choice((min(64, len(result)), len(result))))
        match draw.randrange(4):
            case 0:
                result[place] ^= 1 << draw.randrange(8)
            case 1:
                result[place] = draw.randrange(256)
            case 2:
                del result[place : place + draw.randrange(1, 9)]
            case _:
                result[place:place] = draw.randbytes(draw.randrange(1, 9))
    return bytes(result)


def architectures(draw: random.Random, folder: Path) -> Iterator[Case]:
    from lwdna.architecture import Architecture, ModelSource

    files = []
    for name, args, size in NETWORKS:
        made = Architecture.of_baseline(ModelSource(name=name, args=args), size)
        files.append(json.loads(made.to_json()))

    def build(text: str) -> Any:
        return Architecture.from_json(text, "file").build(seed=0)

    while True:
        file = draw.choice(files)
        if draw.random() < 0.2:
            text = flipped(json.dumps(file).encode(), draw).decode(errors="surrogateescape")
            yield f"architecture, bytes: {text[:300]}", lambda t=text: build(t)
            continue
        if draw.random() < 0.5:
            unusual = ["name", "trust_code", "in_chans", "num_classes", "width_mult", "layers"]
            at: tuple[Any, ...] = ("model", "args", draw.choice([*file["model"]["args"], *unusual]))
        else:
            # of hundreds of widths one is as good as another
            at = draw.choice([p for p in places(file) if p[:1] != ("widths",) or "conv1" in p])
        value = draw.choice(ODD)
        text = json.dumps(replaced(file, at, value))
        label = f"architecture of {file['model']['name']}, {at} = {value!r:.60}"
        yield label, lambda t=text: build(t)


def weights(draw: random.Random, folder: Path) -> Iterator[Case]:
    from lwdna.architecture import Architecture, ModelSource, load, save

    name, args, size = NETWORKS[0]
    made = Architecture.of_baseline(ModelSource(name=name, args=args), size)
    good, bad = folder / "good.safetensors", folder / "bad.safetensors"
    save(made.build(seed=0), made, good)
    data = good.read_bytes()
    while True:
        changed = flipped(data, draw)

        def read(changed: bytes = changed) -> Any:
            bad.write_bytes(changed)
            return load(bad)

        yield f"weights, bytes, beginning {changed[:40]!r}", read


def checkpoints(draw: random.Random, folder: Path) -> Iterator[Case]:
    import torch

    from lwdna.engine.checkpoint import load_state, save_state

    good, bad = folder / "state.safetensors", folder / "broken.safetensors"
    state = {"model": {"w": torch.randn(7, 3)}, "order": [1, (2, None)], "epoch": 3, "best": 0.5}
    save_state(good, state)
    data = good.read_bytes()
    while True:
        changed = flipped(data, draw)

        def read(changed: bytes = changed) -> Any:
            bad.write_bytes(changed)
            return load_state(bad)

        yield f"checkpoint, bytes, {changed[:200]!r}", read


def recipes(draw: random.Random, folder: Path) -> Iterator[Case]:
    import yaml

    from lwdna.recipe import load_recipe
    from lwdna.workflows.setup import make_source, make_task

    names = ["digits", "cifar10/resnet20"]
    files = [load_recipe(name).model_dump(mode="json") for name in names]
    bad = folder / "recipe.yaml"

    def read(text: str) -> Any:
        bad.write_text(text)
        recipe = load_recipe(bad)
        if recipe.data.model_dump().get("kind") != "digits":
            return
        task = make_task(recipe)
        make_source(recipe, task).create()

    while True:
        file = draw.choice(files)
        at, value = draw.choice(list(places(file))), draw.choice(ODD)
        text = yaml.safe_dump(replaced(file, at, value), sort_keys=False)
        yield f"recipe, {at} = {value!r:.60}", lambda t=text: read(t)


def reports(draw: random.Random, folder: Path) -> Iterator[Case]:
    from lwdna.engine.task import Metric
    from lwdna.reports import compare_run, write_comparison, write_report
    from reports.conftest import chain, make_job
    from reports.studies import Arm, make_study

    job, study = folder / "job", folder / "study"
    make_job(job, chain(3, 16))
    arm = Arm({0: [1, 0, 1, 1], 1: [0, 0, 1, 1]}, {"a": 8})
    make_study(study, Metric("top1", "top-1", ""), {"baseline": arm, "lwdna": arm}, seeds=2)
    files = sorted(p for root in (job, study) for p in root.rglob("*.json*"))

    def read(file: Path, text: str) -> Any:
        before = file.read_text()
        file.write_text(text)
        try:
            if job in file.parents:
                compare_run(job)
                write_report(job)
            else:
                write_comparison(study)
        finally:
            file.write_text(before)

    while True:
        file = draw.choice(files)
        text = file.read_text()
        if file.suffix == ".jsonl" or draw.random() < 0.2:
            changed = flipped(text.encode(), draw).decode(errors="replace")
            what = "bytes"
        else:
            values = json.loads(text)
            at, value = draw.choice(list(places(values))), draw.choice(ODD)
            changed, what = json.dumps(replaced(values, at, value)), f"{at} = {value!r:.60}"
        name = file.relative_to(folder)
        yield f"report, {name}, {what}", lambda f=file, c=changed: read(f, c)


KINDS = (architectures, weights, checkpoints, recipes, reports)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _most_resident() -> int:
    """Return the bytes of memory that this program has had at most.

    What ``getrusage`` tells on Linux is that of whoever started it, if that was larger.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main(arguments: list[str] | None = None) -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--count", type=int, default=250, help="of all kinds together")
    options.add_argument("--kind", choices=[kind.__name__ for kind in KINDS])
    given = options.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.filterwarnings("ignore")
    from lwdna.errors import LwdnaError

    kinds = [kind for kind in KINDS if given.kind in (None, kind.__name__)]
    faults = tried = read = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            # lists in the order of drawing, so that one kind alone repeats what it did
            cases = kind(random.Random(f"{kind.__name__} {given.seed}"), Path(folder))
            for _ in range(given.count // len(kinds)):
                label, act = next(cases)
                tried += 1
                try:
                    act()
                    read += 1
                except LwdnaError as error:
                    if "\n" in str(error) or len(str(error)) > 3000:
                        faults += 1
                        say(f"{label}: no line to read: {str(error)[:300]!r}")
                except BaseException as error:
                    faults += 1
                    say(f"{label}: {type(error).__name__}: {str(error)[:300]!r}")
    used = _most_resident()
    if used > MOST_RESIDENT:
        faults += 1
        say(f"{used / 2**30:.1f} GiB of memory were used")
    say(f"{tried} tried, {read} read, {faults} faults")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
