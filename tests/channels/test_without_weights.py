"""Networks are traced without weights, and their graphs are those of the networks with them."""

from __future__ import annotations

import threading
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lwdna.architecture import Architecture, ModelSource
from lwdna.channels import ChannelGraph, Edits, trace
from lwdna.errors import EditError, GraphError, ModelError
from lwdna.models import create_model
from lwdna.models.weightless import without_weights
from lwdna.workflows import trace_network

IMAGE = torch.zeros(1, 3, 32, 32)
NETWORKS = (
    "lwdna:resnet20_cifar",
    "timm:test_byobnet",
    "timm:test_efficientnet",
    "timm:test_nfnet",
    "torchvision:shufflenet_v2_x0_5",
)


def same(one: ChannelGraph, other: ChannelGraph) -> bool:
    """Whether two graphs agree in everything."""
    return [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_same_graph_without_its_weights(name: str) -> None:
    source = ModelSource(name=name)
    skeleton = source.skeleton()
    assert skeleton is not None
    assert all(parameter.is_meta for parameter in skeleton.parameters())
    assert same(trace(skeleton, IMAGE), trace(source.create(), IMAGE))


class Odd(nn.Module):
    """Shares a parameter, freezes one, keeps numbers that are not learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 11, 1), nn.Conv2d(11, 11, 1)
        self.c, self.d = nn.Conv2d(11, 11, 1), nn.Conv2d(11, 5, 1)
        self.c.weight = self.b.weight
        own = nn.Parameter(torch.ones(11, 1, 1))
        own.note = "kept"
        self.one, self.two = nn.Identity(), nn.Identity()
        self.one.scale, self.two.scale = own, own
        self.mean = nn.Parameter(torch.ones(3, 1, 1), requires_grad=False)
        self.register_buffer("steps", torch.tensor([2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x - self.mean) * self.one.scale
        if float(self.steps.sum()) == 5:  # a buffer has its values
            x = x + self.c(self.b(x)) * self.two.scale
        return self.d(x)


class ReadsWeights(nn.Module):
    """Its constructor computes with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 11, 1), nn.Conv2d(11, 5, 1)
        self.scale = float(self.a.weight.detach().abs().max())

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x) * self.scale)


class KeepsComputed(ReadsWeights):
    """A buffer is computed from weights."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("norm", self.a.weight.detach().norm())


class KeepsParameters(nn.Module):
    """Keeps a parameter as it was before a module had it."""

    def __init__(self) -> None:
        super().__init__()
        own = nn.Parameter(torch.randn(11, 1, 1))
        self.a, self.b, self.list = nn.Conv2d(3, 11, 1), nn.Conv2d(11, 5, 1), [own]
        self.scale = own

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x) * self.list[0])


class Branches(nn.Module):
    """Which way it goes depends on a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 11, 1), nn.Conv2d(11, 5, 1)
        self.gate = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b(x.relu() if self.gate > 0 else x)


def normed() -> nn.Module:
    return nn.Sequential(weight_norm(nn.Conv2d(3, 11, 1)), nn.Conv2d(11, 5, 1))


def own(name: str) -> ModelSource:
    return ModelSource(name=f"python:{__name__}:{name}")


def test_what_modules_share_stays_shared_and_buffers_have_values() -> None:
    skeleton = own("Odd").skeleton(trust_code=True)
    assert isinstance(skeleton, Odd)
    assert skeleton.c.weight is skeleton.b.weight
    assert skeleton.one.scale is skeleton.two.scale
    assert vars(skeleton.one.scale) == {"note": "kept"}
    assert not skeleton.mean.requires_grad
    assert skeleton.steps.tolist() == [2, 3]
    assert same(trace(skeleton, IMAGE), trace(Odd(), IMAGE))


@pytest.mark.parametrize("name", ["ReadsWeights", "KeepsComputed", "KeepsParameters", "normed"])
def test_a_network_that_computes_with_weights_is_built_with_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = own(name)
    assert source.skeleton(trust_code=True) is None
    network = source.create(trust_code=True)
    monkeypatch.setattr(ModelSource, "create", lambda *_: network)
    assert same(source.graph(IMAGE, trust_code=True), trace(network, IMAGE))


def test_a_network_whose_path_depends_on_weights_is_built_with_them() -> None:
    source = own("Branches")
    skeleton = source.skeleton(trust_code=True)
    with pytest.raises(GraphError, match="depends on values"):
        trace(skeleton, IMAGE)
    graph = source.graph(IMAGE, trust_code=True)
    assert graph.widths == {"a": 11}
    assert same(graph, trace(Branches(), IMAGE))


def test_mistakes_are_told_as_with_weights() -> None:
    with pytest.raises(ModelError, match="trust_code"):
        own("Odd").graph(IMAGE)
    with pytest.raises(ModelError, match="its arguments are"):
        ModelSource(name="lwdna:resnet20_cifar", args={"depht": 3}).graph(IMAGE)
    with pytest.raises(EditError, match="stme"):
        ModelSource(name="lwdna:resnet20_cifar").graph(IMAGE, Edits(pin=("stme",)))
    with pytest.raises(ModelError, match="with_weights cannot be among"):
        ModelSource(name="timm:test_resnet", args={"with_weights": False}).create()


def test_other_threads_and_later_networks_have_weights() -> None:
    made = []
    with without_weights():
        thread = threading.Thread(target=lambda: made.append(nn.Linear(3, 2)))
        thread.start()
        thread.join()
        assert nn.Linear(3, 2).weight.is_meta
    with pytest.raises(TypeError), without_weights():
        nn.Linear("3", 2)
    assert not made[0].weight.is_meta
    assert not nn.Linear(3, 2).weight.is_meta


def test_a_network_larger_than_memory_can_be_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its largest tensor has 4 * 64 * 64 * 3 * 3 bytes, all together more than that."""
    monkeypatch.setattr("lwdna.models.memory.physical_memory", lambda: 150_000)
    with pytest.raises(ModelError, match="this machine's memory"):
        create_model("lwdna:resnet20_cifar")
    assert ModelSource(name="lwdna:resnet20_cifar").graph(IMAGE).cost().params == 269_722
    with pytest.raises(ModelError, match="this machine's memory"):
        ModelSource(name="lwdna:resnet20_cifar", args={"num_classes": 1000}).graph(IMAGE)


def test_an_architecture_file_is_inspected_without_weights(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ModelSource(name="lwdna:resnet20_cifar")
    graph = source.graph(IMAGE)
    widths = {name: width - index % 3 for index, (name, width) in enumerate(graph.widths.items())}
    architecture = Architecture.of(graph, (3, 32, 32), source, widths)
    architecture.save(tmp_path / "a.lwdna.json")
    whole = trace(architecture.build(), IMAGE)
    monkeypatch.setattr(ModelSource, "create", lambda *_: pytest.fail("built with weights"))
    found, size = trace_network(str(tmp_path / "a.lwdna.json"))
    assert size == (3, 32, 32)
    assert found.widths == widths
    assert same(found, whole)
