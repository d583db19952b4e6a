"""The hypernetwork generates what it should, and its closed form has the same gradients."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from lwdna.channels import resize, trace, widened_widths
from lwdna.hypernet import attach, bake
from lwdna.methods import ShrinkSettings
from lwdna.methods.criteria import Problem, latent_gradients
from networks import Branches, Chain


def _loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def _batches(count, shape, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(shape, generator=generator),
            torch.randint(classes, (shape[0],), generator=generator),
        )
        for _ in range(count)
    ]


def _small_resnet():
    return timm.create_model("test_resnet", num_classes=5)


@pytest.mark.parametrize("build", [Branches, Chain, _small_resnet])
@pytest.mark.parametrize("embedding_dim", [1, 3])
def test_closed_form_gradients_equal_autograd_through_the_hypernetwork(build, embedding_dim):
    torch.manual_seed(0)
    model = build()
    graph = trace(model, torch.zeros(1, 3, 16, 16))
    widths = widened_widths(graph, 1.5)
    batches = _batches(2, (4, 3, 16, 16), 5)
    settings = [
        ShrinkSettings(embedding_dim=embedding_dim, hypernetwork=hypernetwork)
        for hypernetwork in (False, True)
    ]
    found = []
    for hypernetwork in (False, True):
        wide = resize(model, graph, widths, seed=1)
        found.append(
            latent_gradients(
                Problem(wide, graph, widths, batches, _loss, settings[hypernetwork], seed=7)
            )
        )
    closed, through = found
    assert list(closed) == [group.name for group in graph.groups]
    for name, gradient in closed.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, through[name], rtol=2e-4, atol=1e-6)


def test_generated_weights_have_fan_in_variance():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.Conv2d(64, 96, 3), nn.Flatten(), nn.LazyLinear(10)
    )
    model(torch.zeros(1, 3, 8, 8))
    graph = trace(model, torch.zeros(1, 3, 8, 8))
    variances = []
    for seed in range(40):
        copy = resize(model, graph, {}, seed=0)
        attach(copy, graph, graph.widths, 2, seed)
        variances.append(float(copy[1].weight.detach().var()) * 64 * 9)
    assert sum(variances) / len(variances) == pytest.approx(1.0, rel=0.1)


def test_parameters_are_the_latents_and_the_generators_and_bake_restores_the_class():
    model = Branches().eval()
    images = torch.randn(2, 3, 16, 16)
    graph = trace(model, images)
    names = [name for name, _ in model.named_parameters()]
    latents = attach(model, graph, graph.widths, 2, seed=3)
    owned = {id(parameter) for parameter in model.parameters()}
    assert all(id(vector) in owned for vector in latents.vectors)
    generated = model(images)
    bake(model)
    assert [type(module) for module in model.modules()] == [
        type(module) for module in Branches().modules()
    ]
    assert sorted(name for name, _ in model.named_parameters()) == sorted(names)
    torch.testing.assert_close(model(images), generated)


def test_a_unit_whose_latent_is_zero_generates_no_weights():
    model = Chain()
    graph = trace(model, torch.zeros(1, 3, 16, 16))
    latents = attach(model, graph, graph.widths, 2, seed=3)
    with torch.no_grad():
        latents.vectors[graph.index["two"]][4] = 0
    assert model.two.weight[4].abs().max() == 0
    assert model.three.weight[:, 4].abs().max() == 0
    assert model.two.weight[5].abs().max() > 0
