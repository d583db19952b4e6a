"""The table of data formats, and what a format has to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from lwdna.registry import Registry

if TYPE_CHECKING:  # a recipe is checked without what reads images
    from lwdna.data.images import ImageSet
    from lwdna.data.remote import RemoteFolder

Crop = Literal["random-resized", "pad", "none"]
Floats = tuple[float, ...]


@dataclass(frozen=True)
class Defaults:
    """What a recipe need not say of images in some format; those of photographs unless given."""

    image_size: int = 224
    crop_pct: float = 0.875
    crop: Crop = "random-resized"
    flip: float = 0.5
    """Probability of a mirrored training image."""
    mean: Floats = (0.485, 0.456, 0.406)
    """Of red, green and blue, pixel values counted from 0 to 1."""
    std: Floats = (0.229, 0.224, 0.225)


class Half(Protocol):
    """The training or the validation images of a data set, before a recipe chooses among them."""

    @property
    def title(self) -> str:
        """Where it lies, for error messages."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes."""
        ...

    def images(self, chosen: Sequence[int]) -> ImageSet:
        """Return the images of the classes with these numbers, in the order of the files.

        Their labels are places in ``chosen``, which ascends.
        """
        ...


@runtime_checkable
class HasNotes(Protocol):
    """What a :class:`Half` may say more: what a user should know of it."""

    def notes(self) -> tuple[str, ...]:
        """Return sentences about what :meth:`Half.images` has left out so far."""
        ...


class DataFormat:
    """How an image set may lie on disk; derive from it and decorate with :func:`register_format`.

    Nothing in a data set is trusted: a format runs no code that comes with it, unpickles nothing
    but files of known content and opens no entry of an archive under an unsafe name.
    """

    layout: ClassVar[str] = ""
    """The files by which it is known, to go on from "a folder with"."""
    needs_root: ClassVar[bool] = True
    """Whether it is read from files of the user's."""
    supersedes: ClassVar[tuple[str, ...]] = ()
    """Formats whose signs its files show too: where both are found, it is this one."""
    names_classes: ClassVar[bool] = True
    """Whether its classes have names. Mere numbers do not tell other classes apart."""
    defaults: ClassVar[Defaults] = Defaults()

    def detect(self, root: Path) -> bool:
        """Whether the folder ``root``, which exists, looks like a data set of this format."""
        return False

    def open(self, root: Path) -> tuple[Half, Half | None]:
        """List the training and the validation images in the folder ``root``, which exists.

        Where there are no validation images, some are set aside from those of the first half
        (``data.split``).

        Raises:
            DataError: saying which file is missing, damaged or not to be trusted.
        """
        raise NotImplementedError

    def open_remote(self, root: RemoteFolder) -> tuple[Half, Half | None]:
        """List the images in a folder of a storage; unless a format can, all files are fetched.

        Raises:
            DataError: as :meth:`open` does.
            FileError: the storage cannot be read, or the disk is full.
        """
        from lwdna.data.remote import local_copy

        return self.open(local_copy(root))

    def defaults_for(self, class_count: int) -> Defaults:
        """Return the defaults for a set of so many classes."""
        return self.defaults


FORMATS: Registry[DataFormat] = Registry("data format", "lwdna.data.formats", "register_format")
"""The formats by the name that ``data.kind`` gives them."""

F = TypeVar("F", bound=DataFormat)


def register_format(name: str) -> Callable[[type[F]], type[F]]:
    """Register a class as the data format ``name``; a name is taken only once.

    A format for two arrays of images and two of classes::

        @lwdna.register_format("npy")
        class Arrays(DataFormat):
            layout = "train.npy, train-classes.npy, val.npy and val-classes.npy"

            def detect(self, root):
                return (root / "train.npy").is_file()

            def open(self, root):
                return half(root, "train"), half(root, "val")

    where ``half`` returns a :class:`lwdna.data.ListedHalf` of :class:`lwdna.data.ArrayImages`.

    Raises:
        ValueError: another class has that name.
    """

    def register(kind: type[F]) -> type[F]:
        FORMATS.add(name, kind(), kind)
        return kind

    return register
