"""Short trainings decide between widths: within the budget, better than by chance, resumable."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lwdna
from lwdna.channels import trace, widened_widths
from lwdna.engine import TrainingInterrupted, TrainSettings
from lwdna.errors import RecipeError, TrainingError
from lwdna.files import unsealed
from lwdna.methods import ShrinkSettings, Trained, TrialSetup, search
from lwdna.methods import trial_runs as module
from lwdna.methods.directions import directions
from lwdna.methods.keep import floors
from lwdna.methods.limits import Limits
from lwdna.methods.proposals import EXPLORED, Space, choose, explore, narrowed, propose
from lwdna.methods.settings import Budget, TrialSettings
from lwdna.methods.trials import try_widths
from lwdna.methods.warmup import task_of
from networks import Branches, Chain

EXAMPLE = torch.zeros(1, 3, 16, 16)
NETWORKS = {
    "chain": Chain(),
    "branches": Branches(),
    "test_resnet": timm.create_model("test_resnet", num_classes=5),
    "mobilenetv3": timm.create_model("mobilenetv3_small_050", num_classes=5),
}
GRAPHS = {name: trace(model, EXAMPLE) for name, model in NETWORKS.items()}


def _space(graph, multiple=1, **budget):
    widened = widened_widths(graph, 2.0)
    limits = Limits.of(graph, widened, Budget(**(budget or {"macs": 1.0, "params": 1.0})))
    steps = dict.fromkeys(widened, multiple)
    return Space(limits, floors(graph, widened, 0.25, 0.25), widened, steps)


def _names(space):
    return [group.name for group in space.limits.graph.groups]


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(list(GRAPHS)),
    budget=st.sampled_from([{"macs": 1.0}, {"macs": 0.9, "params": 1.0}, {"memory": 1.0}]),
    multiple=st.sampled_from([1, 2]),
    seed=st.integers(0, 10**6),
)
def test_networks_keep_the_budget_and_leave_no_unit_out(name, budget, multiple, seed):
    space = _space(GRAPHS[name], multiple, **budget)
    rng = np.random.default_rng(seed)
    places = 2 * rng.standard_normal((3, space.basis.shape[1]))
    networks = space.networks(places)
    for place, network in zip(places, networks, strict=True):
        found = space.filled(place, network)
        assert space.limits.fits(found[None])[0]
        assert (found >= network).all()
        for group, width in zip(_names(space), found, strict=True):
            assert space.least[group] <= width <= space.most[group]
            assert width % multiple == 0 or width == space.limits.graph.widths[group]
            one_more = np.where(np.array(_names(space)) == group, found + multiple, found)
            assert width + multiple > space.most[group] or not space.limits.fits(one_more[None])[0]


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3"])
def test_first_networks_come_in_opposite_pairs(name):
    space = _space(GRAPHS[name])
    places = space.place(np.array([explore(space, number, 0) for number in range(EXPLORED)]))
    agreement = (places[::2] * places[1::2]).sum() / (places[::2] ** 2).sum()
    assert agreement < -0.3  # -1 but for the common factor, floors and whole units
    assert not np.array_equal(explore(space, 0, 0), explore(space, 0, 1))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_budget_of_the_baseline_gives_the_baseline_back(name):
    space = _space(GRAPHS[name])
    assert np.array_equal(narrowed(space), space.base)


@pytest.mark.parametrize("group", range(3))
def test_the_group_grows_that_is_furthest_from_what_is_asked_for(group):
    space = _space(GRAPHS["chain"])
    widths = space.base.copy()
    widths[group] //= 2
    asked = np.zeros(space.basis.shape[1])  # the baseline
    assert np.array_equal(space.filled(asked, widths), space.base)


def test_groups_that_are_alike_move_together():
    graph = trace(timm.create_model("resnet18", num_classes=5), torch.zeros(1, 3, 64, 64))
    basis = directions(graph, 6)
    likeness = basis @ basis.T
    names = [group.name for group in graph.groups]
    first, second, last = (names.index(f"layer{n}.conv1") for n in ("1.0", "1.1", "4.1"))
    stream = names.index("conv1")
    assert likeness[first, second] > 0.9
    assert likeness[first, last] < 0.1
    assert likeness[first, stream] < likeness[first, second]
    assert np.diag(likeness).max() <= 1 + 1e-9


class Crossing(nn.Module):
    """Six layers in a row of time; two groups that three of them touch each."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = (nn.Conv2d(*io, 1) for io in ((3, 5), (3, 5), (5, 2)))
        self.stem, self.left, self.right = (nn.Conv2d(*io, 1) for io in ((3, 7), (7, 2), (7, 2)))

    def forward(self, x):
        joined = self.first(x) + self.second(x)  # operations 0 and 1 write, 4 reads
        split = self.stem(x)  # operation 2 writes, 3 and 5 read
        return self.left(split), self.head(joined), self.right(split)


def test_groups_are_alike_by_depth_and_by_how_many_layers_write_and_read_them():
    """Their covariance is exp(-d^2 / 2) of the distance d between what they are like."""
    graph = trace(Crossing(), torch.zeros(1, 3, 4, 4))
    assert list(graph.widths.values()) == [5, 7]
    basis = directions(graph, 6)
    depth = 4.0 * ((2 + 3 + 5) / 3 - (0 + 1 + 4) / 3) / 5
    # one doubling of writers the one way, one of readers the other; all at one resolution but for
    # biases: 16 (3 + 3 + 2) MACs to 10 parameters, and 16 (3 + 2 + 2) to 8
    resolution = 0.25 * np.log2((16 * 8 / 10) / (16 * 7 / 8))
    expected = np.exp(-(depth**2 + 1 + 1 + resolution**2) / 2)
    assert (basis @ basis.T).ravel() == pytest.approx([1, expected, expected, 1])
    # the largest of the two directions moves both groups the same way
    assert directions(graph, 1).ravel() ** 2 == pytest.approx([(1 + expected) / 2] * 2)


@pytest.mark.parametrize("seed", range(3))
def test_noisy_losses_lead_to_better_widths(seed):
    """Importance rises with depth, and noise is half of what there is to gain (0.1).

    Random networks within the budget lose 0.04 on average, with a deviation of 0.07.
    """
    space = _space(GRAPHS["mobilenetv3"])
    importance = np.linspace(0, 1, len(space.base))
    rng = np.random.default_rng(seed)

    def loss(widths):
        return -float(importance @ np.log(widths / space.base)) / len(importance)

    tried, losses = [space.base], [0.0]
    noise = 0.05
    while len(tried) < 24:
        number = len(tried) - 1
        make = explore(space, number, seed) if number < EXPLORED else None
        tried.append(propose(space, tried, losses, seed) if make is None else make)
        losses.append(loss(tried[-1]) + noise * rng.standard_normal())
    explored = [loss(widths) for widths in tried[1 : EXPLORED + 1]]
    found = loss(choose(space, tried, losses, seed))
    assert found < -0.04
    assert found < np.mean(explored)


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.two = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.two(self.one(x).relu()).relu().mean((2, 3)))


def _loss(network, batch):
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def _setup(folder, loss=_loss):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, 16, 16, generator=generator)
    labels = torch.randint(3, (16,), generator=generator)
    task = task_of([(images, labels)], loss)
    return TrialSetup(task, TrainSettings(epochs=2, batch_size=4), folder)


def test_trials_too_short_are_refused_before_the_criterion_takes_its_time(tmp_path):
    setup, asked = _setup(tmp_path), []
    chosen = ShrinkSettings(trials=TrialSettings(count=2, length=0.3))
    with pytest.raises(
        RecipeError, match=r"trials.length \(0.3\) makes trials of 3 of the 8 steps"
    ):
        search(
            Bare(),
            EXAMPLE,
            [EXAMPLE],
            lambda *given: asked.append(given),
            chosen,
            trial_setup=setup,
        )
    assert not asked


def _tried(folder, count=12, loss=_loss):
    torch.manual_seed(0)
    model = Bare()
    space = _space(trace(model, EXAMPLE), macs=0.9)
    first = dict(zip(_names(space), explore(space, 0, 1).tolist(), strict=True))
    given = (model, space, first, _setup(folder, loss))
    return try_widths(*given, TrialSettings(count=count), seed=4)


def test_what_was_stopped_goes_on(tmp_path, monkeypatch):
    whole, trials = _tried(tmp_path / "whole")
    stopped = tmp_path / "stopped"
    real, calls = module.train, []

    def stopping(*arguments, **options):
        calls.append(1)
        if len(calls) == 11:  # the first proposal that rests on losses
            raise TrainingInterrupted
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", stopping)
        with pytest.raises(TrainingInterrupted):
            _tried(stopped)
    assert not (stopped / "10.json").exists()
    again, resumed = _tried(stopped)
    assert again == whole
    assert [(t.widths, t.loss) for t in resumed] == [(t.widths, t.loss) for t in trials]
    assert {file.name for file in stopped.iterdir()} == {f"{number}.json" for number in range(12)}


def test_the_narrowed_baseline_and_the_criterion_are_tried_first(tmp_path):
    _, trials = _tried(tmp_path, count=2)
    space = _space(trace(Bare(), EXAMPLE), macs=0.9)
    assert list(trials[0].widths.values()) in ([8, 7], [7, 8])
    assert list(trials[1].widths.values()) == explore(space, 0, 1).tolist()


def test_a_trial_may_fail_but_not_the_baseline(tmp_path):
    def wide_ones_fail(network, batch):
        return _loss(network, batch) * (float("nan") if network.one.out_channels > 8 else 1)

    widths, trials = _tried(tmp_path / "some", loss=wide_ones_fail)
    failed = [trial for trial in trials if trial.loss is None]
    assert failed
    assert all(trial.widths["one"] > 8 for trial in failed)
    assert widths["one"] <= 8
    with pytest.raises(TrainingError, match="not finite"):
        _tried(tmp_path / "all", loss=lambda *given: _loss(*given) * float("nan"))


def test_a_search_with_trials(tmp_path):
    setup = _setup(tmp_path)
    generator = torch.Generator().manual_seed(1)
    batch = (torch.randn(8, 3, 16, 16, generator=generator), torch.zeros(8, dtype=torch.int64))
    budget = lwdna.Budget(macs=0.9)
    options = ShrinkSettings(budget=budget, trials=TrialSettings(count=3))
    model = Bare()
    found = search(model, EXAMPLE, [batch], _loss, options, seed=2, trial_setup=setup)
    record = found.to_json()["trials"]
    assert len(record) == 3
    for number, trial in enumerate(record):
        written = unsealed(json.loads((tmp_path / f"{number}.json").read_text()))
        assert len(written.pop("curve")) == 4
        assert written == trial
    chosen = {"count": 3, "length": 0.5, "schedule": "cut", "proxy": None}
    assert found.architecture.found["trials"] == chosen
    cost = found.graph.cost(found.architecture.widths)
    assert cost.macs <= 0.9 * found.graph.cost().macs
    assert {n: len(u) for n, u in found.units.items()} == found.architecture.widths

    with pytest.raises(RecipeError, match="lwdna shrink"):
        search(model, EXAMPLE, [batch], _loss, options)
    trained = Trained(model, found.graph.widths)
    given = options.model_copy(update={"width_mult": 1.0})
    with pytest.raises(RecipeError, match="fresh networks"):
        search(model, EXAMPLE, [batch], _loss, given, trained=trained, trial_setup=setup)
