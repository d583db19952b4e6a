"""Data, training and measuring for ``slim.py``: one compact loop for every network and method.

Images stay on the device as bytes. On a GPU a whole step (normalisation, forward and backward
pass, the teacher's forward pass, optimizer) is one CUDA graph, because networks this small
are bound by launches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
CLASSES = 100
MOMENTUM = 0.9


@dataclass(frozen=True)
class Data:
    """CIFAR-100 on a device: images (N, side, side, 3) as bytes, classes (N,)."""

    train: Tensor
    train_classes: Tensor
    test: Tensor
    test_classes: Tensor

    @property
    def side(self) -> int:
        return self.train.shape[1]


def load(file: Path, device: torch.device, limit: int | None = None) -> Data:
    """Return a cache's data; with a ``limit`` only so many images of either half, mixed."""
    found = {}
    with np.load(file) as arrays:
        for split in ("train", "test"):
            images, classes = arrays[split], arrays[f"{split}_classes"]
            if limit:
                chosen = np.random.default_rng(0).permutation(len(images))[:limit]
                images, classes = images[chosen], classes[chosen]
            found[split] = torch.from_numpy(images).to(device)
            found[f"{split}_classes"] = torch.from_numpy(classes).long().to(device)
    return Data(**found)


def normalised(images: Tensor) -> Tensor:
    """Return bytes (N, H, W, 3) as a network's input (N, 3, H, W), channels last in memory."""
    scale, shift = _scale_and_shift(images.device)
    return (images * scale + shift).permute(0, 3, 1, 2)


@cache
def _scale_and_shift(device: torch.device) -> tuple[Tensor, Tensor]:
    std = torch.tensor(STD, device=device)
    return 1 / (255 * std), -torch.tensor(MEAN, device=device) / std


def augmented(images: Tensor, order: Tensor, generator: torch.Generator) -> Tensor:
    """Return images in an order, each cropped after padding by an eighth and flipped by chance."""
    side, pad, n = images.shape[1], images.shape[1] // 8, len(order)
    device = images.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (n, 1), generator=generator, device=device)

    padded = F.pad(images, (0, 0, pad, pad, pad, pad))
    steps = torch.arange(side, device=device)
    rows = draw(2 * pad + 1) + steps
    cols = draw(2 * pad + 1) + torch.where(draw(2).bool(), steps.flip(0), steps)
    return padded[order[:, None, None], rows[:, :, None], cols[:, None, :]]


class Sgd:
    """SGD with Nesterov's momentum whose learning rate is a tensor, so that a graph can hold it."""

    def __init__(self, model: nn.Module, weight_decay: float) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.momentum = [torch.zeros_like(p) for p in self.parameters]
        self.lr = torch.zeros((), device=self.parameters[0].device)
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self) -> None:
        gradients = [p.grad for p in self.parameters]
        if self.weight_decay:
            gradients = torch._foreach_add(gradients, self.parameters, alpha=self.weight_decay)
        torch._foreach_mul_(self.momentum, MOMENTUM)
        torch._foreach_add_(self.momentum, gradients)
        update = torch._foreach_add(gradients, self.momentum, alpha=MOMENTUM)
        torch._foreach_mul_(update, self.lr)
        torch._foreach_sub_(self.parameters, update)


@dataclass(frozen=True)
class Schedule:
    """How long and how a network is trained."""

    epochs: float
    lr: float
    batch: int = 256
    weight_decay: float = 5e-4
    warmup: float = 0.0
    """Part of the steps in which the learning rate rises."""
    distill: float = 0.0
    temperature: float = 4.0
    amp: bool = False
    channels_last: bool = True
    graph: bool = True

    def rate(self, done: float) -> float:
        """Return the learning rate after a part ``done`` of the steps."""
        if done < self.warmup:
            return self.lr * done / self.warmup
        return self.lr * 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))


def train(
    model: nn.Module,
    data: Data,
    schedule: Schedule,
    seed: int,
    *,
    teacher: nn.Module | None = None,
    part: tuple[float, float] = (0.0, 1.0),
    after_backward: Callable[[], None] | None = None,
    after_epoch: Callable[[], None] | None = None,
) -> None:
    """Train a network in place, or only a part of its schedule.

    Args:
        teacher: from whose logits it learns as well, where the schedule says so.
        part: begin and end, as fractions of all steps.
        after_backward: may change gradients; without a CUDA graph then.
    """
    device = data.train.device
    n = len(data.train)
    batch = min(schedule.batch, n)
    per_epoch = n // batch
    total = max(1, round(schedule.epochs * per_epoch))
    first, last = (round(one * total) for one in part)
    if last <= first:
        return
    layout = torch.channels_last if schedule.channels_last else torch.contiguous_format
    model.to(memory_format=layout).train()
    if teacher is not None:
        teacher.to(memory_format=layout).eval()
    optimizer = Sgd(model, schedule.weight_decay)
    images = torch.zeros_like(data.train[:batch])
    classes = torch.zeros_like(data.train_classes[:batch])

    def step() -> None:
        for p in optimizer.parameters:
            p.grad = None
        loss = loss_of(model, images, classes, schedule, teacher)
        loss.backward()
        if after_backward:
            after_backward()
        optimizer.step()

    run = step
    if device.type == "cuda" and schedule.graph and after_backward is None:
        run = captured(step, model, optimizer)
    generator = torch.Generator(device=device).manual_seed(1_000_003 * seed + first)
    for number in range(first, last):
        place = (number - first) % per_epoch
        if place == 0:
            order = torch.randperm(n, generator=generator, device=device)
            epoch = augmented(data.train, order, generator)
            targets = data.train_classes[order]
        images.copy_(epoch[place * batch : (place + 1) * batch])
        classes.copy_(targets[place * batch : (place + 1) * batch])
        optimizer.lr.fill_(schedule.rate((number + 1) / total))
        run()
        if after_epoch and place == per_epoch - 1:
            after_epoch()
    if device.type == "cuda":
        torch.cuda.synchronize()
    for p in optimizer.parameters:
        p.grad = None


def captured(step: Callable[[], None], model: nn.Module, optimizer: Sgd) -> Callable[[], None]:
    """Return a step's CUDA graph; what its trial runs changed is put back."""
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    optimizer.lr.fill_(0.0)
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    for p in optimizer.parameters:
        p.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(kept[name])
        for buffer in optimizer.momentum:
            buffer.zero_()
    return graph.replay


def loss_of(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    schedule: Schedule,
    teacher: nn.Module | None = None,
) -> Tensor:
    """Return the mean loss of a batch of bytes: of the classes and, if so, the teacher's logits."""
    inputs = normalised(images)
    if not schedule.channels_last:
        inputs = inputs.contiguous()
    amp = torch.autocast(
        images.device.type, dtype=torch.bfloat16, enabled=schedule.amp, cache_enabled=False
    )
    with amp:
        logits = model(inputs)
    logits = logits.float()
    loss = F.cross_entropy(logits, classes)
    if teacher is None or not schedule.distill:
        return loss
    with torch.no_grad(), amp:
        wanted = teacher(inputs)
    t = schedule.temperature
    soft = F.kl_div(
        F.log_softmax(logits / t, 1),
        F.log_softmax(wanted.float() / t, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - schedule.distill) * loss + schedule.distill * t * t * soft


@torch.no_grad()
def accuracy(model: nn.Module, data: Data, batch: int = 2000) -> float:
    """Return the top-1 accuracy on the test images in per cent."""
    model.eval()
    right = torch.zeros((), dtype=torch.long, device=data.test.device)
    for images, classes in zip(data.test.split(batch), data.test_classes.split(batch), strict=True):
        right += (model(normalised(images)).argmax(1) == classes).sum()
    return 100 * right.item() / len(data.test)


@torch.no_grad()
def recalibrate(model: nn.Module, data: Data, seed: int, batch: int = 500, count: int = 20) -> None:
    """Take the statistics of batch normalisation anew: the mean over batches, as trained on."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    model.train()
    generator = torch.Generator(device=data.train.device).manual_seed(seed)
    order = torch.randperm(len(data.train), generator=generator, device=data.train.device)
    for some in order[: batch * count].split(batch):
        model(normalised(augmented(data.train, some, generator)))
    for m, momentum in zip(norms, before, strict=True):
        m.momentum = momentum
    model.eval()


def batches_of(data: Data, count: int, size: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return batches of augmented training images (normalised) and their classes."""
    generator = torch.Generator(device=data.train.device).manual_seed(seed)
    order = torch.randperm(len(data.train), generator=generator, device=data.train.device)
    chosen = order[: count * size].split(size)
    return [
        (normalised(augmented(data.train, some, generator)), data.train_classes[some])
        for some in chosen
    ]


def macs_of(model: nn.Module, side: int) -> int:
    """Return multiply-accumulates for one image by torch's own counter, the same for everybody."""
    parameter = next(model.parameters())
    counter = FlopCounterMode(display=False)
    was = model.training
    model.eval()
    with counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side, device=parameter.device))
    model.train(was)
    return counter.get_total_flops() // 2


def params_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
