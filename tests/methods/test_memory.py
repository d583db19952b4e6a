"""A search holds no second copy of the weights that it scores."""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lwdna
from lwdna.architecture import Architecture, save
from lwdna.channels import trace
from lwdna.methods import ShrinkSettings, Trained, search
from lwdna.methods.criteria import CRITERIA, Problem
from lwdna.methods.settings import WarmupSettings
from lwdna.model_source import ModelSource
from lwdna.recipe import load_recipe
from lwdna.workflows import run_search

KEEPING = [name for name in CRITERIA if CRITERIA[name].keeps_weights]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 13, 3), nn.BatchNorm2d(13)
        self.b, self.c = nn.Conv2d(13, 17, 3), nn.Linear(17, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.norm(self.a(x)).relu()).mean((2, 3)))


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 3, 9, 9, generator=generator), torch.arange(4)) for _ in range(2)]


def weights_of(shape: tuple[int, ...]) -> int:
    """Return how many parameters of a shape hold memory of their own."""
    gc.collect()
    held = {
        one.untyped_storage().data_ptr()
        for one in gc.get_objects()
        if type(one) is nn.Parameter and one.shape == shape and one.device.type == "cpu"
    }
    return len(held)


def searched(
    model: nn.Module, batches: Any, most: list[int], shape: tuple[int, ...], **options: Any
) -> Any:
    """Search, and note how many weights of a shape there are whenever a loss is computed."""

    def loss(network: nn.Module, batch: Any) -> Tensor:
        most.append(weights_of(shape))
        return nn.functional.cross_entropy(network(batch[0]), batch[1])

    trained = options.pop("trained", None)
    settings = ShrinkSettings(floor=0.1, linear_floor=0.1, **options)
    return search(model, torch.zeros(1, 3, 9, 9), batches, loss, settings, trained=trained)


@pytest.mark.parametrize(
    "options",
    [
        {"criterion": "snip"},
        {"criterion": "latent-gradient"},
        {
            "criterion": "snip",
            "inherit": True,
            "warmup": WarmupSettings(iterations=1, batch_size=4),
        },
    ],
    ids=["fresh", "latents", "warmed up"],
)
def test_there_is_one_widened_network_while_it_is_scored(batches: Any, options: Any) -> None:
    others = weights_of((34, 26, 3, 3))  # what other tests still hold
    most: list[int] = []
    found = searched(Net(), batches, most, (34, 26, 3, 3), **options)
    assert set(most) == {others + 1}
    assert found.widened == {"a": 26, "b": 34}
    assert weights_of((34, 26, 3, 3)) == others


def test_trained_weights_are_scored_and_inherited_where_they_are(batches: Any) -> None:
    others = weights_of((17, 13, 3, 3))
    model, most = Net().eval(), []
    options = {"width_mult": 1, "inherit": True, "budget": lwdna.Budget(macs=0.7)}
    found = searched(model, batches, most, (17, 13, 3, 3), trained=Trained(model), **options)
    assert set(most) == {others + 1}
    kept = found.units["b"]
    assert len(kept) < 17
    assert torch.equal(found.network.c.weight, model.c.weight[:, kept])
    assert not found.network.norm.running_mean.any()  # batches leave no trace


@pytest.mark.parametrize("criterion", KEEPING)
def test_a_criterion_that_keeps_weights_does(batches: Any, criterion: str) -> None:
    torch.manual_seed(0)
    model = Net().eval()
    model.b.train()
    before = copy.deepcopy(model.state_dict())
    options = {"criterion": criterion, "width_mult": 1, "budget": lwdna.Budget(macs=0.7)}
    searched(model, batches, [], (17, 13, 3, 3), trained=Trained(model), **options)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [module.training for module in model.modules()] == [False, False, False, True, False]


def test_the_baseline_of_a_trained_network_is_traced_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ModelSource(name="lwdna:resnet8_digits", args={"num_classes": 10, "in_chans": 1})
    architecture = Architecture.of_baseline(source, (1, 8, 8))
    save(source.create(), architecture, tmp_path / "model.safetensors")
    changes = ["shrink.width_mult=1", "shrink.budget={macs: 0.8}", "shrink.batches=1"]
    recipe = load_recipe("digits", [*changes, "data.train_limit=64"])
    monkeypatch.setattr("lwdna.workflows.search.make_baseline", lambda *_: pytest.fail("built"))
    found = run_search(recipe, tmp_path / "run", weights=tmp_path / "model.safetensors")
    assert found.graph.cost() == found.graph.cost(architecture.widths)
    assert found.architecture.cost.macs <= 0.8 * architecture.cost.macs


@pytest.mark.parametrize("criterion", ["taylor", "fisher", "hessian", "synflow"])
def test_gradients_that_a_criterion_does_not_read_are_not_kept(
    batches: Any, criterion: str
) -> None:
    """At most one weight has a gradient at a time; without that all have one in the end."""
    kept: list[int] = []
    model = Net()

    def loss(network: nn.Module, batch: Any) -> Tensor:
        kept.append(sum(parameter.grad is not None for parameter in network.parameters()))
        return nn.functional.cross_entropy(network(batch[0]), batch[1])

    settings = ShrinkSettings(criterion=criterion, width_mult=1)
    given = trace(model, batches[0][0][:1]), {"a": 13, "b": 17}, batches[0][0][:1], batches
    CRITERIA[criterion].score(Problem(model, *given, loss, settings, 0))
    kept.append(sum(parameter.grad is not None for parameter in model.parameters()))
    assert set(kept) == {0}
