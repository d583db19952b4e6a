"""Networks with weights rewritten: split as they are described, merged where that is cheaper."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

import lwdna
from lwdna.errors import ArchitectureError, ModelError
from lwdna.transforms.merge import gains_by_merging, merge_pairs, pairs_in

from ..cli.command import done, fault

SOURCE = lwdna.ModelSource(
    name="lwdna:resnet8_digits", transforms=[{"name": "factorize", "layers": "stages.*"}]
)
IMAGE = torch.zeros(1, 1, 8, 8)


def _split(
    ranks: dict[str, int], edits: lwdna.Edits | None = None
) -> tuple[nn.Module, lwdna.Architecture]:
    """Return ResNet-8 whose pairs have their first so many ranks, others all."""
    torch.manual_seed(0)
    whole = SOURCE.create()
    graph = lwdna.trace(whole, IMAGE, edits)
    units = {f"{name}.basis": torch.arange(rank) for name, rank in ranks.items()}
    network = lwdna.resize(whole, graph, units, init="slice").eval()
    widths = {name: len(kept) for name, kept in units.items()}
    return network, lwdna.Architecture.of(graph, (1, 8, 8), SOURCE, widths, {"method": "test"})


@torch.no_grad()
def _difference(one: nn.Module, other: nn.Module) -> float:
    x = torch.randn(3, 1, 8, 8)
    expected = one.eval()(x)
    return float((other.eval()(x) - expected).abs().max() / expected.abs().max())


def test_pairs_that_cost_no_less_are_merged_and_the_architecture_says_so():
    """A pair of rank r from C to N channels costs r (9 C + N), dense 9 C N: break-even is below
    21.6 for 24 to 24 channels, and 19.6 for 12 to 24."""
    network, arch = _split({"stages.1.0.conv1": 20, "stages.1.0.conv2": 21, "stages.2.0.conv2": 24})
    merged, described = lwdna.merge(network, arch)
    gone = ["stages.0.0.conv1", "stages.0.0.conv2", "stages.1.0.conv1", "stages.2.0.conv1"]
    assert described.found == {"method": "test", "merged": gone}
    assert list(pairs_in(merged)) == ["stages.1.0.conv2", "stages.2.0.conv2"]
    (transform,) = described.model.transforms
    assert transform.settings.layers == ("stages.1.0.conv2", "stages.2.0.conv2")
    assert _difference(network, merged) < 1e-5
    assert arch.cost.macs - described.cost.macs == (
        8**2 * (2 * 12 * (9 * 12 + 12) - 2 * 9 * 12 * 12)
        + 4**2 * (20 * (9 * 12 + 24) - 9 * 12 * 24)
        + 2**2 * (48 * (9 * 24 + 48) - 9 * 24 * 48)
    )
    assert described.widths["stages.1.0.conv2.basis"] == 21
    again = described.build(seed=0)
    again.load_state_dict(merged.state_dict())
    assert _difference(again, merged) == 0


def test_the_file_of_a_merged_network_loads_and_traces(tmp_path: Path):
    network, arch = _split({"stages.2.0.conv2": 5})
    lwdna.save(network, arch, tmp_path / "model.safetensors")
    out = done("merge", tmp_path, "--out", tmp_path / "merged.safetensors")
    assert out.startswith("5 pairs merged: ")
    merged, described = lwdna.load(tmp_path / "merged.safetensors")
    assert _difference(network, merged) < 1e-5
    cost = lwdna.trace(merged, IMAGE).cost()
    assert (cost.macs, cost.params) == (described.cost.macs, described.cost.params)
    every = tmp_path / "dense.safetensors"
    done("merge", tmp_path, "--out", every, "--layers", "*.conv2", "--layers", "*.conv1")
    dense, described = lwdna.load(every)
    assert described.model.transforms == ()
    assert _difference(network, dense) < 1e-5
    plain = lwdna.trace(lwdna.create_model("lwdna:resnet8_digits"), IMAGE).cost()
    assert described.cost.params == plain.params
    assert "name a .safetensors file" in fault("merge", tmp_path, "--out", tmp_path / "x.pt")
    line = fault("merge", tmp_path, "--out", every, "--layers", "stages.0.0.conv3")
    assert "'stages.0.0.conv3' names no pair; did you mean stages.0.0.conv" in line


def test_decisions_by_hand_stay_where_their_groups_do():
    edits = lwdna.Edits(
        pin=("stages.0.0.conv1.mix", "stages.0.0.conv1.basis", "*.basis"),
        tie=(
            ("stages.1.0.conv1.mix", "stages.2.0.conv1.mix"),
            ("stages.1.0.conv1.basis", "stages.1.0.conv2.basis"),
        ),
    )
    network, arch = _split({}, edits)
    merged, described = lwdna.merge(network, arch)
    assert described.edits.pin == ("stages.0.0.conv1",)
    assert described.edits.tie == (("stages.1.0.conv1", "stages.2.0.conv1"),)
    assert list(described.widths) == ["stem.0", "stages.1.0.conv1", *list(described.widths)[2:]]
    assert not {"stages.0.0.conv1", "stages.2.0.conv1"} & set(described.widths)
    assert _difference(network, merged) < 1e-5
    described.build().load_state_dict(merged.state_dict())


def test_a_network_that_has_its_weights_is_split_and_described():
    """Also one whose widths are not the baseline's: ranks follow its own."""
    plain = lwdna.ModelSource(name=SOURCE.name)
    graph = lwdna.trace(plain.create(), IMAGE)
    widths = {**graph.widths, "stages.1.0.conv1": 7}
    arch = lwdna.Architecture.of(graph, (1, 8, 8), plain, widths, {"method": "test"})
    network = arch.build(seed=0)
    split, described = lwdna.rewritten(network, arch, [{"name": "factorize", "init": "svd-mix"}])
    assert _difference(network, split) < 1e-5
    assert described.found == arch.found
    assert described.widths["stages.1.0.conv1.basis"] == described.widths["stages.1.0.conv1.mix"]
    assert described.widths["stages.1.0.conv1.basis"] == 7
    described.build().load_state_dict(split.state_dict())
    again, merged = lwdna.merge(split, described, "*")
    assert _difference(network, again) < 1e-5
    assert (merged.widths, merged.cost, merged.model) == (arch.widths, arch.cost, arch.model)
    with pytest.raises(ArchitectureError, match="does not say how to make its baseline"):
        lwdna.rewritten(network, arch.model_copy(update={"model": None}), ["factorize"])


def test_what_is_not_linear_is_never_merged():
    """Something between, a bias in between, a larger second kernel, a weight used elsewhere."""
    conv = nn.Conv2d(5, 7, 3, bias=False)

    def pair(basis: nn.Module, mix: nn.Module, **more: nn.Module) -> nn.Sequential:
        return nn.Sequential(OrderedDict(basis=basis, **more, mix=mix))

    tied = pair(nn.Conv2d(5, 7, 3, bias=False), nn.Conv2d(7, 11, 1))
    tied.add_module("basis", conv)
    hooked = pair(nn.Conv2d(5, 7, 3, bias=False), nn.Conv2d(7, 11, 1))
    hooked.register_forward_hook(lambda *_: None)
    network = nn.ModuleDict(
        {
            "linear": pair(nn.Conv2d(5, 7, 3, stride=2, bias=False), nn.Conv2d(7, 11, 1)),
            "relu": pair(nn.Conv2d(5, 7, 3, bias=False), nn.Conv2d(7, 11, 1), act=nn.ReLU()),
            "bias": pair(nn.Conv2d(5, 7, 3), nn.Conv2d(7, 11, 1)),
            "kernel": pair(nn.Conv2d(5, 7, 3, bias=False), nn.Conv2d(7, 11, 3)),
            "stride": pair(nn.Conv2d(5, 7, 3, bias=False), nn.Conv2d(7, 11, 1, stride=2)),
            "padding": pair(nn.Conv2d(5, 7, 3, bias=False), nn.Conv2d(7, 11, 1, padding=1)),
            "groups": pair(nn.Conv2d(5, 11, 3, bias=False), nn.Conv2d(11, 11, 1, groups=11)),
            "tied": tied,
            "hooked": hooked,
            "other": nn.ModuleDict({"conv": nn.Conv2d(5, 7, 3, bias=False)}),
        }
    )
    network["other"]["conv"].weight = conv.weight
    assert list(pairs_in(network)) == ["linear"]


@pytest.mark.parametrize(("rank", "gains"), [(37, False), (38, True)])
def test_break_even(rank: int, gains: bool):
    """43 outputs of 9 x 31 weights: 43 * 279 / (279 + 43) = 37.3."""
    pair = nn.Sequential(
        OrderedDict(basis=nn.Conv2d(31, rank, 3, bias=False), mix=nn.Conv2d(rank, 43, 1))
    )
    assert gains_by_merging(pair) == gains


def test_a_module_used_twice_stays_one():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(7, 7, 3, padding=1)
            self.b = self.a

        def forward(self, x):
            return self.b(self.a(x).relu())

    model = Twice().double()
    merged = merge_pairs(lwdna.factorize(model, layers="a"), ["a"])
    assert merged.a is merged.b
    x = torch.randn(2, 7, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(merged(x), model(x), rtol=1e-10, atol=1e-10)


def test_faults_say_what_to_do():
    network, arch = _split({})
    with pytest.raises(ModelError, match=r"names no pair; there are stages.0.0.conv1"):
        lwdna.merge(network, arch, "head*")
    given = arch.model_copy(update={"model": None})
    with pytest.raises(ArchitectureError, match="does not say how to make its baseline"):
        lwdna.merge(network, given)
    other = lwdna.ModelSource(name=SOURCE.name)
    with pytest.raises(ModelError, match="was not made by factorize"):
        lwdna.merge(network, arch.model_copy(update={"model": other}))
    plain = other.create()
    same, described = lwdna.merge(plain, arch.model_copy(update={"model": other}))
    assert same is not plain
    assert described.found == arch.found
