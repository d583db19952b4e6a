"""Weights merged from others in every evaluation and put in place of a layer's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwdna.channels import resize, trace

from .proof import assert_resizes, assert_slices, outputs_of
from .test_untouched import state_of

IMAGE = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))


class Merged(nn.Module):
    """Two convolutions for training, one for evaluation: 1 x 1 from a to m, 3 x 3 from m to b."""

    def __init__(self, a: int, m: int, b: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(a, m, 1, bias=False), nn.Conv2d(m, b, 3, padding=1)
        self.conv = nn.Conv2d(a, b, 3, padding=1).requires_grad_(False)

    def merge(self) -> tuple[Tensor, Tensor]:
        one = self.one.weight.data.clone().permute(1, 0, 2, 3)
        both = F.conv2d(one, self.two.weight.flip(2, 3), padding=2).flip(2, 3)
        return both.permute(1, 0, 2, 3), self.two.bias

    def put(self, weight: Tensor, bias: Tensor) -> None:
        self.conv.weight.data = weight
        self.conv.bias.data = bias

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.two(self.one(x))
        self.put(*self.merge())
        return self.conv(x)


class Trained(Merged):
    """What is overwritten is not frozen."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.conv.requires_grad_(True)


class CopiedInto(Merged):
    def put(self, weight: Tensor, bias: Tensor) -> None:
        self.conv.weight.data.copy_(weight)
        self.conv.bias.data[:] = bias


class CopiedWithoutGradients(Merged):
    def put(self, weight: Tensor, bias: Tensor) -> None:
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            self.conv.bias.copy_(bias)


class Exchanged(Merged):
    def put(self, weight: Tensor, bias: Tensor) -> None:
        with torch.no_grad():
            self.conv.weight.set_(weight.contiguous())
            self.conv.bias.set_(bias)


class NewParameter(Merged):
    def put(self, weight: Tensor, bias: Tensor) -> None:
        self.conv.weight = nn.Parameter(weight, requires_grad=False)
        self.conv.bias = nn.Parameter(bias, requires_grad=False)


class AmongParameters(Merged):
    def put(self, weight: Tensor, bias: Tensor) -> None:
        self.conv._parameters.update(weight=weight, bias=bias)


class Loaded(Merged):
    def put(self, weight: Tensor, bias: Tensor) -> None:
        self.conv.load_state_dict({"weight": weight, "bias": bias})


class Called(Merged):
    """The layer's own weights are never read, so these keep their shape."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.two(self.one(x))
        weight, bias = self.merge()
        return torch.func.functional_call(self.conv, {"weight": weight, "bias": bias}, (x,))


class Made(Merged):
    """A new layer for each call."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.two(self.one(x))
        weight, bias = self.merge()
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        conv.weight.data, conv.bias.data = weight, bias
        return conv(x)


WAYS = [
    Merged,
    Trained,
    CopiedInto,
    CopiedWithoutGradients,
    Exchanged,
    NewParameter,
    AmongParameters,
    Loaded,
    Called,
    Made,
]


def network(way: type[Merged]) -> nn.Module:
    torch.manual_seed(0)
    first, second = way(7, 13, 11), way(11, 17, 5)
    return nn.Sequential(
        nn.Conv2d(3, 7, 1), first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(5, 2, 1)
    ).eval()


@pytest.mark.parametrize("way", WAYS)
def test_the_axes_of_merged_weights_are_those_of_their_sources(way):
    model = network(way)
    before = state_of(model)
    graph = trace(model, IMAGE)
    assert state_of(model) == before
    assert sorted(graph.widths.values()) == [5, 7, 11, 13, 17]
    assert graph.unknown_ops == ()
    assert all(group.exact for group in graph.groups)
    if way not in (Called, Made):
        assert graph.tensors["1.conv.weight"][1] == graph.tensors["1.one.weight"][1]
        assert graph.tensors["1.conv.weight"][0] == graph.tensors["1.two.weight"][0]
    assert_resizes(model, IMAGE, graph)
    assert_slices(model, IMAGE, graph)


def test_the_macs_of_the_merged_convolution_move():
    model = network(Merged)
    graph = trace(model, IMAGE[:1])
    names = {width: name for name, width in graph.widths.items()}
    widths = {names[7]: 2, names[13]: 3, names[11]: 4, names[17]: 1, names[5]: 6}
    outer = 6 * 8 * (3 * 2 + 9 * 2 * 4 + 9 * 4 * 6 + 6 * 2)
    # the merging itself: kernels of 3 x 3 from 1 x 1 ones, padded by two
    merging = 9 * 9 * (2 * 3 * 4 + 4 * 1 * 6)
    assert graph.cost(widths).macs == outer + merging


def test_a_network_that_merges_where_batch_statistics_are_folded():
    class Folded(nn.Module):
        def __init__(self, a: int, b: int) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(a, b, 3, bias=False), nn.BatchNorm2d(b)
            self.merged = nn.Conv2d(a, b, 3)
            self.merged.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
            self.merged.weight.data = self.conv.weight * scale.reshape(-1, 1, 1, 1)
            self.merged.bias.data = self.norm.bias - self.norm.running_mean * scale
            return self.merged(x)

    torch.manual_seed(0)
    model = nn.Sequential(Folded(3, 7), nn.ReLU(), Folded(7, 5), nn.Conv2d(5, 2, 1)).eval()
    graph = trace(model, IMAGE)
    assert sorted(graph.widths.values()) == [5, 7]
    assert_resizes(model, IMAGE, graph)
    assert_slices(model, IMAGE, graph)


class Grows(nn.Module):
    """A weight of another shape takes the place of the one there was."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 7, 1), nn.Conv2d(7, 2, 1)
        self.twice = nn.Linear(7, 7, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        self.twice.weight.data = torch.cat([self.b.weight.flatten(1)] * 2)
        return self.twice(self.a(x).movedim(1, -1))


def test_a_tensor_of_another_shape_is_pinned_with_the_reason():
    graph = trace(Grows(), IMAGE)
    reasons = {str(r) for p in graph.pinned if p.tensor == "twice.weight" for r in p.reasons}
    assert any("a tensor of another shape is put in its place" in reason for reason in reasons)
    assert "test_merged_weights.py:" in "".join(reasons)


def test_frozen_constants_are_still_pinned():
    model = network(Merged)
    model[0].weight.requires_grad_(False)
    graph = trace(model, IMAGE)
    assert sorted(graph.widths.values()) == [5, 11, 13, 17]
    other = resize(model, graph, {name: width + 1 for name, width in graph.widths.items()})
    assert torch.equal(other[0].weight, model[0].weight)
    assert outputs_of(other, IMAGE)[0].shape == (2, 2, 6, 8)
