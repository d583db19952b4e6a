"""The law of a network: exponents from losses, features by role and stage, the best within it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import timm
import torch

import lwdna
from lwdna.channels import trace, widened_widths
from lwdna.methods import Budget
from lwdna.methods.keep import floors
from lwdna.methods.limits import Limits
from lwdna.methods.space import Space
from lwdna.methods.trials import law as module
from lwdna.methods.trials.features import gathered
from lwdna.methods.trials.law import Law, fitted
from lwdna.methods.trials.region import Region
from networks import Chain

EXAMPLE = torch.zeros(1, 3, 16, 16)


def _losses(places, exponents, noise=0.0, seed=0):
    errors = noise * np.random.default_rng(seed).standard_normal(len(places))
    return 3 * np.exp(-(places @ np.array(exponents)) + errors)


def test_exponents_are_recovered():
    exponents = [0.11, -0.02, 0.07, 0.0]
    places = 0.4 * np.random.default_rng(1).standard_normal((24, 4))
    law = fitted(places, _losses(places, exponents), np.array([2.0, 3.0, 5.0, 7.0]))
    assert law.exponents == pytest.approx(exponents, abs=0.003)
    assert law.errors.max() < 0.003


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_errors_are_as_large_as_they_say(noise):
    """Of 100 laws with exponents as the prior has them, 68 % of errors are below one deviation."""
    rng = np.random.default_rng(0)
    layers, inside, noises = np.array([2.0, 3.0, 5.0, 4.0]), [], []
    for seed in range(100):
        exponents = 0.02 * layers + 0.03 * rng.standard_normal(4)
        places = 0.4 * rng.standard_normal((20, 4))
        law = fitted(places, _losses(places, exponents, noise, seed), layers)
        inside += list(np.abs(law.exponents - exponents) < law.errors)
        noises.append(law.noise)
    assert 0.55 < np.mean(inside) < 0.8
    assert np.median(noises) == pytest.approx(noise, rel=0.25)


def test_the_law_is_the_posterior_of_a_dense_computation(monkeypatch):
    """One noise and one spread: all unknowns (a, m, u) at once, by normal equations."""
    noise, spread = 0.02, 0.05
    monkeypatch.setattr(module, "NOISES", np.array([noise]))
    monkeypatch.setattr(module, "SPREADS", np.array([spread]))
    rng = np.random.default_rng(3)
    places, layers = 0.4 * rng.standard_normal((9, 3)), np.array([1.0, 2.0, 6.0])
    losses = _losses(places, [0.1, 0.05, 0.2], noise)
    law = fitted(places, losses, layers)
    x, prior = places - places.mean(0), layers / 3
    design = np.column_stack([np.ones(9), -x @ prior, -x]) / noise
    precision = design.T @ design + np.diag([0, 1, *([1 / spread**2] * 3)])
    solution = np.linalg.solve(precision, design.T @ (np.log(losses) / noise))
    to_exponents = np.column_stack([np.zeros(3), prior, np.eye(3)])
    assert law.exponents == pytest.approx(to_exponents @ solution)
    covariance = to_exponents @ np.linalg.inv(precision) @ to_exponents.T
    assert law.covariance == pytest.approx(covariance)
    assert law.noise == pytest.approx(noise)


def test_two_trials_that_say_nothing_leave_the_prior():
    law = fitted(np.zeros((2, 3)), np.array([2.0, 2.1]), np.array([1.0, 1.0, 1.0]))
    assert law.exponents == pytest.approx([0, 0, 0])
    assert law.errors.min() > 0.5


def test_the_losses_unit_does_not_matter():
    places = 0.4 * np.random.default_rng(1).standard_normal((12, 3))
    losses = _losses(places, [0.1, 0.0, 0.2], 0.01)
    one, other = (fitted(places, c * losses, np.array([2.0, 3.0, 1.0])) for c in (1, 1000))
    assert one.exponents == pytest.approx(other.exponents, abs=1e-9)
    assert one.covariance == pytest.approx(other.covariance, abs=1e-9)


def _roles(name, size, most, **arguments):
    graph = trace(lwdna.create_model(name, **arguments), torch.zeros(1, 3, size, size))
    return graph, [(one.name, len(one.groups)) for one in gathered(graph, most)]


def test_a_resnet_has_streams_and_insides_of_three_stages():
    """Option A pads the streams with zeros, so that the first one lives in all three stages."""
    _, found = _roles("lwdna:resnet20_cifar", 32, 10)
    assert sorted(found) == [
        ("stage 1, inside", 3),
        ("stage 1, stream", 1),
        ("stage 2, inside", 3),
        ("stage 2, stream", 1),
        ("stage 3, inside", 3),
        ("stage 3, stream", 1),
    ]


def test_gates_stem_and_head_have_roles_of_their_own():
    _, found = _roles("timm:mobilenetv3_small_050", 64, 10)
    assert dict(found)["stage 1, stem"] == 1
    assert [name for name, _ in found if "gate" in name] == ["stages 1 to 5, gate"]
    assert [name for name, _ in found if "head" in name] == ["stage 6, head"]
    assert [name for name, _ in found if "stream" in name] == [
        f"stage {stage}, stream" for stage in (3, 4, 5)
    ]


def test_what_is_read_by_many_layers_is_a_stream():
    _, found = _roles("lwdna:densenet_bc40_cifar", 32, 10)
    assert {name.split(", ")[1] for name, _ in found} >= {"stream", "inside"}


@pytest.mark.parametrize("most", [3, 5, 9, 100])
def test_features_hold_every_group_once(most):
    graph, _ = _roles("timm:mobilenetv3_small_050", 64, most)
    features = gathered(graph, most)
    assert sorted(n for one in features for n in one.groups) == list(range(len(graph.groups)))
    assert len(features) <= max(most, 5)  # one for each role is the least
    if most == 100:
        assert [one.name for one in features] == [group.name for group in graph.groups]


def _region(graph, most=10, multiple=1, reference=None, **budget):
    widened = widened_widths(graph, 2.0)
    limits = Limits.of(graph, widened, Budget(**(budget or {"macs": 1.0})))
    least = floors(graph, widened, 0.25, 0.25)
    space = Space(limits, least, widened, dict.fromkeys(widened, multiple))
    return Region(space, gathered(graph, most), space.narrowed())


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("budget", [{"macs": 1.0}, {"macs": 1.0, "params": 1.1}, {"params": 0.8}])
def test_the_best_is_the_best_of_all_networks(multiple, budget):
    """Every network of the ladders is compared, for five laws."""
    region = _region(trace(Chain(), EXAMPLE), multiple=multiple, **budget)
    every = np.array(list(product(*(range(len(ladder)) for ladder in region.ladders))))
    every = every[region.fits(every)]
    moves = region.moves(region.widths(every))
    rng = np.random.default_rng(0)
    for _ in range(5):
        exponents = rng.exponential(0.1, len(region.features))
        found = region.best(lambda moves, q=exponents: moves @ q)
        assert region.fits(found[None])[0]
        best = float((moves @ exponents).max())
        assert float(region.moves(region.widths(found[None]))[0] @ exponents) > 0.97 * best


def test_ladders_stay_within_half_and_twice_the_reference():
    region = _region(trace(timm.create_model("test_resnet"), EXAMPLE), most=5)
    for ladder, feature in zip(region.ladders, region.features, strict=True):
        reference = region.reference[list(feature.groups)]
        assert (2 * ladder >= reference).all()
        assert (ladder <= 2 * reference).all()
        assert (ladder == reference).all(1).any()
        assert (np.diff(ladder, axis=0) >= 0).all()


def test_what_is_drawn_is_within_the_budget_and_uses_it():
    region = _region(trace(timm.create_model("test_resnet"), EXAMPLE), most=5, macs=1.0, params=1.5)
    drawn = region.drawn(np.random.default_rng(0), 64)
    assert len(drawn) > 32
    limits = region.space.limits
    usage = limits.usage(region.widths(drawn))
    shares = np.stack([usage[name] / limits.allowed[name] for name in usage]).max(0)
    assert shares.max() <= 1
    assert np.median(shares) > 0.93


def test_gains_of_a_law():
    law = Law(np.array([0.1, 0.3]), np.array([[0.04, 0.01], [0.01, 0.09]]), 0.02)
    mean, error = law.gains(np.array([[1.0, -2.0], [0.0, 0.0]]))
    assert mean == pytest.approx([0.1 - 0.6, 0])
    assert error == pytest.approx([np.sqrt(0.04 - 2 * 2 * 0.01 + 4 * 0.09), 0])
