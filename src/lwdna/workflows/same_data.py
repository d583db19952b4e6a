"""A run goes on with the data that it was started with, and with no others."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from lwdna.engine import Task
from lwdna.engine.fingerprint import (
    Fingerprint,
    KnowsItsData,
    class_difference,
    difference,
)
from lwdna.engine.task import PredictsValues
from lwdna.engine.together import by_first
from lwdna.errors import ArchitectureError, CheckpointError, DataError, FileError
from lwdna.files import read_json, sealed, unsealed, write_text
from lwdna.interface import read_interface
from lwdna.run_folder import DATA
from lwdna.run_options import RunOptions


def check_same_data(
    task: Task, resumed: Path | None, part_of: Path | None, options: RunOptions
) -> Fingerprint | None:
    """Make sure that runs were started with the data of a task.

    Args:
        task: one that does not know its data is taken to have the right ones.
        resumed: the folder of a run that is to go on, if any.
        part_of: the folder of a job or a comparison to which the run belongs, if any.
        options: told if ``resumed`` does not say what its data were, as runs of earlier versions
            do not.

    Returns:
        What to write down of the data of a run that begins here; the first of several processes
        gets it.

    Raises:
        DataError: the data are others; what differs is said.
        CheckpointError: a file that says what the data were is damaged.
    """

    def look() -> Fingerprint | None:
        found = fingerprint_of(task)
        if resumed is not None:
            check_data(resumed, found, options)
        if part_of is not None:
            check_data(part_of, found)
        return None if resumed else found

    return by_first(look)


def fingerprint_of(task: Task) -> Fingerprint | None:
    """Return what is to be remembered of a task's data; None if it does not know them."""
    return task.fingerprint() if isinstance(task, KnowsItsData) else None


def check_data(folder: Path, now: Fingerprint | None, options: RunOptions | None = None) -> None:
    """Make sure that the run in a folder was started with these data.

    Args:
        folder: of the run.
        now: the data; None if the task does not know them.
        options: told if the run does not say what its data were.

    Raises:
        DataError: it was started with others.
        CheckpointError: the file that says what they were is damaged.
    """
    if now is None:
        return
    before = _read(folder / DATA)
    if before is None:
        if options is not None:
            options.say(
                f"{folder} does not say which data it was started with ({DATA}): whether they are "
                "the same is unknown"
            )
        return
    differs = difference(before, now)
    if differs is not None:
        raise DataError(
            f"the run in {folder} was started with other data: {differs}; restore the data, or "
            "start a new run in another folder"
        )


def write_data(folder: Path, found: Fingerprint | None) -> None:
    """Write down which data a run has."""
    if found is not None:
        text = json.dumps(sealed(found.model_dump(mode="json")), ensure_ascii=False)
        write_text(folder / DATA, text + "\n")


def _read(path: Path) -> Fingerprint | None:
    if not path.is_file():
        return None
    try:
        return Fingerprint.model_validate(unsealed(read_json(path)))
    except (FileError, ValidationError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} is damaged ({why}), so that nobody can tell whether the data are the same; "
            "restore it, or delete it if you know that they are"
        ) from error


def check_same_classes(
    weights: Path,
    task: Task,
    what: str,
    options: RunOptions,
    *,
    way_out: str = "use the data that it was trained for",
) -> None:
    """Make sure that a network's outputs stand for the classes of a task, or for its values.

    Args:
        weights: the network's file.
        task: without names of classes, there is nothing to compare.
        what: what the error calls the network.
        options: told if the file does not name its classes.
        way_out: what the error says is to be done.

    Raises:
        ArchitectureError: they stand for other classes, or in another order.
        CheckpointError: the file cannot be read.
    """
    adopt_values(weights, task, what)
    now = classes_of(task)
    if now is None:
        return
    before = read_interface(weights).classes
    if before is None:
        options.say(f"{weights} does not name its classes: whether they are the same is unknown")
        return
    differs = class_difference(before, now)
    if differs is not None:
        raise ArchitectureError(
            f"{what} was trained for other classes than the data have: {differs}; {way_out}"
        )


def adopt_values(weights: Path, task: Task, what: str) -> None:
    """Let a task of values take the scales that the network in a file was trained with.

    Raises:
        ArchitectureError: the network, which errors call ``what``, predicts other values.
        CheckpointError: the file cannot be read.
    """
    if isinstance(task, PredictsValues):
        task.adopt(read_interface(weights).targets, what)


def classes_of(task: Task) -> tuple[str, ...] | None:
    """Return the names of a task's classes, if it knows any."""
    return task.classes() if isinstance(task, KnowsItsData) else None
