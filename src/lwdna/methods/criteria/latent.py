"""The latent-gradient criterion of LW-DNA: how much the loss depends on each unit's latent.

Li et al., "The Heterogeneity Hypothesis", CVPR 2021 (arXiv 2006.16242), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor, nn

from lwdna.channels import ChannelGraph
from lwdna.hypernet import Hypernetwork, Latents, draw_factors, generated_weights
from lwdna.methods.criteria.connections import sums_over_both_sides, weight_times_gradient
from lwdna.methods.criteria.problem import Problem, Scores
from lwdna.methods.criteria.table import register_criterion


@register_criterion(
    "latent-gradient",
    paper="Li 2021, LW-DNA, arXiv 2006.16242",
    reads_latents=True,
    draws_weights=True,
)
def latent_gradient(problem: Problem) -> Scores:
    """Size of the loss' gradient by each unit's latent.

    Raises:
        TrainingError: the loss is not finite.
    """
    return {name: gradient.abs() for name, gradient in latent_gradients(problem).items()}


@register_criterion("latent-magnitude", paper="Li 2020, DHP, arXiv 2003.13683", reads_latents=True)
def latent_magnitude(problem: Problem) -> Scores:
    """Size of each unit's latent, after a proximal warm-up.

    Li et al., "DHP: Differentiable Meta Pruning via HyperNetworks", ECCV 2020 (arXiv 2003.13683),
    section 3.3: proximal steps on the latents drive those that the loss does not need to zero.
    Without such a warm-up the latents are still their random draw, so that the widths found are
    uniform but for sampling noise.
    """
    latents = problem.latents
    if latents is None:
        generator = torch.Generator().manual_seed(problem.seed)
        latents = Latents(problem.graph, problem.widths, generator)
    return {
        name: vector.detach().abs().cpu()
        for name, vector in zip(latents.names, latents.vectors, strict=True)
    }


def latent_gradients(problem: Problem) -> Scores:
    """Return dL/dz by group, (n,) each, of the mean loss over all batches.

    While the hypernetwork's biases are zero every weight is z_a[o] * z_b[i] times a factor, so

        z_a[u] * dL/dz_a[u] = sum of W * dL/dW over all entries in which unit u takes part,

    on either side of every layer; one backward pass of the plain network is enough. The
    hypernetwork itself gives the same numbers at several times the cost. It is differentiated
    through where ``settings.hypernetwork`` asks for it, or where its biases have been trained.
    Trained weights, which no hypernetwork generated, are scored as if all their latents were 1,
    which is also how a hypernetwork begins to generate them.

    Raises:
        TrainingError: the loss is not finite.
    """
    wide, graph, settings = problem.wide, problem.graph, problem.settings
    latents = problem.latents
    given = (wide, graph, problem.widths, settings.embedding_dim, problem.seed)
    if latents is None and settings.hypernetwork:
        latents = Hypernetwork(*given, keep_weights=problem.trained).latents
    elif latents is None and problem.trained:
        latents = Latents(graph, problem.widths, torch.Generator())
        for vector in latents.vectors:
            nn.init.ones_(vector)
    elif latents is None:
        latents = draw_weights(*given)
    problem.backward()
    if settings.hypernetwork or problem.latents is not None:
        found = [v.grad if v.grad is not None else torch.zeros_like(v) for v in latents.vectors]
    else:
        found = closed_form(problem, latents)
    return {name: gradient.cpu() for name, gradient in zip(latents.names, found, strict=True)}


def draw_weights(
    wide: nn.Module,
    graph: ChannelGraph,
    widths: Mapping[str, int],
    embedding_dim: int,
    seed: int,
) -> Latents:
    """Give ``wide`` the weights its hypernetwork would generate, without building it."""
    generator = torch.Generator().manual_seed(seed)
    latents = Latents(graph, widths, generator).to(next(wide.parameters()).dtype)
    with torch.no_grad():
        for name, layer in generated_weights(wide, graph).items():
            z_a, z_b = (axis.spread(latents.vectors) for axis in graph.tensors[name][:2])
            start = 0
            for first, second in draw_factors(layer.weight.shape, embedding_dim, generator):
                rows = slice(start, start + len(first))
                embedding = first * (z_a[rows, None] * z_b)[..., None]
                emitted = second * embedding[:, :, None, :]
                # slice by slice: a sum over so short an axis takes several times as long
                piece = reduce(torch.add, emitted.unbind(-1))
                layer.weight[rows] = piece.reshape(layer.weight[rows].shape)
                start = rows.stop
    return latents


def closed_form(problem: Problem, latents: Latents) -> list[Tensor]:
    """Return dL/dz by group from the gradients of the weights that the latents generated."""
    totals = sums_over_both_sides(
        problem.wide, problem.graph, problem.widths, weight_times_gradient
    )
    return [
        (total / vector.detach().cpu().double()).to(vector.dtype)
        for total, vector in zip(totals, latents.vectors, strict=True)
    ]
