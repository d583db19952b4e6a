"""Short trainings that decide between widths: what a criterion guesses, these try.

The first network tried is the baseline (narrowed where the budget asks for it), the second what the
criterion found; then pairs of networks that depart from the baseline in opposite directions, then
what :mod:`lwdna.methods.proposals` takes for most promising. All keep the budget. Judged is the
training loss, which needs no images that training does not see and varies less between seeds than
an accuracy.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from accelerate.utils import broadcast_object_list
from torch import nn

from lwdna.channels import resize
from lwdna.engine import Task, TrainSettings, train
from lwdna.engine.device import make_accelerator
from lwdna.errors import CheckpointError, RecipeError, TrainingError
from lwdna.files import json_text, sealed, unsealed, write_text
from lwdna.methods.limits import IntArray
from lwdna.methods.proposals import EXPLORED, Space, choose, explore, narrowed, propose
from lwdna.methods.settings import TrialSettings
from lwdna.run_folder import TRAINING, TRIAL_LOG
from lwdna.run_options import RunOptions

JUDGED = 0.25
"""Last part of a training whose losses are averaged."""


@dataclass(frozen=True)
class TrialSetup:
    """How networks are tried, and where the trials are kept."""

    task: Task
    protocol: TrainSettings
    """That of the training to come; trials shorten it."""
    folder: Path
    options: RunOptions = RunOptions()


@dataclass(frozen=True)
class Trial:
    """One short training."""

    widths: dict[str, int]
    loss: float | None
    """Mean training loss of the last steps; None where training failed."""
    seconds: float


def try_widths(
    model: nn.Module,
    space: Space,
    first: Mapping[str, int],
    setup: TrialSetup,
    settings: TrialSettings,
    seed: int,
) -> tuple[dict[str, int], list[Trial]]:
    """Try networks and choose the widths whose loss is expected to be lowest.

    Trials that ``setup.folder`` holds are not repeated; one that was stopped starts anew.

    Args:
        model: the baseline; it is not changed.
        space: what widths are allowed.
        first: widths to try beside the baseline's.
        setup: data, protocol, folder.
        settings: how many trainings, and how long.
        seed: initial weights, orders of the data and proposals follow from it.

    Returns:
        The widths chosen, and all trials.

    Raises:
        RecipeError: trials are longer than training.
        TrainingError: training failed already with the baseline's proportions.
        TrainingInterrupted: a signal asked to stop; finished trials are kept.
        CheckpointError: the record of the trials is damaged.
    """
    protocol = shortened(setup.protocol, settings.epochs)
    names = [group.name for group in space.limits.graph.groups]
    beginning = [narrowed(space), np.array([first[name] for name in names])]
    trials = _read(setup.folder / TRIAL_LOG, names)
    while len(trials) < settings.count:
        widths = dict(zip(names, _next(space, beginning, trials, seed), strict=True))
        own_seed = int(np.random.SeedSequence([seed, len(trials)]).generate_state(1)[0])
        network = resize(model, space.limits.graph, widths, seed=own_seed)
        start = time.perf_counter()
        try:
            loss = _loss_after(network, setup, protocol, own_seed)
        except TrainingError:
            if not trials:  # the protocol is at fault, not the widths
                raise
            loss = None
        trials.append(Trial(widths, loss, round(time.perf_counter() - start, 3)))
        _write(setup.folder / TRIAL_LOG, trials)
        said = "failed" if loss is None else f"loss {loss:.4f}"
        setup.options.say(f"trial {len(trials)} of {settings.count}: {said}")
    chosen = _shared(choose(space, *_tried(trials), seed))
    return dict(zip(names, chosen, strict=True)), trials


def shortened(protocol: TrainSettings, epochs: int) -> TrainSettings:
    """Return a protocol compressed to fewer epochs; schedules in steps become a cosine.

    Raises:
        RecipeError: there are no fewer.
    """
    if epochs > protocol.epochs:
        raise RecipeError(
            f"shrink.trials.epochs ({epochs}) are more than train.epochs ({protocol.epochs}), but "
            "trials are short trainings; lower them"
        )
    share = epochs / protocol.epochs
    return protocol.model_copy(
        update={
            "epochs": epochs,
            "warmup_epochs": protocol.warmup_epochs * share,
            "schedule": "constant" if protocol.schedule == "constant" else "cosine",
            "ema": None,
            "checkpoint_every": None,
        }
    )


def _next(
    space: Space, beginning: Sequence[IntArray], trials: Sequence[Trial], seed: int
) -> list[int]:
    number = len(trials)
    if number < len(beginning):
        return _shared(beginning[number])
    if number < len(beginning) + EXPLORED:
        return _shared(explore(space, number - len(beginning), seed))
    return _shared(propose(space, *_tried(trials), seed))


def _tried(trials: Sequence[Trial]) -> tuple[list[IntArray], list[float]]:
    """Return the widths and the losses of trials; one that failed has the worst loss of all."""
    worst = max(trial.loss for trial in trials if trial.loss is not None)
    losses = [worst if trial.loss is None else trial.loss for trial in trials]
    return [np.array(list(trial.widths.values())) for trial in trials], losses


def _loss_after(network: nn.Module, setup: TrialSetup, protocol: TrainSettings, seed: int) -> float:
    """Train a network and return its mean loss over the last steps."""
    folder = setup.folder / TRAINING
    _remove(folder)  # of a trial that was stopped
    found = train(
        network,
        setup.task,
        protocol,
        folder,
        seed=seed,
        progress=setup.options.progress,
        evaluate=False,
    )
    _remove(folder)
    return fmean(found.losses[-math.ceil(JUDGED * len(found.losses)) :])


def _remove(folder: Path) -> None:
    processes = make_accelerator("no")
    processes.wait_for_everyone()
    if processes.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
    processes.wait_for_everyone()


def _shared(widths: IntArray) -> list[int]:
    """Return the widths of the first process: others may have rounded differently."""
    shared = [[int(width) for width in widths]]
    broadcast_object_list(shared)
    return shared[0]


def _write(path: Path, trials: Sequence[Trial]) -> None:
    if make_accelerator("no").is_main_process:
        lines = (json_text(sealed(asdict(trial))) for trial in trials)
        write_text(path, "".join(f"{line}\n" for line in lines))


def _read(path: Path, names: Sequence[str]) -> list[Trial]:
    """Return the trials of a record, which all processes have read before any goes on."""
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        trials = [Trial(**unsealed(json.loads(line))) for line in text.splitlines()]
        if any(list(trial.widths) != list(names) for trial in trials):
            raise ValueError("other groups")
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged; delete it to try all widths anew") from error
    make_accelerator("no").wait_for_everyone()
    return trials
