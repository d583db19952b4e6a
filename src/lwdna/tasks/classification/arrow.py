"""Images in local files of Hugging Face ``datasets``: Parquet, or what ``save_to_disk`` wrote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.errors import DataError
from lwdna.tasks.classification.images import Labels
from lwdna.tasks.image_files import open_content

SPLITS = {"train": ("train",), "val": ("validation", "val", "valid", "test")}
"""What the two halves may be called, best first."""


@dataclass(frozen=True)
class ArrowImages:
    """Encoded images in a table that is mapped into memory, not read as a whole."""

    title: str
    table: Any
    """A ``datasets.Dataset`` whose images are not decoded."""
    column: str
    rows: NDArray[np.int64]
    labels: Labels

    def name(self, index: int) -> str:
        return f"row {self.rows[index]} of {self.title}"

    def open(self, index: int) -> Image.Image:
        cell = self.table[int(self.rows[index])][self.column]
        if not cell or not cell.get("bytes"):
            raise DataError(
                f"{self.name(index)} holds no image, only a path; save the data set with its "
                "images inside"
            )
        return open_content(cell["bytes"], self.name(index))

    def fingerprint(self) -> str:
        text = f"{self.table._fingerprint} {self.column}"
        return hashlib.sha256(text.encode() + self.rows.tobytes()).hexdigest()


@dataclass(frozen=True)
class ArrowSet:
    """A table with images, and the class of each."""

    title: str
    table: Any
    column: str
    classes: tuple[str, ...]
    labels: Labels


def list_arrow(root: Path, half: str) -> ArrowSet:
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
    return ArrowSet(title, column, images[0], tuple(table.features[labels[0]].names), numbers)


def is_arrow(root: Path) -> bool:
    """Whether a folder looks like a data set in Parquet or Arrow files."""
    return (root / "dataset_dict.json").is_file() or bool(_parquet(root, "train"))


def _open(datasets: Any, root: Path, half: str) -> tuple[Any, str]:
    try:
        if (root / "dataset_dict.json").is_file():
            saved = datasets.load_from_disk(str(root))
            for split in SPLITS[half]:
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
        f"{root} has no split {' or '.join(SPLITS[half])}; expected what save_to_disk writes, or "
        "Parquet files such as data/train-00000-of-00002.parquet"
    )


def _parquet(root: Path, half: str) -> list[Path]:
    for split in SPLITS[half]:
        for pattern in (f"{split}*.parquet", f"data/{split}*.parquet", f"{split}/*.parquet"):
            files = sorted(root.glob(pattern))
            if files:
                return files
    return []
