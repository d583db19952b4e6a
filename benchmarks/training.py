"""Training throughput: this project's loop next to timm's own training script.

    python benchmarks/training.py --timm-script pytorch-image-models/train.py
    python benchmarks/training.py --timm-script ... --side 32 --model lcnet_050 --images 8192

Both train the same timm network on the same JPEG files with the same batch, augmentation,
optimizer, number of reading processes and threads, each in a process of its own, in turns. The
figure is that which each prints for its last epoch: images per second of training, without
start-up and validation. A third run keeps all images decoded in memory; on a GPU a fourth one also
launches forward and backward pass as one CUDA graph. timm's script is in its repository, not in
its wheel. Prints a table, writes ``results/training-MODEL-SIDE.json`` beside this file, with
``--device cuda`` ``training-MODEL-SIDE-cuda.json``. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lwdna.engine import machine, versions
from lwdna.files import write_json

RATE = re.compile(r"Train: (\d+) .*?\(\s*[\d.]+s,\s*([\d.]+)/s\)")


def main() -> None:
    arguments = parse()
    suffix = "" if arguments.device == "cpu" else f"-{arguments.device}"
    name = f"training-{arguments.model}-{arguments.side}{suffix}.json"
    out = arguments.out or Path(__file__).parent / "results" / name
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = work / "data"
        write_images(data, arguments.images, arguments.side)
        kinds = ["timm", "files", "memory", *(["graph"] if arguments.device == "cuda" else [])]
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(arguments.repeats):
            for kind, done in rates.items():
                folder = work / f"{kind}{turn}"
                if kind == "timm":
                    done.append(run_timm(arguments, data, folder))
                else:
                    done.append(run_ours(arguments, data, folder, kind))
                print(f"turn {turn + 1}: {kind} {done[-1]:.1f} images per second", flush=True)
            report = summary(arguments, rates)
            write_json(out, report)
    print("| reads from | images per second | to timm |\n|---|---:|---:|")
    for kind, rate in report["images_per_second"].items():
        print(f"| {kind} | {rate} | {report['ratio_to_timm'].get(kind, 1)} |")
    print(f"written to {out}")


def summary(arguments: argparse.Namespace, rates: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians, and ratios of the runs of one turn."""
    ratios = {
        kind: statistics.median(o / t for o, t in zip(rates[kind], rates["timm"], strict=True))
        for kind in rates
        if kind != "timm"
    }
    return {
        "model": arguments.model,
        "side": arguments.side,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "workers": arguments.workers,
        "device": arguments.device,
        "channels_last": arguments.channels_last,
        "seed": 0,
        "versions": versions(),
        "machine": machine(),
        "images_per_second": {k: round(statistics.median(v), 1) for k, v in rates.items()},
        "ratio_to_timm": {kind: round(ratio, 3) for kind, ratio in ratios.items()},
        "all": {kind: [round(value, 1) for value in values] for kind, values in rates.items()},
    }


def run_timm(arguments: argparse.Namespace, data: Path, out: Path) -> float:
    size = str(arguments.side)
    command = [
        sys.executable, str(arguments.timm_script), "--data-dir", str(data),
        "--train-split", "train", "--val-split", "val", "--num-classes", "10",
        "--model", arguments.model, "--input-size", "3", size, size,
        "--batch-size", str(arguments.batch), "--epochs", str(arguments.epochs),
        "--opt", "sgd", "--momentum", "0.9", "--lr", "0.01", "--weight-decay", "1e-4",
        "--sched", "cosine", "--warmup-epochs", "0", "--cooldown-epochs", "0",
        "--color-jitter", "0", "--hflip", "0.5", "--train-interpolation", "bilinear",
        "--workers", str(arguments.workers), "--device", arguments.device,
        "--log-interval", "1000000", "--output", str(out),
    ]  # fmt: skip
    if arguments.channels_last:
        command.append("--channels-last")
    text = run(command, arguments)
    last = [float(rate) for epoch, rate in RATE.findall(text) if int(epoch) > 0]
    if not last:
        raise SystemExit(f"timm's script printed no rate:\n{text[-3000:]}")
    return last[-1]


def run_ours(arguments: argparse.Namespace, data: Path, out: Path, kind: str) -> float:
    command = [
        sys.executable, "-m", "lwdna", "train", "images", "--out", str(out),
        f"model.name=timm:{arguments.model}", f"data.root={data}",
        f"data.image_size={arguments.side}", f"data.workers={arguments.workers}",
        f"data.in_memory={'false' if kind == 'files' else 'true'}",
        f"train.cuda_graph={'true' if kind == 'graph' else 'false'}",
        f"train.batch_size={arguments.batch}", f"train.epochs={arguments.epochs}",
        "train.lr=0.01", "train.warmup_epochs=0", "train.momentum=0.9",
        "train.weight_decay=1e-4",
        f"train.channels_last={'true' if arguments.channels_last else 'false'}",
    ]  # fmt: skip
    run(command, arguments)
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return float(json.loads(lines[-1])["images_per_second"])


def run(command: list[str], arguments: argparse.Namespace) -> str:
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if arguments.device == "cpu" else {}
    done = subprocess.run(
        command,
        env={**os.environ, **hidden, "OMP_NUM_THREADS": str(arguments.threads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")
    return done.stdout


def write_images(data: Path, count: int, side: int) -> None:
    """Write smooth JPEG images of ten classes, a little larger than what is cropped from them."""
    generator = np.random.default_rng(0)
    size = side if side <= 64 else side * 8 // 7
    for number in range(count + 100):
        split = "train" if number < count else "val"
        folder = data / split / f"class{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:06d}.jpg", quality=90)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timm-script", type=Path, required=True, help="timm's train.py")
    parser.add_argument("--model", default="resnet18", help="a network of timm")
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--images", type=int, default=2048, help="training images")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2, help="the last one counts")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="turns; each is written at once")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--channels-last", action="store_true", help="on both sides")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("--epochs must be at least 2: the first one warms up")
    return arguments


if __name__ == "__main__":
    main()
