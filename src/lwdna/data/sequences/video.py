"""Read videos frame by frame, and write them, through PyAV (the FFmpeg libraries)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lwdna.data.image_files import Pixels
from lwdna.errors import DataError, FileError
from lwdna.files import atomic

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_FINEST = 100_000
"""Largest denominator of a frame rate that is written."""


class Video:
    """The pictures of a video file, decoded while they are iterated over, each time anew.

    What the file says about turning is done, as players do it: telephones film upright and write
    "turn by 90 degrees".

    Args:
        path: a file of any container and codec that FFmpeg knows.

    Raises:
        DataError: PyAV is missing, or the file is missing, damaged or has no pictures.
    """

    path: Path
    count: int | None
    """How many frames the file says it has; None where it does not say (``.mkv``, for example)."""
    rate: float | None
    """Frames per second, on average; None where the file does not say."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"there is no video {path}; name a video file or a folder of images")
        with self._opened() as (_, stream):
            self.count = stream.frames or None
            rate = stream.average_rate or stream.guessed_rate
            self.rate = float(rate) if rate else None

    def __iter__(self) -> Iterator[Pixels]:
        """Yield RGB frames (H, W, 3), uint8.

        Raises:
            DataError: a frame is damaged, which is named, or there is none.
        """
        error_of_av = _pyav().FFmpegError
        number = 0
        with self._opened() as (container, stream):
            decoded = container.decode(stream)
            while True:
                number += 1
                try:
                    frame = next(decoded, None)
                except error_of_av as error:
                    raise DataError(
                        f"frame {number} of the video {self.path} is damaged ({_why(error)}); "
                        "convert the video again, or cut it before that frame"
                    ) from error
                if frame is None:
                    break
                yield _upright(frame)
        if number == 1:
            raise DataError(f"the video {self.path} holds no frames; record or convert it again")

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        av = _pyav()
        try:
            container = av.open(_url(self.path))
        except av.FFmpegError as error:
            raise DataError(
                f"the video {self.path} is damaged or is not a video ({_why(error)}); convert it "
                "again"
            ) from error
        with container:
            if not container.streams.video:
                raise DataError(
                    f"{self.path} holds no pictures, only {_kinds(container)}; name a video"
                )
            yield container, container.streams.video[0]


@contextmanager
def video_writer(path: str | Path, rate: float) -> Iterator[Callable[[Pixels], None]]:
    """Yield a function that adds a frame to an H.264 ``.mp4``, written whole or not at all.

    The first frame (H, W, 3), RGB, uint8, gives the video its size. H.264 halves the resolution of
    colours, so sides must be even: an odd one gets its last row or column twice. Frames of another
    size are scaled to that of the first.

    Args:
        path: the file; it gets its name when the body ends without an error.
        rate: frames per second.

    Raises:
        DataError: PyAV is missing.
        FileError: the file cannot be written.
    """
    av = _pyav()
    # an OSError becomes a FileError outside; these are FFmpeg's other errors
    with (
        atomic(path) as temporary,
        _errors_of_writing(path, av.FFmpegError),
        av.open(_url(temporary), "w", format="mp4") as container,
    ):
        stream = container.add_stream("h264", rate=Fraction(rate).limit_denominator(_FINEST))
        stream.pix_fmt = "yuv420p"
        size: list[tuple[int, int]] = []

        def add(frame: Pixels) -> None:
            height, width = frame.shape[:2]
            if not size:
                size.append((width, height))
                stream.width, stream.height = width + width % 2, height + height % 2
            if (width, height) != size[0]:
                frame = np.asarray(Image.fromarray(frame).resize(size[0]))
            missing = [(0, stream.height - size[0][1]), (0, stream.width - size[0][0]), (0, 0)]
            even = np.pad(frame, missing, mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

        yield add
        container.mux(stream.encode())


def can_write_videos() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise DataError(
            "videos need PyAV, which is not installed: pip install lwdna[video]; "
            "or give a folder of images"
        ) from error
    return av


@contextmanager
def _errors_of_writing(path: str | Path, error_of_av: type[Exception]) -> Iterator[None]:
    try:
        yield
    except error_of_av as error:
        if isinstance(error, OSError):
            raise
        raise FileError(f"cannot write the video {path}: {_why(error)}") from error


def _upright(frame: VideoFrame) -> Pixels:
    """Return a frame's pixels, turned as it should be seen."""
    pixels = frame.to_ndarray(format="rgb24")
    # FFmpeg counts degrees against the clock, as numpy does quarters
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _url(path: Path) -> str:
    """Return a path that FFmpeg takes for no other protocol, whatever colons are in it."""
    return f"file:{path}"


def _kinds(container: Any) -> str:
    return " and ".join(sorted({str(stream.type) for stream in container.streams})) or "nothing"


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
