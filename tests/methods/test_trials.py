"""The search by trials: within the budget, better than its reference, resumable."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
from torch import nn

import lwdna
from lwdna.channels import trace, widened_widths
from lwdna.engine import TrainingInterrupted, TrainSettings
from lwdna.errors import RecipeError, TrainingError
from lwdna.files import unsealed
from lwdna.methods import ShrinkSettings, Trained, TrialSetup, search
from lwdna.methods.keep import floors
from lwdna.methods.limits import Limits
from lwdna.methods.settings import Budget, TrialSettings
from lwdna.methods.space import Space
from lwdna.methods.trials import runs as module
from lwdna.methods.trials.features import gathered
from lwdna.methods.trials.region import Region
from lwdna.methods.trials.rounds import by_trials, try_widths
from lwdna.methods.trials.runs import Trial
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
    least = floors(graph, widened, 0.25, 0.25)
    return Space(limits, least, widened, dict.fromkeys(widened, multiple))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_budget_of_the_baseline_gives_the_baseline_back(name):
    space = _space(GRAPHS[name])
    assert np.array_equal(space.narrowed(), space.base)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("multiple", [1, 2])
def test_what_is_narrowed_leaves_no_unit_out(name, multiple):
    space = _space(GRAPHS[name], multiple, macs=0.8, params=1.0)
    found = space.narrowed()
    assert space.limits.fits(found[None])[0]
    wider = space.grid.wider(found)
    more = np.where(np.eye(len(found), dtype=bool), wider, found)
    assert not (space.limits.fits(more) & (wider > found)).any()


class Lawful:
    """Networks whose loss follows a law, with noise."""

    def __init__(self, space, exponents, noise, seed):
        self.space, self.exponents = space, np.array(exponents)
        self.noise, self.rng = noise, np.random.default_rng(seed)

    def gain(self, widths):
        return float(self.exponents @ np.log(np.array(list(widths.values())) / self.space.base))

    def __call__(self, wanted, number):
        assert all(self.space.limits.fits([list(w.values()) for w in wanted]))
        noise = self.noise * self.rng.standard_normal(len(wanted))
        return [
            Trial(w, float(2 * np.exp(e - self.gain(w))), 0.0, [])
            for w, e in zip(wanted, noise, strict=True)
        ]


@pytest.mark.parametrize("seed", range(3))
def test_noisy_losses_lead_to_better_widths(seed):
    """Late groups count, early ones do not; found is most of what there is for features."""
    space = _space(GRAPHS["mobilenetv3"], macs=1.0)
    lawful = Lawful(space, np.linspace(0, 0.03, len(space.base)), 0.02, seed)
    features = gathered(space.limits.graph, 8)
    exponents = [lawful.exponents[list(feature.groups)].sum() for feature in features]
    region = Region(space, features, space.base)
    possible = max(region.moves(region.widths(region.pool)) @ exponents)
    found, trials = by_trials(space, 24, lawful, seed)
    assert len(trials) == 24
    assert list(trials[0].widths.values()) == space.base.tolist()
    assert lawful.gain(found.widths) > 0.7 * possible > 0.02
    assert found.gain.mean - 3 * found.gain.error < lawful.gain(found.widths)
    assert not found.kept_baseline
    assert space.limits.fits([list(found.widths.values())])[0]


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3"])
def test_where_widths_do_not_matter_the_baseline_is_mostly_kept(name):
    """Of ten searches; where it is left, the gain promised is no more than two of its errors."""
    space = _space(GRAPHS[name])
    kept = 0
    for seed in range(10):
        lawful = Lawful(space, np.zeros(len(space.base)), 0.02, seed)
        found, _ = by_trials(space, 16, lawful, seed)
        kept += found.kept_baseline
        assert found.kept_baseline == (list(found.widths.values()) == space.base.tolist())
        assert 0 <= found.gain.mean <= 2 * found.gain.error
    assert kept >= 6


def test_the_same_losses_give_the_same_search():
    space = _space(GRAPHS["test_resnet"], macs=1.0, params=1.5)
    one, two = (
        by_trials(space, 20, Lawful(space, np.full(len(space.base), 0.01), 0.01, 3), 5)
        for _ in range(2)
    )
    assert one[1] == two[1]
    assert one[0].to_json() == two[0].to_json()


def test_no_network_is_tried_twice_where_there_are_others():
    space = _space(GRAPHS["test_resnet"], macs=1.0)
    _, trials = by_trials(space, 24, Lawful(space, np.full(len(space.base), 0.02), 0.01, 0), 0)
    assert len({tuple(trial.widths.values()) for trial in trials}) == 24


def test_the_law_says_what_other_budgets_bring():
    """More parameters help late groups; without a cap on them there is most to gain."""
    budget = Budget(macs=1.0, params=1.25)
    graph = GRAPHS["test_resnet"]
    widened = widened_widths(graph, 2.0)
    space = Space(Limits.of(graph, widened, budget), dict.fromkeys(widened, 1), widened)
    lawful = Lawful(space, np.linspace(0, 0.1, len(space.base)), 0.001, 0)
    found, _ = by_trials(space, 24, lawful, 0, budget)
    record = found.to_json()
    asked = [entry["budget"] for entry in record["budgets"]]
    assert asked == [
        *({"macs": 1.0, "params": cap} for cap in (1.0, 1.25, 1.5, 2.0)),
        {"macs": 1.0},
    ]
    gains = [entry["gain"]["mean"] for entry in record["budgets"]]
    assert gains == sorted(gains)
    assert gains[0] < 0.8 * gains[-1]
    assert gains[1] == pytest.approx(record["gain"]["mean"], abs=0.01)
    costs = sum(feature["costs"]["params"] for feature in record["features"])
    assert 1 < costs < 2.2  # a product of two widths, but for what has one axis fixed


def test_losses_that_have_no_logarithm_are_refused():
    space = _space(GRAPHS["chain"])
    with pytest.raises(TrainingError, match=r"there is a loss of -1; leave out shrink.trials"):
        by_trials(space, 4, lambda wanted, _: [Trial(w, -1.0, 0.0, []) for w in wanted], 0)


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
    budget = Budget(macs=0.9)
    space = _space(trace(model, EXAMPLE), macs=0.9)
    given = (model, space, budget, _setup(folder, loss))
    return try_widths(*given, TrialSettings(count=count), seed=4)


def test_what_was_stopped_goes_on(tmp_path, monkeypatch):
    whole, trials = _tried(tmp_path / "whole")
    stopped = tmp_path / "stopped"
    real, calls = module.train, []

    def stopping(*arguments, **options):
        calls.append(1)
        if len(calls) == 11:  # in the round that rests on losses
            raise TrainingInterrupted
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", stopping)
        with pytest.raises(TrainingInterrupted):
            _tried(stopped)
    assert not (stopped / "10.json").exists()
    again, resumed = _tried(stopped)
    assert again.to_json() == whole.to_json()
    assert again.widths == whole.widths
    assert [(t.widths, t.loss) for t in resumed] == [(t.widths, t.loss) for t in trials]
    assert {file.name for file in stopped.iterdir()} == {f"{number}.json" for number in range(12)}


def test_the_narrowed_baseline_is_tried_first(tmp_path):
    _, trials = _tried(tmp_path, count=2)
    assert list(trials[0].widths.values()) in ([8, 7], [7, 8])


def test_a_trial_may_fail_but_not_the_baseline(tmp_path):
    def wide_ones_fail(network, batch):
        return _loss(network, batch) * (float("nan") if network.one.out_channels > 8 else 1)

    found, trials = _tried(tmp_path / "some", loss=wide_ones_fail)
    failed = [trial for trial in trials if trial.loss is None]
    assert failed
    assert all(trial.widths["one"] > 8 for trial in failed)
    assert found.widths["one"] <= 8
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
    law = found.to_json()["law"]
    summary = found.architecture.found["law"]
    assert {name for feature in law["features"] for name in feature["groups"]} == {"one", "two"}
    for feature in law["features"]:
        del feature["groups"]
    assert summary == law
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
