"""A warm-up ends when the network of the units that count meets its budget."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import lwdna
from lwdna.channels import resize, trace
from lwdna.errors import BudgetError
from lwdna.hypernet import Hypernetwork
from lwdna.methods import Budget, ShrinkSettings, Trained, search
from lwdna.methods.settings import WarmupSettings
from lwdna.methods.sparse.settings import PenaltySettings
from lwdna.methods.sparse.sizes import sizes_of
from lwdna.methods.sparse.stop import Target, masked
from lwdna.methods.sparse.stop_settings import UntilSettings
from lwdna.methods.sparse.units import Units
from lwdna.methods.warmup import WarmupRun, task_of, warm_up
from lwdna.run_options import RunOptions
from networks import Branches, Chain

START = (11.5, -4.5, 3.5, -2.5, 1.5)
"""Latents that lose 1 at every step: of size 1 or more are 5, 4, 3, 2, 1 of them after 0 to 4."""


def _nothing(network, batch):
    """Return a loss without a gradient, so that the penalty alone moves the latents."""
    return sum((parameter * 0).sum() for parameter in network.parameters())


def _whole():
    """Return a hypernetwork of one group of 5, each of which costs 3 + 2 MACs."""
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1))
    graph = trace(network, torch.zeros(1, 3, 1, 1))
    whole = Hypernetwork(network, graph, graph.widths, 1, seed=0)
    whole.latents.vectors[0].data = torch.tensor(START)
    return whole, graph


def _shrunk(folder, until, *, macs=0.4, least=1, said=None, **options):
    """Shrink the latents by 1 a step until {2 of 5 units, 10 of 25 MACs} or as the budget says."""
    whole, graph = _whole()
    settings = WarmupSettings(
        until=until,
        batch_size=1,
        lr=1,
        momentum=0,
        weight_decay=0,
        penalty={"kind": "l1", "weight": 1},
        **options,
    )
    units = Units(whole.network, graph, graph.widths, whole.latents)
    target = Target.of(
        settings.until, Budget(macs=macs), graph, graph.widths, {"0": least},
        sizes_of(units),
    )  # fmt: skip
    say = [] if said is None else said
    batch = (torch.zeros(1, 3, 1, 1),)
    run = WarmupRun(task_of([batch], _nothing), folder, options=RunOptions(say=say.append))
    return warm_up(whole, run, settings, seed=0, units=units, target=target), whole


@pytest.mark.parametrize(
    ("until", "steps", "left"),
    [
        ({"below": 0, "check_every": 1}, 3, 2),  # 10 of 10 MACs
        ({"below": 0.2, "check_every": 1}, 2, 3),  # 15 of 15
        ({"below": 0.19, "check_every": 1}, 3, 2),
        ({"below": 0, "check_every": 2}, 4, 1),  # at 3 nobody looks
        ({"below": 0.2, "check_every": 3}, 3, 2),
        ({"below": 0, "check_every": 1, "threshold": 2.0}, 2, 2),  # 9.5, 2.5, but not 1.5
    ],
)
def test_it_stops_at_the_step_worked_out_by_hand(tmp_path, until, steps, left):
    done, whole = _shrunk(tmp_path, {"threshold": 1.0, **until})
    assert (len(done.losses), done.met, done.masked) == (steps, True, {"0": left})
    wanted = torch.tensor(START).abs() - steps
    assert torch.equal(whole.latents.vectors[0].detach().abs(), wanted.clamp_min(0))


def test_what_it_came_to_is_said_and_no_error_at_the_latest_end(tmp_path):
    said = []
    until = {"threshold": 1.0, "below": 0, "check_every": 1}
    done, _ = _shrunk(tmp_path / "a", {**until, "at_most": {"iterations": 2}}, said=said)
    assert (len(done.losses), done.met) == (2, False)
    assert "has not reached its budget in 2 steps" in said[0]
    assert "15 macs; near enough is 10 macs" in said[0]
    _shrunk(tmp_path / "b", until, said=said)
    assert "has reached its budget after 3 steps" in said[1]


def test_latents_of_a_group_at_its_floor_are_spared(tmp_path):
    """With a floor of 3 two steps leave three that count; the third would leave fewer."""
    until = {"threshold": 1.0, "below": 0, "check_every": 9, "at_most": {"iterations": 5}}
    _, whole = _shrunk(tmp_path, until, macs=0.7, least=3)
    assert whole.latents.vectors[0].tolist() == [9.5, -2.5, 1.5, -0.5, 0.0]


def test_the_best_of_a_group_count_whatever_their_size():
    sizes = torch.tensor([0.3, 0.0, 2.0, 0.1, 0.2])
    assert masked(sizes, 1.0, 1).tolist() == [False, False, True, False, False]
    assert masked(sizes, 1.0, 3).tolist() == [True, False, True, False, True]
    assert masked(sizes, 0.15, 1).tolist() == [True, False, True, False, True]
    assert masked(sizes, 9.0, 7).tolist() == [True] * 5


def test_latents_that_are_not_finite_meet_nothing():
    whole, graph = _whole()
    whole.latents.vectors[0].data.fill_(torch.nan)
    sizes = sizes_of(Units(whole.network, graph, graph.widths, whole.latents))
    given = UntilSettings(), Budget(macs=0.4), graph, graph.widths, {"0": 1}
    assert not Target.of(*given, sizes).met()


def _loss(network, batch):
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def _batches(count=3, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 3, 16, 16, generator=generator),
            torch.randint(5, (size,), generator=generator),
        )
        for _ in range(count)
    ]


DHP = ShrinkSettings(
    criterion="latent-magnitude",
    keep="threshold",
    width_mult=1,
    budget=Budget(macs=0.5),
    floor=0,
    linear_floor=0,
    least_units=2,
    multiple=1,
    inherit=True,
    warmup=WarmupSettings(
        until={"threshold": 0.2, "below": 0.05, "check_every": 3, "at_most": {"iterations": 60}},
        batch_size=8,
        lr=0.05,
        penalty={"kind": "l1", "weight": 0.5},
        checkpoint_every=1,
    ),
)


def _found(folder, loss=_loss, *, resume=False, settings=DHP, trained=None):
    torch.manual_seed(0)
    model, batches = Chain(), _batches()
    run = WarmupRun(task_of(batches, loss), folder, resume)
    return search(
        model, batches[0][0][:1], batches, _loss, settings, seed=1, warmup_run=run, trained=trained
    )


def test_a_search_until_its_budget_resumes_exactly_and_its_mask_costs_what_its_network_does(
    tmp_path,
):
    expected = _found(tmp_path / "whole")
    steps = len(expected.warmup.losses)
    assert expected.warmup.met
    assert 3 < steps < 60
    assert steps % 3 == 0
    calls = iter(range(100))

    def failing(network, batch):
        if next(calls) == steps - 2:
            raise KeyboardInterrupt
        return _loss(network, batch)

    with pytest.raises(KeyboardInterrupt):
        _found(tmp_path / "cut", failing)
    resumed = _found(tmp_path / "cut", resume=True)
    again = _found(tmp_path / "cut", lambda *_: pytest.fail("it goes on"), resume=True)
    for one in (resumed, again):
        assert one.warmup == expected.warmup
        wanted = expected.network.state_dict()
        assert all(torch.equal(wanted[n], t) for n, t in one.network.state_dict().items())
    # the mask's cost by the closed form, and by a network of these widths
    graph, full = expected.graph, expected.graph.cost()
    masked_cost = graph.cost(expected.warmup.masked)
    small = resize(Chain(), graph, expected.warmup.masked, seed=0)
    assert masked_cost.params == sum(parameter.numel() for parameter in small.parameters())
    assert masked_cost.macs == trace(small, torch.zeros(1, 3, 16, 16)).cost().macs
    assert masked_cost.macs <= 0.55 * full.macs
    assert expected.architecture.cost.macs <= 0.5 * full.macs, "the bisection at the end"
    record = json.loads(json.dumps(expected.to_json()))["warmup"]
    assert record == {"steps": steps, "met": True, "masked": expected.warmup.masked}


def test_units_always_stay_by_number(tmp_path):
    settings = DHP.model_copy(update={"least_units": 9})
    found = _found(tmp_path, settings=settings)
    assert found.least == {"one": 9, "two": 9, "three": 9}
    assert min(found.architecture.widths.values()) >= 9


def test_a_budget_below_the_floors_is_an_error_before_the_training(tmp_path):
    settings = DHP.model_copy(update={"least_units": 11})
    with pytest.raises(BudgetError, match="below what the floors alone cost"):
        _found(tmp_path, lambda *_: pytest.fail("it trains"), settings=settings)


def test_without_latents_the_norms_of_the_weights_count():
    """Of three units one is read but not written, one is neither, one has a norm of 5."""
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 1, 1))
    graph = trace(network, torch.zeros(1, 2, 4, 4))
    with torch.no_grad():
        network[0].weight.zero_()
        network[1].weight.zero_()
        network[0].weight[2] = torch.tensor([[[3.0]], [[0.0]]])
        network[1].weight[0, :, 0, 0] = torch.tensor([0.5, 0.0, 4.0])
    units = Units(network, graph, graph.widths)
    sizes = sizes_of(units)
    assert sizes()["0"].tolist() == [0.5, 0.0, 5.0]
    filters = sizes_of(units, [PenaltySettings(weight=1, sides="write")])
    assert filters()["0"].tolist() == [0.0, 0.0, 3.0]
    until = UntilSettings(threshold=0.4, below=0)
    target = Target.of(until, Budget(macs=0.7), graph, graph.widths, {"0": 1}, sizes)
    assert (target.widths(), target.met()) == ({"0": 2}, True)
    with torch.no_grad():
        network[1].weight[0, 1] = 0.4
    assert (target.widths(), target.met()) == ({"0": 3}, False)


def test_a_penalty_on_the_filters_is_judged_by_the_filters(tmp_path):
    """What reads the units stays large: by both sides together none would vanish."""
    given = {"penalty": {"kind": "l1", "weight": 1.0, "sides": "write"}, "checkpoint_every": None}
    warmup = WarmupSettings(**{**DHP.warmup.model_dump(), **given})
    settings = DHP.model_copy(update={"criterion": "weight-norm", "warmup": warmup})
    found = _found(tmp_path, settings=settings)
    assert found.warmup.met
    assert found.graph.cost(found.warmup.masked).macs <= 0.55 * found.graph.cost().macs


@pytest.mark.parametrize("build", [Chain, Branches])
@pytest.mark.parametrize("embedding_dim", [1, 2, 3])
def test_given_weights_are_generated_bit_for_bit(build, embedding_dim):
    torch.manual_seed(0)
    model, plain = build(), build()
    plain.load_state_dict(model.state_dict())
    (images, targets), graph = _batches(1)[0], trace(model, torch.zeros(1, 3, 16, 16))
    whole = Hypernetwork(model, graph, graph.widths, embedding_dim, seed=0, keep_weights=True)
    assert torch.equal(whole(images), plain(images))
    _loss(whole, (images, targets)).backward()
    _loss(plain, (images, targets)).backward()
    index = 0
    group, gradient = graph.groups[index], whole.latents.vectors[index].grad
    tensors = dict(plain.named_parameters())
    total = torch.zeros(group.width)
    for member in group.members:
        tensor = tensors.get(member.tensor)
        if tensor is not None and tensor.ndim > 1:
            product = (tensor * tensor.grad).movedim(member.axis, 0)
            total += product.reshape(group.width, -1).sum(1).detach()
    torch.testing.assert_close(gradient, total, rtol=1e-4, atol=1e-6)
    baked = whole.bake().state_dict()
    assert all(torch.equal(baked[name], tensor) for name, tensor in plain.state_dict().items())


def test_a_slimmed_network_is_searched_on_from_its_weights(tmp_path):
    torch.manual_seed(0)
    graph = trace(Chain(), torch.zeros(1, 3, 16, 16))
    widths = {"one": 11, "two": 13, "three": 7}
    network = resize(Chain(), graph, widths, seed=3)
    given = Trained(network, widths)
    still = {"penalty": (), "lr": 1e-12, "until": None, "iterations": 1}
    warmup = WarmupSettings(**{**DHP.warmup.model_dump(), **still})
    budget = Budget(macs=0.6, of="widened")
    settings = DHP.model_copy(update={"warmup": warmup, "budget": budget})
    found = _found(tmp_path / "still", settings=settings, trained=given)
    assert found.widened == widths
    wanted = resize(network, graph.at(widths), found.units, init="slice")
    for name, tensor in found.network.state_dict().items():
        torch.testing.assert_close(tensor, wanted.state_dict()[name], rtol=0, atol=1e-7)
    moved = _found(
        tmp_path / "dhp", settings=DHP.model_copy(update={"budget": budget}), trained=given
    )
    assert moved.warmup.met
    assert all(moved.architecture.widths[name] <= width for name, width in widths.items())
    assert lwdna.trace(moved.network, torch.zeros(1, 3, 16, 16)).cost().macs <= 0.6 * (
        graph.cost(widths).macs
    )
