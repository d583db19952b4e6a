"""Throughput of reading and augmenting images, without any network.

    python benchmarks/loaders.py
    python benchmarks/loaders.py --side 32 --images 8192

The same JPEG images lie in class folders, in WebDataset shards, in a Parquet file and (for small
ones) decoded in memory; next to them timm's own loader on the folders. Each is gone through for a
few epochs of training batches, in random order; the first one warms up. Prints a table, writes
``benchmarks/results/loaders-SIDE.json``. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from lwdna.engine import machine, versions
from lwdna.engine.order import train_batches
from lwdna.files import write_json
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from training import write_images

HERE = Path(__file__).parent
Epoch = Callable[[int], Iterator[object]]


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ.update(XDG_CACHE_HOME=str(work / "cache"), HF_HOME=str(work / "hf"))
        write_images(work / "folder", arguments.images, arguments.side)
        write_shards(work / "folder", work / "shards")
        write_parquet(work / "folder", work / "parquet")
        kinds: dict[str, Epoch] = {
            kind: ours(work / kind, arguments, in_memory=False)
            for kind in ("folder", "shards", "parquet")
        }
        if arguments.side <= 96:
            kinds["memory"] = ours(work / "folder", arguments, in_memory=True)
        kinds["timm, folder"] = theirs(work / "folder", arguments)
        report = {kind: measure(epoch, arguments) for kind, epoch in kinds.items()}
    print("| reads from | images per second |\n|---|---:|")
    for kind, rate in report.items():
        print(f"| {kind} | {rate} |")
    out = arguments.out or HERE / "results" / f"loaders-{arguments.side}.json"
    given = {key: value for key, value in vars(arguments).items() if key != "out"}
    facts = {"seed": 0, "versions": versions(), "machine": machine()}
    write_json(out, {**given, **facts, "images_per_second": report})
    print(f"written to {out}")


def measure(epoch: Epoch, arguments: argparse.Namespace) -> float:
    """Return images per second of the fastest epoch but the first."""
    rates = []
    for number in range(arguments.epochs + 1):
        start = time.perf_counter()
        count = arguments.batch * sum(1 for _ in epoch(number))
        rates.append(count / (time.perf_counter() - start))
    return round(max(rates[1:]), 1)


def ours(root: Path, arguments: argparse.Namespace, *, in_memory: bool) -> Epoch:
    task = ClassificationTask(
        ClassificationSettings(
            root=root,
            image_size=arguments.side,
            workers=arguments.workers,
            in_memory=in_memory,
        )
    )

    def epoch(number: int) -> Iterator[object]:
        order = train_batches(task.train_size, arguments.batch, seed=0, epoch=number)
        batches = [batch.tolist() for batch in order]
        return task.train_batches(batches, seed=0, epoch=number, device=torch.device("cpu"))

    return epoch


def theirs(root: Path, arguments: argparse.Namespace) -> Epoch:
    from timm.data import create_dataset, create_loader

    loader = create_loader(
        create_dataset("", str(root), split="train"),
        input_size=(3, arguments.side, arguments.side),
        batch_size=arguments.batch,
        is_training=True,
        use_prefetcher=False,
        hflip=0.5,
        color_jitter=None,
        interpolation="bilinear",
        num_workers=arguments.workers,
        device=torch.device("cpu"),
        persistent_workers=arguments.workers > 0,
    )
    return lambda _: iter(loader)


def write_shards(source: Path, target: Path) -> None:
    """Write the images of class folders as tar files of a thousand samples."""
    target.mkdir()
    for split in ("train", "val"):
        files = sorted((source / split).glob("*/*.jpg"))
        for start in range(0, len(files), 1000):
            with tarfile.open(target / f"{split}-{start // 1000:06d}.tar", "w") as archive:
                for number, file in enumerate(files[start : start + 1000]):
                    label = file.parent.name.removeprefix("class").encode()
                    for name, content in (("jpg", file.read_bytes()), ("cls", label)):
                        entry = tarfile.TarInfo(f"{number:06d}.{name}")
                        entry.size = len(content)
                        archive.addfile(entry, io.BytesIO(content))


def write_parquet(source: Path, target: Path) -> None:
    """Write the images of class folders as one Parquet file per split."""
    import datasets

    (target / "data").mkdir(parents=True)
    names = sorted(folder.name for folder in (source / "train").iterdir())
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    )
    for split in ("train", "val"):
        files = sorted((source / split).glob("*/*.jpg"))
        rows = {
            "image": [{"bytes": file.read_bytes(), "path": None} for file in files],
            "label": [names.index(file.parent.name) for file in files],
        }
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(str(target / "data" / f"{split}-00000-of-00001.parquet"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=224, help="pixels")
    parser.add_argument("--images", type=int, default=2048, help="training images")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="processes that read images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
