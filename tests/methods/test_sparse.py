"""Sparse training: operators by hand and by search, units, penalties, what vanishes is removed."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from families import FAMILIES, batches, loss
from torch import Tensor, nn

import lwdna
from lwdna.channels import resize, trace
from lwdna.errors import RecipeError
from lwdna.hypernet import Latents
from lwdna.methods import ShrinkSettings, Trained, search
from lwdna.methods.settings import WarmupSettings
from lwdna.methods.sparse import PenaltySettings, Units, make_penalties, operators
from lwdna.methods.warmup import WarmupRun, task_of, warm_up
from networks import Chain

NORMS = (0.0, 0.003, 0.05, 0.2, 0.45, 0.8, 1.3, 2.6)
PENALTIES = {
    "l1": (operators.soft, lambda x: x),
    "l1/2": (operators.half, np.sqrt),
    "logsum": (operators.log_sum, lambda x: np.log(x + operators.EPSILON)),
    "l2": (operators.shrunk, lambda x: x**2 / 2),
}


@pytest.mark.parametrize("strength", [0.0, 1e-4, 0.05, 0.4, 3.0])
@pytest.mark.parametrize("kind", PENALTIES)
def test_no_point_of_a_grid_is_better_than_the_proximal_one(kind, strength):
    operator, penalty = PENALTIES[kind]
    norms = torch.tensor(NORMS)
    found = operator(norms, strength) * norms
    grid = np.concatenate([[0.0], np.geomspace(1e-9, 4, 4001), np.linspace(0, 4, 4001)])
    for n, x in zip(norms.tolist(), found.tolist(), strict=True):
        assert x >= 0

        def objective(x, n=n):
            return 0.5 * (x - n) ** 2 + strength * penalty(x)

        assert objective(x) <= objective(grid).min() + 1e-9


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.5, 0.9, 2.0])
def test_no_pair_of_a_grid_is_better_than_that_of_l1_minus_l2(strength):
    norms = torch.tensor([0.6, 0.9])
    x, y = (operators.l1_minus_l2(norms, strength) * norms).tolist()
    one, two = np.meshgrid(np.linspace(0, 2, 801), np.linspace(0, 2, 801))

    def objective(x, y):
        square = 0.5 * ((x - norms[0].item()) ** 2 + (y - norms[1].item()) ** 2)
        return square + strength * (x + y - np.sqrt(x**2 + y**2))

    assert objective(x, y) <= objective(one, two).min() + 1e-9


def test_factors_by_hand():
    norms = torch.tensor([0.0, 3.0, 5.0, 13.0])
    assert operators.soft(norms, 4.0).tolist() == pytest.approx([0, 0, 1 / 5, 9 / 13])
    # soft: 0, 0, 1 and 9 of norm sqrt(82)
    more = 1 + 4 / math.sqrt(82)
    assert operators.l1_minus_l2(norms, 4.0).tolist() == pytest.approx(
        [0, 0, more / 5, more * 9 / 13]
    )
    assert operators.l1_minus_l2(norms, 13.0).tolist() == [0, 0, 0, 1]  # the largest stays
    assert operators.l1_minus_l2(norms[:1], 13.0).isfinite().all()
    # x^2 - 5 x + 4 = 0 at n = 5 and r = 4: x = 4, but log makes 0 better at e = 1e-8; not at e = 1
    assert operators.log_sum(norms[2:3], 4.0).tolist() == [0]
    # (x - 5)(x + 1) + 8 = 0, x^2 - 4 x + 3 = 0: x = 3
    assert operators.log_sum(norms[2:3], 8.0, epsilon=1.0).item() == 0  # 2 + 8 log 4 > 12.5
    assert operators.log_sum(norms[2:3], 5.0, epsilon=1.0).item() == pytest.approx(0.8)
    assert operators.shrunk(norms, 3.0).tolist() == [0.25] * 4


def test_a_unit_is_what_makes_it_and_what_reads_it():
    """Two units into three (grouped by one): a residual stream, a depthwise and a turned layer."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(1, 2, 1)
            self.norm = nn.BatchNorm2d(2)
            self.deep = nn.Conv2d(2, 2, 1, groups=2, bias=False)
            self.up = nn.ConvTranspose2d(2, 3, 1, bias=False)
            self.out = nn.Conv2d(3, 1, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.up(self.deep(self.norm(self.one(x)))))

    net = Net()
    with torch.no_grad():
        net.one.weight.copy_(torch.tensor([2.0, 3.0]).reshape(2, 1, 1, 1))
        net.one.bias.copy_(torch.tensor([5.0, 7.0]))
        net.norm.weight.copy_(torch.tensor([11.0, 13.0]))
        net.norm.bias.copy_(torch.tensor([17.0, 19.0]))
        net.deep.weight.copy_(torch.tensor([23.0, 29.0]).reshape(2, 1, 1, 1))
        net.up.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).reshape(2, 3, 1, 1))
        net.out.weight.copy_(torch.tensor([31.0, 37.0, 41.0]).reshape(1, 3, 1, 1))
    graph = trace(net, torch.zeros(1, 1, 2, 2))
    units = Units(net, graph, graph.widths)

    def squares(side, affine="none"):
        return [s.round().tolist() for s in units.vectors(side, affine).squares()]

    assert squares("write") == [[4 + 529, 9 + 841], [1 + 16, 4 + 25, 9 + 36]]
    assert squares("read") == [[1 + 4 + 9, 16 + 25 + 36], [961, 1369, 1681]]
    both = [[533 + 14, 850 + 77], [17 + 961, 29 + 1369, 45 + 1681]]
    assert squares("both") == both
    assert squares("write", "scale")[0] == [533 + 121, 850 + 169]
    assert squares("write", "all")[0] == [533 + 121 + 25 + 289, 850 + 169 + 49 + 361]
    assert squares("read", "all") == squares("read")
    units.vectors("read", "all").scale(torch.tensor([0.5, 1.0, 1.0, 1.0, 2.0]))
    assert net.up.weight.flatten().tolist() == [0.5, 1.0, 1.5, 4.0, 5.0, 6.0]
    assert net.out.weight.flatten().tolist() == [31.0, 37.0, 82.0]
    assert net.norm.weight.tolist() == [11.0, 13.0]


def _chain():
    torch.manual_seed(0)
    model = Chain()
    graph = trace(model, torch.zeros(1, 3, 16, 16))
    return model, graph, Units(model, graph, graph.widths)


def _penalty(units, removed=None, **settings):
    (penalty,) = make_penalties(units, [PenaltySettings(**settings)], removed)
    return penalty


def test_groups_layer_balance_and_annealing():
    model, _, units = _chain()
    before = copy.deepcopy(model)
    settings = {"weight": 0.3, "sides": "write", "groups": ["t*"], "balance": "mean-norm"}
    norms = before.two.weight.detach().flatten(1).norm(dim=1)
    other = before.three.weight.detach().flatten(1).norm(dim=1)
    whole = float(norms.sum() + other.sum())
    for at, times in (((whole - 1, 1), 0), ((whole + 1, whole - 1), 1), ((whole + 1,) * 2, 2)):
        model.load_state_dict(before.state_dict())
        penalty = _penalty(units, **settings, anneal={"factor": 5, "at": at})
        penalty.after_step(0, 0.1)
        assert torch.equal(model.one.weight, before.one.weight)
        for layer, old in ((model.two, norms), (model.three, other)):
            wanted = old - 0.1 * 0.3 / 5**times * old.mean()
            found = layer.weight.flatten(1).norm(dim=1)
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    mean = {"factor": 5, "at": (whole / 2 + 1, 0), "of": "mean"}
    assert _penalty(units, **settings, anneal=mean)._weight() < 0.3


GRADIENTS = {  # of the whole penalty, written once more for autograd
    "l1": lambda n, _: n.sum(),
    "l1-2": lambda n, _: n.sum() - n.square().sum().sqrt(),
    "group-norm": lambda n, _: (_gamma(n) * n.square()).sum() / 2,
    "growing": lambda n, removed: (removed * n.square()).sum() / 2,
}


def _gamma(norms):
    squares = norms.detach().square()
    return 2 ** (3 * (squares.max() - squares) / (squares.max() - squares.min()))


@pytest.mark.parametrize("kind", GRADIENTS)
def test_the_gradient_is_that_of_the_penalty(kind):
    model, graph, units = _chain()
    removed = {name: torch.arange(width) % 3 == 1 for name, width in graph.widths.items()}
    options = {"group-norm": {"alpha": 3.0}, "growing": {"growth": 0.02, "every": 2}}.get(kind, {})
    penalty = _penalty(units, removed, kind=kind, weight=0.07, by="gradient", **options)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    penalty.before_step(5)
    penalty.after_step(5, 1.0)  # does nothing
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    value = torch.zeros(())
    layers = [model.one, model.two, model.three, model.head]
    for maker, reader, mask in zip(layers, layers[1:], removed.values(), strict=False):
        written = maker.weight.flatten(1)
        read = reader.weight.transpose(0, 1).flatten(1)
        both = [torch.cat([written, read], 1)] if kind in ("group-norm", "growing") else None
        for vectors in both or [written, read]:
            weight = min(0.07, 0.02 * (1 + 5 // 2)) if kind == "growing" else 0.07
            value = value + weight * GRADIENTS[kind](vectors.norm(dim=1), mask)
    value.backward()
    for name, parameter in model.named_parameters():
        wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[name], wanted, rtol=1e-5, atol=1e-7)


def test_a_growing_penalty_spares_what_stays_and_reaches_its_ceiling():
    model, graph, units = _chain()
    removed = {name: torch.arange(width) == 2 for name, width in graph.widths.items()}
    penalty = _penalty(units, removed, kind="growing", weight=0.5, growth=0.2, every=10)
    weights = []
    for step in (0, 9, 10, 19, 20, 500):
        before = model.three.weight.detach().clone()
        penalty.after_step(step, 1.0)
        rest = torch.arange(16) != 2
        stayed = (model.three.weight / before).flatten(1)[rest]
        ratio = stayed[:, [1, 170]].mean(0)  # inputs 0 and 18
        torch.testing.assert_close(ratio, torch.ones(2))
        now = model.three.weight.detach()
        weights.append(float(before[2, 0, 0, 0] / now[2, 0, 0, 0]) - 1)
    assert weights == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.5, 0.5], rel=1e-4)


@pytest.mark.parametrize("by", ["prox", "gradient"])
def test_a_group_may_be_spared(by):
    model, _, units = _chain()
    before = copy.deepcopy(model)
    settings = [PenaltySettings(weight=0.1, by=by, sides="write")]

    def spares(name, norms):
        return (norms > 0).all() & torch.tensor(name == "two")

    (penalty,) = make_penalties(units, settings, spares=spares)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    penalty.before_step(0)
    penalty.after_step(0, 1.0)
    for name in ("one", "two", "three"):
        new, old = getattr(model, name).weight, getattr(before, name).weight
        untouched = torch.equal(new, old) and not new.grad.any()
        assert untouched == (name == "two")


@pytest.mark.parametrize("kind", ["l1", "l1/2", "l1-2", "logsum", "group-norm", "growing"])
def test_a_weight_of_zero_is_no_penalty(kind):
    model, graph, units = _chain()
    before = copy.deepcopy(model.state_dict())
    removed = {name: torch.ones(width, dtype=torch.bool) for name, width in graph.widths.items()}
    penalty = _penalty(units, removed, kind=kind, weight=0)
    penalty.before_step(0)
    penalty.after_step(0, 1.0)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-6, atol=0)


def test_network_slimming_acts_on_every_scale_by_itself():
    model = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)
    )
    graph = trace(model, torch.zeros(1, 3, 1, 1))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.5, -4.0]))
        model[2].weight.copy_(torch.tensor([-2.0, 0.25]))
    kept = copy.deepcopy(model)
    _penalty(Units(model, graph, graph.widths), kind="scale", weight=3.0).after_step(0, 0.1)
    assert model[1].weight.tolist() == pytest.approx([0.2, -3.7])
    assert model[2].weight.tolist() == pytest.approx([-1.7, 0.0])
    assert torch.equal(model[0].weight, kept[0].weight)
    model, graph, units = _chain()
    with pytest.raises(RecipeError, match="no scales of normalisation"):
        _penalty(units, kind="scale", weight=1.0)


def test_latents_are_units_of_length_one():
    model, graph, _ = _chain()
    latents = Latents(graph, graph.widths, torch.Generator().manual_seed(0))
    before = copy.deepcopy(latents)
    units = Units(model, graph, graph.widths, latents)
    _penalty(units, weight=0.5, groups=["two"]).after_step(0, 0.8)
    for name, new, old in zip(latents.names, latents.vectors, before.vectors, strict=True):
        wanted = old.sign() * (old.abs() - 0.4).clamp_min(0) if name == "two" else old
        torch.testing.assert_close(new, wanted, rtol=1e-6, atol=1e-8)


def _trained(model, penalty, folder, steps=12):
    graph = trace(model, torch.zeros(1, 3, 32, 32))
    settings = WarmupSettings(iterations=steps, batch_size=5, lr=0.05, penalty=penalty)
    run = WarmupRun(task_of(batches(), loss), folder)
    warm_up(model, run, settings, seed=0, units=Units(model, graph, graph.widths))
    return graph


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("branches", {"sides": "read"}),
        ("branches", {"sides": "write", "affine": "all"}),
        ("hourglass", {"sides": "read"}),
        ("upscaler", {"sides": "both"}),
        ("resnet", {"sides": "read"}),
    ],
)
def test_what_has_vanished_can_be_removed(family, options, tmp_path):
    """Units that are zero on either side: the sliced network computes the same."""
    torch.manual_seed(0)
    model = FAMILIES[family]()
    before = copy.deepcopy(model)
    graph = trace(model, torch.zeros(1, 3, 32, 32))
    units = Units(model, graph, graph.widths)
    side = "write" if options["sides"] == "write" else "read"
    norms = units.vectors(side, options.get("affine", "none")).norms()
    weight = float(torch.cat(norms).median()) / (12 * 0.05)
    _trained(model, {"weight": weight, **options}, tmp_path / "a")
    _trained(before, (), tmp_path / "b")
    norms = units.vectors(side, options.get("affine", "none")).norms()
    kept = {}
    for group, values in zip(graph.groups, norms, strict=True):
        alive = values.nonzero().flatten()
        kept[group.name] = alive if len(alive) else torch.tensor([0])
    gone = sum(graph.widths[name] - len(units) for name, units in kept.items())
    assert gone > 3
    images = torch.randn(2, 3, 32, 32)
    model.eval()
    sliced = resize(model, graph, kept, init="slice").eval()
    torch.testing.assert_close(sliced(images), model(images), rtol=1e-4, atol=1e-5)
    plain = Units(before, graph, graph.widths).vectors(side, options.get("affine", "none"))
    assert sum(int((n == 0).sum()) for n in plain.norms()) < gone


KINDS = {
    "l1": {"weight": 0.5},
    "l1/2": {"weight": 0.5},
    "l1-2": {"weight": 0.5},
    "logsum": {"weight": 0.1},
    "l1 by gradient": {"kind": "l1", "weight": 0.5, "by": "gradient"},
    "group-norm": {"weight": 2.0, "by": "gradient"},
    "growing": {"weight": 4.0, "growth": 0.5, "every": 1},
}


@pytest.mark.parametrize("name", KINDS)
def test_under_a_penalty_units_differ_more(name, tmp_path):
    """Of a trained network, through the search: the weaker units lose more than the others."""

    def spread(penalty):
        torch.manual_seed(0)
        model = Chain()
        settings = ShrinkSettings(
            criterion="weight-norm",
            width_mult=1,
            budget=lwdna.Budget(macs=0.5),
            warmup=WarmupSettings(iterations=8, batch_size=5, lr=0.05, penalty=penalty),
        )
        given = (model, torch.zeros(1, 3, 32, 32), batches(), loss, settings)
        run = WarmupRun(task_of(batches(), loss), tmp_path / str(bool(penalty)))
        found = search(*given, trained=Trained(model), warmup_run=run)
        scores = found.scores["two"].sort().values
        return float(scores[:5].sum() / scores[-5:].sum())

    kind = name.removesuffix(" by gradient")
    assert spread({"kind": kind, **KINDS[name]}) < 0.97 * spread(())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "l1/2", "by": "gradient"}, "without bound"),
        ({"kind": "scale", "sides": "write"}, "scales of normalisation alone"),
        ({"alpha": 2.0}, "alpha belongs to a penalty of kind group-norm"),
        ({"anneal": {"at": [5, 10]}}, "must fall"),
        ({"balanse": "none"}, "has no 'balanse'; did you mean balance"),
    ],
)
def test_settings_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        PenaltySettings(weight=1.0, **options)


def test_one_penalty_may_stand_alone_and_patterns_must_match():
    alone = WarmupSettings(iterations=1, penalty={"weight": 0.1}).penalty
    assert alone == WarmupSettings(iterations=1, penalty=[{"weight": 0.1}]).penalty
    assert alone == (PenaltySettings(kind="l1", weight=0.1),)
    for wrong in ({}, {"kind": "l1"}, 3, "l1"):
        with pytest.raises(ValueError, match=r"\{kind: l1, weight: 1.0e-4\}"):
            WarmupSettings(iterations=1, penalty=wrong)
    with pytest.raises(RecipeError, match="did you mean three"):
        _penalty(_chain()[2], weight=1.0, groups=["thre"])


EVERYTHING = (
    {"kind": "l1", "weight": 0.4, "balance": "mean-norm", "anneal": {"factor": 3, "at": [21, 5]}},
    {"kind": "growing", "weight": 0.3, "growth": 0.1, "every": 2, "by": "gradient"},
)


def test_a_stopped_sparse_training_goes_on_exactly(tmp_path):
    def searched(folder, stop_at=None, resume=False):
        calls = iter(range(100))

        def failing(network, images):
            if stop_at is not None and next(calls) == stop_at:
                raise KeyboardInterrupt
            return loss(network, images)

        torch.manual_seed(0)
        model = Chain()
        settings = ShrinkSettings(
            criterion="weight-norm",
            width_mult=1,
            budget=lwdna.Budget(macs=0.5),
            inherit=True,
            warmup=WarmupSettings(
                iterations=7, batch_size=5, checkpoint_every=1, penalty=list(EVERYTHING)
            ),
        )
        given = (model, torch.zeros(1, 3, 32, 32), batches(), loss, settings)
        run = WarmupRun(task_of(batches(), failing), folder, resume=resume)
        return search(*given, trained=Trained(model), warmup_run=run)

    straight = searched(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "b", stop_at=4)
    resumed = searched(tmp_path / "b", resume=True)
    for name, scores in straight.scores.items():
        assert torch.equal(resumed.scores[name], scores)
    wanted = straight.network.state_dict()
    found = resumed.network.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_growing_penalty_acts_on_what_the_search_would_remove(tmp_path):
    def found(warmup):
        torch.manual_seed(0)
        model = Chain()
        settings = ShrinkSettings(
            criterion="weight-norm",
            width_mult=1,
            budget=lwdna.Budget(macs=0.5),
            multiple=1,
            keep="local",
            inherit=True,
            warmup=warmup,
        )
        given = (model, torch.zeros(1, 3, 32, 32), batches(), loss, settings)
        run = WarmupRun(task_of(batches(), loss), tmp_path)
        return search(*given, trained=Trained(model), warmup_run=run)

    penalty = {"kind": "growing", "weight": 100.0, "growth": 100.0}
    grown = found(WarmupSettings(iterations=4, batch_size=5, lr=0.01, penalty=penalty))
    for name, units in found(None).units.items():
        assert grown.units[name].tolist() == units.tolist()
        gone = torch.ones(len(grown.scores[name]), dtype=torch.bool).index_fill(0, units, False)
        assert gone.any()
        assert grown.scores[name][gone].max() < 0.2 * grown.scores[name][~gone].min()
