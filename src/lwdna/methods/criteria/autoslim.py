"""Slimmable training, then greedy slimming.

Yu and Huang, "AutoSlim: Towards One-Shot Architecture Search for Channel Numbers", 2019
(arXiv 1903.11728), section 3; the sandwich rule is from "Universally Slimmable Networks and
Improved Training Techniques", ICCV 2019 (arXiv 1903.05134), section 3.3. In a slimmable network
width n of a group means its first n units.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lwdna.methods.criteria.gates import Site, gate, sites, transformed
from lwdna.methods.criteria.problem import Loss, Problem, Scores
from lwdna.methods.criteria.table import register_criterion
from lwdna.methods.limits import Limits
from lwdna.methods.space import least_widths

RANDOM_WIDTHS = 2
"""How many random networks the sandwich rule trains beside the widest and the narrowest."""
PIECES = 8
"""In how many steps a group may go from its full width to its floor."""


def sandwich(problem: Problem) -> Loss:
    """Return the loss of slimmable training: the mean over four networks with shared weights.

    The widest, the narrowest (all groups at their floors) and two in which every group has a
    random width in between. Narrow networks are run as wide ones whose other units nobody reads,
    with batch statistics of their own as in training of any network. Unlike in the paper the
    narrow ones learn from the labels and not from the widest one's outputs, which not every task
    has. One evaluation holds the activations of all four. The widths are drawn from torch's own
    generator, which training seeds at every step, so that a resumed warm-up draws the same.
    """
    where = sites(problem.wide, problem.graph)
    least = _least(problem)
    most = [problem.widths[group.name] for group in problem.graph.groups]

    def loss(network: nn.Module, batch: object) -> Tensor:
        total = problem.loss(network, batch)
        narrow = [least]
        for _ in range(RANDOM_WIDTHS):
            parts = torch.rand(len(most)).tolist()
            sizes = zip(parts, least, most, strict=True)
            narrow.append([low + int(part * (high - low + 1)) for part, low, high in sizes])
        for widths in narrow:
            with transformed(where, _reading_first(widths, most)):
                total = total + problem.loss(network, batch)
        return total / (1 + len(narrow))

    return loss


@register_criterion(
    "autoslim", paper="Yu 2019, AutoSlim, arXiv 1903.11728", objective=sandwich, ranks=True
)
def autoslim(problem: Problem) -> Scores:
    """Order of removal by greedy slimming, after a slimmable warm-up.

    Again and again the group is slimmed by one step whose step raises the loss over all batches
    the least, until the budget is met; the units left then rank by their place in their group. An
    increase found earlier is taken as a lower bound, so that only the most promising groups are
    evaluated again (Minoux, "Accelerated greedy algorithms", 1978). Losses are those of the
    training batches given, with batch statistics.

    Raises:
        TrainingError: the loss is not finite.
    """
    slimming = _Slimming(problem)
    order = slimming.run()
    owners = torch.tensor(order, dtype=torch.long)
    scores = {}
    for number, (name, width) in enumerate(problem.widths.items()):
        places = (owners == number).nonzero()[:, 0].double()
        ranks = torch.arange(width - len(places), 0, -1, dtype=torch.float64) / width
        scores[name] = torch.cat([len(order) + ranks, places.flip(0)])
    return scores


class _Slimming:
    """The widths on their way down, and what the next step of each group costs in loss."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._sites = sites(problem.wide, problem.graph)
        self._least = _least(problem)
        self._limits = Limits.of(problem.graph, problem.widths, problem.settings.budget)
        self.most = [problem.widths[group.name] for group in problem.graph.groups]

    def run(self) -> list[int]:
        """Return the groups that lose a unit, in order, until the budget is met."""
        _use_batch_statistics(self._problem.wide)
        widths = list(self.most)
        order: list[int] = []
        now = self._loss(widths)
        queue = [
            (self._loss(self._slimmer(widths, group)) - now, 0, group)
            for group in range(len(widths))
            if widths[group] > self._least[group]
        ]
        heapq.heapify(queue)
        while queue and not self._limits.fits([widths])[0]:
            increase, known, group = heapq.heappop(queue)
            slimmer = self._slimmer(widths, group)
            if known < len(order):  # found at other widths
                increase = self._loss(slimmer) - now
                heapq.heappush(queue, (increase, len(order), group))
                continue
            order += [group] * (widths[group] - slimmer[group])
            now, widths = now + increase, slimmer
            if widths[group] > self._least[group]:
                heapq.heappush(queue, (increase, known, group))
        return order

    def _slimmer(self, widths: list[int], group: int) -> list[int]:
        step = -(-(self.most[group] - self._least[group]) // PIECES)
        slimmer = list(widths)
        slimmer[group] = max(self._least[group], widths[group] - step)
        return slimmer

    def _loss(self, widths: list[int]) -> float:
        with torch.no_grad(), transformed(self._sites, _reading_first(widths, self.most)):
            return float(sum(self._problem.losses()))


def _least(problem: Problem) -> list[int]:
    settings = problem.settings
    least = least_widths(problem.graph, problem.widths, settings)
    return [least[group.name] for group in problem.graph.groups]


def _reading_first(widths: Sequence[int], most: Sequence[int]) -> Callable[[Tensor, Site], Tensor]:
    """Let layers read the first units of every group alone."""
    masks = [(torch.arange(high) < width).float() for width, high in zip(widths, most, strict=True)]
    return lambda x, site: gate(x, site, masks)


def _use_batch_statistics(network: nn.Module) -> None:
    network.eval()
    for module in network.modules():
        if isinstance(module, _NormBase):
            module.train()
