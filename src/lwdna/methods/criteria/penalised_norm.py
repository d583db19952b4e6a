"""How large the weights are by which the warm-up's penalties make a unit vanish."""

from __future__ import annotations

from lwdna.methods.criteria.problem import Problem, Scores
from lwdna.methods.criteria.table import register_criterion
from lwdna.methods.sparse.sizes import penalised_norms
from lwdna.methods.sparse.units import Units


@register_criterion("penalised-norm", paper="Li 2020, Hinge, arXiv 2003.08935", keeps_weights=True)
def penalised_norm(problem: Problem) -> Scores:
    """L2 norm of the weights that the warm-up's penalties act on, the smallest of several.

    Where no penalty acts on a group, that of all weights that make or read a unit. Li et al.,
    "Group Sparsity: The Hinge Between Filter Pruning and Decomposition for Network Compression",
    CVPR 2020, section 3.3: columns of a matrix behind a convolution are what makes its outputs,
    rows what reads a rank.
    """
    warmup = problem.settings.warmup
    units = Units(problem.wide, problem.graph, problem.widths)
    sizes = penalised_norms(units, warmup.penalty if warmup else ())
    return {name: size.cpu() for name, size in sizes.items()}
