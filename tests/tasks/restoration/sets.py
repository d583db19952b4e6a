"""Small sets of images to restore, in every layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lwdna.tasks.restoration import RestorationSettings, RestorationTask

CPU = torch.device("cpu")


def noise_image(seed: int, width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def save_all(folder: Path, images: dict[str, Image.Image]) -> Path:
    folder.mkdir(parents=True)
    for name, image in images.items():
        image.save(folder / name)
    return folder


def enlarged(image: Image.Image, scale: int) -> Image.Image:
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def blocks(root: Path, scale: int, layout: str) -> Path:
    """Sets whose images are their own low-resolution versions with every pixel repeated."""
    sizes = {"a": (31, 23), "b": (17, 37), "c": (29, 19)}
    small = {name: noise_image(i, *size) for i, (name, size) in enumerate(sizes.items())}
    large = {f"{name}.png": enlarged(image, scale) for name, image in small.items()}
    low = {f"{name}x{scale}.png": image for name, image in small.items()}
    if layout == "div2k":
        for half in ("train", "valid"):
            save_all(root / f"DIV2K_{half}_HR", large)
            save_all(root / f"DIV2K_{half}_LR_bicubic" / f"X{scale}", low)
    else:
        for half in ("train", "val"):
            save_all(root / half / "HR", large)
            save_all(root / half / "LR_bicubic" / f"X{scale}", low)
    return root


def task_of(root: Path, **settings: object) -> RestorationTask:
    return RestorationTask(RestorationSettings.model_validate({"root": root, **settings}))


def patches(
    task: RestorationTask, indices: list[int], seed: int = 0, epoch: int = 0
) -> tuple[Tensor, Tensor]:
    (batch,) = task.train_batches([indices], seed=seed, epoch=epoch, device=CPU)
    return batch
