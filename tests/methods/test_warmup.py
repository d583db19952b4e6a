"""A warm-up trains what is scored; what it trained can be inherited."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

import lwdna
from lwdna.channels import resize, trace, widened_widths
from lwdna.errors import RecipeError
from lwdna.hypernet import Hypernetwork, generated_weights
from lwdna.methods import ShrinkSettings, Trained, search
from lwdna.methods.settings import WarmupSettings
from lwdna.methods.sparse import Units
from lwdna.methods.warmup import WarmupRun, task_of, warm_up
from networks import Chain

LIGHT = {"kind": "l1", "weight": 0.1}


def _loss(network, batch):
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def _batches(count=2, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 3, 16, 16, generator=generator),
            torch.randint(5, (size,), generator=generator),
        )
        for _ in range(count)
    ]


def _hypernetwork():
    torch.manual_seed(0)
    model = Chain()
    graph = trace(model, torch.zeros(1, 3, 16, 16))
    widths = widened_widths(graph, 1.5)
    return Hypernetwork(resize(model, graph, widths, seed=0), graph, widths, 2, seed=1)


def _warm(whole, folder, batches, **options):
    given = {"iterations": 3, "batch_size": 8, "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0}
    run = WarmupRun(task_of(batches, _loss), folder)
    warm_up(whole, run, WarmupSettings(**(given | options)), seed=0, units=_units(whole))
    return whole


def _units(whole):
    graph = trace(Chain(), torch.zeros(1, 3, 16, 16))
    return Units(whole.network, graph, widened_widths(graph, 1.5), whole.latents)


def test_one_step_is_sgd_followed_by_the_soft_threshold(tmp_path):
    batches = _batches(1, 8)
    whole, own = _hypernetwork(), _hypernetwork()
    _warm(whole, tmp_path, batches, iterations=1, penalty={"kind": "l1", "weight": 4.0})
    _loss(own, batches[0]).backward()  # the order of a batch's examples does not matter
    for moved, vector in zip(whole.latents.vectors, own.latents.vectors, strict=True):
        stepped = vector.detach() - 0.05 * vector.grad
        wanted = stepped.sign() * (stepped.abs() - 0.05 * 4.0).clamp_min(0)
        torch.testing.assert_close(moved.detach(), wanted, rtol=1e-4, atol=1e-6)
        assert (moved == 0).any()
    named = dict(own.named_parameters())
    for name, moved in whole.named_parameters():
        if "latents" not in name:
            wanted = named[name].detach() - 0.05 * named[name].grad
            torch.testing.assert_close(moved.detach(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("length", "steps"), [({"epochs": 0.5}, 2), ({"epochs": 2}, 8), ({"iterations": 5}, 5)]
)
def test_the_length_is_in_epochs_or_iterations(tmp_path, length, steps):
    seen = []

    def loss(network, batch):
        seen.append(len(batch[0]))
        return _loss(network, batch)

    whole = _hypernetwork()
    run = WarmupRun(task_of(_batches(2, 8), loss), tmp_path)
    warm_up(whole, run, WarmupSettings(batch_size=4, **length), seed=0)
    assert seen == [4] * steps


def test_a_stopped_warm_up_goes_on_exactly(tmp_path):
    batches = _batches(4, 8)
    straight = _warm(_hypernetwork(), tmp_path / "a", batches, iterations=6, penalty=LIGHT)
    calls = iter(range(100))

    def failing(network, batch):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return _loss(network, batch)

    settings = WarmupSettings(
        iterations=6, batch_size=8, lr=0.05, momentum=0, weight_decay=0, penalty=LIGHT,
        checkpoint_every=1,
    )  # fmt: skip
    folder = tmp_path / "b"
    whole = _hypernetwork()
    with pytest.raises(KeyboardInterrupt):
        warm_up(
            whole, WarmupRun(task_of(batches, failing), folder), settings, seed=0,
            units=_units(whole),
        )  # fmt: skip
    whole = _hypernetwork()
    run = WarmupRun(task_of(batches, _loss), folder, resume=True)
    warm_up(whole, run, settings, seed=0, units=_units(whole))
    wanted = straight.state_dict()
    assert all(torch.equal(wanted[name], tensor) for name, tensor in whole.state_dict().items())


def test_scores_after_a_warm_up_are_gradients_at_the_trained_biases():
    """Read once more by autograd, on a hypernetwork trained by hand in the same way."""
    batches = _batches(1, 8)
    settings = ShrinkSettings(
        criterion="latent-gradient",
        budget=lwdna.Budget(macs=0.8),
        width_mult=1.5,
        warmup=WarmupSettings(iterations=2, batch_size=8, lr=0.1, momentum=0.5, weight_decay=0.01),
    )
    torch.manual_seed(0)
    model = Chain()
    found = search(model, batches[0][0][:1], batches, _loss, settings, seed=1)
    graph = trace(model, batches[0][0][:1])
    widths = widened_widths(graph, 1.5)
    undefined = generated_weights(model, graph)  # otherwise they would be drawn before the biases
    wide = resize(model, graph, widths, seed=1, undefined=undefined)
    whole = Hypernetwork(wide, graph, widths, 2, seed=1)
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1, momentum=0.5, weight_decay=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        _loss(whole, batches[0]).backward()
        optimizer.step()
    optimizer.zero_grad()
    _loss(whole, batches[0]).backward()
    for name, vector in zip(whole.latents.names, whole.latents.vectors, strict=True):
        torch.testing.assert_close(found.scores[name], vector.grad.abs(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("criterion", ["latent-gradient", "latent-magnitude", "batchnorm-scale"])
def test_the_network_found_inherits_the_weights_of_its_units(criterion):
    batches = _batches(2, 8)
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=5)
    found = search(
        model,
        batches[0][0][:1],
        batches,
        _loss,
        ShrinkSettings(
            criterion=criterion,
            budget=lwdna.Budget(macs=0.8),
            warmup=WarmupSettings(iterations=2, batch_size=8, penalty={"weight": 0.01}),
            inherit=True,
        ),
    )
    network = found.network
    assert type(network) is type(model)
    assert sum(p.numel() for p in network.parameters()) == found.architecture.cost.params
    assert network(batches[0][0]).shape == (8, 5)
    fresh = found.architecture.build(copy.deepcopy(model), seed=0)
    assert fresh.state_dict().keys() == network.state_dict().keys()


def _shrink_trained(model, settings, widths=None, batches=None):
    batches = batches or _batches(2, 8)
    graph = trace(model, batches[0][0][:1])
    trained = Trained(model, widths or graph.widths)
    return search(model, batches[0][0][:1], batches, _loss, settings, trained=trained)


def test_a_trained_network_is_scored_with_its_weights_and_sliced_exactly():
    torch.manual_seed(0)
    model = Chain()
    settings = ShrinkSettings(
        criterion="weight-norm", width_mult=1, budget=lwdna.Budget(macs=0.6), inherit=True
    )
    found = _shrink_trained(model, settings)
    wanted = resize(model, trace(model, torch.zeros(1, 3, 16, 16)), found.units, init="slice")
    images = torch.randn(3, 3, 16, 16)
    assert torch.equal(found.network.eval()(images), wanted.eval()(images))
    assert (
        found.architecture.found["keep"] == "knapsack"
    )  # a trained unit is as important as its score
    # scored are the weights given, not fresh ones
    louder = copy.deepcopy(model)
    group = next(name for name, width in found.architecture.widths.items() if width > 1)
    lost = sorted(set(range(len(found.scores[group]))) - set(found.units[group].tolist()))[0]
    with torch.no_grad():
        dict(louder.named_modules())[group].weight[lost] *= 1000
    assert lost in _shrink_trained(louder, settings).units[group]


def test_the_latent_gradient_of_trained_weights_is_their_sensitivity_to_scaling():
    torch.manual_seed(0)
    model = Chain().double()
    batches = [(x.double(), y) for x, y in _batches(1, 8)]
    settings = ShrinkSettings(
        criterion="latent-gradient", width_mult=1, budget=lwdna.Budget(macs=0.6)
    )
    found = _shrink_trained(model, settings, batches=batches)
    graph = trace(model, batches[0][0][:1])
    model.train()
    _loss(model, batches[0]).backward()
    unit, total = 2, 0.0
    for member in next(g for g in graph.groups if g.name == "two").members:
        tensor = dict(model.named_parameters()).get(member.tensor)
        if tensor is not None and tensor.ndim == 4:
            total += float((tensor * tensor.grad).select(member.axis, unit).detach().sum())
    assert float(found.scores["two"][unit]) == pytest.approx(abs(total), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "trained", "message"),
    [
        ({"inherit": True}, False, "only random weights"),
        ({}, True, "width_mult=1"),
        ({"hypernetwork": True}, False, "snip reads no latents.*latent-gradient"),
        (
            {
                "criterion": "latent-magnitude",
                "warmup": {"iterations": 1, "penalty": {"weight": 0.1, "sides": "write"}},
            },
            False,
            "no sides.*penalty",
        ),
        ({"keep": "knapsack-full"}, False, "budget limits only macs"),
    ],
)
def test_settings_that_contradict_each_other(options, trained, message):
    settings = ShrinkSettings(budget=lwdna.Budget(macs=0.6), **options)
    batches = _batches()
    model = Chain()
    given = Trained(model, trace(model, batches[0][0][:1]).widths) if trained else None
    with pytest.raises(RecipeError, match=message):
        search(model, batches[0][0][:1], batches, _loss, settings, trained=given)


def test_a_warm_up_has_one_length():
    for length in ({}, {"epochs": 1, "iterations": 2}, {"epochs": 1, "until": {}}):
        with pytest.raises(ValueError, match="either iterations or epochs"):
            WarmupSettings(**length)
