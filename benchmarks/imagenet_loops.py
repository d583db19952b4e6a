"""Training loops from the same files, for imagenet.py: this project's, timm's, torchvision's.

    python benchmarks/imagenet_loops.py SIDE FOLDER [options]

Prints one line of JSON per part. A part is a loader alone, training on one batch that stays on the
device ("compute"), or training from files. timm's loop is made of the pieces that its script is
made of, and does at every step what that does; torchvision's is that of its references.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from lwdna.engine import Hooks, TrainSettings, train
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask

Batches = Iterable[tuple[Tensor, Tensor]]
PARTS = ("loader", "compute", "files", "compute, compiled", "files, compiled")


class Clock:
    """Images per second between two steps, the first of which ends the warm-up."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.steps, self.start, self.rate = given, 0, 0.0, 0.0

    def tick(self, *_: object) -> bool:
        """Count a step; return whether it was the last."""
        self.steps += 1
        if self.steps not in (self.given.warmup, self.given.warmup + self.given.steps):
            return False
        if self.given.device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self.steps == self.given.warmup:
            self.start = now
            return False
        self.rate = self.given.steps * self.given.batch / (now - self.start)
        return True


class OneBatch(ClassificationTask):
    """A task that trains on its first batch again and again."""

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Any]:
        first = list(super().train_batches(batches[:1], seed=seed, epoch=epoch, device=device))
        return itertools.chain.from_iterable(itertools.repeat(first, len(batches)))


def ours(part: str, given: argparse.Namespace) -> float:
    """Return images per second of this project's loader, or of its training loop."""
    kind = OneBatch if part.startswith("compute") else ClassificationTask
    task = kind(
        ClassificationSettings(
            root=given.folder, image_size=given.side, workers=given.workers, scan=False,
            decode=given.decode,
        )
    )  # fmt: skip
    clock = Clock(given)
    if part == "loader":
        count = given.warmup + given.steps
        order = torch.randperm(task.train_size)[: count * given.batch].view(count, -1)
        batches = task.train_batches(order.tolist(), seed=0, epoch=0, device=given.torch_device)
        return run_through(batches, clock)
    settings = TrainSettings(
        epochs=1, batch_size=given.batch, lr=0.1, momentum=0.9, weight_decay=1e-4,
        mixed_precision=given.precision, channels_last=given.channels_last,
        compile="compiled" in part, cuda_graph=given.graph,
    )  # fmt: skip
    torch.manual_seed(0)
    model = timm.create_model(given.model, num_classes=task.num_classes)
    with tempfile.TemporaryDirectory() as folder:
        train(
            model, task, settings, folder, seed=0, steps=given.warmup + given.steps,
            evaluate=False, hooks=Hooks(after_step=clock.tick),
        )  # fmt: skip
    return clock.rate


def timms(part: str, given: argparse.Namespace) -> float:
    """Return images per second of timm's loader, or of a loop as its script has it."""
    from timm.data import create_dataset, create_loader

    loader = create_loader(
        create_dataset("", str(given.folder), split="train"),
        input_size=(3, given.side, given.side), batch_size=given.batch, is_training=True,
        use_prefetcher=True, hflip=0.5, color_jitter=None, interpolation="bilinear",
        num_workers=given.workers, device=given.torch_device, pin_memory=False,
        persistent_workers=given.workers > 0,
    )  # fmt: skip
    return other(part, given, loader)


def torchvisions(part: str, given: argparse.Namespace) -> float:
    """Return images per second of the loader and loop of torchvision's references."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(given.side),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    images = datasets.ImageFolder(str(given.folder / "train"), transforms.Compose(steps))
    loader = DataLoader(
        images, given.batch, shuffle=True, num_workers=given.workers, drop_last=True,
        pin_memory=given.device == "cuda",
    )  # fmt: skip

    class Moved:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            device = given.torch_device
            for image, target in loader:
                yield image.to(device, non_blocking=True), target.to(device, non_blocking=True)

    return other(part, given, Moved())


def other(part: str, given: argparse.Namespace, batches: Batches) -> float:
    """Return images per second of a plain loop over batches on the device."""
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import AverageMeter

    clock = Clock(given)
    if part == "loader":
        return run_through(batches, clock)
    if part.startswith("compute"):
        batches = itertools.repeat(next(iter(batches)))
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(given.model, num_classes=given.classes)
    model.to(given.torch_device)
    if given.channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, "sgd", lr=0.1, momentum=0.9, weight_decay=1e-4)
    count = given.warmup + given.steps
    scheduler, _ = create_scheduler_v2(
        optimizer, "cosine", num_epochs=1, step_on_epochs=False, updates_per_epoch=count
    )
    step = torch.compile(model) if "compiled" in part else model
    criterion, losses = nn.CrossEntropyLoss(), AverageMeter()
    bf16 = given.precision == "bf16"
    model.train()
    for image, target in batches:
        if given.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(given.device, torch.bfloat16) if bf16 else nullcontext():
            loss = criterion(step(image), target)
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), len(image))
        optimizer.zero_grad()
        scheduler.step_update(num_updates=clock.steps + 1, metric=losses.avg)
        if clock.tick():
            break
    return clock.rate


def run_through(batches: Batches, clock: Clock) -> float:
    for _ in batches:
        if clock.tick():
            break
    return clock.rate


SIDES: dict[str, Callable[[str, argparse.Namespace], float]] = {
    "ours": ours, "timm": timms, "torchvision": torchvisions,
}  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("who", choices=SIDES)
    parser.add_argument("folder", type=Path, help="with train and val")
    parser.add_argument("--parts", nargs="+", default=PARTS[:3], choices=PARTS)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="no", choices=["no", "bf16"])
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--decode", default="cpu", choices=["cpu", "gpu"], help="ours")
    parser.add_argument("--graph", action="store_true", help="ours: train.cuda_graph")
    given = parser.parse_args()
    given.torch_device = torch.device(given.device)
    given.classes = sum(1 for _ in (given.folder / "train").iterdir())
    return given


def main() -> None:
    given = parse()
    if given.device == "cpu":
        torch.set_num_threads(given.threads)
    for part in given.parts:
        start = time.perf_counter()
        if given.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        line: dict[str, Any] = {"side": given.who, "part": part}
        if given.who == "ours":
            line |= {"decode": given.decode, "graph": given.graph}
        try:
            line["images_per_second"] = round(SIDES[given.who](part, given), 1)
        except Exception as error:  # one part's failure does not stop the others
            line["error"] = f"{type(error).__name__}: {error}"[:500]
        line["seconds"] = round(time.perf_counter() - start, 1)
        if given.device == "cuda":
            line["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        print(json.dumps(line), flush=True)
        torch.compiler.reset()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
