"""Images in local files of Hugging Face ``datasets``: Parquet, or what ``save_to_disk`` wrote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lwdna.data.data_format import DataFormat, Half, register_format
from lwdna.data.image_files import open_content
from lwdna.data.images import Labels, ListedHalf, Positions
from lwdna.engine.fingerprint import Stored
from lwdna.errors import DataError

_SPLITS = {"train": ("train",), "val": ("validation", "val", "valid", "test")}
"""What the two halves may be called, best first."""


@register_format("arrow")
class ArrowTables(DataFormat):
    """Parquet files, or a folder that ``save_to_disk`` wrote; needs the package ``datasets``."""

    layout = "Parquet or Arrow files of Hugging Face datasets"
    supersedes = ("folder",)  # data/ or train/ may hold the files

    def detect(self, root: Path) -> bool:
        return (root / "dataset_dict.json").is_file() or bool(_parquet(root, "train"))

    def open(self, root: Path) -> tuple[Half, Half]:
        return list_arrow(root, "train"), list_arrow(root, "val")


@dataclass(frozen=True)
class ArrowImages:
    """Encoded images in a table that is mapped into memory, not read as a whole."""

    title: str
    table: Any
    """A ``datasets.Dataset`` whose images are not decoded."""
    column: str
    rows: Positions
    labels: Labels

    def name(self, index: int) -> str:
        return f"row {self.rows[index]} of {self.title}"

    def open(self, index: int) -> Image.Image:
        content = self._content(index)
        if not content:
            raise DataError(
                f"{self.name(index)} holds no image, only a path; save the data set with its "
                "images inside"
            )
        return open_content(content, self.name(index))

    def fingerprint(self) -> str:
        text = f"{self.table._fingerprint} {self.column}"
        return hashlib.sha256(text.encode() + self.rows.tobytes()).hexdigest()

    def stored(self) -> Stored:
        """Sizes are those of what is read: to know all, the whole file would have to be."""
        return Stored(self.labels, self._content)

    def _content(self, index: int) -> bytes:
        cell = self.table[int(self.rows[index])][self.column]
        content: bytes = (cell or {}).get("bytes") or b""
        return content

    def take(self, kept: Positions, labels: Labels) -> ArrowImages:
        return ArrowImages(self.title, self.table, self.column, self.rows[kept], labels)


def list_arrow(root: Path, half: str) -> ListedHalf:
    """Open the "train" or "val" half of a data set in local files.

    Nothing is fetched and no code of the data set is run.

    Raises:
        DataError: ``datasets`` is not installed, or there is no such split, image column or class
            column.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"reading {root} needs Hugging Face's datasets: pip install 'lwdna[datasets]'"
        ) from error
    table, title = _open(datasets, root, half)
    images = [name for name, kind in table.features.items() if isinstance(kind, datasets.Image)]
    labels = [
        name for name, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)
    ]
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"{title} has the columns {', '.join(table.features)}; expected one of images "
            f"(found {len(images)}) and one of class labels (found {len(labels)})"
        )
    numbers = np.asarray(table.with_format("numpy")[labels[0]][:], dtype=np.int64)
    if len(numbers) == 0 or numbers.min() < 0:
        raise DataError(f"{title} is empty or holds rows without a class; use a labelled split")
    column = table.select_columns(images).cast_column(images[0], datasets.Image(decode=False))
    rows = np.arange(len(numbers), dtype=np.int64)
    classes = tuple(table.features[labels[0]].names)
    return ListedHalf(title, classes, ArrowImages(title, column, images[0], rows, numbers))


def _open(datasets: Any, root: Path, half: str) -> tuple[Any, str]:
    try:
        if (root / "dataset_dict.json").is_file():
            saved = datasets.load_from_disk(str(root))
            for split in _SPLITS[half]:
                if split in saved:
                    return saved[split], f"{root} ({split})"
        files = _parquet(root, half)
        if files:
            names = [str(file) for file in files]
            return (
                datasets.load_dataset("parquet", data_files={half: names}, split=half),
                f"{root} ({half})",
            )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"cannot read the data set in {root} ({why}); fetch it again") from error
    raise DataError(
        f"{root} has no split {' or '.join(_SPLITS[half])}; expected what save_to_disk writes, or "
        "Parquet files such as data/train-00000-of-00002.parquet"
    )


def _parquet(root: Path, half: str) -> list[Path]:
    for split in _SPLITS[half]:
        for pattern in (f"{split}*.parquet", f"data/{split}*.parquet", f"{split}/*.parquet"):
            files = sorted(root.glob(pattern))
            if files:
                return files
    return []
