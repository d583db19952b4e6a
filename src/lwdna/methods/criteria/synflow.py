"""SynFlow: how much of a network's synaptic flow passes through a unit; needs no data.

Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow",
NeurIPS 2020 (arXiv 2006.05467), section 6: R is the sum of the outputs of the network with all
weights replaced by their sizes, run on an input of ones. A unit's score is its gate's dR/dg, which
is the sum of |w| dR/d|w| over its outgoing weights (and over its incoming ones: the flow is
conserved).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lwdna.errors import TrainingError
from lwdna.hypernet import generated_weights
from lwdna.inputs import Inputs, call
from lwdna.methods.criteria.gates import GateGradients, gate, sites, transformed
from lwdna.methods.criteria.problem import Problem, Scores, gradients_dropped
from lwdna.methods.criteria.table import register_criterion
from lwdna.methods.keep.units import diminishing
from lwdna.methods.space import least_widths

ROUNDS = 10
"""The paper takes 100; it also goes to a thousandth of the weights, here floors end the search."""


@register_criterion("synflow", paper="Tanaka 2020, SynFlow, arXiv 2006.05467", ranks=True)
def synflow(problem: Problem) -> Scores:
    """Order of removal by synaptic flow, without data.

    The later a unit is removed, the better it is.
    As in the paper's algorithm 1 the number of units falls exponentially, here from all to those
    of the floors in :data:`ROUNDS` rounds, and the flow is computed anew after each. The score is
    the number of rounds a unit survived plus its flow in the next one as a part of the largest.

    Raises:
        TrainingError: the flow is not finite.
    """
    flow = _Flow(problem)
    settings = problem.settings
    least = least_widths(problem.graph, problem.widths, settings)
    alive = {name: torch.ones(width, dtype=torch.float64) for name, width in problem.widths.items()}
    scores = {name: torch.zeros_like(mask) for name, mask in alive.items()}
    every, fewest = sum(problem.widths.values()), sum(least.values())
    for number in range(1, ROUNDS + 1):
        found = flow.through(alive)
        largest = max(float(values.max()) for values in found.values()) or 1.0
        for name, values in found.items():
            lasted = number - 1 + values / (largest * (1 + 1e-9))
            scores[name] = torch.where(alive[name] > 0, lasted, scores[name])
        target = round(every * (fewest / every) ** (number / ROUNDS))
        alive = _best(found, alive, least, target)
    return scores


@register_criterion("synflow-expectation", paper="Cai 2022, PreCrop, arXiv 2203.02549")
def synflow_expectation(problem: Problem) -> Scores:
    """What a unit adds to the logarithm of the expected synaptic flow.

    Cai et al., "Structured Pruning is All You Need for Pruning CNNs at Initialization" (PreCrop,
    PreConfig; arXiv 2203.02549): the expectation of SynFlow's R over initialisation and random
    masks is, for a chain, a constant times the product of the layers' densities, so that the best
    densities maximise the sum of their logarithms within the budget.

    Here the widths themselves are the variables, so that coupled layers need no densities of their
    own. E[R] is exact: weights of a layer have one expected size, so R is run with every weight
    replaced by its layer's mean |w|. With s_g = d log E[R] / d log n_g at the widened widths (1
    for every group of a chain), log E[R] is the sum over groups of s_g log n_g to first order, to
    which the k-th unit adds s_g (log k - log(k - 1)), close to the score s_g / (k - 1/2). It is to
    be weighed against what the unit costs: with ``keep: knapsack`` this is the paper's programme.

    Raises:
        TrainingError: the flow is not finite.
    """
    flow = _Flow(problem, expected=True)
    found = flow.through(None)
    whole = flow.whole or 1.0
    return {
        name: diminishing(float(values.sum()) / whole, values) for name, values in found.items()
    }


class _Flow:
    """The linearised network: sizes of weights, no biases, normalisation a plain scale."""

    def __init__(self, problem: Problem, *, expected: bool = False) -> None:
        network = problem.wide.eval().double()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.zero_() if name.endswith("bias") else parameter.abs_()
            if expected:
                for layer in generated_weights(network, problem.graph).values():
                    layer.weight.fill_(layer.weight.mean())
        self.network = network
        self.whole = 0.0
        self._inputs = _ones(problem.example_inputs)
        self._sites = sites(network, problem.graph)
        self._names = [group.name for group in problem.graph.groups]
        self._gates = GateGradients(network, problem.graph, problem.widths)

    def through(self, alive: Scores | None) -> Scores:
        """Return dR/dg by group with units masked by ``alive`` (all there if None)."""
        where = [] if alive is None else self._sites
        vectors = [] if alive is None else [alive[name] for name in self._names]
        with (
            _Linear(),
            self._gates.watching(),
            gradients_dropped(self.network),
            transformed(where, lambda x, site: gate(x, site, vectors)),
        ):
            leaves = tree_leaves(call(self.network, self._inputs))
            total = sum(leaf.sum() for leaf in leaves if isinstance(leaf, Tensor))
            assert isinstance(total, Tensor)
            if not bool(torch.isfinite(total)):
                raise TrainingError(
                    f"the synaptic flow of this network is {total.item()}; choose another criterion"
                )
            total.backward()  # type: ignore[no-untyped-call]
        self.whole = float(total.detach())
        found = self._gates.take(1)  # a saturated softmax or sigmoid rounds to hairs below zero
        return {name: gradient[0].clamp_min(0) for name, gradient in found.items()}


def _best(found: Scores, alive: Scores, least: dict[str, int], target: int) -> Scores:
    """Keep the ``target`` units with the largest flow, and at least ``least`` of every group."""
    ranked = {}
    for name, values in found.items():
        ranked[name] = torch.where(alive[name] > 0, values, -1.0)
        ranked[name][ranked[name].topk(least[name]).indices] = torch.inf
    every = torch.cat(list(ranked.values()))
    threshold = every.topk(min(max(target, 1), len(every))).values[-1]
    return {name: (values >= threshold).double() * alive[name] for name, values in ranked.items()}


def _ones(inputs: Inputs) -> Inputs:
    """Return ones in place of numbers; what is no number (a position in a table) stays."""
    made: Inputs = tree_map_only(
        Tensor,
        lambda x: torch.ones_like(x, dtype=torch.float64) if x.is_floating_point() else x,
        inputs,
    )
    return made


def _scale(x: Tensor, weight: Tensor | None, dim: int) -> Tensor:
    shape = [1] * x.ndim
    shape[dim] = -1
    return x if weight is None else x * weight.reshape(shape)


def _batch_norm(
    x: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if variance is not None and not training:
        x = _scale(x, (variance + eps).rsqrt(), 1)
    return _scale(x, weight, 1)


def _group_norm(x: Tensor, groups: int, weight: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    return _scale(x, weight, 1)


def _instance_norm(
    x: Tensor, mean: Any = None, variance: Any = None, weight: Any = None, *_: Any, **__: Any
) -> Tensor:
    return _scale(x, weight, 1)


def _layer_norm(x: Tensor, shape: Any, weight: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    return x if weight is None else x * weight


def _identity(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


_LINEAR: dict[Any, Callable[..., Tensor]] = {
    F.batch_norm: _batch_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    F.layer_norm: _layer_norm,
    F.rms_norm: _layer_norm,
    **dict.fromkeys(
        (
            *(F.relu, F.relu6, F.leaky_relu, F.elu, F.celu, F.selu, F.silu, F.mish, F.gelu),
            *(F.hardswish, F.hardtanh, F.softplus),
        ),
        _identity,
    ),
}


class _Linear(TorchFunctionMode):
    """Runs normalisation as a scale, and activations as the identity that they are for large x."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _LINEAR.get(func, func)(*args, **(kwargs or {}))
