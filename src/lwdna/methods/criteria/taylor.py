"""First-order Taylor expansion of the loss in the units' gates.

Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019 (arXiv 1906.10771),
section 3.1: the importance of a gate z is (dE/dz)^2.
"""

from __future__ import annotations

from lwdna.methods.criteria.gates import GateGradients
from lwdna.methods.criteria.problem import Problem, Scores, gradients_dropped
from lwdna.methods.criteria.table import register_criterion


@register_criterion("taylor", paper="Molchanov 2019, arXiv 1906.10771", keeps_weights=True)
def taylor(problem: Problem) -> Scores:
    """Square of the loss' gradient by each unit's gate.

    That is the square of the first-order change of the loss without the unit. The paper averages
    squares over mini-batches; here the gradient of the mean loss over all examples is squared, so
    that the split into batches does not matter.

    Raises:
        TrainingError: the loss is not finite.
    """
    gates = GateGradients(problem.wide, problem.graph, problem.widths)
    with gates.watching(), gradients_dropped(problem.wide):
        problem.backward()
    return {name: gradient[0].square() for name, gradient in gates.take(1).items()}
