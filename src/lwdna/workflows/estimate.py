"""``--dry-run``: what a recipe will cost, from a few steps of it, before it starts."""

from __future__ import annotations

import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Literal

import torch
from torch import nn

from lwdna.architecture import Architecture
from lwdna.engine import EndCheck, Hooks, Task, TrainSettings, train
from lwdna.engine.device import make_accelerator
from lwdna.engine.order import steps_per_epoch
from lwdna.errors import RecipeError
from lwdna.recipe import Recipe
from lwdna.run_folder import last_checkpoint
from lwdna.run_options import RunOptions
from lwdna.workflows.cells import cells_of
from lwdna.workflows.setup import make_baseline, make_source, make_task

Verb = Literal["train", "quickstart", "compare"]
_WARM_UP = 3
"""Steps in which libraries choose algorithms and processes that read images start."""
_SECONDS = 8.0
"""How long steps are timed, unless there are enough before."""
_STEPS = 25
_SPARE = 0.92
"""Share of a GPU's memory that a training can count on."""


@dataclass(frozen=True)
class Estimate:
    """What a recipe will cost on this machine, if nothing else runs there."""

    images_per_second: float
    """Of training the baseline."""
    eval_images_per_second: float
    steps: int
    """How many steps were timed."""
    batch: int
    """Images per step."""
    trainings: int
    training_hours: float
    """Of one training of the baseline, with its evaluations. What is found within the baseline's
    budget takes about as long."""
    search_hours: float
    """Of all searches together."""
    gpu: bool
    """Whether hours and memory are a GPU's."""
    peak_bytes: int
    """Most memory of the training process, of the GPU or of the machine."""
    memory_bytes: int
    """What there is."""
    largest_batch: int | None
    """About how many images fit into a GPU at once."""
    disk_bytes: int
    """Checkpoints and weights of all trainings."""
    cache_bytes: int
    """Decoded images kept between runs."""

    @property
    def hours(self) -> float:
        """Of everything."""
        return self.search_hours + self.trainings * self.training_hours


def estimate(
    recipe: Recipe,
    verb: Verb = "train",
    *,
    architecture: Architecture | None = None,
    options: RunOptions = RunOptions(),
) -> Estimate:
    """Train a network for a few steps and work out what the whole will cost.

    Nothing is left behind: checkpoints and caches go to a folder that is removed.

    Args:
        recipe: the experiment.
        verb: what would be started: one training, a search and two, or a comparison.
        architecture: of the network that is trained; None is the recipe's baseline.
        options: told of the data; trust.

    Raises:
        RecipeError: several processes were launched, of which each would measure for itself.
        DataError: the data cannot be opened, or there are no images.
        TrainingError: training does not work with these settings.
    """
    accelerator = make_accelerator("no")
    if accelerator.num_processes > 1:
        raise RecipeError("--dry-run measures one process; start it without a launcher")
    with _elsewhere() as folder:
        task = make_task(recipe, options.say)
        make = partial(_network, recipe, task, architecture, options)
        model = make()
        settings = recipe.train.model_copy(
            update={"progressive": (), "patience": None, "trackers": ()}
        )
        measured = _measure(model, task, settings, folder / "run", recipe.seed)
        evaluated = _evaluation_rate(model, task, settings)
        gpu = accelerator.device.type == "cuda"
        fits = _largest(make, recipe, task, measured, folder) if gpu else None
        per_image = 1 / measured.rate
        each = _training_hours(recipe.train, task, per_image, 1 / evaluated)
        trainings, searches = _work(recipe, verb)
        weights = sum(value.nbytes for value in model.state_dict().values())
        kept = last_checkpoint(folder / "run").stat().st_size + 2 * weights
        return Estimate(
            images_per_second=measured.rate,
            eval_images_per_second=evaluated,
            steps=measured.timed,
            batch=min(settings.batch_size, task.train_size),
            trainings=trainings,
            training_hours=each,
            search_hours=sum(_search_hours(one, task, per_image) for one in searches),
            gpu=gpu,
            peak_bytes=measured.peak,
            memory_bytes=_memory(gpu),
            largest_batch=fits,
            disk_bytes=kept * trainings,
            cache_bytes=sum(file.stat().st_size for file in (folder / "lwdna").glob("*")),
        )


def _network(
    recipe: Recipe, task: Task, architecture: Architecture | None, options: RunOptions
) -> nn.Module:
    if architecture is None:
        return make_baseline(recipe, make_source(recipe, task), options.trust_code)
    return architecture.build(trust_code=options.trust_code)


@contextmanager
def _elsewhere() -> Iterator[Path]:
    """Keep caches in a folder that is removed."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = before


@dataclass
class _Measured:
    """Times the steps of a training, and ends it."""

    batch: int
    most: int = _STEPS
    steps: int = 0
    times: list[float] = field(default_factory=list)
    peak: int = 0

    def after_step(self, _: float) -> None:
        self.steps += 1
        last = self.steps >= _WARM_UP + self.most
        # a GPU is asked when the warm-up has ended, and now and then whether to go on
        if self.steps >= _WARM_UP and (last or (self.steps - _WARM_UP) % 5 == 0):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())

    def enough(self) -> bool:
        if len(self.times) < 2:
            return False
        return self.timed >= self.most or self.times[-1] - self.times[0] >= _SECONDS

    @property
    def timed(self) -> int:
        return min(5 * (len(self.times) - 1), self.most)

    @property
    def rate(self) -> float:
        return self.timed * self.batch / (self.times[-1] - self.times[0])


def _measure(
    model: nn.Module,
    task: Task,
    settings: TrainSettings,
    folder: Path,
    seed: int,
    most: int = _STEPS,
) -> _Measured:
    steps = steps_per_epoch(task.train_size, settings.batch_size)
    watch = _Measured(min(settings.batch_size, task.train_size), most)
    # enough epochs for small sets; the rate does not depend on the schedule
    epochs = max(settings.epochs, math.ceil((_WARM_UP + most) / steps))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    train(
        model,
        task,
        settings.model_copy(update={"epochs": epochs}),
        folder,
        seed=seed,
        evaluate=False,
        hooks=Hooks(after_step=watch.after_step, end_check=EndCheck(1, watch.enough)),
    )
    if torch.cuda.is_available():
        watch.peak = torch.cuda.max_memory_allocated()
    else:  # Linux counts in kB
        watch.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return watch


@torch.no_grad()
def _evaluation_rate(model: nn.Module, task: Task, settings: TrainSettings) -> float:
    """Return images per second of evaluation, of a few batches after a first."""
    device = next(model.parameters()).device
    size = min(settings.eval_batch_size or settings.batch_size, max(1, task.eval_size // 2))
    count = min(8, task.eval_size // size)
    batches = [list(range(start * size, (start + 1) * size)) for start in range(count)]
    metrics = task.metrics().to(device)
    model.eval()
    start, seen = time.perf_counter(), 0
    for number, batch in enumerate(task.eval_batches(batches, device=device)):
        task.update(metrics, model, batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number == 0 and count > 1:
            start = time.perf_counter()
        else:
            seen += size
    return seen / (time.perf_counter() - start)


def _largest(
    make: Callable[[], nn.Module], recipe: Recipe, task: Task, measured: _Measured, folder: Path
) -> int | None:
    """Return about how many images fit: memory grows evenly with the batch."""
    half = measured.batch // 2
    if half < 1:
        return None
    settings = recipe.train.model_copy(
        update={"batch_size": half, "accumulate": 1, "progressive": (), "trackers": ()}
    )
    smaller = _measure(make(), task, settings, folder / "half", recipe.seed, most=5)
    whole = measured.batch / recipe.train.accumulate
    each = (measured.peak - smaller.peak) / (whole - half) if whole != half else 0
    if each <= 0:
        return None
    return int((_memory(True) * _SPARE - smaller.peak) / each) + half


def _memory(gpu: bool) -> int:
    if gpu:
        return int(torch.cuda.get_device_properties(0).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _training_hours(
    settings: TrainSettings, task: Task, per_image: float, per_eval_image: float
) -> float:
    epoch = steps_per_epoch(task.train_size, settings.batch_size)
    images = epoch * min(settings.batch_size, task.train_size)
    own = task.example_inputs()
    side = own.shape[-1] if isinstance(own, torch.Tensor) else None
    sizes = [settings.side_in(number) for number in range(settings.epochs)]
    # arithmetic and decoded pixels go with the area
    areas = fmean(1.0 if size is None or side is None else (size / side) ** 2 for size in sizes)
    evaluations = math.ceil(settings.epochs / settings.eval_every)
    seconds = settings.epochs * images * areas * per_image
    return (seconds + evaluations * task.eval_size * per_eval_image) / 3600


def _work(recipe: Recipe, verb: Verb) -> tuple[int, list[Recipe]]:
    """Return the number of trainings, and the recipe of every search."""
    if verb == "train":
        return 1, []
    if verb == "quickstart":
        return 2, [recipe]
    cells = cells_of(recipe, Path("runs"))
    searches = {cell.search.folder: cell.search.recipe for cell in cells if cell.search}
    return len(cells), list(searches.values())


def _search_hours(recipe: Recipe, task: Task, per_image: float) -> float:
    """Return what a search takes, by the images that its networks see."""
    shrink, settings = recipe.shrink, recipe.train
    given = shrink.width_mult
    wider = max([*given.values(), 1.0]) if isinstance(given, dict) else given
    images = shrink.batches * shrink.batch_size * wider**2
    if (warmup := shrink.warmup) is not None:
        length = warmup.until.at_most if warmup.until else warmup
        steps = length.iterations or 0
        passes = (length.epochs or 0) * task.train_size
        images += (steps * warmup.batch_size + passes) * wider**2
    if (trials := shrink.trials) is not None:
        epoch = steps_per_epoch(task.train_size, settings.batch_size) * settings.batch_size
        images += trials.count * trials.length * settings.epochs * epoch
    return images * per_image / 3600
