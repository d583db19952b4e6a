"""Other widths: what resize gives, what it refuses, and how fresh weights are drawn."""

from __future__ import annotations

import copy
import math
from typing import Literal

import numpy as np
import pytest
import timm
import torch
from torch import nn

from lwdna.channels import resize, trace, widen, widened_widths
from lwdna.errors import GraphError

from . import small
from .proof import make_nontrivial, outputs_of, relative_error


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def chain() -> nn.Module:
    torch.manual_seed(0)
    model = small.Chain()
    make_nontrivial(model)
    return model.eval()


def test_keeping_all_is_the_identity(chain, image):
    graph = trace(chain, image)
    for init in ("slice", "fresh"):
        same = resize(chain, graph, {}, init=init)
        assert {k: v.shape for k, v in same.state_dict().items()} == {
            k: v.shape for k, v in chain.state_dict().items()
        }
    same = resize(chain, graph, graph.widths, init="slice")
    assert torch.equal(same(image), chain(image))
    assert all(a is not b for a, b in zip(same.parameters(), chain.parameters(), strict=True))


def test_slices_keep_the_units_asked_for(chain, image):
    graph = trace(chain, image)
    cut = resize(chain, graph, {"a": torch.tensor([4, 1])}, init="slice")
    assert torch.equal(cut.a.weight, chain.a.weight[[4, 1]])
    assert torch.equal(cut.norm.running_var, chain.norm.running_var[[4, 1]])
    assert torch.equal(cut.b.weight, chain.b.weight[:, [4, 1]])
    first = resize(chain, graph, {"a": 2}, init="slice")
    assert torch.equal(first.a.weight, chain.a.weight[:2])


def test_slices_of_a_concatenation_and_of_a_flattened_axis(image):
    model = small.Cat()
    cut = resize(model, trace(model, image), {"a": torch.tensor([0, 3])}, init="slice")
    assert torch.equal(cut.c.weight, model.c.weight[:, [0, 1, 2, 3, 4, 5, 6, 7, 10]])
    model = small.FlattenLinear()
    cut = resize(model, trace(model, image), {"a": torch.tensor([1, 4])}, init="slice")
    assert torch.equal(cut.head.weight, model.head.weight[:, [*range(24, 48), *range(96, 120)]])


def test_two_cuts_compose_into_one(chain, image):
    graph = trace(chain, image)
    once = resize(chain, graph, {"a": torch.tensor([0, 2]), "b": torch.tensor([1, 6])}, "slice")
    half = resize(
        chain, graph, {"a": torch.tensor([0, 2, 3]), "b": torch.tensor([1, 5, 6])}, "slice"
    )
    half_graph = trace(half, image)
    assert half_graph.widths == {"a": 3, "b": 3}
    twice = resize(
        half, half_graph, {"a": torch.tensor([0, 1]), "b": torch.tensor([0, 2])}, "slice"
    )
    for one, two in zip(once.state_dict().values(), twice.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_widening_doubles_every_group_and_quarters_come_back(chain, image):
    graph = trace(chain, image)
    wide = widen(chain, graph, 2.0, seed=0)
    assert trace(wide, image).widths == {"a": 10, "b": 14} == widened_widths(graph, 2.0)
    assert [output.shape for output in outputs_of(wide, image)] == [(2, 10)]
    assert widened_widths(graph, 0.01) == {"a": 1, "b": 1}


def test_groups_are_widened_by_patterns_of_their_names():
    model = timm.create_model("test_resnet", num_classes=5)
    graph = trace(model, torch.zeros(1, 3, 32, 32))
    before = graph.widths
    after = widened_widths(graph, {"*": 1.5, "layer3.*": 3, "conv1*": 1})
    for name, width in before.items():
        factor = 3 if name.startswith("layer3.") else 1 if name.startswith("conv1") else 1.5
        assert after[name] == round(width * factor), name
    wide = widen(model, graph, {"layer2*": 0.5}, seed=0)
    halved = {n: w // 2 if n.startswith("layer2") else w for n, w in before.items()}
    assert trace(wide, torch.zeros(1, 3, 32, 32)).widths == halved != before
    with pytest.raises(GraphError, match=r"'layer3.0.conv9', which matches no group; did you mean"):
        widen(model, graph, {"layer3.0.conv9": 2.0})
    with pytest.raises(GraphError, match="positive"):
        widened_widths(graph, {"layer3*": -1.0})


def test_the_result_is_an_ordinary_module_on_its_own(chain, image):
    graph = trace(chain, image)
    chain.a.weight.requires_grad_(False)
    other = resize(chain, graph, {"a": 3}, init="slice")
    assert type(other) is small.Chain
    assert not other.a.weight.requires_grad
    assert not other.training
    assert not any("lwdna" in type(module).__module__ for module in other.modules())
    assert not any(module._forward_hooks for module in other.modules())
    before = copy.deepcopy(chain.state_dict())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert all(torch.equal(before[k], v) for k, v in chain.state_dict().items())
    clone = copy.deepcopy(other)
    clone.load_state_dict(other.state_dict())
    assert relative_error([clone(image) + 1], [other(image) + 1]) == 0


def test_shared_tensors_stay_shared(image):
    for name, one, two in (("SharedModule", "one", "two"), ("SharedWeight", "b", "c")):
        model = getattr(small, name)()
        other = resize(model, trace(model, image), {"a": 3})
        assert other.get_submodule(one).weight is other.get_submodule(two).weight


@pytest.mark.parametrize(
    ("widths", "init", "words"),
    [
        ({"aa": 3}, "fresh", "no group 'aa'; did you mean a"),
        ({"a": 0}, "fresh", "the least is 1"),
        ({"a": -2}, "slice", "the least is 1"),
        ({"a": 6}, "slice", "use init='pad', 'duplicate' or 'fresh' to grow"),
        ({"a": torch.tensor([0, 5])}, "slice", "between 0 and 4, got 0 to 5"),
        ({"a": torch.tensor([-1])}, "slice", "between 0 and 4"),
        ({"a": torch.tensor([1, 1])}, "slice", "twice"),
        ({"a": torch.tensor([0.5])}, "slice", "1-D integer tensor"),
        ({"a": torch.tensor([[1]])}, "slice", "1-D integer tensor"),
        ({"a": torch.tensor([True, False])}, "slice", "1-D integer tensor"),
        ({"a": torch.tensor([], dtype=torch.long)}, "slice", "the least is 1"),
        ({"a": 3}, "copy", "use 'fresh', 'slice', 'pad' or 'duplicate'"),
        ({"a": 2.5}, "fresh", "must be a whole number, got 2.5"),
        ({"a": "3"}, "slice", "must be a whole number, got '3'"),
        ({"a": None}, "fresh", "must be a whole number"),
        ({"a": [1, 2]}, "fresh", "must be a whole number"),
        ({"a": float("nan")}, "fresh", "must be a whole number"),
        ({"a": torch.tensor(0.5)}, "fresh", "must be a whole number"),
        ({"a": 10**12}, "fresh", "the most 16777216"),
        ({"a": 2**24, "b": 2**24}, "fresh", "more than this machine's memory"),
        ({3: 3}, "fresh", "no group 3"),
        ([3], "fresh", "by group name, got list"),
        (None, "slice", "by group name, got NoneType"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(chain, image, widths, init, words):
    with pytest.raises(GraphError, match=words):
        resize(chain, trace(chain, image), widths, init=init)


def test_integers_of_any_type_are_widths(chain, image):
    graph = trace(chain, image)
    for width in (np.int64(3), torch.tensor(3)):
        assert resize(chain, graph, {"a": width}).a.weight.shape[0] == 3


def test_a_graph_of_another_network_is_refused(chain, image):
    graph = trace(chain, image)
    other = resize(chain, graph, {"a": 3})
    with pytest.raises(GraphError, match=r"of another network: a\.weight has shape"):
        resize(other, graph, {"a": 2})
    with pytest.raises(GraphError, match="cannot be made 0 times as wide"):
        widen(chain, graph, 0)


def spread(model: nn.Module) -> dict[str, float]:
    """Standard deviation times the square root of the fan-in of every large weight."""
    return {
        name: float(p.detach().std()) * math.sqrt(p[0].numel())
        for name, p in model.named_parameters()
        if p.ndim > 1 and p.numel() > 2000
    }


class Initialised(nn.Module):
    """Large enough for statistics; initialised as asked."""

    def __init__(self, initialise) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 64, 5), nn.Conv2d(64, 128, 3)
        self.norm = nn.BatchNorm2d(128)
        self.head = nn.Linear(128, 50)
        for weight in (self.a.weight, self.b.weight, self.head.weight):
            initialise(weight)
        nn.init.zeros_(self.norm.weight)
        nn.init.constant_(self.head.bias, 0.25)

    def forward(self, x):
        return self.head(self.norm(self.b(self.a(x))).mean((2, 3)))


@pytest.mark.parametrize(
    "initialise",
    [
        nn.init.kaiming_normal_,
        lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
        lambda w: nn.init.xavier_normal_(w) if w.ndim == 2 else nn.init.kaiming_normal_(w),
    ],
    ids=["he", "torch-default", "he-and-glorot"],
)
def test_fresh_weights_keep_their_distribution_over_the_new_fan(initialise):
    torch.manual_seed(0)
    model = Initialised(initialise)
    graph = trace(model, torch.randn(1, 3, 16, 16))
    other = resize(model, graph, {"a": 32, "b": 300}, seed=1)
    before, after = spread(model), spread(other)
    for name in ("a.weight", "b.weight"):
        assert after[name] == pytest.approx(before[name], rel=0.1), name
    assert other.norm.weight.count_nonzero() == 0
    assert other.head.bias.unique().tolist() == [0.25]


def test_a_constant_spread_stays_constant():
    torch.manual_seed(0)
    model = Initialised(lambda w: nn.init.normal_(w, std=0.5))
    other = resize(model, trace(model, torch.randn(1, 3, 16, 16)), {"a": 8, "b": 300}, seed=1)
    assert float(other.b.weight.detach().std()) == pytest.approx(0.5, rel=0.1)


def test_fresh_statistics_start_over(chain, image):
    other = resize(chain, trace(chain, image), {"a": 9})
    assert other.norm.running_mean.tolist() == [0] * 9
    assert other.norm.running_var.tolist() == [1] * 9
    assert other.norm.num_batches_tracked == 0


def test_fresh_weights_repeat_with_their_seed(chain, image):
    graph = trace(chain, image)
    one, two = (resize(chain, graph, {"a": 4, "b": 9}, seed=3) for _ in range(2))
    other = resize(chain, graph, {"a": 4, "b": 9}, seed=4)
    assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))
    assert not torch.equal(one.b.weight, other.b.weight)
    state = torch.get_rng_state()
    resize(chain, graph, {"a": 4}, seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_costs_of_many_candidates_at_once():
    model = timm.create_model("mobilenetv3_small_050")
    graph = trace(model, torch.randn(1, 3, 64, 64))
    table = torch.randint(1, 40, (17, len(graph.groups))).numpy()
    macs, params = graph.costs(table)
    assert macs.shape == params.shape == (17,)
    for row, m, p in zip(table, macs, params, strict=True):
        cost = graph.cost(dict(zip(graph.widths, row.tolist(), strict=True)))
        assert (cost.macs, cost.params) == (m, p)


class Shifted(nn.Module):
    """A mean colour as EDSR's PyTorch code has it, in a frozen 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Conv2d(3, 3, 1).requires_grad_(False)
        with torch.no_grad():
            self.shift.weight.copy_(torch.eye(3)[:, :, None, None])
            self.shift.bias.copy_(torch.tensor([2.0, 3.0, 5.0]))
        self.conv = nn.Conv2d(3, 7, 3)
        self.last = nn.Conv2d(7, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.conv(self.shift(x)))


@pytest.mark.parametrize("init", ["fresh", "slice"])
def test_frozen_parameters_are_constants_of_the_network(init: Literal["fresh", "slice"]) -> None:
    model, x = Shifted(), torch.rand(1, 3, 5, 5)
    graph = trace(model, x)
    assert [group.name for group in graph.groups] == ["conv"]
    assert "frozen parameter" in {reason.why for pin in graph.pinned for reason in pin.reasons}
    other = resize(model, graph, {"conv": 4}, init=init)
    assert torch.equal(other.shift.weight, model.shift.weight)
    assert torch.equal(other.shift.bias, model.shift.bias)
    assert not other.shift.weight.requires_grad
    assert other.conv.weight.shape == (4, 3, 3, 3)
    if init == "fresh":
        assert not torch.equal(other.conv.weight, model.conv.weight[:4])


def test_a_network_frozen_as_a_whole_is_traced_like_any_other() -> None:
    model = Shifted().requires_grad_(False)
    graph = trace(model, torch.rand(1, 3, 5, 5))
    assert [group.name for group in graph.groups] == ["shift", "conv"]
