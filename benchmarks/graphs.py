"""How much faster one CUDA graph per step trains small networks on a GPU.

    python benchmarks/graphs.py [NETWORK ...]

Trains each network for four epochs on 8,192 images of 32 pixels held on the GPU, batch 256, bf16,
launched kernel by kernel and as one graph (``train.cuda_graph``). The figure is that of the last
epoch, in images per second. Prints a table and writes ``results/graphs.json`` beside this file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from lwdna.engine import TrainSettings, machine, read_metrics, train, versions
from lwdna.files import write_json
from lwdna.models import create_model
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from training import write_images

NETWORKS = [
    "lwdna:resnet20_cifar",
    "lwdna:resnet56_cifar",
    "lwdna:mobilenetv2_32px",
    "lwdna:regnety_002_32px",
    "lwdna:densenet40_cifar",
]
RESULTS = Path(__file__).parent / "results" / "graphs.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("needs a CUDA GPU")
    rates: dict[str, dict[str, float]] = {}
    print("| network | kernel by kernel | one graph | ratio |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), arguments.images, 32)
        task = ClassificationTask(
            ClassificationSettings(root=folder, image_size=32, in_memory=True)
        )
        for name in arguments.networks:
            one, other = (rate(name, task, arguments.batch, graph) for graph in (False, True))
            rates[name] = {"kernels": round(one), "graph": round(other)}
            print(f"| {name} | {one:.0f} | {other:.0f} | {other / one:.1f} |", flush=True)
    found = {"batch": arguments.batch, "images": arguments.images, "seed": 0}
    write_json(
        arguments.out,
        {**found, "versions": versions(), "machine": machine(), "images_per_second": rates},
    )
    print(f"written to {arguments.out}")


def rate(name: str, task: ClassificationTask, batch: int, graph: bool) -> float:
    """Return images per second of the fourth epoch."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=task.num_classes)
    settings = TrainSettings(
        epochs=4,
        batch_size=batch,
        lr=0.05,
        mixed_precision="bf16",
        channels_last=True,
        cuda_graph=graph,
        eval_every=4,
    )
    with tempfile.TemporaryDirectory() as folder:
        train(model, task, settings, folder, seed=0)
        return read_metrics(folder)[-1]["images_per_second"]


if __name__ == "__main__":
    main()
