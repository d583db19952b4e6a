"""Small trainings on one GPU: all at once, as processes, next to one after the other.

    python benchmarks/many.py [--count 8] [--mps]

Each trains ResNet-20 on 8,192 images of 32 pixels held on the GPU, batch 128, bf16, one CUDA graph
per step. Every process trains a few steps first; then all start together. With ``--mps`` a third
way has the processes share the GPU through NVIDIA's Multi-Process Service, which is started for it
and ended. The figures are seconds from the first start to the last end, and with the start of the
processes. Writes ``results/many.json`` after each way.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from lwdna.engine import TrainSettings, machine, train, versions
from lwdna.files import write_json
from lwdna.models import create_model
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from training import write_images

RESULTS = Path(__file__).parent / "results" / "many.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=8, help="trainings")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--network", default="lwdna:resnet20_cifar")
    parser.add_argument("--mps", action="store_true", help="try NVIDIA's MPS, too")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    seconds: dict[str, dict[str, float]] = {}
    ways = ["one after the other", "processes", *(["processes, MPS"] if given.mps else [])]
    facts = {key: value for key, value in vars(given).items() if key not in ("out", "mps")}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        write_images(Path(folder) / "data", given.images, 32)
        for way in ways:
            with service(Path(folder)) if way.endswith("MPS") else nullcontext():
                seconds[way], computer = measure(way, given, Path(folder) / "data")
            print(way, seconds[way], flush=True)
            first = seconds[ways[0]]["training"]
            gains = {name: round(first / one["training"], 2) for name, one in seconds.items()}
            found = {**facts, "seed": 0, "versions": versions(), "machine": computer}
            write_json(given.out, {**found, "seconds": seconds, "gain": gains})


def measure(
    way: str, given: argparse.Namespace, data: Path
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the seconds of all trainings, without and with the start of processes, and the GPU."""
    processes = 1 if way == "one after the other" else given.count
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.SimpleQueue()
    begun = time.time()
    workers = [
        context.Process(
            target=work, args=(number, given.count // processes, given, data, barrier, answers)
        )
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit(f"{way}: a process failed")
    starts, ends, computers = zip(*(answers.get() for _ in workers), strict=True)
    seconds = {
        "training": round(max(ends) - min(starts), 2),
        "with_start": round(max(ends) - begun, 2),
    }
    return seconds, computers[0]


def work(
    number: int, trainings: int, given: argparse.Namespace, data: Path, barrier: Barrier,
    answers: Any,
) -> None:  # fmt: skip
    """Train so many networks, once all processes are ready."""
    torch.set_num_threads(1)
    task = ClassificationTask(
        ClassificationSettings(root=data, image_size=32, in_memory=True, scan=False)
    )
    one_training(task, given, 1000 + number, steps=20)
    barrier.wait(timeout=120)
    start = time.time()
    for index in range(trainings):
        one_training(task, given, number * trainings + index, steps=None)
    answers.put((start, time.time(), machine()))  # asking takes the GPU, so not from main()


def one_training(
    task: ClassificationTask, given: argparse.Namespace, seed: int, steps: int | None
) -> None:
    torch.manual_seed(seed)
    model = create_model(given.network, num_classes=task.num_classes)
    settings = TrainSettings(
        epochs=given.epochs, batch_size=128, lr=0.05, mixed_precision="bf16", channels_last=True,
        cuda_graph=True, eval_every=given.epochs,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        train(model, task, settings, folder, seed=seed, steps=steps, evaluate=steps is None)


@contextmanager
def service(folder: Path) -> Iterator[None]:
    """Run NVIDIA's Multi-Process Service for the processes that are started in the body."""
    for name in ("pipe", "log"):
        (folder / name).mkdir(exist_ok=True)
    names = {"CUDA_MPS_PIPE_DIRECTORY": "pipe", "CUDA_MPS_LOG_DIRECTORY": "log"}
    os.environ.update({key: str(folder / name) for key, name in names.items()})
    subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["nvidia-cuda-mps-control"], input=b"quit\n", check=False, timeout=30)
        for key in names:
            del os.environ[key]


if __name__ == "__main__":
    main()
