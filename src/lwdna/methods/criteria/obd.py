"""Second-order expansion of the loss in the weights, with the diagonal of the Fisher matrix.

LeCun et al., "Optimal Brain Damage", 1989: without weight w the loss grows by h w^2 / 2, h the
diagonal entry of the Hessian. Its place takes that of the empirical Fisher matrix, the mean over
examples n of (dL_n/dw)^2 (Wang et al., "EigenDamage", ICML 2019, arXiv 1905.05934, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from lwdna.hypernet import generated_weights
from lwdna.methods.criteria.connections import Layer, sums_over_both_sides, sums_over_makers
from lwdna.methods.criteria.problem import Problem, Scores, gradients_dropped
from lwdna.methods.criteria.table import register_criterion


@register_criterion("hessian", paper="LeCun 1989, Optimal Brain Damage", keeps_weights=True)
def hessian(problem: Problem) -> Scores:
    """Growth of the loss without each unit's weights, to second order.

    The sum of h w^2 / 2 over all weights in which the unit takes part, on either side.

    Raises:
        TrainingError: the loss is not finite.
    """
    return _summed(problem, sums_over_both_sides)


@register_criterion("obd-c", paper="Wang 2019, EigenDamage, arXiv 1905.05934", keeps_weights=True)
def obd_c(problem: Problem) -> Scores:
    """Growth of the loss without each unit's filters, to second order.

    The sum of h w^2 / 2 over the filters that make the unit, the channel-wise optimal brain damage
    of EigenDamage.

    Raises:
        TrainingError: the loss is not finite.
    """
    return _summed(problem, sums_over_makers)


def _summed(problem: Problem, sums: Callable[..., list[Tensor]]) -> Scores:
    graph = problem.graph
    totals = sums(problem.wide, graph, problem.widths, _growth(problem).get)
    return {group.name: total for group, total in zip(graph.groups, totals, strict=True)}


@dataclass
class _Call:
    """One run of a layer: what it was given, and the loss' gradient by what it returned."""

    inputs: tuple[Any, ...]
    gradient: Tensor | None = None


def _growth(problem: Problem) -> dict[Layer, Tensor]:
    """Return h w^2 / 2 by layer, summed over kernel positions, (O, I) float64."""
    layers = list(generated_weights(problem.wide, problem.graph).values())
    squares = {layer: torch.zeros_like(layer.weight) for layer in layers}
    count = sum(problem.sizes)
    problem.wide.train()
    losses = problem.losses()
    for size in problem.sizes:
        with _watching(layers) as calls:
            loss = next(losses)
        with gradients_dropped(problem.wide):
            loss.backward()
        for layer, made in calls.items():
            for gradient in _gradients(layer, made, size):
                squares[layer] += gradient.square()
    found = {}
    for layer, square in squares.items():
        # the gradients are those of an example's share of the mean loss: N times too small
        growth = square.double() * layer.weight.detach().double().square() * (count / 2)
        found[layer] = growth.reshape(*growth.shape[:2], -1).sum(2)
    return found


@contextmanager
def _watching(layers: list[Layer]) -> Iterator[dict[Layer, list[_Call]]]:
    """Note what layers are given inside the block; gradients come with the backward pass."""
    calls: dict[Layer, list[_Call]] = {layer: [] for layer in layers}

    def note(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        if layer.weight.requires_grad:
            call = _Call((inputs[0].detach(), *inputs[1:]))
            calls[layer].append(call)
            output.register_hook(lambda gradient: setattr(call, "gradient", gradient))

    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _gradients(layer: Layer, calls: list[_Call], size: int) -> Iterator[Tensor]:
    """Yield the gradient of a layer's weight of every example of a batch.

    The layer runs once more on what it was given, example by example. What has no row for every
    example is taken for the same share of each.
    """
    weight = layer.weight.detach().requires_grad_()
    made = [call for call in calls if call.gradient is not None]
    whole = [call for call in made if len(call.inputs[0]) % size]
    shares = [_gradient(layer, weight, call, slice(None)) / size for call in whole]
    single = [call for call in made if not len(call.inputs[0]) % size]
    for example in range(size if made else 0):
        total = sum(shares, start=torch.zeros_like(weight))
        for call in single:
            rows = len(call.inputs[0]) // size
            part = slice(example * rows, (example + 1) * rows)
            total = total + _gradient(layer, weight, call, part)
        yield total


def _gradient(layer: Layer, weight: Tensor, call: _Call, rows: slice) -> Tensor:
    assert call.gradient is not None
    given = (call.inputs[0][rows], *call.inputs[1:])
    with torch.enable_grad():
        output = functional_call(layer, {"weight": weight}, given)
    (gradient,) = torch.autograd.grad(output, weight, call.gradient[rows])
    return gradient.detach()
