"""Short trainings of many networks, by any number of processes that share a folder.

A round is a list of networks. What each gave is a file of its own, ``<number>.json``, beside which
``<number>.lock`` is held by the process that trains it and ``<number>/`` keeps its checkpoints
until it is done. Whoever finds a trial neither finished nor held takes it, and goes on where a
process left it that was stopped or killed. So the result of a round does not depend on who did
what: on a CPU every trial runs on one thread, since sums over threads round differently.

One process decides which networks are tried (:func:`run_round`); others help (:func:`join_trials`).
Judged is the training loss, which needs no images that training does not see and varies less
between seeds than an accuracy.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
from torch import nn

from lwdna.channels import ChannelGraph
from lwdna.engine import Task, TrainSettings, train
from lwdna.engine.claims import claimed
from lwdna.engine.device import make_accelerator
from lwdna.engine.executor import Executor
from lwdna.engine.order import steps_per_epoch
from lwdna.engine.signals import TrainingInterrupted
from lwdna.engine.together import by_first, shared
from lwdna.errors import CheckpointError, RecipeError, TrainingError
from lwdna.files import json_text, sealed, unsealed, write_text
from lwdna.methods.settings import TrialSettings
from lwdna.run_folder import TRIAL_RECORD, TRIALS_WANTED, last_checkpoint
from lwdna.run_options import RunOptions

Make = Callable[[Mapping[str, int], int], nn.Module]
"""Returns the network of some widths, with weights that follow from the seed."""

JUDGED = 0.25
"""Last part of a trial whose losses are averaged."""
PARTS = 16
"""Parts of a trial whose mean losses are kept."""
LEAST_STEPS = 4
"""Steps that a trial needs at least."""
_POLL = 0.5
"""Seconds between looks at what other processes did."""


@dataclass(frozen=True)
class Protocol:
    """How long trials are, and by which learning rates they go."""

    train: TrainSettings
    steps: int
    """Optimizer steps of a trial; the schedule may be longer."""


def _nothing() -> None:
    """Go on."""


@dataclass(frozen=True)
class Proxy:
    """A smaller network of the family, whose variants are tried in the place of the network's."""

    network: nn.Module
    graph: ChannelGraph
    images: float
    """How many images its training sees for each that the network's own sees."""

    def cost(self, graph: ChannelGraph) -> float:
        """Return what its training costs, by MACs, in trainings of the network of ``graph``."""
        return self.images * self.graph.cost().macs / graph.cost().macs


@dataclass(frozen=True)
class Workers:
    """Who makes the trials, in the place of this process."""

    executor: Executor
    work: Callable[[int, dict[str, int]], bool]
    """Does what is left of the trial of a number and widths, and says whether there was anything;
    made of functions of modules, so that it can be pickled (:func:`tried`)."""


@dataclass(frozen=True)
class TrialSetup:
    """How networks are tried, and where the trials are kept."""

    task: Task
    protocol: TrainSettings
    """That of the training to come, or of the proxy's; trials shorten it."""
    folder: Path
    options: RunOptions = RunOptions()
    proxy: Proxy | None = None
    """What the task and the protocol are for, where it is not the network itself."""
    check: Callable[[], None] = _nothing
    """Called between trials; raises what should end them, as a fault of a process that helps."""
    workers: Workers | None = None
    """None makes trials in this process."""


@dataclass(frozen=True)
class Trial:
    """One short training."""

    widths: dict[str, int]
    loss: float | None
    """Mean training loss of the last quarter of the steps; None where training failed."""
    seconds: float
    curve: list[float]
    """Mean losses of 16 equal parts of the trial; empty where training failed."""


def shortened(protocol: TrainSettings, settings: TrialSettings, train_size: int) -> Protocol:
    """Return how a trial is trained: a part of the schedule, or the schedule compressed.

    Compressed, schedules in steps become a cosine, and of a length that is no whole number of
    epochs the last epoch ends early. There is no moving average of the weights, which the training
    loss would not show, and nothing is compiled, which would take longer than it saves.

    Args:
        protocol: that of the whole training.
        settings: length and schedule.
        train_size: training examples.

    Raises:
        RecipeError: a trial would have fewer than 4 steps.
    """
    all_steps = protocol.epochs * steps_per_epoch(train_size, protocol.batch_size)
    steps = math.ceil(settings.length * all_steps)
    if steps < LEAST_STEPS:
        raise RecipeError(
            f"shrink.trials.length ({settings.length:g}) makes trials of {steps} of the "
            f"{all_steps} steps of training, but they need at least {LEAST_STEPS}; raise it, or "
            "train.epochs"
        )
    if settings.schedule == "cut":
        return Protocol(protocol.model_copy(update={"ema": None, "compile": False}), steps)
    epochs = math.ceil(settings.length * protocol.epochs)
    changed = {
        "epochs": epochs,
        "warmup_epochs": protocol.warmup_epochs * epochs / protocol.epochs,
        "schedule": "constant" if protocol.schedule == "constant" else "cosine",
        "ema": None,
        "compile": False,
    }
    return Protocol(protocol.model_copy(update=changed), steps)


def run_round(
    make: Make,
    wanted: Sequence[Mapping[str, int]],
    start: int,
    setup: TrialSetup,
    protocol: Protocol,
    seed: int,
    *,
    total: int | None = None,
) -> list[Trial]:
    """Train networks for a short while, together with all processes that help.

    Trials that the folder holds are not repeated; one that was stopped goes on.

    Args:
        make: makes each network.
        wanted: widths by group of the trials with the numbers ``start``, ``start + 1``, ...
        start: 0 for the very first.
        setup: data, folder.
        protocol: of :func:`shortened`.
        seed: initial weights and orders of the data follow from it and the number.
        total: how many trials there will be in all rounds, for what is said.

    Returns:
        The trials, in the order wanted.

    Raises:
        TrainingError: trial 0 failed, so that the protocol is at fault and not the widths.
        TrainingInterrupted: a signal asked to stop; finished trials are kept, the present one is
            saved.
        CheckpointError: a record is damaged, or is of other widths.
        FileError: a file cannot be written.
    """
    plan = setup.folder / TRIALS_WANTED
    content = {"start": start, "wanted": [dict(widths) for widths in wanted]}
    by_first(lambda: write_text(plan, json_text(sealed(content)) + "\n"))
    own = {start + i: dict(widths) for i, widths in enumerate(wanted)}
    news = _News(setup, own, total)
    handed = None if setup.workers is None else _HandedOut(setup.workers, own)
    while True:
        left = shared([number for number in own if not _Place(setup.folder, number).settled()])
        news.tell()
        setup.check()
        if not left:
            break
        worked = (
            handed.some(left)
            if handed
            else any(tried(n, make, own[n], setup, protocol, seed) for n in left)
        )
        if not worked:
            time.sleep(_POLL)
    trials = [_read(_Place(setup.folder, number), widths) for number, widths in own.items()]
    make_accelerator("no").wait_for_everyone()  # all have read before any goes on
    by_first(lambda: plan.unlink(missing_ok=True))
    return trials


def join_trials(
    make: Make,
    setup: TrialSetup,
    protocol: Protocol,
    seed: int,
    ended: Callable[[], bool],
) -> None:
    """Train what another process wants (:func:`run_round`), until ``ended``.

    The other arguments have to be those of that process. The very first trial is left to it: if
    that fails, so does its search.

    Raises:
        TrainingInterrupted: a signal asked to stop; the present trial is saved.
        CheckpointError: the list of what is wanted is damaged.
        FileError: a file cannot be written, or the file system knows no locks.
    """
    while not shared(ended()):
        wanted = shared(by_first(lambda: _wanted(setup.folder / TRIALS_WANTED)) or {})
        worked = False
        for number, widths in wanted.items():
            if number and not shared(ended()):
                worked |= tried(number, make, widths, setup, protocol, seed, required=True)
        if not worked:
            time.sleep(_POLL)


def _wanted(plan: Path) -> dict[int, dict[str, int]]:
    """Return widths by number, none where nothing is wanted at the moment."""
    try:
        content = unsealed(json.loads(plan.read_text(encoding="utf-8")))
        return {content["start"] + i: widths for i, widths in enumerate(content["wanted"])}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, LookupError) as error:
        raise CheckpointError(f"{plan} is damaged; delete it and resume the search") from error


@dataclass(frozen=True)
class _Place:
    """Where a trial is kept."""

    folder: Path
    number: int

    @property
    def record(self) -> Path:
        return self.folder / f"{self.number}.json"

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.number}.lock"

    @property
    def training(self) -> Path:
        """The folder of everything unfinished, so that only the lock's holder writes there."""
        return self.folder / str(self.number)

    def settled(self) -> bool:
        """Whether it is done, and nothing but the record is left of it."""
        return self.record.is_file() and not self.training.exists() and not self.lock.exists()


class _HandedOut:
    """The trials of a round that an executor was given."""

    def __init__(self, workers: Workers, own: Mapping[int, dict[str, int]]) -> None:
        self._workers, self._own = workers, own
        self._flight: set[int] = set()

    def some(self, left: Sequence[int]) -> bool:
        """Hand out trials and wait a moment for one to end; return False if others hold all.

        Raises:
            LwdnaError: that of a trial which is not to fail, or of a worker.
        """
        executor = self._workers.executor
        for number in left:
            if number not in self._flight and len(self._flight) < executor.room:
                self._flight.add(number)
                executor.submit(number, self._workers.work, number, self._own[number])
        ended = [one for one in executor.ended(_POLL) if one.name in self._flight]
        self._flight -= {one.name for one in ended}
        done = [one.result() for one in ended if not isinstance(one.fault, TrainingInterrupted)]
        return any(done) or not ended


def tried(
    number: int,
    make: Make,
    widths: Mapping[str, int],
    setup: TrialSetup,
    protocol: Protocol,
    seed: int,
    *,
    required: bool = False,
) -> bool:
    """Do what is left of a trial, unless another process holds it; return whether it did.

    The arguments are those of :func:`run_round`.

    Args:
        required: whether it is an error that the file system knows no locks.

    Raises:
        TrainingError: trial 0 failed.
        TrainingInterrupted: a signal asked to stop; the trial is saved.
        FileError: a file cannot be written.
    """
    place = _Place(setup.folder, number)
    with claimed(place.lock, place.settled, required=required) as ours:
        if not ours:
            return False
        if not shared(place.record.is_file()):  # otherwise who did it was killed while tidying up
            trial = _trained(place, make, widths, setup, protocol, seed)
            by_first(lambda: _write(place, trial))
        by_first(lambda: shutil.rmtree(place.training, ignore_errors=True))
    return True


def _trained(
    place: _Place,
    make: Make,
    widths: Mapping[str, int],
    setup: TrialSetup,
    protocol: Protocol,
    seed: int,
) -> Trial:
    """Train one network, from where a process left it that was stopped."""
    own_seed = int(np.random.SeedSequence([seed, place.number]).generate_state(1)[0])
    start = time.perf_counter()
    try:
        with _one_thread():
            found = train(
                make(widths, own_seed),
                setup.task,
                protocol.train,
                place.training,
                seed=own_seed,
                resume=shared(last_checkpoint(place.training).exists()),
                progress=setup.options.progress,
                steps=protocol.steps,
                evaluate=False,
            )
    except TrainingError:
        if place.number == 0:  # the protocol is at fault, not the widths
            raise
        return Trial(dict(widths), None, round(time.perf_counter() - start, 3), [])
    losses = found.losses
    judged = fmean(losses[-math.ceil(JUDGED * len(losses)) :])
    parts = np.array_split(losses, min(PARTS, len(losses)))
    curve = [fmean(part.tolist()) for part in parts]
    return Trial(dict(widths), judged, round(found.seconds, 3), curve)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread inside the block where that is the CPU's work."""
    before = torch.get_num_threads()
    if make_accelerator("no").device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write(place: _Place, trial: Trial) -> None:
    whole = place.training / TRIAL_RECORD
    write_text(whole, json_text(sealed(asdict(trial)), indent=2) + "\n")
    whole.replace(place.record)


def _read(place: _Place, widths: Mapping[str, int]) -> Trial:
    try:
        trial = Trial(**unsealed(json.loads(place.record.read_text(encoding="utf-8"))))
        if trial.widths != widths:
            raise ValueError("other widths")
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{place.record} is damaged or of other widths; delete it to train that network anew"
        ) from error
    return trial


class _News:
    """Says what each trial of a round gave, as soon as this process sees it."""

    def __init__(self, setup: TrialSetup, own: Mapping[int, Mapping[str, int]], total: int | None):
        self._setup, self._own, self._total = setup, own, total
        self._found: dict[int, Trial] = {}
        by_first(self._look)  # those of an earlier sitting are no news

    def tell(self) -> None:
        """Say what is new.

        Raises:
            CheckpointError: a record is damaged.
        """
        for number in by_first(self._look) or ():
            loss = self._found[number].loss
            said = "failed" if loss is None else f"loss {loss:.4f}"
            of = "" if self._total is None else f" of {self._total}"
            self._setup.options.say(f"trial {number + 1}{of}: {said}{self._left()}")

    def _look(self) -> list[int]:
        """Read records that were not there before; return their numbers."""
        new = []
        for number, widths in self._own.items():
            place = _Place(self._setup.folder, number)
            if number not in self._found and place.record.is_file():
                self._found[number] = _read(place, widths)
                new.append(number)
        return new

    def _left(self) -> str:
        """Return about how long the trials to come take with as many processes as now."""
        remaining = (self._total or 0) - min(self._own) - len(self._found)
        if remaining <= 0:
            return ""
        held = len(list(self._setup.folder.glob("*.lock")))
        one = median(trial.seconds for trial in self._found.values())
        minutes = remaining * one / (held + 1) / 60
        left = f"{minutes:.0f} min" if minutes >= 1.5 else f"{60 * minutes:.0f} s"
        return f" (about {left} left)"
