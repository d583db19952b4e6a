"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as torchvision downloads and reads them.

Their files are pickles. torchvision unpickles them only after their MD5 sums were found to be those
of the original files, so nothing unknown is ever unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lwdna.data.data_format import DataFormat, Defaults, Half, register_format
from lwdna.data.images import ArrayImages, ListedHalf
from lwdna.errors import DataError

CIFAR10 = Defaults(32, 1.0, "pad", 0.5, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100 = Defaults(32, 1.0, "pad", 0.5, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))


class _Cifar(DataFormat):
    """Either set, by its files and the class of torchvision that reads them."""

    name: ClassVar[str]
    loader: ClassVar[str]
    """Name of torchvision's class."""
    folder: ClassVar[str]
    archive: ClassVar[str]

    def detect(self, root: Path) -> bool:
        return (root / self.folder).is_dir()

    def open(self, root: Path) -> tuple[Half, Half]:
        import torchvision.datasets

        loader: Any = getattr(torchvision.datasets, self.loader)
        try:
            train, val = loader(str(root), train=True), loader(str(root), train=False)
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{root} holds no intact {self.name} in torchvision's format (files are missing "
                f"or differ from the originals); unpack a fresh {self.archive} there"
            ) from error
        classes = tuple(train.classes)
        return self._half("train", classes, train), self._half("val", classes, val)

    def _half(self, split: str, classes: tuple[str, ...], part: Any) -> Half:
        title = f"{self.name} ({split})"
        labels = np.array(part.targets, dtype=np.int64)
        return ListedHalf(title, classes, ArrayImages(title, part.data, labels))


@register_format("cifar10")
class Cifar10(_Cifar):
    """CIFAR-10 in torchvision's format."""

    name = "cifar10"
    loader = "CIFAR10"
    folder = "cifar-10-batches-py"
    archive = "cifar-10-python.tar.gz"
    layout = f"torchvision's {folder}"
    defaults = CIFAR10


@register_format("cifar100")
class Cifar100(_Cifar):
    """CIFAR-100 in torchvision's format."""

    name = "cifar100"
    loader = "CIFAR100"
    folder = "cifar-100-python"
    archive = "cifar-100-python.tar.gz"
    layout = f"torchvision's {folder}"
    defaults = CIFAR100
