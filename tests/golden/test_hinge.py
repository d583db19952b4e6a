"""Hinge's matrices behind convolutions: starts, removed rows and columns, merging, counts.

Li et al., "Group Sparsity: The Hinge Between Filter Pruning and Decomposition for Network
Compression", CVPR 2020 (arXiv 2003.08935). Their matrix A (inputs, outputs) is the transposed
weight of our ``mix``: a row of A is what ``mix`` reads of one channel, a column what it writes.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lwdna
from lwdna.models.cifar_resnet import BasicBlock, CifarResNet
from lwdna.transforms.merge import merge_pairs

from .reference import files, notes, tensors

pytestmark = pytest.mark.golden

STARTS = {"svd": "svd", "svd2": "svd-mix", "p-identity": "identity"}
"""Our names of their starts."""


def _product(basis: Tensor, mix: Tensor) -> Tensor:
    return mix.flatten(1).double() @ basis.flatten(1).double()


@pytest.mark.parametrize("path", files("compression/hinge_init.json"))
def test_pairs_start_as_theirs(path):
    """Norms where theirs are of full rank; they fill up with rows that the product ignores."""
    said, given = notes(path), tensors(path)
    cases = [key for key in said if not key.endswith("/singular_values")]
    for case in cases:
        shape, start = case.split("/")
        weight = given[f"{shape}/w"]
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], bias=False)
        conv.weight = nn.Parameter(weight)
        pair = lwdna.factorize(nn.Sequential(conv), layers="0", init=STARTS[start])[0]
        basis, mix = pair.basis.weight.detach(), pair.mix.weight.detach()
        theirs = given[f"{case}/conv"], given[f"{case}/proj"]
        torch.testing.assert_close(_product(basis, mix), _product(*theirs), rtol=1e-5, atol=5e-7)
        assert (_product(basis, mix) - weight.flatten(1).double()).abs().max() < 5e-7
        values = torch.tensor(said[f"{shape}/singular_values"])
        rank = len(theirs[0]) if start == "p-identity" else len(values)
        assert len(basis) == rank
        rows = torch.tensor(said[case]["norms_rows_in"])
        torch.testing.assert_close(mix.flatten(1).norm(dim=0), rows[:rank], rtol=1e-5, atol=1e-6)
        filters = theirs[0].flatten(1).norm(dim=1)
        torch.testing.assert_close(
            basis.flatten(1).norm(dim=1), filters[:rank], rtol=1e-5, atol=1e-6
        )


class _Averaged(nn.Module):
    """Their shortcut of kind A: means of 2 x 2 pixels, between zeros for the other channels."""

    def forward(self, x: Tensor) -> Tensor:
        zeros = x.shape[1] // 2
        return F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, zeros, zeros))


def _resnet(said: Any, state: dict[str, Tensor]) -> CifarResNet:
    """Return the network of a file, with dense convolutions."""
    classes, channels = state["classifier.weight"].shape
    network = CifarResNet(
        BasicBlock,
        (said["args"]["depth"] - 2) // 6,
        (channels // 4, channels // 2, channels),
        shortcut=said["args"]["downsample_type"],
        num_classes=classes,
        in_chans=said["args"]["n_colors"],
    )
    for block in network.modules():
        if isinstance(block, BasicBlock) and block.shortcut is not None:
            block.shortcut = _Averaged()
    return network.eval()


def _ours(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return their state under our names; the stem's bias goes into its normalisation."""
    inside = {"body.0": "conv1", "body.1": "bn1", "body.3": "conv2", "body.4": "bn2"}
    halves = {"0.weight": "basis.weight", "1.weight": "mix.weight"}
    found = {}
    for name, tensor in state.items():
        first, *rest = name.split(".")
        if first == "classifier":
            found[f"fc.{rest[0]}"] = tensor
        elif rest[0] == "0" and rest[1] == "0":
            found[f"stem.0.{rest[2]}"] = tensor
        elif rest[0] == "0":
            found[f"stem.1.{rest[2]}"] = tensor
        elif rest[3] != "2":  # their second activation, whose slopes are 1 and 0
            stage, block, part = int(rest[0]) - 1, rest[1], ".".join(rest[2:4])
            last = ".".join(rest[4:])
            found[f"stages.{stage}.{block}.{inside[part]}.{halves.get(last, last)}"] = tensor
        else:
            assert float(tensor) == (1.0 if rest[-1] == "slope_p" else 0.0)
    found["stem.1.running_mean"] = found["stem.1.running_mean"] - found.pop("stem.0.bias")
    return found


def _part(given: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}/"): tensor
        for name, tensor in given.items()
        if name.startswith(f"{prefix}/")
    }


def _close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("path", files("compression/hinge_resnet*_decomposition.json"))
def test_zero_rows_and_columns_are_cut_out_and_pairs_merged(path):
    """Ranks first, whose rows are zero: nothing changes. Where columns are zero as well, the
    normalisation of a channel that is no more still added its shift, and goes with it."""
    said, given = notes(path), tensors(path)
    x, zeroed = given["x"], _part(given, "zeroed")
    dense = _resnet(said, zeroed)
    split = lwdna.factorize(
        dense, layers="stages.*.conv?", init=STARTS[said["args"]["init_method"]]
    )
    if original := _part(given, "original"):
        dense.load_state_dict(_ours(original))
        _close(dense(x), given["logits_original"])
        again = lwdna.factorize(dense, layers="stages.*.conv?", init="svd-mix")
        _close(again(x), given["logits_split"])
    split.load_state_dict(_ours(zeroed))
    _close(split(x), given["logits_zeroed"])

    graph = lwdna.trace(split, x[:1])
    compressed = _ours(_part(given, "compressed"))
    kept = _kept(split, graph, compressed)
    ranks = {name: units for name, units in kept.items() if name.endswith(".basis")}
    fewer = lwdna.resize(split, graph, ranks, init="slice").eval()
    _close(fewer(x), split(x))
    small = lwdna.resize(split, graph, kept, init="slice").eval()
    assert {name: tuple(t.shape) for name, t in small.state_dict().items()} == {
        name: tuple(t.shape) for name, t in compressed.items()
    }
    for name, tensor in small.state_dict().items():
        assert torch.equal(tensor, compressed[name]), name
    _close(small(x), given["logits_compressed"])
    if "logits_merged" in given:
        first = [name for name, _ in small.named_modules() if name.endswith(".conv1")]
        merged = merge_pairs(copy.deepcopy(small), first)
        _close(merged(x), given["logits_merged"])
        check_count(said, merged, x[:1], "_merged")
    check_count(said, small, x[:1], "_compressed")
    check_count(said, dense, x[:1], "")


def _kept(split: nn.Module, graph: Any, compressed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the units that are not zero: ranks by what is read, outputs by what is written."""
    kept = {}
    for name, width in graph.widths.items():
        layer, _, half = name.rpartition(".")
        if half == "basis":
            norms = split.get_parameter(f"{layer}.mix.weight").flatten(1).norm(dim=0)
        elif half == "mix":
            norms = split.get_parameter(f"{layer}.mix.weight").flatten(1).norm(dim=1)
        else:
            continue
        if (
            len(compressed[f"{layer}.mix.weight" if half == "mix" else f"{layer}.basis.weight"])
            < width
        ):
            kept[name] = norms.nonzero().flatten()
    return kept


@torch.no_grad()
@pytest.mark.parametrize("path", files("compression/hinge_resnet*_pruning*.json"))
def test_a_channel_goes_exactly_once_its_shift_is_zero_as_well(path):
    """What changes when columns are cut out is the shift of their normalisation, nothing else."""
    said, given = notes(path), tensors(path)
    zeroed, x = _part(given, "zeroed"), given["x"]
    split = lwdna.factorize(_resnet(said, zeroed), layers="stages.*.conv?", init="identity")
    split.load_state_dict(_ours(zeroed))
    graph = lwdna.trace(split, x[:1])
    kept = _kept(split, graph, _ours(_part(given, "compressed")))
    for name, units in kept.items():
        if name.endswith(".conv1.mix"):
            norm = split.get_submodule(name.removesuffix("conv1.mix") + "bn1")
            gone = torch.ones(graph.widths[name], dtype=torch.bool)
            gone[units] = False
            norm.bias[gone] = norm.weight[gone] = 0
    small = lwdna.resize(split, graph, kept, init="slice").eval()
    _close(small(x), split(x))
    _close(small(x), given["logits_compressed"])


def check_count(said: Any, network: nn.Module, x: Tensor, suffix: str) -> None:
    """Check their counts, in which a split block has a second activation of two slopes inside that
    counts for nothing, and the stem a bias."""
    results = results_of(network, x)
    inner = [count for name, count in results.items() if name.endswith("bn1")] if suffix else []
    cost = lwdna.trace(network, x).cost()
    stem = network.get_submodule("stem.0").out_channels
    assert said[f"flops{suffix}"] == cost.macs + other_flops(network, x) - sum(inner)
    assert said[f"params{suffix}"] == cost.params + stem + 2 * len(inner)


def other_flops(network: nn.Module, x: Tensor) -> int:
    """Return what they count beside MACs: two for each element of a normalisation, one of an
    nn.ReLU, each time that one is called."""
    results = results_of(network, x)
    weights = {nn.BatchNorm2d: 2, nn.ReLU: 1}
    return sum(
        weights.get(type(network.get_submodule(name)), 0) * count for name, count in results.items()
    )


def results_of(network: nn.Module, x: Tensor) -> dict[str, int]:
    """Return how many elements the results of each module have, of all calls together."""
    found: dict[str, int] = {}

    def note(name: str) -> Any:
        def add(module: nn.Module, given: Any, result: Tensor) -> None:
            found[name] = found.get(name, 0) + result.numel()

        return add

    hooks = [module.register_forward_hook(note(name)) for name, module in network.named_modules()]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return found


VGG = sum(count * width for count, width in ((2, 64), (2, 128), (3, 256), (6, 512)))
DENSE = [24 + 12 * layer for layer in range(36)]
"""Channels that each dense layer of theirs reads: 24 behind the stem, where ours has 16."""
NETWORKS = {
    "ResNet-20": ("resnet20_cifar", 0, 16),  # the stem's bias
    "ResNet-56": ("resnet56_cifar", 0, 16),
    # normalised shortcuts: theirs has the blocks of the first paper, ours those of the second
    "ResNet-164": (
        "resnet164_cifar",
        2 * 16 * (64 * 64 + 128 * 16 + 256 * 4),
        2 * (64 + 128 + 256),
    ),
    # two hidden linear layers and biases of convolutions
    "VGG-16": ("vgg16_cifar", 2 * 512**2, 2 * (512**2 + 512) + VGG),
    "ResNeXt-20": ("resnext20_cifar", 0, 0),
    "ResNeXt-164": ("resnext164_cifar", 0, 0),
}
"""Our name, and by how much theirs have more flops and parameters."""


@pytest.mark.parametrize("path", files("compression/hinge_counts.json"))
def test_networks_cost_what_theirs_do(path):
    said = notes(path)
    image = torch.zeros(1, 3, 32, 32)
    for name, (ours, flops, params) in NETWORKS.items():
        network = lwdna.create_model(ours).eval()
        cost = lwdna.trace(network, image).cost()
        rectified = sum(
            count
            for part, count in results_of(network, image).items()
            if "ResNeXt" in name and isinstance(network.get_submodule(part), nn.ReLU)
        )  # theirs rectify by a function, which they do not count
        found = cost.macs + other_flops(network, image) - rectified
        assert said[name] == {"flops": found + flops, "params": cost.params + params}, name


@pytest.mark.parametrize("path", files("compression/hinge_counts.json"))
def test_their_densenet_is_ours_behind_a_wider_stem(path):
    """By hand: 12 layers, a transition, 12, a transition, 12, for 32, 16 and 8 pixels a side."""
    assert notes(path)["DenseNet-12-40"]["params"] == (
        9 * 3 * 24
        + sum(2 * read + 9 * read * 12 for read in DENSE)
        + sum(2 * read + read * read for read in (DENSE[12], DENSE[24]))
        + 2 * (DENSE[-1] + 12)
        + (DENSE[-1] + 12) * 10
        + 10
    )
