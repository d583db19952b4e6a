"""Networks padded in memory to multiples train as they do without; what would not is left alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwdna.channels import ChannelGraph, resize, trace
from lwdna.channels.proof.padding import DIFFERS, NOT_ZERO, Padding, find_padding
from lwdna.errors import GraphError
from lwdna.models import create_model
from networks import short_mixnet

from .proof import make_nontrivial, outputs_of, relative_error, silenced

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.001, weight_decay=0.1),
}
WHOLE = {
    "lwdna:resnet8_digits": 8,
    "lwdna:resnet20_cifar": 32,  # shortcuts padded with zeros
    "lwdna:mobilenetv3_small_32px": 32,  # gates with hard sigmoids
    "lwdna:regnety_002_32px": 32,  # grouped convolutions, gates
    "lwdna:edsr_baseline": 8,  # no normalisation
    "lwdna:srresnet": 8,  # pixel shuffle
    "lwdna:dncnn20": 8,
    "ghostnet_050": 64,  # concatenations of a convolution and one of its result
    "rexnet_100": 64,  # sums over a part of the channels
}
"""Networks, and the side of their images: small ones let batch statistics magnify rounding."""
LONG = {
    "lwdna:resnet56_cifar": 16,
    "lwdna:densenet40_cifar": 16,
    "lwdna:densenet_bc40_cifar": 16,
    "lwdna:mobilenetv2_32px": 32,
    "resnet18": 64,
    "densenet121": 64,
    "tf_efficientnet_b0": 64,
    "skresnet18": 64,  # softmax over paths
    "res2net50_14w_8s": 64,
    "short mixnet": 64,
    "resnest14d": 64,
}
SHORTER: dict[str, dict[str, Any]] = {
    "densenet121": {"block_config": (3, 3, 2, 2)},
    "res2net50_14w_8s": {"layers": (2, 2, 1, 1)},
    "rexnet_100": {"depth_mult": 0.5},
    "skresnet18": {"layers": (2, 2, 1, 1)},
}
"""The first block of a stage and those after it are all there is to see of a family."""


class Shuffled(nn.Module):
    """A unit of ShuffleNet: one half passes, the other is computed, then both are interleaved."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 14, 3, bias=False), nn.BatchNorm2d(14), nn.ReLU())
        self.branch = nn.Sequential(
            nn.Conv2d(7, 7, 1, bias=False),
            nn.BatchNorm2d(7),
            nn.ReLU(),
            nn.Conv2d(7, 7, 3, padding=1, groups=7, bias=False),
            nn.BatchNorm2d(7),
            nn.Conv2d(7, 7, 1, bias=False),
            nn.BatchNorm2d(7),
            nn.ReLU(),
        )
        self.head = nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        x = x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
        return self.head(x.mean((2, 3)))


def odd_widths(graph: ChannelGraph, seed: int = 0) -> dict[str, int]:
    draw = random.Random(seed)
    return {name: max(3, int(w * draw.uniform(0.3, 0.9))) | 1 for name, w in graph.widths.items()}


def odd(network: nn.Module, inputs: Any) -> nn.Module:
    """Return a network of odd widths whose parameters are all trained in double precision."""
    network.double()
    graph = trace(network, inputs)
    result = resize(network, graph, odd_widths(graph), seed=0)
    make_nontrivial(result)
    return result


def train_both(network: nn.Module, padded: nn.Module, inputs: Any, optimizer: str) -> None:
    """Train both for some steps on the same random batches and a loss that is not linear."""
    models = [network.train(), padded.train()]
    optimizers = [OPTIMIZERS[optimizer](model.parameters()) for model in models]
    for step in range(3):
        for model, one in zip(models, optimizers, strict=True):
            torch.manual_seed(step)  # the same images, and the same numbers in the network
            images = torch.randn(4, *inputs.shape[1:], dtype=torch.float64)
            one.zero_grad()
            torch.tanh(model(images)).square().mean().backward()
            one.step()


def assert_trains_as_without(
    network: nn.Module, padding: Padding, inputs: Any, optimizer: str
) -> None:
    graph = padding.graph
    assert padding.padded
    assert all(padding.widths[name] % 8 == 0 for name in padding.padded)
    assert all(padding.widths[name] - graph.widths[name] < 8 for name in padding.padded)
    padded = padding.pad(network)
    images = torch.randn(2, *inputs.shape[1:], dtype=torch.float64)
    assert relative_error(outputs_of(padded, images), outputs_of(network, images)) < 1e-10
    train_both(network, padded, inputs, optimizer)
    sliced = resize(padded, graph.at(padding.widths), graph.widths, init="slice")
    own, other = network.state_dict(), sliced.state_dict()
    assert list(own) == list(other)
    for name in own:
        torch.testing.assert_close(other[name], own[name], rtol=1e-9, atol=1e-10, msg=name)
    kept = {name: torch.arange(graph.widths[name]) for name in padding.padded}
    quiet = silenced(padded, graph.at(padding.widths), kept)  # by another way: it is zero already
    assert all(
        torch.equal(a, b) for a, b in zip(padded.parameters(), quiet.parameters(), strict=True)
    )
    assert padded.state_dict().keys() == padding.copy_back(padded, network).state_dict().keys()
    own = network.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in other)


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    if ":" in name:
        options = {"blocks": 2} if "edsr" in name or "srresnet" in name else {}
        return create_model(name, **options)
    if name == "short mixnet":
        return short_mixnet(5)
    return timm.create_model(name, num_classes=5, drop_rate=0.0, **SHORTER.get(name, {}))


@pytest.mark.parametrize(
    ("name", "side"),
    [*WHOLE.items(), *(pytest.param(*item, marks=pytest.mark.long) for item in LONG.items())],
)
def test_networks_train_as_without(name, side):
    channels = 1 if "digits" in name else 3
    inputs = torch.zeros(1, channels, side, side, dtype=torch.float64)
    network = odd(make(name), inputs)
    graph = trace(network, inputs)
    padding = find_padding(network, graph, inputs, 8)
    assert set(padding.padded) == {name for name, width in graph.widths.items() if width % 8}
    assert padding.left == {}
    optimizer = list(OPTIMIZERS)[len(name) % 2]
    assert_trains_as_without(network, padding, inputs, optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_shuffled_channels(optimizer):
    inputs = torch.zeros(1, 3, 9, 9, dtype=torch.float64)
    network = Shuffled().double()
    make_nontrivial(network)
    padding = find_padding(network, trace(network, inputs), inputs, 8)
    assert padding.left == {}
    assert_trains_as_without(network, padding, inputs, optimizer)


@pytest.mark.parametrize(
    "name", ["convnext_atto", "nf_regnet_b0", pytest.param("eca_nfnet_l0", marks=pytest.mark.long)]
)
def test_what_counts_its_units_is_left_alone(name):
    inputs = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    network = odd(make(name), inputs)
    graph = trace(network, inputs)
    padding = find_padding(network, graph, inputs, 8)
    exact = {group.name for group in graph.groups if group.exact}
    uneven = {name for name, width in graph.widths.items() if width % 8}
    assert set(padding.padded) == exact & uneven
    assert padding.left.keys() == uneven - exact
    assert any("normalised over the channels" in why for why in padding.left.values())
    assert_trains_as_without(network, padding, inputs, "sgd")


class Through(nn.Module):
    """Three convolutions with something after each."""

    def __init__(self, *functions: Any) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 7, 1)
        self.three, self.head = nn.Conv2d(7, 11, 1), nn.Linear(11, 3)
        self.functions = functions

    def forward(self, x: Tensor) -> Tensor:
        for conv, function in zip((self.one, self.two, self.three), self.functions, strict=True):
            x = function(conv(x))
        return self.head(x.mean((2, 3)))


def noise(x: Tensor) -> Tensor:
    return x * torch.rand_like(x)


@pytest.mark.parametrize(
    ("functions", "left"),
    [
        ((F.relu, F.gelu, torch.tanh), {}),
        ((F.hardswish, F.silu, F.softsign), {}),
        ((F.relu, torch.sigmoid, F.relu), {"two": NOT_ZERO}),
        ((F.hardsigmoid, F.relu, torch.cos), {"one": NOT_ZERO, "three": NOT_ZERO}),
        ((F.softplus, torch.exp, F.relu), {"one": NOT_ZERO, "two": NOT_ZERO}),
        ((F.relu, F.relu, noise), {"three": DIFFERS}),
        ((F.relu, noise, torch.sigmoid), {"two": DIFFERS, "three": NOT_ZERO}),
    ],
)
def test_activations_that_are_not_zero_at_zero(functions, left):
    network, inputs = Through(*functions), torch.zeros(1, 3, 4, 4)
    padding = find_padding(network, trace(network, inputs), inputs, 8)
    assert padding.left == left
    widths = {"one": 8, "two": 8, "three": 16}
    own = {"one": 5, "two": 7, "three": 11}
    assert dict(padding.widths) == {n: own[n] if n in left else w for n, w in widths.items()}


def test_masks_that_are_drawn_do_not_hinder():
    network = Through(lambda x: F.dropout(x, 0.4), lambda x: F.dropout2d(x, 0.3), F.relu)
    inputs = torch.zeros(1, 3, 4, 4)
    assert find_padding(network, trace(network, inputs), inputs, 8).left == {}


def test_a_gradient_that_starts_at_zero_hides_nothing():
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 8, 1)
            self.scale = nn.Parameter(torch.zeros(8, 1, 1))
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.two(self.one(x).sigmoid()) * self.scale
            return self.head(x.mean((2, 3)))

    inputs = torch.zeros(1, 3, 4, 4)
    network = Hidden()
    assert find_padding(network, trace(network, inputs), inputs, 8).left == {"one": NOT_ZERO}


def test_what_does_not_run_in_double_precision_is_left_alone():
    network = Through(lambda x: x.float(), F.relu, F.relu)
    inputs = torch.zeros(1, 3, 4, 4)
    padding = find_padding(network, trace(network, inputs), inputs, 8)
    assert padding.padded == ()
    assert padding.left.keys() == {"one", "two", "three"}
    assert "double precision failed: RuntimeError" in padding.left["one"]


def test_the_network_and_the_random_state_stay_as_they_are():
    network, inputs = Shuffled().eval(), torch.zeros(1, 3, 9, 9)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    graph = trace(network, inputs)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    find_padding(network, graph, inputs, 8)
    assert torch.equal(torch.rand(3), expected)
    assert not network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_padding_by_hand():
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5))
    make_nontrivial(network)
    graph = trace(network, torch.zeros(1, 2, 2, 2))
    padded = resize(network, graph, {"0": 5}, init="pad")
    conv, norm, _, linear = padded
    assert torch.equal(conv.weight[:3], network[0].weight)
    assert torch.equal(linear.weight[:, :12], network[3].weight)  # four places per channel
    for added in (conv.weight[3:], conv.bias[3:], norm.weight[3:], linear.weight[:, 12:]):
        assert added.numel()
        assert not added.any()
    assert (norm.running_var[3:] > 0).all()
    assert (conv.out_channels, norm.num_features, linear.in_features) == (5, 5, 20)


def test_padding_that_is_refused():
    network, inputs = Through(F.relu, F.relu, F.relu), torch.zeros(1, 3, 4, 4)
    graph = trace(network, inputs)
    with pytest.raises(GraphError, match="has 7 units; padding cannot leave 6; use init='slice'"):
        resize(network, graph, {"two": 6}, init="pad")
    with pytest.raises(GraphError, match="keeps all units of 'two'"):
        resize(network, graph, {"two": torch.tensor([0, 1])}, init="pad")
    normed = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3))
    with pytest.raises(GraphError, match="cannot be padded along group '0': normalised"):
        resize(normed, trace(normed, torch.zeros(1, 5)), {"0": 8}, init="pad")


def test_inputs_of_whole_numbers():
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(13, 7), nn.Linear(7, 3)

        def forward(self, words: Tensor, weight: Tensor) -> dict[str, Tensor]:
            return {"answer": self.head(self.table(words).mean(1).relu() * weight)}

    inputs = {"words": torch.zeros(1, 4, dtype=torch.long), "weight": torch.zeros(1, 1)}
    network = Words()
    padding = find_padding(network, trace(network, inputs), inputs, 8)
    assert (padding.padded, padding.left) == (("table",), {})
    assert padding.pad(network).table.weight.shape == (13, 8)
