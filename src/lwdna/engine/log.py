"""What a run writes down of itself: ``metrics.jsonl``, TensorBoard events, trackers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from lwdna.engine.trackers import Trackers, Tracking
from lwdna.errors import FileError
from lwdna.files import json_text, write_text
from lwdna.run_folder import METRICS, TENSORBOARD


class RunLog:
    """Appends one line per epoch to ``metrics.jsonl``, the same values to TensorBoard and trackers.

    A value that is not finite is ``null`` in the file, and as it is elsewhere.
    """

    def __init__(self, path: Path, writer: SummaryWriter, trackers: Trackers) -> None:
        self._path = path
        self._writer = writer
        self._trackers = trackers

    def write(self, line: Mapping[str, Any]) -> None:
        """Append ``line``, which must hold ``step``.

        Raises:
            FileError: the disk is full or the file cannot be written.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json_text(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            for name, value in line.items():
                if name != "step":
                    self._writer.add_scalar(name, value, global_step=line["step"])
            self._writer.flush()
        except OSError as error:
            raise _cannot_write(self._path.parent, error) from error
        self._trackers.log({n: v for n, v in line.items() if n != "step"}, step=line["step"])


@contextmanager
def open_log(
    run_dir: Path, epochs_done: int, steps_done: int, tracking: Tracking
) -> Iterator[RunLog]:
    """Yield the log of a run, without whatever it says past ``epochs_done`` and ``steps_done``.

    Trackers cannot take anything back.

    Raises:
        FileError: the log cannot be written.
        TrainingError: a tracker cannot start.
    """
    trackers = Trackers(tracking, run_dir)
    path = run_dir / METRICS
    kept = [line for line in read_metrics(run_dir) if line["epoch"] <= epochs_done]
    write_text(path, "".join(json_text(line) + "\n" for line in kept))
    try:
        writer = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=steps_done + 1)
    except OSError as error:
        raise _cannot_write(run_dir, error) from error
    try:
        yield RunLog(path, writer, trackers)
    finally:
        trackers.finish()
        # What could not be written has been reported by `write`; closing would only say it again.
        with suppress(OSError):
            writer.close()


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """Return the epochs recorded in ``run_dir``, oldest first; half-written lines are left out."""
    path = Path(run_dir) / METRICS
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:  # the process died while it wrote this line
            continue
    return lines


def _cannot_write(run_dir: Path, error: OSError) -> FileError:
    return FileError(
        f"cannot write the log in {run_dir}: {error.strerror or error}; free some space, then "
        "resume from the last checkpoint"
    )
