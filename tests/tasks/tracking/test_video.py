"""Videos are read frame by frame, upright, and written whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lwdna.data.sequences.video import Video, can_write_videos, video_writer
from lwdna.errors import DataError, FileError

av = pytest.importorskip("av")

COLOURS = np.array([[230, 40, 50], [40, 220, 60], [50, 60, 210], [200, 190, 30]], dtype=np.uint8)


def quarters(width: int, height: int, turn: int = 0) -> np.ndarray:
    """A frame of four coloured quarters, turned by so many colours."""
    frame = np.empty((height, width, 3), dtype=np.uint8)
    for number, colour in enumerate(np.roll(COLOURS, turn, axis=0)):
        top, left = divmod(number, 2)
        rows = slice(0, height // 2) if top == 0 else slice(height // 2, None)
        columns = slice(0, width // 2) if left == 0 else slice(width // 2, None)
        frame[rows, columns] = colour
    return frame


def corners(frame: np.ndarray) -> np.ndarray:
    return frame[5:-5:, 5:-5][:: frame.shape[0] - 11, :: frame.shape[1] - 11].astype(int)


def made(path: Path, count: int = 7, width: int = 46, height: int = 38, rate: float = 12.5) -> Path:
    with video_writer(path, rate) as add:
        for number in range(count):
            add(quarters(width, height, number))
    return path


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write into an .mp4 how players are to turn it (ISO/IEC 14496-12, 8.3.2: tkhd's matrix)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    for place, value in zip((0, 1, 3, 4), matrix, strict=True):
        at = start + 4 * place
        content[at : at + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    video = Video(made(tmp_path / "a b: c.mp4"))
    assert (video.count, video.rate) == (7, 12.5)
    for _ in range(2):  # every iteration begins anew
        frames = list(video)
        assert len(frames) == 7
        for number, frame in enumerate(frames):
            assert (frame.shape, frame.dtype) == ((38, 46, 3), np.uint8)
            expected = corners(quarters(46, 38, number))
            assert np.abs(corners(frame) - expected).max() <= 12
    assert list(tmp_path.iterdir()) == [tmp_path / "a b: c.mp4"]


def test_it_is_h264_in_the_form_that_browsers_play(tmp_path: Path) -> None:
    with av.open(str(made(tmp_path / "a.mp4"))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert "mp4" in container.format.name


def test_odd_sides_get_a_row_and_a_column_more_and_other_sizes_are_scaled(tmp_path: Path) -> None:
    with video_writer(tmp_path / "odd.mp4", 25) as add:
        add(quarters(37, 23))
        add(quarters(74, 46, 1))
    first, second = Video(tmp_path / "odd.mp4")
    assert first.shape == second.shape == (24, 38, 3)
    assert np.abs(corners(first) - corners(quarters(38, 24))).max() <= 12
    assert np.abs(corners(second) - corners(quarters(38, 24, 1))).max() <= 12


@pytest.mark.parametrize(
    ("matrix", "quarters_against_the_clock"),
    [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
)
def test_frames_are_turned_as_the_file_says(
    tmp_path: Path, matrix: tuple[int, int, int, int], quarters_against_the_clock: int
) -> None:
    """(x, y) becomes (-y, x) by the first matrix; y points down: a quarter with the clock."""
    frame = next(iter(Video(turned(made(tmp_path / "a.mp4", 1), matrix))))
    expected = np.rot90(quarters(46, 38), quarters_against_the_clock)
    assert frame.shape == expected.shape
    assert frame.flags["C_CONTIGUOUS"]
    assert np.abs(corners(frame) - corners(expected)).max() <= 12


def test_a_container_that_does_not_count_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 46, 38, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(quarters(46, 38, number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = Video(path)
    assert (video.count, video.rate) == (None, 30)
    assert len(list(video)) == 5


def test_files_that_are_no_videos_are_named(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole.mp4").read_bytes()
    for name, content in (
        ("empty", b""),
        ("text", b"hello" * 99),
        ("half", whole[: len(whole) // 2]),
    ):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(
            DataError, match=rf"the video .*{name}\.mp4 is damaged or is not a video"
        ):
            Video(path)
    with pytest.raises(DataError, match="there is no video"):
        Video(tmp_path / "gone.mp4")
    with pytest.raises(DataError, match="there is no video"):
        Video(tmp_path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        samples.sample_rate = 44100
        container.mux(stream.encode(samples))
        container.mux(stream.encode())
    with pytest.raises(DataError, match=r"sound\.mp4 holds no pictures, only audio"):
        Video(path)


def test_a_damaged_frame_is_named_after_those_before_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    random = np.random.default_rng(0)
    with video_writer(path, 25) as add:
        for _ in range(20):
            add(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat")
    middle = start + (content.index(b"moov") - start) // 2
    end = content.index(b"moov") - 4
    content[middle:end] = b"\xff" * (end - middle)  # sizes of packets, too: none can be read
    path.write_bytes(content)
    kept = []
    with pytest.raises(DataError) as caught:
        kept.extend(iter(Video(path)))
    assert 5 < len(kept) < 15
    assert f"frame {len(kept) + 1} of the video {path} is damaged" in str(caught.value)


def test_a_video_that_ends_in_an_error_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("before")

    def interrupted() -> None:
        with video_writer(path, 25) as add:
            add(quarters(46, 38))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    Path(tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write"), video_writer(tmp_path / "file" / "b", 25):
        pass


def test_without_pyav_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "a.mp4", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install lwdna\[video\]"):
        Video(path)
    with pytest.raises(DataError, match=r"pip install lwdna\[video\]"), video_writer(path, 25):
        pass
    assert not can_write_videos()
