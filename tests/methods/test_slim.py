"""Slimming in a loop of one's own: what goes, what stays, and what that leaves of the network."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from families import FAMILIES, loss
from torch import Tensor, nn
from torch.nn import functional as F

import lwdna
from lwdna.channels.copies.entries import kept_entries
from lwdna.engine import recalibrate
from lwdna.errors import BudgetError, DataError, RecipeError, TrainingError
from lwdna.methods.slimming import SlimSettings
from networks import Chain


def trained(name: str) -> nn.Module:
    """A network whose weights stand for trained ones; nothing of it is zero or one."""
    torch.manual_seed(3)
    network = FAMILIES[name]()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean):
                    assert tensor is not None
                    tensor.uniform_(0.5, 1.5)
    return network.eval()


def pairs(count: int = 2, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(size, 3, 32, 32, generator=generator), torch.zeros(size))] * count


def loss_fn(outputs: Tensor, _: Tensor) -> Tensor:
    return loss(lambda images: images, outputs)  # type: ignore[arg-type]


def slim(network, budget=0.5, **options):
    options = {"recalibrate": 0, "multiple": 1, **options}
    return lwdna.slim(network, pairs(), loss_fn, lwdna.Budget(macs=budget), **options)


def silenced(network: nn.Module, slimmed: lwdna.Slimmed) -> nn.Module:
    """Return the dense network with the weights that read removed units set to zero."""
    dense, graph = deepcopy(network), slimmed.graph
    units = {graph.index[name]: units for name, units in slimmed.units.items()}
    with torch.no_grad():
        for name, tensor in dense.named_parameters():
            for axis in graph.tensors[name][1:2]:
                keep = torch.zeros(tensor.shape[1], dtype=torch.bool)
                entries = kept_entries(axis, graph.in_order(graph.widths), units)
                if entries is not None:
                    keep[entries] = True
                    tensor[:, ~keep] = 0
    return dense


@pytest.mark.parametrize("name", ["chain", "resnet", "densenet", "upscaler"])
def test_slicing_is_silencing(name: str) -> None:
    network = trained(name).double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    batches = [(images, torch.empty(0))]
    budget = lwdna.Budget(macs=0.5)
    found = lwdna.slim(network, batches, loss_fn, budget, recalibrate=0, multiple=1)
    assert found.after.macs <= 0.5 * found.before.macs
    assert found.widths == {name: len(units) for name, units in found.units.items()}
    sliced = found.network.eval()(images)
    assert torch.allclose(sliced, silenced(network, found)(images), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(sliced, network(images), rtol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_kind_of_network_can_be_sliced_twice(name: str) -> None:
    network = trained(name)
    before = deepcopy(network.state_dict())
    # what two steps leave of the dense network, and statistics of their own
    first = slim(network, 0.8, floor=0.3)
    second = slim(first, 0.6, floor=0.3, recalibrate=2)
    assert second.after.macs <= 0.6 * second.before.macs
    assert second.network(pairs()[0][0]).isfinite().all()
    assert sum(p.numel() for p in second.network.parameters()) == second.after.params
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_warm_up_comes_before_the_scores_and_leaves_its_weights() -> None:
    network = Chain((40, 60, 50))
    warmup = {"iterations": 2, "batch_size": 4, "lr": 0.05}
    found = slim(network, warmup=warmup)
    frozen = slim(network, warmup={**warmup, "lr": 1e-30, "weight_decay": 0})
    cold = slim(network)
    assert all(torch.equal(frozen.scores[name], scores) for name, scores in cold.scores.items())
    assert not torch.equal(found.scores["two"], cold.scores["two"])
    kept = network.state_dict()["head.bias"]
    assert torch.equal(frozen.network.state_dict()["head.bias"], kept)
    assert not torch.equal(found.network.state_dict()["head.bias"], kept)


@pytest.mark.parametrize("resource", ["macs", "params", "memory"])
def test_budgets_of_any_resource_are_met_and_used(resource: str) -> None:
    found = lwdna.slim(
        trained("resnet"), pairs(), loss_fn, lwdna.Budget(**{resource: 0.6}), multiple=1
    )
    share = getattr(found.after, resource) / getattr(found.before, resource)
    assert 0.55 < share <= 0.6


def test_a_step_goes_on_from_the_last_one_and_refers_to_the_dense_network() -> None:
    network = Chain((40, 60, 50))
    first = slim(network, 0.6, floor=0.2)
    second = slim(first, 0.3, floor=0.2)
    assert second.before == first.before
    assert 0.28 < second.after.macs / first.before.macs <= 0.3
    floors = {"one": 8, "two": 12, "three": 10}
    assert all(second.widths[name] >= least for name, least in floors.items())
    assert all(set(u.tolist()) <= set(first.units[n].tolist()) for n, u in second.units.items())
    for name, tensor in second.network.state_dict().items():
        assert torch.isin(tensor, network.state_dict()[name]).all()
    assert second.architecture.baseline.macs == first.before.macs
    # floors are those of the dense network: of the first step's widths a cheaper one would be left
    least = {"one": 20, "two": 30, "three": 25}
    floors = first.graph.cost(least).macs / first.before.macs
    assert slim(first, 1.0001 * floors, floor=0.5).widths == least
    with pytest.raises(BudgetError, match=r"30 units: floor 0\.5"):
        slim(first, 0.999 * floors, floor=0.5)


def test_ratios_and_protected_groups() -> None:
    network = Chain((40, 60, 50))
    found = slim(network, 0.6, ratios={"t*": 0.9, "two": 0.5}, protect=("one",))
    assert found.widths == {"one": 40, "two": 30, "three": 45}
    best = found.scores["two"].argsort(descending=True)[:30].sort().values
    assert torch.equal(found.units["two"], best)
    free = slim(network, 0.5, ratios={"two": 0.75})
    assert free.widths["two"] == 45
    assert free.after.macs > 0.45 * free.before.macs
    assert slim(network, 0.22, ratios={"two": 0.2}).widths["two"] == 12  # it would take more


def test_what_forbids_a_budget_is_named() -> None:
    network = Chain((40, 60, 50))
    with pytest.raises(BudgetError) as caught:
        slim(network, 0.2, protect=("two",), ratios={"three": 0.9}, floor=0.2)
    said = str(caught.value)
    assert "two" in said
    assert "60 units: protected" in said
    assert "45 units: ratio 0.9" in said
    assert "8 units: floor 0.2" in said
    assert "\n" not in said
    with pytest.raises(BudgetError, match="nothing would be removed"):
        slim(network, 1.0)
    with pytest.raises(RecipeError, match=r"slim\.protect: 'tow' matches no group.*two"):
        slim(network, protect=("tow",))
    with pytest.raises(DataError):
        lwdna.slim(network, [], loss_fn)


def test_statistics_are_those_of_the_batches_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, momentum=0.3), nn.Dropout(0.9)]
    frozen = nn.BatchNorm2d(5, affine=False, momentum=None)
    model = nn.Sequential(*layers, nn.Conv2d(5, 5, 1), frozen).double().train()
    layers[2].eval()
    model(torch.randn(3, 3, 8, 8, dtype=torch.float64))  # statistics that are to be forgotten
    weights = {name: p.clone() for name, p in model.named_parameters()}
    batches = [torch.randn(n, 3, 8, 8, dtype=torch.float64) for n in (4, 7, 2)]
    assert recalibrate(model, batches) == 2
    first = [layers[0](images).transpose(0, 1).flatten(1) for images in batches]
    assert torch.allclose(layers[1].running_mean, sum(x.mean(1) for x in first) / 3)
    assert torch.allclose(layers[1].running_var, sum(x.var(1) for x in first) / 3)
    second = []
    for images in batches:
        x = F.batch_norm(layers[0](images), None, None, layers[1].weight, layers[1].bias, True)
        second.append(model[3](x).transpose(0, 1).flatten(1))
    assert torch.allclose(frozen.running_mean, sum(x.mean(1) for x in second) / 3)
    assert torch.allclose(frozen.running_var, sum(x.var(1) for x in second) / 3)
    assert (layers[1].momentum, frozen.momentum) == (0.3, None)
    assert [module.training for module in model] == [True, True, False, True, True]
    assert all(torch.equal(weights[name], p) for name, p in model.named_parameters())
    assert recalibrate(nn.Conv2d(3, 5, 3), iter(())) == 0
    with pytest.raises(TrainingError, match="no batches"):
        recalibrate(model, [])
    with pytest.raises(TrainingError, match="not finite"):
        recalibrate(model, [torch.full((2, 3, 8, 8), torch.nan, dtype=torch.float64)])


def test_the_step_recalibrates() -> None:
    network = trained("resnet")
    found = lwdna.slim(network, pairs(), loss_fn, lwdna.Budget(macs=0.5))
    plain = lwdna.slim(network, pairs(), loss_fn, lwdna.Budget(macs=0.5), recalibrate=0)
    assert found.widths == plain.widths
    recalibrate(plain.network, [images for images, _ in pairs()])
    state = plain.network.state_dict()
    assert all(torch.equal(state[name], t) for name, t in found.network.state_dict().items())


def test_after_sparse_training_units_go_at_once_unless_told_otherwise():
    warmup = {"iterations": 1}
    assert SlimSettings().plan.kind == "progressive"
    assert SlimSettings(warmup=warmup).plan.shares() == [1]
    assert SlimSettings(warmup=warmup, schedule="iterative").plan.kind == "iterative"
