"""Decisions by hand: groups pinned, tied and cut, proven by the second run like all others."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import lwdna
from lwdna import Architecture, Edits
from lwdna.channels import resize, trace
from lwdna.errors import EditError
from lwdna.interop import import_state_dict, read_state_dict
from lwdna.recipe import load_recipe
from tests.networks import Chain

from . import hard
from .proof import assert_holds, assert_resizes, random_widths

IMAGE = torch.zeros(1, 3, 8, 8)
CHAIN = {"one": 12, "two": 20, "three": 16}


class Widening(nn.Module):
    """Three convolutions, of 5, 10 and 15 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 10, 1)
        self.c, self.d = nn.Conv2d(10, 15, 1), nn.Conv2d(15, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x).relu()).relu()).relu())


class PaddedShortcut(nn.Module):
    """The shortcut of 5 channels gets zeros behind it, as many as the 11 of the sum need."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 11, 1), nn.Conv2d(11, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.b(x)
        return self.c(y + F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])))


class Blocks(nn.Module):
    """Two residual blocks; the sum is taken by a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 7, 1)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(7, 11, 1), nn.Conv2d(11, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.one(x).relu())


def test_a_pinned_group_keeps_its_width_and_says_why():
    graph = trace(Chain(), IMAGE, Edits(pin=["two"]))
    assert graph.widths == {"one": 12, "three": 16}
    (pinned,) = {p.reasons for p in graph.pinned if p.tensor == "three.weight" and p.axis == 1}
    assert [str(reason) for reason in pinned] == ["pinned by hand (two)"]
    assert "by hand:\n    pin two" in graph.report()
    assert_holds(Chain(), torch.randn(1, 3, 8, 8), graph)


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("stem", {"blocks.0.one": 11, "blocks.1.one": 11}),
        ("blocks.*.one", {"stem": 7}),
        ("blocks.0.*", {"blocks.1.one": 11}),  # its second layer writes into the residual stream
        ("blocks.1.two", {"blocks.0.one": 11, "blocks.1.one": 11}),
        ("blocks.[01]", {"blocks.0.one": 11, "blocks.1.one": 11}),
        ("*", {}),
        ("head", {"stem": 7, "blocks.0.one": 11, "blocks.1.one": 11}),
    ],
)
def test_a_module_stands_for_the_channels_of_its_results(pattern, left):
    assert trace(Blocks(), IMAGE, Edits(pin=[pattern])).widths == left


def test_tied_groups_keep_the_same_units():
    model, image = Blocks(), torch.randn(1, 3, 8, 8)
    graph = trace(model, image, Edits(tie=[["blocks.*.one"]]))
    assert graph.widths == {"stem": 7, "blocks.0.one": 11}
    members = set(graph.groups[graph.index["blocks.0.one"]].members)
    assert {("blocks.0.one.weight", 0), ("blocks.1.two.weight", 1)} <= members
    assert_holds(model, image, graph)


def test_tied_groups_may_differ_by_a_whole_factor():
    model, image = Widening(), torch.randn(1, 3, 8, 8)
    graph = trace(model, image, Edits(tie=[["c", "a"], ["b", "a"]]))
    assert graph.widths == {"a": 5}
    assert_holds(model, image, graph)
    small = resize(model, graph, {"a": torch.tensor([1, 4])}, init="slice")
    assert torch.equal(small.c.bias, model.c.bias[[3, 4, 5, 12, 13, 14]])
    assert torch.equal(small.b.bias, model.b.bias[[2, 3, 8, 9]])


def test_names_do_not_change_with_what_is_pinned():
    model = hard.MixedConvolution()
    assert trace(model, IMAGE).widths == {"a": 5, "a#2": 7}
    assert trace(model, IMAGE, Edits(pin=["a"])).widths == {"a#2": 7}
    assert trace(model, IMAGE, Edits(pin=["a*"])).widths == {}


def test_a_cut_lets_both_sides_move_alone():
    """Without it, the first 5 channels of the sum are those of the shortcut."""
    model = PaddedShortcut()
    assert trace(model, IMAGE).widths == {"a": 5, "b": 6}
    graph = trace(model, IMAGE, Edits(cut=[":constant_pad_nd"]))
    assert graph.widths == {"a": 5, "b": 11}
    assert [str(group.inexact.why) for group in graph.groups] == ["cut by hand"] * 2
    assert_resizes(model, IMAGE, graph)
    narrower = resize(model, graph, {"a": 7, "b": 3})
    assert narrower(IMAGE).shape == (1, 2, 8, 8)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"pin": ["twoo"]}, r"pin 'twoo' matches no group and no module.*did you mean two"),
        ({"pin": ["t[x]o"]}, "matches no group"),
        ({"tie": [["one"]]}, r"tie one needs at least two groups that are free.*only 'one'"),
        ({"tie": [["one", "head"]]}, "at least two groups that are free"),
        ({"tie": [["one", "two"]]}, "'two' has 20 units, no multiple of the 12 of 'one'"),
        ({"cut": ["one:relu"]}, "names no operator that can be cut.*flow through one:convolution"),
        ({"cut": ["one"]}, "no multiply-accumulates"),
        ({"cut": [":rellu"]}, "flow through :relu, :mean"),
        ({"cut": ["ohne"]}, "did you mean one"),
        ({"cut": [":relu"]}, "does not run with these edits.*cut :relu.*have to stay together"),
    ],
)
def test_edits_that_cannot_hold_say_why(edits, message):
    with pytest.raises(EditError, match=message) as caught:
        trace(Chain(), IMAGE, Edits(**edits))
    assert "\n" not in str(caught.value)


def test_a_folder_of_modules_is_named_by_what_is_in_it():
    with pytest.raises(EditError, match=r"did you mean blocks\.\*\?"):
        trace(Blocks(), IMAGE, Edits(pin=["blocks"]))


def test_a_cut_through_a_sum_does_not_hold():
    with pytest.raises(EditError, match="could no longer change its length"):
        trace(Blocks(), IMAGE, Edits(cut=["blocks.0:add"]))


def test_architectures_carry_the_edits(tmp_path):
    edits = Edits(pin=["three"], tie=[["one", "two"]])
    model, image = Chain((10, 20, 16)), IMAGE
    arch = lwdna.shrink(
        model,
        image,
        [(torch.randn(2, 3, 8, 8), torch.tensor([0, 1]))],
        nn.CrossEntropyLoss(),
        budget=lwdna.Budget(macs=0.8),
        floor=0.1,
        edits=edits,
    )
    assert list(arch.widths) == ["one"]
    arch.save(tmp_path / "found.lwdna.json")
    again = Architecture.load(tmp_path / "found.lwdna.json")
    assert again == arch
    assert again.edits == edits
    network = again.build(model)
    assert network.two.out_channels == 2 * network.one.out_channels
    assert network.three.out_channels == 16
    lwdna.save(network, arch, tmp_path / "found.safetensors")
    loaded, _ = lwdna.load(tmp_path / "found.safetensors", model)
    assert torch.equal(loaded.two.weight, network.two.weight)


def test_files_without_edits_do_not_mention_them():
    arch = Architecture.of(trace(Chain(), IMAGE), (3, 8, 8), None)
    assert "edits" not in json.loads(arch.to_json())


def test_state_dicts_are_imported_with_edits(tmp_path):
    model = lwdna.create_model("lwdna:resnet20_cifar")
    edits = Edits(tie=[["stages.2.*.conv1"]])
    image = torch.zeros(1, 3, 32, 32)
    graph = trace(model, image, edits)
    small = resize(model, graph, random_widths(graph, seed=1))
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    _, arch = import_state_dict(
        "lwdna:resnet20_cifar",
        read_state_dict(tmp_path / "small.safetensors"),
        (3, 32, 32),
        edits=edits,
    )
    assert arch.edits == edits
    assert arch.build().state_dict().keys() == small.state_dict().keys()


def test_recipes_hold_edits(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("model: {name: x}\nedits: {pin: ['layer1.*'], tie: [[a, b]]}\n")
    recipe = load_recipe(path, ["edits.cut=[':add']"])
    assert recipe.edits == Edits(pin=["layer1.*"], tie=[["a", "b"]], cut=[":add"])
    with pytest.raises(lwdna.LwdnaError, match=r"edits.pin=layer1: give a list of patterns"):
        load_recipe(path, ["edits.pin=layer1"])
    with pytest.raises(lwdna.LwdnaError, match=r"edits.pins is no known key; did you mean edits.p"):
        load_recipe(path, ["edits.pins=[a]"])


class FarApart(nn.Module):
    """The sum of the first and the twelfth of 22 convolutions, all of 4 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 if i == 0 else 4, 4, 1) for i in range(22))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = x = self.convs[0](x)
        for conv in self.convs[1:12]:
            x = conv(x.relu())
        x = first + x
        for conv in self.convs[12:]:
            x = conv(x.relu())
        return self.head(x)


def test_groups_beside_a_cut_are_moved_alone():
    """Groups 0, 11 and 22 (the sum) move alike in the second run: a wrong cut would look right."""
    assert len(trace(FarApart(), IMAGE).groups) == 21
    with pytest.raises(EditError, match="does not run with these edits"):
        trace(FarApart(), IMAGE, Edits(cut=[":add"]))
