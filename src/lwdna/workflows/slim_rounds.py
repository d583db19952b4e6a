"""The rounds of slimming: each is read where it has been done, so that a run goes on anywhere."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lwdna.architecture import Architecture, save
from lwdna.channels import resize
from lwdna.engine import Task, TrainResult, TrainSettings, evaluate, train
from lwdna.engine import recalibrate as take_statistics
from lwdna.engine.device import make_accelerator
from lwdna.engine.order import steps_per_epoch, train_batches
from lwdna.engine.together import by_first, shared
from lwdna.errors import ArchitectureError, CheckpointError
from lwdna.files import read_json, sealed, unsealed, write_json
from lwdna.inputs import call, move
from lwdna.methods import Slimmed, WarmupRun, distilled
from lwdna.methods.settings import DistillSettings
from lwdna.methods.slimming import slice_off
from lwdna.recipe import Recipe, change_recipe
from lwdna.run_folder import DENSE, ROUND_RECORD, ROUNDS, WARMUP, WEIGHTS, last_checkpoint
from lwdna.run_options import RunOptions
from lwdna.weights import load_weights, read_tensors
from lwdna.workflows.interface_of import interface_of
from lwdna.workflows.setup import make_teacher
from lwdna.workflows.slim_transforms import begun

OWN_TEACHER = "baseline"
"""How ``slim.distill.teacher`` calls the dense network."""
_FIGURES = 6
"""Significant digits of scores that are kept."""


class Slimming:
    """From a dense network to a slim one, in the rounds that a recipe's schedule says.

    Args:
        recipe: the experiment.
        task: its data.
        dense: the network to begin with, on this process's device.
        out: the folder of the run.
        options: progress bars, what is being done.
    """

    def __init__(
        self, recipe: Recipe, task: Task, dense: Slimmed, out: Path, options: RunOptions
    ) -> None:
        self._recipe, self._task, self._dense = recipe, task, dense
        given = (dense, move(task.example_inputs(), make_accelerator("no").device), recipe)
        self.begin, self._settings = begun(*given, options.trust_code)
        self._out, self._options = out, options
        self._protocol = recipe.tuning()
        self._device = make_accelerator("no").device
        self.teaching, self._teacher = self._taught()

    def rounds(self) -> tuple[Slimmed, list[dict[str, Any]]]:
        """Do the rounds, and what is trained between them; return what is left and their records.

        Raises:
            BudgetError: a round's budget cannot be met; groups in the way are named.
            TrainingInterrupted: a signal stopped a training, whose checkpoint is saved.
        """
        _ = self._whole  # the dense network is measured before it is scored
        settings = self._recipe.slim
        shares, records, left = settings.plan.shares(), [], self.begin
        for number, share in enumerate(shares, start=1):
            left, record = self._round(number, len(shares), share, left)
            records.append(record)
            if number < len(shares):
                left = self._between(number, left)
        return left, records

    def tuned(self, left: Slimmed) -> TrainResult:
        """Fine-tune what is left."""
        self._options.say("fine-tuning")
        places = self._places
        return self._trained(left.network, self._protocol, self._out, first=places[-1])

    def stages(self, rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return figures of the dense network and of what the last round left of it."""
        return [self._whole, *rounds[-1]["stages"]]

    @cached_property
    def _places(self) -> list[int]:
        """The steps of the fine-tuning before which the rounds are done."""
        schedule = self._recipe.slim.plan
        count = len(schedule.shares())
        if schedule.kind != "progressive":
            return [0] * count
        steps = steps_per_epoch(self._task.train_size, self._protocol.batch_size)
        whole = self._protocol.epochs * steps
        part = schedule.until * whole / max(count - 1, 1)
        return [min(round(part * number), whole - 1) for number in range(count)]

    @cached_property
    def _whole(self) -> dict[str, Any]:
        """Figures of the dense network."""
        file = self._out / ROUNDS / f"{DENSE}.json"
        if shared(file.is_file()):
            return _read(file)
        self._options.say("measuring the dense network")
        size = (self._out / DENSE / WEIGHTS).stat().st_size
        found = self._stage("dense", self._dense, size)
        by_first(lambda: write_json(file, sealed(found)))
        return found

    def _stage(self, name: str, given: Slimmed, file_bytes: int | None) -> dict[str, Any]:
        """Measure a network on the validation set."""
        own, network = self._recipe.train, deepcopy(given.network)  # whose memory format may change
        metrics = evaluate(
            network,
            self._task,
            own.eval_batch_size or own.batch_size,
            mixed_precision=own.mixed_precision,
            channels_last=own.channels_last,
        )
        return {
            "name": name,
            "metrics": metrics,
            "macs": given.after.macs,
            "params": given.after.params,
            "file_bytes": file_bytes,
        }

    def _round(
        self, number: int, count: int, share: float, left: Slimmed
    ) -> tuple[Slimmed, dict[str, Any]]:
        """Return what a round leaves, and its record."""
        folder = self._out / ROUNDS / str(number)
        if not shared((folder / ROUND_RECORD).is_file()):
            which = f" (round {number} of {count})" if count > 1 else ""
            self._options.say(f"scoring and slicing{which}")
            found, stages = self._sliced(number, share, left)
            by_first(lambda: self._write(folder, found, stages))
        record = _read(folder / ROUND_RECORD)
        return self._restored(folder, record), record

    def _sliced(
        self, number: int, share: float, left: Slimmed
    ) -> tuple[Slimmed, list[dict[str, Any]]]:
        """Return what a round leaves, and what that is worth before and after recalibration."""
        settings = self._settings.at(share)
        if number > 1:  # sparse training is for the dense network
            settings = settings.model_copy(update={"warmup": None})
        order = train_batches(
            self._task.train_size, settings.batch_size, seed=self._recipe.seed, epoch=number - 1
        )
        task, device = self._task, self._device

        def batches(most: int) -> Any:
            indices = [batch.tolist() for batch in order[:most]]
            return task.train_batches(
                indices, seed=self._recipe.seed, epoch=number - 1, device=device
            )

        run = WarmupRun(task, self._out / WARMUP, True, self._options)
        found = slice_off(
            left,
            move(task.example_inputs(), device),
            list(batches(settings.batches)),
            task.loss,
            settings,
            seed=self._recipe.seed,
            warmup_run=run,
        )
        stages = [self._stage("sliced", found, None)]
        most = settings.recalibrate
        if most and take_statistics(found.network, batches(most), task.loss):
            stages.append(self._stage("recalibrated", found, None))
        return found, stages

    def _write(self, folder: Path, found: Slimmed, stages: list[dict[str, Any]]) -> None:
        file = folder / WEIGHTS
        save(found.network, found.architecture, file, interface_of(self._recipe, self._task))
        stages[-1]["file_bytes"] = file.stat().st_size
        record = {
            "stages": stages,
            "metrics": stages[-1]["metrics"],
            "macs": found.after.macs,
            "params": found.after.params,
            "widths": found.widths,
            "units": {name: units.tolist() for name, units in found.units.items()},
            "scores": {
                name: [float(f"{score:.{_FIGURES}g}") for score in scores.tolist()]
                for name, scores in found.scores.items()
            },
        }
        write_json(folder / ROUND_RECORD, sealed(record))  # last: the round is done

    def _restored(self, folder: Path, record: dict[str, Any]) -> Slimmed:
        """Return what a round left."""
        dense = self.begin
        units = {name: torch.tensor(chosen) for name, chosen in record["units"].items()}
        network = resize(dense.network, dense.graph, units, init="slice", inexact="allow")
        file = folder / WEIGHTS
        load_weights(network, read_tensors(file)[0], file)
        architecture = Architecture.load(file)
        return replace(dense, network=network, architecture=architecture, units=units)

    def _between(self, number: int, left: Slimmed) -> Slimmed:
        """Train what a round left, as the schedule has it, before the next one."""
        schedule, folder = self._recipe.slim.plan, self._out / ROUNDS / str(number)
        if schedule.kind == "iterative":
            tune = {**self._recipe.slim.tune, "epochs": schedule.epochs, "warmup_epochs": 0}
            short = change_recipe(self._recipe, {"slim.tune": tune}, "slim.schedule").tuning()
            result = self._trained(left.network, short, folder)
        else:
            first, last = self._places[number - 1 : number + 1]
            if first == last:
                return left
            result = self._trained(left.network, self._protocol, folder, first=first, last=last)
        return replace(left, network=result.model)

    def _trained(
        self,
        network: nn.Module,
        protocol: TrainSettings,
        folder: Path,
        *,
        first: int = 0,
        last: int | None = None,
    ) -> TrainResult:
        task = self._task
        if self.teaching and self._teacher:
            task = distilled(task, network, self._teacher, self.teaching)
        return train(
            network,
            task,
            protocol,
            folder,
            seed=self._recipe.seed,
            resume=shared(last_checkpoint(folder).exists()),
            progress=self._options.progress,
            first_step=first,
            steps=last,
            evaluate=folder == self._out,
        )

    def _taught(self) -> tuple[DistillSettings | None, nn.Module | None]:
        """Return how the network is taught, and by whom; say so if its logits cannot be.

        Raises:
            ArchitectureError: the teacher answers otherwise than the network.
        """
        settings = self._recipe.slim.distill
        if settings is None:
            return None, None
        teacher = deepcopy(self._dense.network)
        if settings.teacher != OWN_TEACHER:
            teacher = make_teacher(settings.teacher, self._task, None, self._options)
            teacher.to(self._device)
        inputs = move(self._task.example_inputs(), self._device)
        own, others = (_answers(network, inputs) for network in (self._dense.network, teacher))
        if settings.weight and not (isinstance(own, Tensor) and own.ndim == 2):
            without = "from the data alone"
            if settings.similarity:
                settings = settings.model_copy(update={"weight": 0.0})
                without = "the similarities of the teacher's features"
            self._options.say(
                "note: the network does not answer with one row of logits per example, which a "
                f"teacher could be asked for; it learns {without} (slim.distill)"
            )
            return (settings, teacher) if settings.similarity else (None, None)
        if settings.weight and getattr(others, "shape", None) != own.shape:
            raise ArchitectureError(
                f"the teacher {settings.teacher} gives {tuple(getattr(others, 'shape', ()))[1:]} "
                f"values per example, the network {tuple(own.shape)[1:]}; use a teacher for the "
                "same classes (slim.distill.teacher), or none (slim.distill=null)"
            )
        return settings, teacher


@torch.no_grad()
def _answers(network: nn.Module, inputs: Any) -> Any:
    """Return what a network gives in evaluation mode; it stays in the mode that it was in."""
    mode = network.training
    try:
        return call(network.eval(), inputs)
    finally:
        network.train(mode)


def _read(file: Path) -> dict[str, Any]:
    """Return a record that the first process has written, the same for all.

    Raises:
        CheckpointError: it is damaged.
    """

    def look() -> dict[str, Any]:
        try:
            return unsealed(read_json(file))
        except ValueError as error:
            raise CheckpointError(
                f"{file} is damaged ({error}); restore it, or delete the folder of the run and "
                "start again"
            ) from error

    record = shared(by_first(look))
    assert record is not None
    return record
