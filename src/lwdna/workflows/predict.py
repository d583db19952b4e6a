"""``lwdna predict``: tell the classes, or the values, of images with a trained network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lwdna.architecture import load
from lwdna.data import listing
from lwdna.data.image_files import EXTENSIONS, Pixels, open_file
from lwdna.data.image_transforms import EvalTransform
from lwdna.data.normalise import Normalise
from lwdna.engine.device import make_accelerator
from lwdna.engine.display import counted
from lwdna.errors import CheckpointError, DataError, ModelError
from lwdna.interface import Interface, Preprocessing, read_interface
from lwdna.run_folder import find_weights
from lwdna.run_options import RunOptions
from lwdna.tasks import TASKS

_THREADS = 8
"""That read images; decoding frees Python's lock."""


@dataclass(frozen=True)
class Guess:
    """A class that an image may show."""

    label: str
    """Its name; its number where the classes of the data had none."""
    index: int
    """Its number: the place of its output."""
    probability: float
    """By the softmax over all classes, from 0 to 1."""


@dataclass(frozen=True)
class Value:
    """What a network makes of an image that was trained for values."""

    name: str
    value: float


@dataclass(frozen=True)
class Prediction:
    """What a network makes of an image."""

    image: Path
    guesses: tuple[Guess, ...] = ()
    """The most probable classes, the best first."""
    values: tuple[Value, ...] = ()
    """Its values in their own units, of a network trained for values."""
    fault: str | None = None
    """Why there are none."""


def predict(
    weights: str | Path,
    images: Sequence[str | Path],
    *,
    top: int = 1,
    batch_size: int = 32,
    options: RunOptions = RunOptions(),
) -> list[Prediction]:
    """Tell the classes or values of images; one that cannot be read keeps no other back.

    Images are prepared exactly as those of the validation set were, in float32.

    Args:
        weights: the folder of a training run, or a ``.safetensors`` file.
        images: files, or folders, which stand for all images below them but hidden ones.
        top: how many classes to tell of each image; all, if there are fewer.
        batch_size: images at a time.
        options: a progress bar, trust.

    Returns:
        One for every image, in the order given; those of a folder in the order of their names.

    Raises:
        CheckpointError: the file does not hold a network, or does not say how images are prepared.
        ModelError: the network does not tell classes of single images.
        DataError: there are no images.
    """
    file, files = find_weights(weights), list_images(images)
    interface = read_interface(file)
    preprocessing = check_predicts(interface, file)
    network, _ = load(file, trust_code=options.trust_code)
    device = make_accelerator("no").device
    network.to(device).eval()
    normalise = Normalise(preprocessing.mean, preprocessing.std)
    found: list[Prediction] = []
    with counted(options.progress, "images", total=len(files)) as done:
        for chunk, pixels in _read(files, preprocessing, batch_size):
            whole = [one for one in pixels if not isinstance(one, DataError)]
            rows: Iterator[Tensor] = iter(())
            if whole:
                batch = torch.stack([torch.from_numpy(one) for one in whole]).permute(0, 3, 1, 2)
                rows = iter(_outputs(network, normalise(batch.to(device)), interface, file))
            for image, one in zip(chunk, pixels, strict=True):
                if isinstance(one, DataError):
                    found.append(Prediction(image, fault=str(one)))
                else:
                    found.append(_prediction(image, next(rows), top, interface))
            done(len(found), "")
    return found


def list_images(given: Sequence[str | Path]) -> list[Path]:
    """Return files as they are, and for folders all images below them but hidden ones.

    Raises:
        DataError: there are none, or a folder cannot be read.
    """
    files: list[Path] = []
    for path in map(Path, given):
        files += _below(path) if path.is_dir() else [path]
    if not files:
        raise DataError(
            f"there are no images in {', '.join(map(str, given)) or 'nothing'}; name images "
            f"({', '.join(EXTENSIONS)}) or folders of them"
        )
    return files


def _below(folder: Path) -> list[Path]:
    return sorted(folder / name for name in listing.list_images(folder).images)


def check_predicts(interface: Interface, file: Path) -> Preprocessing:
    """Return how images are prepared for the network in a file of weights.

    Raises:
        ModelError: it is for a task with another verb, which is named.
        CheckpointError: the file does not say.
    """
    if interface.preprocessing is not None:
        return interface.preprocessing
    kind = TASKS.get(interface.task or "")
    if kind is not None and kind.verb not in (None, "predict"):
        raise ModelError(
            f"{file} holds a network for {interface.task}, which tells no classes; use "
            f"`lwdna {kind.verb} ... --weights {file}`"
        )
    raise CheckpointError(
        f"{file} does not say how images are prepared for its network; use the weights of a "
        "training run, or write them with lwdna.save(network, architecture, path, interface)"
    )


Read = Pixels | DataError


def _read(
    files: Sequence[Path], preprocessing: Preprocessing, size: int
) -> Iterator[tuple[Sequence[Path], list[Read]]]:
    """Yield files and what they hold, batch by batch, the next of which is read meanwhile."""
    transform = EvalTransform(preprocessing)

    def read(file: Path) -> Read:
        try:
            return transform.pixels(open_file(str(file)), str(file))
        except DataError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        chunks = [files[start : start + size] for start in range(0, len(files), size)]
        ahead: list[Future[Read]] = [pool.submit(read, file) for file in chunks[0]]
        for chunk, following in zip(chunks, [*chunks[1:], ()], strict=True):
            now, ahead = ahead, [pool.submit(read, file) for file in following]
            yield chunk, [future.result() for future in now]


@torch.no_grad()
def _outputs(network: nn.Module, batch: Tensor, interface: Interface, file: Path) -> Tensor:
    """Return a value per image and class, float32, on the CPU, shape (B, classes)."""
    try:
        found = network(batch)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"there is no memory for {len(batch)} images at a time; lower --batch-size"
        ) from error
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise ModelError(f"the network in {file} does not give a value per class")
    known = interface.targets or interface.classes
    if known is not None and len(known) != found.shape[1]:
        raise CheckpointError(
            f"{file} names {len(known)} classes or values, its network has {found.shape[1]} "
            "outputs; restore the file"
        )
    return found.float().cpu()


def _prediction(image: Path, output: Tensor, top: int, interface: Interface) -> Prediction:
    classes, targets = interface.classes, interface.targets
    if not bool(output.logsumexp(0).isfinite() if targets is None else output.isfinite().all()):
        why = f"what the network makes of {image} is not finite (NaN or inf)"
        return Prediction(image, fault=f"{why}; its weights may be damaged")
    if targets is not None:
        pairs = zip(targets, output.tolist(), strict=True)
        return Prediction(
            image, values=tuple(Value(one.name, value * one.std + one.mean) for one, value in pairs)
        )
    probabilities = output.softmax(0).tolist()
    # of equal values the first, as an evaluation takes it; softmax may make more of them equal
    order = output.sort(descending=True, stable=True).indices[:top].tolist()
    guesses = (
        Guess(str(place) if classes is None else classes[place], place, probabilities[place])
        for place in order
    )
    return Prediction(image, tuple(guesses))
