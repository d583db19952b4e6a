"""A law learnt on a proxy, carried over to networks of other widths and depths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import lwdna
from lwdna.channels import trace, widened_widths
from lwdna.engine import TrainSettings
from lwdna.errors import RecipeError
from lwdna.methods import ShrinkSettings, TrialSetup, search
from lwdna.methods.keep import floors
from lwdna.methods.limits import Limits
from lwdna.methods.settings import Budget, TrialSettings
from lwdna.methods.space import Space
from lwdna.methods.trials.features import Feature, gathered
from lwdna.methods.trials.law import Law
from lwdna.methods.trials.proxy import Origin, Pairing
from lwdna.methods.trials.rounds import by_trials
from lwdna.methods.trials.runs import Proxy, Trial
from lwdna.methods.warmup import task_of
from lwdna.models import create_model

CIFAR = torch.zeros(1, 3, 32, 32)


def cifar(name, side=32, **args):
    return trace(
        create_model(f"lwdna:{name}", num_classes=10, **args), torch.zeros(1, 3, side, side)
    )


@pytest.fixture(scope="module")
def resnet20():
    return cifar("resnet20_cifar", width_mult=0.25)


@pytest.fixture(scope="module")
def resnet56():
    return cifar("resnet56_cifar", width_mult=0.25)


def keys(features):
    return [(one.role, one.stages) for one in features]


def holds_every_group_once(features, graph):
    groups = sorted(group for feature in features for group in feature.groups)
    return groups == list(range(len(graph.groups)))


@pytest.mark.parametrize("most", [4, 6, 20])
def test_features_of_other_depths_correspond(resnet20, resnet56, most):
    """Three blocks a stage and nine; the shallow one alone has no more than 20 groups."""
    assert len(resnet20.groups) < 20 < len(resnet56.groups)
    pairing = Pairing.of(resnet20, resnet56, most)
    assert keys(pairing.features) == keys(pairing.learnt)
    assert [origin.number for origin in pairing.origins] == list(range(len(pairing.learnt)))
    assert all(origin.exact for origin in pairing.origins)
    assert pairing.notes == []
    assert len(pairing.learnt) <= min(most, 6)
    assert holds_every_group_once(pairing.features, resnet56)
    assert holds_every_group_once(pairing.learnt, resnet20)
    insides = {one.stages: len(one.groups) for one in pairing.features if one.role == "inside"}
    assert sum(insides.values()) == 27
    assert most == 4 or set(insides.values()) == {9}


def test_networks_of_few_groups_are_paired_by_their_order(resnet20):
    wider = cifar("resnet20_cifar", width_mult=0.5)
    pairing = Pairing.of(resnet20, wider, len(resnet20.groups))
    assert [one.groups for one in pairing.learnt] == [(n,) for n in range(len(resnet20.groups))]
    assert pairing.learnt == gathered(resnet20, len(resnet20.groups))
    assert [o.number for o in pairing.origins] == list(range(len(resnet20.groups)))
    assert [str(o) for o in pairing.origins] == [group.name for group in resnet20.groups]
    assert [one.name for one in pairing.features] == [group.name for group in wider.groups]


def test_smaller_images_have_the_same_stages(resnet20):
    smaller = cifar("resnet20_cifar", side=16, width_mult=0.25)
    assert Pairing.of(smaller, resnet20, 6) == Pairing.of(resnet20, resnet20, 6)


class Stages(nn.Module):
    """Chains of convolutions, each stage at half the resolution of the one before."""

    def __init__(self, *depths):
        super().__init__()
        layers, wide = [], 3
        for stage, depth in enumerate(depths):
            for number in range(depth):
                stride = 2 if stage and not number else 1
                layers += [nn.Conv2d(wide, 6, 3, stride, 1), nn.ReLU()]
                wide = 6
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(wide, 5)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def stages(*depths):
    return trace(Stages(*depths), torch.zeros(1, 3, 16, 16))


def test_stages_are_counted_from_the_coarsest():
    """Two stages teach four: the last two have exponents of their own, the first the nearest's."""
    pairing = Pairing.of(stages(3, 3), stages(3, 3, 3, 3), 4)
    assert keys(pairing.learnt) == [
        ("stem", (1,)),
        ("inside", (1,)),
        ("inside", (2,)),
        ("head", (2,)),
    ]
    told = {
        feature.name: (str(origin), origin.exact)
        for feature, origin in zip(pairing.features, pairing.origins, strict=True)
    }
    assert told == {
        "stage 1, stem": ("stage 1, stem, the nearest", False),
        "stage 1, inside": ("stage 1, inside, the nearest", False),
        "stage 2, inside": ("stage 1, inside, the nearest", False),
        "stage 3, inside": ("stage 1, inside", True),
        "stage 4, inside": ("stage 2, inside", True),
        "stage 4, head": ("stage 2, head", True),
    }
    assert pairing.notes[2] == (
        "the proxy has nothing like stage 2, inside: its exponent is guessed from stage 1, inside, "
        "the nearest"
    )


def feature(role, stage, layers, group=0):
    return Feature(role, (stage,), (group,), layers, f"{role} {stage}")


def test_what_the_proxy_lacks_is_less_sure():
    """Layers 1 and 3 are 0.5 and 1.5 times their mean; the best multiple of these for exponents of
    0.1 and 0.2 is (0.05 + 0.3) / 2.5 = 0.14, which leaves 0.03 and -0.01: squares of 0.0005 on
    average, and the errors' squares are 0.0005 on average, too. Between networks exponents differ
    by a fifth of their root mean square: a variance of 0.04 times (0.04 + 0.0196 + 0.01) / 3."""
    learnt = [feature("inside", 1, 1), feature("stream", 1, 3)]
    features = [feature(role, 1, 2) for role in ("stream", "gate")] + [feature("inside", 2, 2)]
    origins = [Origin(1, True, "a"), Origin(None, False, ""), Origin(0, False, "b")]
    law = Law(np.array([0.1, 0.2]), np.array([[0.0004, 0.0001], [0.0001, 0.0006]]), 0.013)
    carried = Pairing(learnt, features, origins).carried(law)
    assert carried.exponents == pytest.approx([0.2, 0.14, 0.1])
    assert carried.noise == 0.013
    # common = (0.5, 1.5) / 2.5 = (0.2, 0.6); its variance 0.000016 + 0.000024 + 0.000216
    differs = 0.000928
    variances = np.diag(carried.covariance) - differs
    assert variances == pytest.approx([0.0006, 0.000256 + 0.001, 0.0004 + 0.001])
    assert carried.covariance[0] == pytest.approx([0.0006 + differs, 0.00002 + 0.00036, 0.0001])
    assert [str(origin) for origin in origins] == ["a", "its number of layers", "b, the nearest"]


def space_of(graph, **budget):
    widened = widened_widths(graph, 2.0)
    limits = Limits.of(graph, widened, Budget(**(budget or {"macs": 1.0})))
    return Space(limits, floors(graph, widened, 0.25, 0.25), widened)


class Lawful:
    """Networks whose loss follows exponents by role and stage."""

    def __init__(self, space, exponents):
        self.space, self.exponents = space, exponents
        self.features = gathered(space.limits.graph, 6)

    def gain(self, widths):
        logs = np.log(np.array(list(widths.values())) / self.space.base)
        of = zip(self.features, self.exponents, strict=True)
        return sum(q * logs[list(one.groups)].mean() for one, q in of)

    def __call__(self, wanted, number):
        assert all(self.space.limits.fits([list(w.values()) for w in wanted]))
        return [Trial(dict(w), float(2 * np.exp(-self.gain(w))), 0.0, []) for w in wanted]


@pytest.mark.parametrize("other", ["resnet20, wider", "resnet56"])
def test_the_search_on_a_proxy_finds_what_the_direct_search_finds(resnet20, resnet56, other):
    """Without noise both know the law."""
    graph = resnet56 if other == "resnet56" else cifar("resnet20_cifar", width_mult=0.5)
    exponents = [0.02, 0.01, 0.04, 0.06, 0.15, 0.08]
    proxy, space = space_of(resnet20), space_of(graph)
    direct, _ = by_trials(space, 24, Lawful(space, exponents), 0)
    carried, trials = by_trials(space, 24, Lawful(proxy, exponents), 0, proxy=proxy)
    assert all(list(trial.widths) == list(resnet20.widths) for trial in trials)
    assert list(carried.widths) == list(graph.widths)
    assert carried.law.exponents == pytest.approx(exponents, abs=0.005)
    assert space.limits.fits([list(carried.widths.values())])[0]
    truth = Lawful(space, exponents)
    assert truth.gain(carried.widths) == pytest.approx(truth.gain(direct.widths), rel=0.02)
    assert truth.gain(carried.widths) > 0.02
    record = carried.to_json()
    assert [one["learnt_from"] for one in record["features"]] == [
        one["name"] for one in record["features"]
    ]
    assert all("learnt_from" not in one for one in direct.to_json()["features"])


class Bare(nn.Module):
    def __init__(self, widths):
        super().__init__()
        one, two = widths
        self.one = nn.Conv2d(3, one, 3, stride=2, padding=1)
        self.two = nn.Conv2d(one, two, 3, stride=2, padding=1)
        self.head = nn.Linear(two, 3)

    def forward(self, x):
        return self.head(self.two(self.one(x).relu()).relu().mean((2, 3)))


def _loss(network, batch):
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def test_a_search_tries_the_proxy_and_says_so(tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, 16, 16, generator=generator)
    labels = torch.randint(3, (16,), generator=generator)
    torch.manual_seed(0)
    small, model = Bare((7, 5)), Bare((14, 10))
    graph = trace(small, images[:1])
    protocol = TrainSettings(epochs=2, batch_size=4)
    proxy = Proxy(small, graph, images=0.5)
    setup = TrialSetup(task_of([(images, labels)], _loss), protocol, tmp_path, proxy=proxy)
    values = {"model.args.width_mult": 0.5}
    settings = ShrinkSettings(
        budget=lwdna.Budget(macs=0.9), trials=TrialSettings(count=3, proxy=values)
    )
    given = (model, images[:1], [(images, labels)], _loss)
    found = search(*given, settings, seed=2, trial_setup=setup)
    assert list(found.trials[0].widths.values()) in ([7, 4], [6, 5])
    assert set(found.architecture.widths) == {"one", "two"}
    assert found.architecture.widths["one"] > 7
    # 8 x 8 x 27 x 7 + 4 x 4 x 63 x 5 + 15 MACs, of 24,192 + 20,160 + 30
    law = found.architecture.found["law"]
    assert law["proxy"] == values
    assert law["proxy_cost"] == pytest.approx(0.5 * 17151 / 44382, abs=1e-4)
    assert found.to_json()["law"]["proxy"] == values
    assert found.architecture.found["trials"]["proxy"] == values

    alone = TrialSetup(setup.task, protocol, tmp_path)
    with pytest.raises(RecipeError, match="belong together"):
        search(*given, settings, trial_setup=alone)
