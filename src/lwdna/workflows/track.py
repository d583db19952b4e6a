"""``lwdna track``: follow a target through a video with a trained network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from lwdna.architecture import Architecture, load
from lwdna.data.image_files import Pixels
from lwdna.data.sequences.footage import Box, Footage
from lwdna.data.sequences.video import can_write_videos, video_writer
from lwdna.engine.device import make_accelerator
from lwdna.engine.display import counted
from lwdna.engine.machine import versions
from lwdna.engine.signals import Stop, stop_on_signal
from lwdna.errors import DataError, FileError, LwdnaError, ModelError
from lwdna.files import write_json, write_text
from lwdna.input_size import describe
from lwdna.run_options import RunOptions
from lwdna.tasks.tracking.kinds.kind import TRACKERS
from lwdna.tasks.tracking.metrics import evaluate
from lwdna.tasks.tracking.online.tracker import Found, Step, Track, Tracker, followed
from lwdna.tasks.tracking.pictures import FOUND, TRUTH, draw_boxes, strip, write_png
from lwdna.tasks.tracking.settings import TrackingSettings
from lwdna.workflows.one_writer import one_writer

BOXES = "boxes.txt"
"""x,y,w,h in pixels, a line per frame, as OTB's files of truth."""
RECORD = "boxes.json"
"""The same with scores and states, and how they came to be."""
VIDEO = "track.mp4"
"""The frames with the boxes drawn into them."""
PICTURE = "track.png"
"""Some of these frames, where no video can be written."""

_RATE = 25.0
"""Frames per second of what is written of images."""
_SHOWN, _COLUMNS = 12, 4
"""Frames of the picture."""
_LOST = 10
"""Frames at the end in which a target is not found before it is called lost."""
_SIDE = 320
"""Longest side of a frame in the picture, in pixels."""


class TrackingInterrupted(KeyboardInterrupt):
    """Tracking was stopped by a signal; what had been found by then is written."""


@dataclass
class _Following:
    """A tracker on its way through the frames, and why it ended early, if it did."""

    tracker: Tracker
    footage: Footage
    box: Box
    steps: list[Step] = field(default_factory=list)
    size: tuple[int, int] | None = None
    """Width and height of the first frame."""
    fault: LwdnaError | None = None
    stopped: bool = False

    def frames(self, stop: Stop) -> Iterator[tuple[Pixels, Found]]:
        """Yield every frame and what was found in it; a fault after the first is kept.

        Raises:
            LwdnaError: the first frame is at fault.
        """
        try:
            for image, step in followed(self.tracker, self._until(stop), self.box):
                self.size = self.size or (image.shape[1], image.shape[0])
                self.steps.append(step)
                yield image, step.found
        except LwdnaError as error:
            if not self.steps:
                raise
            self.fault = error

    def _until(self, stop: Stop) -> Iterator[Pixels]:
        for image in self.footage.frames:
            if stop.requested and self.steps:
                self.stopped = True
                return
            yield image

    @property
    def track(self) -> Track:
        """What was found so far."""
        return Track.of(self.steps)


def track_target(
    weights: Path,
    footage: Footage,
    box: Box,
    out: Path,
    *,
    settings: TrackingSettings | None = None,
    seed: int = 0,
    options: RunOptions = RunOptions(),
) -> Track:
    """Follow a target through a video; write its boxes, and the frames with the boxes drawn in.

    Args:
        weights: a ``.safetensors`` file of a tracking network.
        footage: the frames.
        box: the target in the first of them: x, y, w, h in pixels.
        out: folder for ``boxes.txt``, ``boxes.json`` and ``track.mp4`` (or, without PyAV,
            ``track.png``).
        settings: of the tracker; by default those of DiMP's paper with the crop's size from the
            file of weights.
        seed: of what is random in tracking.
        options: progress, trust; told what was found and written.

    Returns:
        What was found.

    Raises:
        CheckpointError: the file does not hold a network.
        ModelError: the network is no tracker.
        DataError: a frame is damaged. As with every error after the first frame, what was found
            before is written, and the error says so.
        TrainingError: what the network gives is not finite.
        TrackingInterrupted: a signal asked to stop; what was found before is written.
        LockedError: another process writes ``out``.
        FileError: a result cannot be written.
    """
    _check_output(footage, out)
    network, architecture = load(weights, trust_code=options.trust_code)
    settings = settings or _settings_of(architecture, weights)
    network = network.to(make_accelerator("no").device).eval()
    tracker = _tracker_of(network, settings, seed, weights)
    with one_writer(out, options):
        following = _Following(tracker, footage, box)
        drawn = _follow(following, out, options)
        facts = {
            "source": footage.source,
            "weights": str(weights),
            "seed": seed,
            "settings": settings.model_dump(mode="json"),
        }
        _write(following, out, facts)
    _end_early(following, out)
    _tell(following, out / drawn, settings, options)
    return following.track


def _follow(following: _Following, out: Path, options: RunOptions) -> str:
    """Go through the frames, write them with the boxes, and return the name of that file."""
    total = following.footage.count
    drawn = VIDEO if can_write_videos() else PICTURE
    writer = _video if drawn == VIDEO else _picture
    try:
        with (
            stop_on_signal() as stop,
            counted(options.progress, "tracking", total=total) as tick,
            writer(out / drawn, following.footage) as add,
        ):
            begun = time.perf_counter()
            for number, (image, found) in enumerate(following.frames(stop)):
                add(number, draw_boxes(image, _boxes(following.footage, number, found)))
                rate = (number + 1) / (time.perf_counter() - begun)
                tick(number + 1, f"{rate:.1f} frames/s")
    except FileError as error:
        if not following.steps:
            raise
        following.fault = error
    return drawn


def _boxes(footage: Footage, number: int, found: Found) -> dict[str, Box | None]:
    """Return what to draw; the names stay, because colours follow their order."""
    truth = None if footage.sequence is None else footage.sequence.boxes[number]
    return {TRUTH: truth, FOUND: None if found.state == "not_found" else found.box}


@contextmanager
def _video(path: Path, footage: Footage) -> Iterator[Callable[[int, Pixels], None]]:
    with video_writer(path, footage.rate or _RATE) as add:
        yield lambda number, frame: add(frame)


@contextmanager
def _picture(path: Path, footage: Footage) -> Iterator[Callable[[int, Pixels], None]]:
    """Yield what keeps a frame if it is one of those to show; then write them side by side."""
    last = (footage.count or 1) - 1
    wanted = {round(place) for place in np.linspace(0, last, _SHOWN)}
    kept: dict[int, Pixels] = {}

    def add(number: int, frame: Pixels) -> None:
        if number in wanted:
            small = Image.fromarray(frame)
            small.thumbnail((_SIDE, _SIDE))
            kept[number] = np.asarray(small)

    yield add
    captions = [f"frame {number + 1}" for number in kept]
    write_png(path, strip(list(kept.values()), _COLUMNS, captions))


def _write(following: _Following, out: Path, facts: dict[str, Any]) -> None:
    track, rate = following.track, following.footage.rate
    lines = [",".join(f"{value:.3f}" for value in box) for box in track.boxes]
    write_text(out / BOXES, "\n".join(lines) + "\n")
    record = {
        **facts,
        "frames": len(track.boxes),
        "complete": following.fault is None and not following.stopped,
        "size": following.size,
        "frame_rate": rate,
        "frames_per_second": track.frames_per_second,
        "lost_from": _lost_from(track),
        "boxes": track.boxes.tolist(),
        "scores": track.scores.tolist(),
        "states": track.states,
        "versions": versions(),
    }
    write_json(out / RECORD, record)


def _end_early(following: _Following, out: Path) -> None:
    """Raise why the frames did not come to their end, if they did not."""
    count = len(following.steps)
    kept = f"the boxes of the {count} frames until then are in {out / BOXES}"
    if following.fault is not None:
        raise type(following.fault)(f"{following.fault} ({kept})") from following.fault
    if following.stopped:
        raise TrackingInterrupted(f"stopped after frame {count}; {kept}")


def _tell(
    following: _Following, drawn: Path, settings: TrackingSettings, options: RunOptions
) -> None:
    track, sequence = following.track, following.footage.sequence
    count = len(track.boxes)
    if count > 1:
        options.say(f"{count} frames, {track.frames_per_second:.1f} per second")
    if sequence is not None and np.isfinite(sequence.boxes[1:]).all(axis=1).any():
        figures = evaluate(
            settings.toolkit,
            track.boxes,
            sequence.boxes,
            visible=sequence.visible,
            image_size=following.size,
        )
        options.say(f"success AUC: {figures['success']:.2f} % (rules of {settings.toolkit})")
    lost = _lost_from(track)
    missed = track.states.count("not_found")
    if lost is not None:
        options.say(f"the target is lost from frame {lost} on, of {count}")
    elif missed:
        options.say(f"the target was not found in {missed} frames of {count}")
    options.say(f"boxes: {drawn.parent / BOXES}")
    options.say(f"{'video' if drawn.name == VIDEO else 'picture'}: {drawn}")
    if drawn.name == PICTURE:
        options.say("note: for a video of the boxes, pip install lwdna[video]")


def _lost_from(track: Track) -> int | None:
    """Return the frame, counted from 1, from which on nothing is found; None for a short while."""
    last = max(n for n, state in enumerate(track.states, 1) if state != "not_found")  # the first is
    return last + 1 if len(track.states) - last >= _LOST else None


def _settings_of(architecture: Architecture, weights: Path) -> TrackingSettings:
    """Return settings for a network of which there is nothing but its file."""
    size = architecture.input_size
    if isinstance(size, dict) and "test_images" in size:
        side, proposals = size["test_images"][-1], size.get("proposals", (0, 0, 0))[1]
        return TrackingSettings(tracker="dimp", image_size=side, proposals=proposals)
    if isinstance(size, dict) and {"template", "search"} <= set(size):
        template, search = size["template"][-1], size["search"][-1]
        return TrackingSettings(tracker="siamese", template_size=template, image_size=search)
    raise ModelError(
        f"the network in {weights} takes {describe(size)}, which is no tracker's; give the run of "
        "a tracking task (lwdna list recipes 'tracking/*')"
    )


def _tracker_of(
    network: nn.Module, settings: TrackingSettings, seed: int, weights: Path
) -> Tracker:
    try:
        return TRACKERS[settings.tracker](settings).tracker(network, seed)
    except ModelError as error:
        raise ModelError(
            f"the network in {weights} is no tracker of the kind {settings.tracker}: {error}"
        ) from error


def _check_output(footage: Footage, out: Path) -> None:
    """Make sure that no result takes the place of a frame, or comes among the frames."""
    source = Path(footage.source)
    taken = [source, source / "img"] if source.is_dir() else []
    if out.resolve() in [folder.resolve() for folder in taken]:
        raise DataError(f"{out} holds the frames; choose another folder for the boxes (--out)")
    if source.is_file() and (out / VIDEO).resolve() == source.resolve():
        raise DataError(f"{source} would be overwritten; choose another folder (--out)")
