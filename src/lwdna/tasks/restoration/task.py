"""Super-resolution and denoising: data, loss and metrics for the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lwdna.data.draws import Stream, uniforms
from lwdna.data.image_files import Pixels
from lwdna.engine.fingerprint import Fingerprint, half_print
from lwdna.engine.task import Metric
from lwdna.errors import ModelError
from lwdna.files import write_json
from lwdna.input_size import InputSize, describe, only
from lwdna.run_folder import EXAMPLE_FIGURES
from lwdna.tasks.means import FiniteMean
from lwdna.tasks.restoration.degrade import gaussian_noise, resize_bicubic
from lwdna.tasks.restoration.inference import Restorer, apply_symmetry
from lwdna.tasks.restoration.layouts import find_pairs, stored_pairs
from lwdna.tasks.restoration.metrics import SSIM_WINDOW, psnr, ssim
from lwdna.tasks.restoration.pictures import busiest_window, write_image
from lwdna.tasks.restoration.settings import RestorationSettings
from lwdna.tasks.restoration.store import ImageStore

_SHOWN = 3
"""How many validation images the report shows."""
_NOISE_SEED = 0
"""Validation noise is the same for all networks and runs."""


class Example(NamedTuple):
    """A validation image: name, input (1, C, h, w) and target (1, C, H, W), values from 0 to 1."""

    name: str
    given: Tensor
    target: Tensor


Batch = tuple[Tensor, Tensor]
"""Training inputs (B, C, h, w) and targets (B, C, H, W), float32, values from 0 to 1."""


class RestorationTask:
    """Images to restore, with loss and metrics; an :class:`lwdna.engine.task.Task`.

    A training example is a patch: example i of an epoch comes from image i modulo the number of
    images; its place, symmetry and noise follow from (seed, epoch, i). Validation images are
    whole, of any size, and restored one by one.

    Args:
        settings: the images and what was done to them.

    Raises:
        DataError: images are missing, damaged or too small.
    """

    metric = Metric("psnr", "PSNR", "dB", worst=0.0)
    other_metrics: tuple[Metric, ...] = (
        Metric("ssim", "SSIM", digits=4),
        Metric("input_psnr", "PSNR of the input", "dB"),
    )

    def __init__(self, settings: RestorationSettings) -> None:
        self.data = settings
        self.train_size = settings.patches
        train, val = find_pairs(settings)
        self._pairs = train, val
        self._train = ImageStore(train, settings, settings.patch_size)
        self._eval = ImageStore(val, settings, SSIM_WINDOW + 2 * settings.border)
        self.eval_size = len(self._eval)
        absolute = settings.loss == "l1" or (settings.loss is None and settings.scale is not None)
        self._loss = F.l1_loss if absolute else F.mse_loss

    def classes(self) -> None:
        """Return None: there are no classes."""

    def fingerprint(self) -> Fingerprint:
        """Return what tells these images from others: names, sizes, sampled contents."""
        train, val = (half_print(stored_pairs(half)) for half in self._pairs)
        return Fingerprint(classes=None, train=train, val=val)

    def example_inputs(self) -> Tensor:
        """Return one training input of noise, shape (1, C, patch / scale, patch / scale)."""
        side = self.data.patch_size // self.data.factor
        size = (1, self.data.in_chans, side, side)
        return torch.rand(size, generator=torch.Generator().manual_seed(0))

    def model_args(self, source: str) -> dict[str, Any]:
        """Return image channels and scale for lwdna's networks; others have words of their own."""
        if source != "lwdna":
            return {}
        args: dict[str, Any] = {"in_chans": self.data.in_chans}
        return args if self.data.scale is None else {"scale": self.data.scale, **args}

    def misfit(self, args: Mapping[str, Any], input_size: InputSize) -> str | None:
        """Say why a network is not for this scale or these images, or return None if it is."""
        scale = args.get("scale")
        if scale is not None and scale != self.data.factor:
            return (
                f"enlarges {scale} times, the recipe asks for "
                f"{self.data.scale or 'the same size'}; use the recipe it was made with"
            )
        size = only(input_size)
        if size is None:
            return (
                f"takes inputs of {describe(input_size)}, the recipe gives one image at a time; "
                "use the recipe it was made with"
            )
        if size[0] != self.data.in_chans:
            return (
                f"takes images of {size[0]} channels, the recipe gives "
                f"{self.data.in_chans}; set data.in_chans={size[0]}"
            )
        return None

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Batch]:
        """Yield one batch of patches on ``device`` per list of example indices."""
        for indices in batches:
            numbers = torch.tensor([int(i) for i in indices])
            places = uniforms(seed, epoch, numbers, 2, Stream.CROP)
            turns = (uniforms(seed, epoch, numbers, 1, Stream.FLIP)[:, 0] * 8).long()
            cut = [
                self._patch(index, place, int(turn) if self.data.augment else 0)
                for index, place, turn in zip(
                    numbers.tolist(), places.tolist(), turns.tolist(), strict=True
                )
            ]
            given, targets = (torch.stack(part).float().div(255) for part in zip(*cut, strict=True))
            if self.data.noise is not None:
                noise = [
                    gaussian_noise(
                        tuple(targets.shape[1:]), self.data.noise, seed=seed, epoch=epoch, index=i
                    )
                    for i in numbers.tolist()
                ]
                given = given + torch.stack(noise)
            yield given.to(device, non_blocking=True), targets.to(device, non_blocking=True)

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[list[Example]]:
        """Yield the images of one list of indices, each by itself: their sizes differ."""
        for indices in batches:
            yield [self._example(int(index), device) for index in indices]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean absolute or squared error of a training batch, a scalar.

        Raises:
            ModelError: the network's output is not as large as the target.
        """
        given, targets = batch
        restored = model(given).float()
        self._check_size(restored, targets)
        loss: Tensor = self._loss(restored, targets)
        return loss

    def metrics(self) -> MetricCollection:
        """Return means over the images: ``psnr`` (dB), ``ssim``, the training ``loss``, and
        ``input_psnr`` of the noisy image or of bicubic enlargement.

        A restored image with values that are not finite counts 0 dB, the worst that images of 256
        levels can have, and an SSIM of 0; the loss is the mean over all others.
        """
        names = ("psnr", "ssim", "input_psnr", "loss")
        return MetricCollection({name: FiniteMean() for name in names}, compute_groups=False)

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: list[Example]
    ) -> tuple[Tensor, list[Tensor]]:
        """Restore the images of a batch and count every one of them once.

        Returns:
            The PSNR of every image, NaN where it has values that are not finite, shape (B,), and
            the restored images.
        """
        restore = self._restorer(model)
        how: Any = {"border": self.data.border, "on_luma": self._on_luma}
        judged, restored = [], []
        for example in batch:
            image = restore(example.given)
            self._check_size(image, example.target)
            whole = image.isfinite().all()
            found = psnr(image, example.target, **how).where(whole, 0.0)
            metrics["psnr"].update(found)
            metrics["ssim"].update(ssim(image, example.target, **how).where(whole, 0.0))
            metrics["input_psnr"].update(psnr(self._enlarged(example), example.target, **how))
            metrics["loss"].update(self._loss(image, example.target))
            judged.append(found.where(whole, torch.nan))
            restored.append(image)
        return torch.stack(judged), restored

    def save(self, batch: list[Example], answers: list[Tensor], folder: Path) -> None:
        """Write the restored images as ``folder/<set>/<image>.png``."""
        for example, restored in zip(batch, answers, strict=True):
            write_image(folder / f"{example.name}.png", restored)

    @torch.no_grad()
    def show(self, model: nn.Module, folder: Path, device: torch.device) -> None:
        """Write crops of the first validation images: input, restored and true.

        ``figures.json`` beside them gives the PSNR of input and output, of the crop alone.
        """
        restore = self._restorer(model)
        figures: dict[str, dict[str, float]] = {}
        for index in range(min(_SHOWN, self.eval_size)):
            example = self._example(index, device)
            rows, columns = busiest_window(example.target)
            views = {
                "input": self._enlarged(example),
                "output": restore(example.given),
                "target": example.target,
            }
            name = example.name.replace("/", "-")
            crops = {kind: image[:, :, rows, columns] for kind, image in views.items()}
            for kind, crop in crops.items():
                write_image(folder / f"{name}-{kind}.png", crop)
            figures[name] = {
                kind: float(psnr(crops[kind], crops["target"], border=0, on_luma=self._on_luma))
                for kind in ("input", "output")
            }
        write_json(folder / EXAMPLE_FIGURES, {"metric": asdict(self.metric), "examples": figures})

    @property
    def _on_luma(self) -> bool:
        """Whether images are judged by their brightness, as in papers on super-resolution."""
        return self.data.scale is not None

    def _restorer(self, model: nn.Module) -> Restorer:
        return Restorer(model, tile=self.data.tile, ensemble=self.data.self_ensemble)

    def _enlarged(self, example: Example) -> Tensor:
        """Return the input in the size of the target."""
        if self.data.scale is None:
            return example.given
        height, width = example.target.shape[2:]
        return resize_bicubic(example.given, height, width)

    def _patch(self, index: int, place: Sequence[float], turn: int) -> tuple[Tensor, Tensor]:
        """Cut input and target of a training example, uint8; the same tensor for denoising."""
        number, factor = index % len(self._train), self.data.factor
        side = self.data.patch_size // factor
        target = self._train.target(number)
        room = [size // factor - side for size in target.shape[1:]]
        top, left = (min(int(u * (r + 1)), r) for u, r in zip(place, room, strict=True))
        large = _cut(target, top * factor, left * factor, side * factor, turn)
        if self.data.scale is None:
            return large, large
        return _cut(self._train.small(number), top, left, side, turn), large

    def _example(self, index: int, device: torch.device) -> Example:
        target = _values(self._eval.target(index), device)
        if self.data.noise is None:
            given = _values(self._eval.small(index), device)
        else:
            noise = gaussian_noise(
                tuple(target.shape[1:]), self.data.noise, seed=_NOISE_SEED, epoch=0, index=index
            )
            given = target + noise.to(device)
        return Example(self._eval.name(index), given, target)

    def _check_size(self, restored: Tensor, target: Tensor) -> None:
        if restored.shape != target.shape:
            raise ModelError(
                f"the network gives images of {_times(restored)}, the data ask for "
                f"{_times(target)}; give it data.scale={self.data.factor} by its own arguments "
                "(model.args), or choose another network"
            )


def _cut(pixels: Pixels, top: int, left: int, side: int, turn: int) -> Tensor:
    patch = torch.from_numpy(np.array(pixels[:, top : top + side, left : left + side]))
    return apply_symmetry(patch, turn)


def _values(pixels: Pixels, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(pixels)).to(device)[None].float().div(255)


def _times(images: Tensor) -> str:
    return "x".join(map(str, images.shape[1:]))
