"""Transforms of a trained network before its units are scored, and what is merged in the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lwdna.architecture import Architecture
from lwdna.engine import TrainResult
from lwdna.inputs import device_of
from lwdna.methods import Budget, Slimmed, Trained
from lwdna.methods.limits import Limits
from lwdna.methods.slimming import SlimSettings
from lwdna.recipe import Recipe
from lwdna.rewriting import merge, rewritten


def begun(
    dense: Slimmed, inputs: Any, recipe: Recipe, trust_code: bool
) -> tuple[Slimmed, SlimSettings]:
    """Return what units are removed from, and settings whose budget refers to that.

    Args:
        dense: the network as it was trained.
        inputs: of one example, on its device.
        recipe: its section ``slim`` names transforms, and a budget of the dense network.
        trust_code: allow a network whose source imports Python code.

    Raises:
        ModelError: a transform cannot be applied.
    """
    settings = recipe.slim
    if not settings.transforms:
        return dense, settings
    network, architecture = rewritten(
        dense.network, dense.architecture, settings.transforms, trust_code
    )
    source = architecture.model
    baseline = source.create(trust_code) if source else None
    own = Trained(network, architecture.widths)
    begin = Slimmed.dense(own, inputs, source, recipe.edits, baseline)
    device = device_of(inputs)
    allowed = Limits.of(dense.graph, dense.graph.widths, settings.budget, device).allowed
    whole = Limits.of(begin.graph, begin.graph.widths, settings.budget, device).usage_of()
    budget = Budget.model_validate({name: allowed[name] / whole[name] for name in allowed})
    return (
        replace(begin, architecture=architecture),
        settings.model_copy(update={"budget": budget}),
    )


def merged(
    trained: TrainResult, architecture: Architecture, trust_code: bool
) -> tuple[TrainResult, Architecture]:
    """Return a trained network whose pairs are single convolutions where that costs no more."""
    if architecture.model is None or not architecture.model.transforms:
        return trained, architecture
    network, described = merge(trained.model, architecture, trust_code=trust_code)
    return replace(trained, model=network.eval()), described
