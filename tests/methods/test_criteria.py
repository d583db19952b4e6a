"""Every criterion against numbers worked out by hand, and on networks of every kind."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace

import pytest
import torch
from families import FAMILIES, batches, loss
from torch import Tensor, nn

import lwdna
from lwdna import model_source
from lwdna.methods import ShrinkSettings, search
from lwdna.methods.criteria import CRITERIA, Problem
from lwdna.methods.criteria.scales import unit_scales
from lwdna.methods.settings import WarmupSettings

CONTROLS = ("uniform", "random")


class Two(nn.Module):
    """image 1 -> 2 units -> 1: y = 5 relu(2 x) + 7 relu(-3 x)."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 2, 1, bias=False)
        self.two = nn.Conv2d(2, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).relu())


def _problem(out: tuple[float, float] = (5.0, 7.0)) -> Problem:
    """Two units on the examples 1, -2 and 3."""
    network = Two()
    with torch.no_grad():
        network.one.weight.copy_(torch.tensor([2.0, -3.0]).reshape(2, 1, 1, 1))
        network.two.weight.copy_(torch.tensor(out).reshape(1, 2, 1, 1))
    examples = torch.tensor([1.0, -2.0, 3.0]).reshape(3, 1, 1, 1)
    graph = lwdna.trace(network, examples[:1])
    return Problem(
        network,
        graph,
        graph.widths,
        examples[:1],
        list(examples.split([1, 2])),
        lambda network, x: network(x).mean(),
        ShrinkSettings(
            floor=0.0, linear_floor=0.0, budget=lwdna.Budget(macs=0.5), resource_penalty=3.0
        ),
        seed=0,
    )


# Outputs by unit: 10, 0, 30 through the first one, 0, 42, 0 through the second.
BY_HAND = {
    "taylor": [(40 / 3) ** 2, 14**2],
    "snip": [80 / 164, 84 / 164],  # every path passes two weights: 2 * 40/3 of 2 * (40/3 + 14)
    "fisher": [(10**2 + 30**2) / 6, 42**2 / 6],
    # Flow 2 * 5 and 3 * 7. Units left after round r: 2 * 0.5 ** (r / 10), one from round 5 on.
    "hessian": [2 * 500 / 3, 2 * 294],  # on either side of a unit the same
    # Gradients of the filters: 5, 0, 15 and 0, -14, 0; h is the mean of their squares.
    "obd-c": [2**2 * (25 + 225) / 6, 3**2 * 196 / 6],
    "activation": [(2 + 0 + 6) / 3, (0 + 6 + 0) / 3],
    "lamp": [(4 + 25) / (4 + 25 + 9 + 49), 1],
    "fpgm": [5 / 2, 5 / 2],  # filters 2 and -3, the mean over both
    "synflow": [4 + 10 / 21, 9 + 1],
    "synflow-expectation": [1 / 0.5, 1 / 1.5],
    "weight-norm": [2, 3],
    "penalised-norm": [math.hypot(2, 5), math.hypot(3, 7)],  # of both sides, without a penalty
    "batchnorm-scale": [2, 3],  # no normalisation: the norms of the filters
    "morphnet": [2, 3],  # the same, after another warm-up
    # Half the MACs leave one unit: the second goes first (place 0), the first stays (rank 1 of 2).
    "autoslim": [1 + 1 / 2, 0],
}


@pytest.mark.parametrize("criterion", BY_HAND)
def test_scores_worked_out_by_hand(criterion):
    (scores,) = CRITERIA[criterion].score(_problem()).values()
    assert scores.tolist() == pytest.approx(BY_HAND[criterion], rel=1e-6)


@pytest.mark.parametrize(
    ("norm", "scores"),
    [
        (nn.BatchNorm2d(2, affine=False), [4 + 10 / 21, 9 + 1]),  # flows 10 and 21, as without it
        (nn.BatchNorm2d(2), [9 + 1, 4 + 21 / 110]),  # 2 * 11 * 5 and 3 * 1 * 7
        (nn.GroupNorm(1, 2), [9 + 1, 4 + 21 / 110]),
    ],
    ids=["plain", "batch", "group"],
)
def test_synaptic_flow_passes_the_scales_of_normalisation(norm, scores):
    problem = _problem()
    network = problem.wide
    network.one = nn.Sequential(network.one, norm)
    if norm.weight is not None:
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([11.0, 1.0]))
    graph = lwdna.trace(network, problem.example_inputs)
    problem = replace(problem, graph=graph, widths=graph.widths)
    (found,) = CRITERIA["synflow"].score(problem).values()
    assert found.tolist() == pytest.approx(scores, rel=1e-6)


@pytest.mark.parametrize(
    ("penalties", "scores"),
    [
        ([{"sides": "write"}], [2, 3]),
        ([{"sides": "read"}], [0.5, 7]),
        ([{"sides": "both"}], [0.5, 3]),
        ([{"sides": "read"}, {"sides": "write"}], [0.5, 3]),
        ([{"kind": "group-norm", "sides": "both"}], [math.hypot(2, 0.5), math.hypot(3, 7)]),
    ],
)
def test_a_unit_is_as_large_as_what_penalties_act_on(penalties, scores):
    problem = _problem((0.5, 7.0))
    given = [{"weight": 1e-4, **one} for one in penalties]
    warmup = WarmupSettings(iterations=1, penalty=given)
    settings = problem.settings.model_copy(update={"warmup": warmup})
    (found,) = CRITERIA["penalised-norm"].score(replace(problem, settings=settings)).values()
    assert found.tolist() == pytest.approx(scores)


@pytest.mark.parametrize("criterion", ["taylor", "snip", "fisher", "hessian", "synflow"])
def test_a_unit_that_nothing_reads_has_no_importance(criterion):
    (scores,) = CRITERIA[criterion].score(_problem((0.0, 7.0))).values()
    assert scores[0] == (4 if criterion == "synflow" else 0)  # four rounds passed without removal
    assert scores[1] > scores[0]


def test_second_order_scores_rest_on_single_examples():
    """Once more by one backward pass for each, through turned, grouped and repeated layers."""
    torch.manual_seed(0)
    model = FAMILIES["hourglass"]()
    model.norm = nn.Identity()  # else examples meet
    images = torch.cat(batches((3, 2)))
    graph = lwdna.trace(model, images[:1])
    settings = ShrinkSettings()
    given = (images[:1], list(images.split([3, 2])), loss, settings)
    problem = Problem(model, graph, graph.widths, *given, seed=0, trained=True)
    scores = CRITERIA["hessian"].score(problem)
    made = CRITERIA["obd-c"].score(problem)
    squares = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for image in images.split(1):
        model.zero_grad()
        loss(model, image).backward()
        for name, parameter in model.named_parameters():
            squares[name] += parameter.grad.square() / len(images)
    for group in graph.groups:
        totals = {True: torch.zeros(group.width), False: torch.zeros(group.width)}
        for name, axis in group.members:
            parameter = model.get_parameter(name)
            if parameter.ndim == 4:
                growth = (squares[name] * parameter.square() / 2).detach()
                one = growth.sum([d for d in range(4) if d != axis])
                turned = name in ("up.weight", "grouped.weight")
                sums = one.reshape(-1, group.width).sum(0)  # groups of channels one after another
                totals[axis == (1 if turned else 0)] += sums
        torch.testing.assert_close(
            scores[group.name].float(), totals[True] + totals[False], rtol=1e-4, atol=1e-10
        )
        torch.testing.assert_close(made[group.name].float(), totals[True], rtol=1e-4, atol=1e-10)


def test_distances_are_those_of_all_layers_that_make_a_unit():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 3, 1, bias=False)
            self.again = nn.Conv2d(3, 3, 1, bias=False)
            self.head = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(x + self.again(x))

    model = Residual()
    with torch.no_grad():
        model.stem.weight.copy_(torch.tensor([1.0, 3.0, 7.0]).reshape(3, 1, 1, 1))
        model.again.weight.copy_(
            torch.tensor([[0.0, 0, 0], [3, 4, 0], [0, 0, 12]])[..., None, None]
        )
    images = torch.ones(1, 1, 1, 1)
    graph = lwdna.trace(model, images)
    given = (images, [images], loss, ShrinkSettings())
    problem = Problem(model, graph, graph.widths, *given, seed=0)
    (found,) = CRITERIA["fpgm"].score(problem).values()
    wanted = [2 + 6 + 5 + 12, 2 + 4 + 5 + 13, 6 + 4 + 12 + 13]
    assert found.tolist() == pytest.approx([one / 3 for one in wanted])
    # what layers read: 1, 3, 7 by the residual branch, and by the head 1, 3 + 15, 7 + 84
    (sizes,) = CRITERIA["activation"].score(problem).values()
    assert sizes.tolist() == pytest.approx([(1 + 1) / 2, (3 + 18) / 2, (7 + 91) / 2])


def test_greedy_slimming_takes_from_the_group_that_the_loss_misses_least():
    """Two branches of 5 units; n and m units left cost (n - 5)^2 + 2 (5 - m)."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(1, 5, 1, bias=False)
            self.two = nn.Conv2d(1, 5, 1, bias=False)
            self.head_one = nn.Conv2d(5, 1, 1, bias=False)
            self.head_two = nn.Conv2d(5, 1, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.head_one(self.one(x)), self.head_two(self.two(x))], 1)

    def loss(network: nn.Module, x: Tensor) -> Tensor:
        n, m = network(x).unbind(1)
        return ((n - 5).square() + 2 * (5 - m)).mean()

    model, images = Branches(), torch.ones(2, 1, 1, 1)
    for layer in model.children():
        nn.init.ones_(layer.weight)
    graph = lwdna.trace(model, images[:1])
    # 20 MACs, 2 for each unit: 7 units may stay. First goes one of branch one at a cost of 1, whose
    # next would cost 3; then two of branch two go at 2 each.
    settings = ShrinkSettings(floor=0.0, linear_floor=0.0, budget=lwdna.Budget(macs=0.7))
    problem = Problem(model, graph, graph.widths, images[:1], [images], loss, settings, seed=0)
    scores = CRITERIA["autoslim"].score(problem)
    assert scores["one"].tolist() == pytest.approx([3 + k / 5 for k in (4, 3, 2, 1)] + [0])
    assert scores["two"].tolist() == pytest.approx([3 + k / 5 for k in (3, 2, 1)] + [2, 1])


def test_the_sandwich_rule_averages_over_the_widest_the_narrowest_and_random_networks():
    problem = _problem()
    objective = CRITERIA["autoslim"].objective
    assert objective is not None
    loss = objective(problem)
    (images,) = torch.cat(list(problem.batches)).split(3)
    both, first = (10 + 42 + 30) / 3, (10 + 0 + 30) / 3  # all units, the first one alone
    seen = {round(float(loss(problem.wide, images).detach()), 4) for _ in range(40)}
    expected = {(3 * first + both) / 4, (2 * first + 2 * both) / 4, (first + 3 * both) / 4}
    assert seen == {round(value, 4) for value in expected}


def test_the_penalty_weighs_scales_by_what_a_unit_costs():
    problem = _problem()
    objective = CRITERIA["morphnet"].objective
    assert objective is not None
    value = objective(problem)(problem.wide, problem.batches[0])
    # the task's loss on the first example is 10; each of 2 units takes 2 of 4 MACs
    assert float(value.detach()) == pytest.approx(10 + 3.0 * (2 / 4) * (2 + 3))
    value.backward()  # the penalty's part of the gradient is 3 * 2 / 4 times the sign
    assert problem.wide.one.weight.grad.flatten().tolist() == pytest.approx([5 + 1.5, 0 - 1.5])


def test_every_criterion_was_worked_out_by_hand_or_is_tested_elsewhere():
    assert not set(CRITERIA) - set(BY_HAND) - {"latent-gradient", "latent-magnitude", *CONTROLS}


def _search(model, criterion, sizes=(3, 2), seed=0, **options):
    settings = {
        "budget": lwdna.Budget(macs=0.85, of="widened"),
        "floor": 0.1,
        "linear_floor": 0.1,
        **options,
    }
    return search(
        model,
        torch.zeros(1, 3, 32, 32),
        batches(sizes),
        loss,
        ShrinkSettings(criterion=criterion, **settings),
        seed=seed,
    )


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    torch.manual_seed(0)
    return FAMILIES[request.param]()


@pytest.fixture(scope="module")
def traced_once(family):
    """What all searches on a family begin with: the graph of the same network."""
    graphs = []

    def traced(*given):
        if not graphs:
            graphs.append(model_source.traced(*given))
        return graphs[0]

    return traced


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_runs_on_every_kind_of_network(family, traced_once, criterion, monkeypatch):
    searching = importlib.import_module("lwdna.methods.search")  # the package has a function so
    monkeypatch.setattr(searching, "traced", traced_once)
    monkeypatch.setattr("lwdna.methods.criteria.autoslim.PIECES", 2)
    found = _search(family, criterion)
    for name, scores in found.scores.items():
        assert scores.shape == (found.widened[name],)
        assert scores.isfinite().all()
        assert (scores >= 0).all()
    if criterion not in ("batchnorm-scale", "morphnet"):  # scales are 1 before a warm-up
        assert any(len(scores.unique()) > 1 for scores in found.scores.values())
    widened = found.graph.cost(found.widened)
    assert found.graph.cost(found.architecture.widths).macs <= 0.85 * widened.macs


@pytest.mark.parametrize("criterion", CRITERIA)
def test_scores_do_not_depend_on_the_split_into_batches_or_on_the_global_state(criterion):
    torch.manual_seed(0)
    model = FAMILIES["upscaler"]()
    first = _search(model, criterion, (6,)).scores
    for sizes in ((2, 4), (1, 2, 3)):
        torch.manual_seed(sum(sizes[:1]))
        for name, scores in _search(model, criterion, sizes).scores.items():
            torch.testing.assert_close(scores, first[name], rtol=2e-4, atol=1e-9)


def test_the_scale_of_a_unit_is_the_largest_of_its_normalisations_or_of_its_filters():
    model = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.Flatten()
    )
    graph = lwdna.trace(model, torch.zeros(1, 3, 1, 1))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.5, -4.0]))
        model[2].weight.copy_(torch.tensor([-2.0, 3.0]))
    assert {n: s.tolist() for n, s in unit_scales(model, graph, graph.widths).items()} == {
        "0": [2.0, 4.0]
    }


def test_expected_flow_counts_how_often_a_path_meets_a_group():
    """A branch of width m beside a residual stream of width n: R is c (n + n (d m) (u n))."""
    torch.manual_seed(0)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 5, 1, bias=False)
            self.down = nn.Conv2d(5, 3, 1, bias=False)
            self.up = nn.Conv2d(3, 5, 1, bias=False)
            self.head = nn.Conv2d(5, 2, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(x + self.up(self.down(x)))

    model = Residual()
    found = search(
        model,
        torch.zeros(1, 1, 1, 1),
        batches(),
        loss,
        ShrinkSettings(
            criterion="synflow-expectation", width_mult=1.0, budget=lwdna.Budget(macs=0.7)
        ),
        seed=3,
    )
    graph = found.graph
    wide = lwdna.resize(model, graph, found.widened, seed=3)
    down, up = (float(layer.weight.detach().abs().mean()) for layer in (wide.down, wide.up))
    branch = down * 3 * up * 5
    part = branch / (1 + branch)
    assert math.isclose(found.scores["down"][0], part / 0.5, rel_tol=1e-6)  # met by the branch
    assert math.isclose(found.scores["stem"][0], (1 + part) / 0.5, rel_tol=1e-6)  # once, or twice
