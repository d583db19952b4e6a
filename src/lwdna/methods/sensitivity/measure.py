"""Slice one group of a trained network and measure what is left, after recalibration.

The analysis of Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (arXiv 1608.08710),
section 3.1, on groups of coupled channels. Statistics of batch normalisation are computed anew
before anything is measured, because those of the whole network make sliced ones look worse than
they are (Li et al., "EagleEye", ECCV 2020, arXiv 2007.02491).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lwdna.channels import ChannelGraph, Group, resize
from lwdna.engine import Task, TrainSettings
from lwdna.engine.device import make_accelerator, prepared
from lwdna.engine.evaluation import Evaluation, check_validation, run_evaluation
from lwdna.engine.recalibrate import recalibrate
from lwdna.inputs import Inputs
from lwdna.methods.answers import check_scores
from lwdna.methods.criteria import CRITERIA, Problem, Scores
from lwdna.methods.keep.units import best_units
from lwdna.methods.settings import ShrinkSettings


@dataclass(frozen=True)
class Subject:
    """A trained network, and what its slices are measured with."""

    network: nn.Module
    graph: ChannelGraph
    """At the network's own widths."""
    scores: Scores
    """By which the units of a group stay; larger is better."""
    batches: Sequence[Any]
    """Training batches for the statistics of batch normalisation."""
    task: Task
    train: TrainSettings
    """Batch size, precision and memory format of evaluations."""

    def whole(self) -> Evaluation:
        """Measure the network as it is."""
        return self._measured(deepcopy(self.network))

    def recalibrated(self) -> Evaluation:
        """Measure the whole network with the statistics that slices get."""
        return self._measured(self._recalibrated(deepcopy(self.network)))

    def sliced(self, group: Group, width: int) -> Evaluation:
        """Measure the network of which a group keeps its best units, and the others all theirs."""
        units = best_units(self.scores, {group.name: width})
        left = resize(self.network, self.graph, units, init="slice", inexact="allow")
        return self._measured(self._recalibrated(left))

    def _recalibrated(self, network: nn.Module) -> nn.Module:
        recalibrate(network, self.batches, self.task.loss)
        return network

    def _measured(self, network: nn.Module) -> Evaluation:
        train = self.train
        check_validation(self.task)
        accelerator = make_accelerator(train.mixed_precision)
        if train.channels_last:
            network.to(memory_format=torch.channels_last)
        size = train.eval_batch_size or train.batch_size
        with prepared(accelerator, network, evaluation=True) as ready:
            return run_evaluation(
                accelerator, ready, self.task, size, channels_last=train.channels_last
            )


def score_units(
    network: nn.Module,
    graph: ChannelGraph,
    example_inputs: Inputs,
    batches: Sequence[Any],
    task: Task,
    settings: ShrinkSettings,
    seed: int,
) -> Scores:
    """Return a score for every unit of a trained network; ``settings`` name the criterion.

    Raises:
        RecipeError: the criterion does not answer with one score per unit.
        TrainingError: the loss or a score is not finite.
    """
    settings = settings.model_copy(update={"warmup": None, "hypernetwork": False})
    given = (example_inputs, batches, task.loss, settings, seed)
    problem = Problem(deepcopy(network), graph, graph.widths, *given, trained=True)
    scores = CRITERIA[settings.criterion].score(problem)
    check_scores(scores, graph.widths, settings.criterion)
    return scores


def width_at(share: float, width: int) -> int:
    """Return the fewest units that are at least a share of ``width``, one at the least."""
    return max(1, math.ceil(share * width - 1e-9))


def measure_group(
    subject: Subject, group: Group, shares: Sequence[float], whole: Evaluation
) -> list[dict[str, Any]]:
    """Return what is left of the network when a group keeps only a share of its units, by share.

    Args:
        subject: the network.
        group: the only one that is sliced.
        shares: parts of its units.
        whole: the recalibrated network, which a share that spares no unit is.

    Returns:
        Of each share the ``width``, ``macs``, ``params``, ``metrics`` and ``error``, the standard
        error of the primary metric's difference to ``whole``; None if it cannot be known.
    """
    known: dict[int, Evaluation] = {group.width: whole}
    found = []
    for share in shares:
        width = width_at(share, group.width)
        if width not in known:
            known[width] = subject.sliced(group, width)
        cost = subject.graph.cost({group.name: width})
        found.append(
            {
                "share": share,
                "width": width,
                "macs": cost.macs,
                "params": cost.params,
                "metrics": dict(known[width].metrics),
                "error": _error(subject.task, whole, known[width]),
            }
        )
    return found


def slices(widths: Mapping[str, int], shares: Sequence[float]) -> int:
    """Return how many networks are to be measured."""
    return sum(len({width_at(share, n) for share in shares} - {n}) for n in widths.values())


def _error(task: Task, whole: Evaluation, left: Evaluation) -> float | None:
    """Return the standard error of the difference, over the examples that both have in common."""
    difference = (left.outcomes - whole.outcomes).double()
    if not task.metric.mean_of_examples or len(difference) < 2:
        return None
    error = float(difference.std() / math.sqrt(len(difference)))
    return error if math.isfinite(error) else None
