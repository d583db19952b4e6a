"""Fisher information of the units' gates: per-example gradients, squared.

Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018
(arXiv 1801.05787), equation 6; used at initialisation by Turner et al., "BlockSwap",
ICLR 2020 (arXiv 1906.04113), section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lwdna.methods.criteria.gates import GateGradients
from lwdna.methods.criteria.problem import Problem, Scores, gradients_dropped
from lwdna.methods.criteria.table import register_criterion


@register_criterion("fisher", paper="Theis 2018, arXiv 1801.05787", keeps_weights=True)
def fisher(problem: Problem) -> Scores:
    """Squared gradients by each unit's gate, example by example.

    That is 1 / (2N) times the sum of g_n^2 over all N examples, g_n = dL_n/dg. L_n is the loss of
    one example. Where examples meet in a batch's statistics (batch normalisation) g_n is the
    derivative of the mean loss times N with respect to the gate on the example's own activations.

    Raises:
        TrainingError: the loss is not finite.
    """
    gates = GateGradients(problem.wide, problem.graph, problem.widths)
    total = sum(problem.sizes)
    scores: dict[str, Tensor] = {}
    with gates.watching(), gradients_dropped(problem.wide):
        for size, loss in zip(problem.sizes, problem.losses(), strict=True):
            loss.backward()
            for name, gradients in gates.take(size).items():
                found = (total / 2) * gradients.square().sum(0)
                scores[name] = scores.get(name, torch.zeros_like(found)) + found
    return scores
