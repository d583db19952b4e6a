"""Tiny-ImageNet: class folders to train on, ``val/images`` and annotations to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lwdna.data.data_format import DataFormat, Defaults, Half, register_format
from lwdna.data.formats.folder import FolderHalf, halves_in
from lwdna.data.images import FolderImages, as_names
from lwdna.errors import DataError

_ANNOTATIONS = "val_annotations.txt"


@register_format("tiny-imagenet")
class TinyImageNet(DataFormat):
    """Tiny-ImageNet as it was published; class folders in ``val`` are read, too."""

    layout = "Tiny-ImageNet's val/images with val_annotations.txt"
    supersedes = ("folder",)
    defaults = Defaults(
        64, 1.0, "random-resized", 0.5, (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)
    )

    def detect(self, root: Path) -> bool:
        return (root / "val" / _ANNOTATIONS).is_file()

    def open(self, root: Path) -> tuple[Half, Half]:
        train, val, _ = halves_in(root)
        if train is None or val is None:
            raise DataError(f"{root} has no folder {'val' if train else 'train'}; fetch it again")
        listed = FolderHalf.of(root / train, training=True)
        if (root / val / _ANNOTATIONS).is_file():
            return listed, _read_annotations(root / val, listed.classes)
        return listed, FolderHalf.of(root / val)


@dataclass(frozen=True)
class _AnnotatedHalf:
    """Images of all classes in one folder, and the class of each by name."""

    root: Path
    classes: tuple[str, ...]
    pairs: list[tuple[str, str]]
    """Path below ``root`` and class of every image."""

    @property
    def title(self) -> str:
        return str(self.root)

    def images(self, chosen: Sequence[int]) -> FolderImages:
        wanted = [self.classes[number] for number in chosen]
        numbers = {name: number for number, name in enumerate(wanted)}
        kept = [(name, numbers[label]) for name, label in self.pairs if label in numbers]
        labels = np.array([label for _, label in kept], dtype=np.int64)
        return FolderImages(self.root, as_names([name for name, _ in kept]), labels)


def _read_annotations(root: Path, classes: tuple[str, ...]) -> _AnnotatedHalf:
    """Look at ``images/<image>`` and ``val_annotations.txt``.

    Raises:
        DataError: the annotations cannot be read or name an unknown class.
    """
    path = root / _ANNOTATIONS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; restore it") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t")
        safe = len(fields) >= 2 and fields[0] == Path(fields[0]).name
        if not safe or fields[1] not in classes:
            raise DataError(
                f"line {number} of {path} is not '<image><tab><class>...' with a class of train/; "
                "restore the file"
            )
        pairs.append((f"images/{fields[0]}", fields[1]))
    return _AnnotatedHalf(root, classes, sorted(pairs))
