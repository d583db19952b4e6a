"""What ``lwdna import`` writes down of inputs and outputs, which foreign weights do not say."""

from __future__ import annotations

import json
from pathlib import Path

from lwdna.architecture import Architecture
from lwdna.data.data_format import FORMATS, Defaults
from lwdna.errors import CheckpointError, RecipeError, nearest
from lwdna.interface import Interface, Preprocessing, read_interface
from lwdna.interop.timm_config import preprocessing_of
from lwdna.models import resolve_name
from lwdna.run_folder import find_weights

IMAGENET = "imagenet"
"""What the usual preparation of photographs and the 1,000 classes are called."""


def read_classes(given: str) -> tuple[str, ...]:
    """Return names of classes: of a text file, one a line, of a JSON list, or of ImageNet.

    Raises:
        CheckpointError: the file cannot be read, is empty or names a class twice.
    """
    if given == IMAGENET:
        from timm.data import ImageNetInfo

        return tuple(ImageNetInfo("imagenet-1k").label_descriptions(detailed=False))
    try:
        text = Path(given).read_text(encoding="utf-8-sig")
        listed = json.loads(text) if given.endswith(".json") else text.splitlines()
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read the classes in {given}: {error}; give a number, a file with a name a "
            f"line, a JSON list, or {IMAGENET}"
        ) from error
    names = tuple(str(name).strip() for name in listed if str(name).strip())
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice is not None:
        why = "is named twice" if names else "no class is named"
        raise CheckpointError(f"{given}: {twice + ' ' if twice else ''}{why}; correct the file")
    return names


def interface_of_import(
    architecture: Architecture, classes: tuple[str, ...] | None, preprocessing: str | None
) -> tuple[Interface, list[str]]:
    """Return what is known of an imported classifier's inputs and outputs, and what was assumed.

    Args:
        architecture: what was imported.
        classes: names of its classes in the order of its outputs.
        preprocessing: how images are prepared: as for a network of timm (its name, with the tag of
            a set of weights or without), as in a data format (``cifar10``, ...), as for
            ``imagenet``, or as another file of weights says. By default timm's own for networks of
            timm, that of CIFAR for images of 32 pixels, else that of ImageNet.

    Returns:
        The interface, and a sentence for all that was assumed.

    Raises:
        CheckpointError: there are more or fewer names than outputs.
        RecipeError: nothing is known by the name of the preparation.
    """
    notes = []
    outputs = _outputs(architecture)
    if classes is not None and outputs is not None and len(classes) != outputs:
        raise CheckpointError(
            f"{len(classes)} classes are named and the network has {outputs}; give as many names"
        )
    if classes is None:
        notes.append("its classes are numbers: name them with --classes FILE")
    how = preprocessing or _usual(architecture, outputs)
    prepared = _prepared(how, architecture)
    if preprocessing is None and prepared is not None:
        notes.append(
            f"images are taken to be prepared as for {how}: shorter side of {prepared.resize} "
            f"pixels, central {prepared.image_size}, mean {_listed(prepared.mean)}, std "
            f"{_listed(prepared.std)}; say otherwise with --preprocessing"
        )
    return Interface(task="classification", classes=classes, preprocessing=prepared), notes


def _outputs(architecture: Architecture) -> int | None:
    given = architecture.model.args.get("num_classes") if architecture.model else None
    return given if isinstance(given, int) else None


def _usual(architecture: Architecture, outputs: int | None) -> str:
    name = architecture.model.name if architecture.model else ""
    if name.startswith("timm:"):
        return name
    if isinstance(architecture.input_size, tuple) and architecture.input_size[-1] == 32:
        return "cifar100" if outputs == 100 else "cifar10"
    return IMAGENET


def _prepared(how: str, architecture: Architecture) -> Preprocessing | None:
    """Return a preparation by its name, at the size of the network's input."""
    size = architecture.input_size
    if not isinstance(size, tuple) or len(size) != 3 or size[1] != size[2] or size[0] not in (1, 3):
        return None  # several inputs, or no square images in colours
    found = _by_name(how)
    mean, std = found.mean, found.std
    if size[0] == 1 < len(mean):
        mean, std = ((round(sum(one) / len(one), 4),) for one in (mean, std))
    resize = int(size[1] * found.resize / found.image_size)
    changes = {"in_chans": size[0], "image_size": size[1], "resize": resize}
    return Preprocessing(**{**found.model_dump(), **changes, "mean": mean, "std": std})


def _by_name(how: str) -> Preprocessing:
    if how == IMAGENET:
        return _of_format(Defaults())
    if how in FORMATS:
        return _of_format(FORMATS[how].defaults)
    if Path(how).exists():
        found = read_interface(find_weights(how)).preprocessing
        if found is None:
            raise CheckpointError(f"{how} does not say how images are prepared; name another file")
        return found
    if how.startswith("timm:"):
        return preprocessing_of(resolve_name(how))
    raise RecipeError(
        f"there is no preparation of images called {how!r}{nearest(how, [IMAGENET, *FORMATS])}; "
        f"name {IMAGENET}, a data format, a network as timm:resnet50.a1_in1k or a file of weights"
    )


def _of_format(usual: Defaults) -> Preprocessing:
    return Preprocessing(
        in_chans=3,
        image_size=usual.image_size,
        resize=int(usual.image_size / usual.crop_pct),
        interpolation="bilinear",
        mean=usual.mean,
        std=usual.std,
    )


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
