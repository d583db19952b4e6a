"""Scales of batch normalisation trained under a penalty on the resources that units take.

Gordon et al., "MorphNet: Fast & Simple Resource-Constrained Structure Learning of Deep Networks",
CVPR 2018 (arXiv 1711.06798), section 4: the penalty is the network's cost with each unit counted
by |gamma| instead of 1, in which a layer's other side counts the units still alive.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lwdna.methods.criteria.problem import Loss, Problem, Scores
from lwdna.methods.criteria.scales import batchnorm_scale, unit_scales
from lwdna.methods.criteria.table import register_criterion
from lwdna.methods.limits import Limits

ALIVE = 0.01
"""The scale above which a unit counts as alive."""


def penalised(problem: Problem) -> Loss:
    """Return the loss plus ``resource_penalty`` times the sum over units of cost times |gamma|.

    A unit costs what the network saves without it at the widths still alive, of every resource
    that the budget names as a fraction of what the widened network takes. For units with several
    normalisation layers, or none, see :func:`lwdna.methods.criteria.scales.unit_scales`.
    """
    graph = problem.graph
    limits = Limits.of(graph, problem.widths, problem.settings.budget)
    usage = limits.usage_of(problem.widths)
    strength = problem.settings.resource_penalty

    def loss(network: nn.Module, batch: object) -> Tensor:
        value = problem.loss(network, batch)
        scales = unit_scales(problem.wide, graph, problem.widths)
        alive = [int((scale.detach() > ALIVE).sum()) for scale in scales.values()]
        saved = limits.differences(np.maximum(alive, 1), -1)
        costs = sum(saved[name] / whole for name, whole in usage.items())
        sums = torch.stack([scale.sum() for scale in scales.values()])
        return value + strength * (sums * torch.as_tensor(costs).to(sums)).sum()

    return loss


@register_criterion(
    "morphnet",
    paper="Gordon 2018, MorphNet, arXiv 1711.06798",
    objective=penalised,
    keeps_weights=True,
)
def morphnet(problem: Problem) -> Scores:
    """Size of each unit's scale, after a warm-up that penalises scales by cost."""
    return batchnorm_scale(problem)
