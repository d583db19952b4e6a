"""Filter bases against the results of the authors' code (Li et al., ICCV 2019)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lwdna
from lwdna.models.cifar_resnet import BasicBlock, CifarResNet
from lwdna.recipe import load_recipe
from lwdna.transforms import dense_of, rewrite

from .reference import files, notes, tensors

pytestmark = pytest.mark.golden

RECIPES = Path(__file__).parents[2] / "recipes" / "filter-basis"
IMAGE = torch.zeros(1, 3, 32, 32)


def _pair(conv: nn.Conv2d, size: int, filters: int, init: str = "least-squares") -> nn.Sequential:
    return lwdna.filter_basis(conv, size=size, filters=filters, init=init, layers="*")


@torch.no_grad()
def _filled(pair: nn.Sequential, golden: dict[str, Tensor]) -> nn.Sequential:
    """Return a pair with the weights and biases of the original, whose basis has a bias, too."""
    pair.basis.weight.copy_(golden["basis"])
    pair.basis.bias = nn.Parameter(golden["basis_bias"])
    pair.mix.weight.copy_(golden["proj"])
    pair.mix.bias.copy_(golden["proj_bias"])
    return pair.eval()


@torch.no_grad()
def _check(dense: nn.Conv2d, size: int, filters: int, golden: dict[str, Tensor]) -> None:
    """The pair computes what the original does, folds to its weights, and comes of them again."""
    pair = _filled(_pair(dense, size, filters), golden)
    torch.testing.assert_close(pair(golden["x"]), golden["y"], rtol=1e-5, atol=1e-5)
    folded = dense_of(pair)
    torch.testing.assert_close(folded.weight, golden["dense_weight"], rtol=0, atol=2e-5)
    torch.testing.assert_close(folded.bias, golden["dense_bias"], rtol=0, atol=2e-5)
    torch.testing.assert_close(folded(golden["x"]), golden["y"], rtol=0, atol=2e-5)
    fitted = _pair(folded, size, filters)
    assert fitted.basis.out_channels == filters
    torch.testing.assert_close(fitted(golden["x"]), golden["y"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("path", files("compression/lfb_conv_*.json"))
def test_a_convolution_on_parts_of_its_channels(path):
    said, golden = notes(path), tensors(path)
    side, outputs, inputs = said["kernel"], said["cout"], said["cin"]
    dense = nn.Conv2d(inputs, outputs, side, said["stride"], side // 2)
    size, filters = said["basis_size"], said["n_basis"]
    _check(dense, size, filters, golden)
    layers = {layer.name: layer for layer in lwdna.trace(
        nn.Sequential(_pair(dense, size, filters)), golden["x"][:1]
    ).layers()}  # fmt: skip
    positions = golden["y"][0, 0].numel()
    assert inputs // size == said["groups"]
    assert layers["0.basis"].params == said["params_basis"]
    assert layers["0.mix"].params == said["params_proj"] + outputs
    assert layers["0.basis"].macs == positions * said["macs_basis_per_out_position"]
    assert layers["0.mix"].macs == positions * said["macs_proj"]
    assert dense.weight.numel() == said["params_dense"] == said["macs_dense"]


@pytest.mark.parametrize("path", files("compression/lfb_sr_conv*.json"))
def test_a_convolution_of_super_resolution(path):
    said, golden = notes(path), tensors(path)
    side = golden["basis"].shape[-1]
    dense = nn.Conv2d(said["n_feat"], said["n_feat"], side, padding=side // 2)
    assert said["n_feat"] // said["basis_size"] == said["groups"]
    _check(dense, said["basis_size"], said["n_basis"], golden)


# Their names of the layers of a block: a convolution, its normalisation.
BLOCK = {"conv1": "body.0", "bn1": "body.1", "conv2": "body.3", "bn2": "body.4"}


def _averaged_and_padded(channels: int) -> nn.Module:
    """Return their shortcut of kind A: it averages pixels and adds zeros on both sides."""
    sides = (0, 0, 0, 0, channels // 2, channels - channels // 2)
    return nn.Sequential(nn.AvgPool2d(2), nn.ConstantPad3d(sides, 0.0))


def _with_shared_bases(said: dict, state: dict[str, Tensor]) -> tuple[nn.Module, dict[str, str]]:
    """Return our network with bases like theirs, and their name of each of our modules."""
    blocks = (said["args"]["depth"] - 2) // 6
    widths = [len(state[f"features.{stage}.0.body.1.weight"]) for stage in (1, 2, 3)]
    model = CifarResNet(
        BasicBlock,
        blocks,
        tuple(widths),
        shortcut="A",
        num_classes=len(state["classifier.bias"]),
        in_chans=said["args"]["n_colors"],
    )
    for before, after, stage in zip(widths, widths[1:], model.stages[1:], strict=False):
        stage[0].shortcut = _averaged_and_padded(after - before)
    names = {"stem.0": "features.0.0", "stem.1": "features.0.1", "fc": "classifier"}
    for stage in range(3):
        for block in range(blocks):
            names.update(
                (f"stages.{stage}.{block}.{ours}", f"features.{stage + 1}.{block}.{theirs}")
                for ours, theirs in BLOCK.items()
            )
    ours = {f"{name}.conv.0.basis_weight": own for own, name in names.items()}
    transforms = [
        {
            "name": "filter-basis",
            "layers": [ours[name] for name in users],
            "filters": state[basis].shape[0],
            "size": state[basis].shape[1],
            "shared": True,
            "mix_kernel": said["args"]["k_size2"],
        }
        for basis, *users in said["shared"]
    ]
    return rewrite(model, transforms), names


@torch.no_grad()
def _copy_state(model: nn.Module, names: dict[str, str], state: dict[str, Tensor]) -> None:
    for own, name in names.items():
        module = model.get_submodule(own)
        values = {key.removeprefix(f"{name}."): value for key, value in state.items()
                  if key.startswith(f"{name}.")}  # fmt: skip
        if isinstance(module, nn.Sequential):
            module.basis.weight.copy_(values["conv.0.basis_weight"])
            module.basis.bias = nn.Parameter(values["conv.0.basis_bias"])
            module.mix.weight.copy_(values["conv.1.weight"])
            module.mix.bias = nn.Parameter(values["conv.1.bias"])
        else:
            if isinstance(module, nn.Conv2d):  # theirs has a bias in front of a normalisation
                module.bias = nn.Parameter(values["bias"])
            module.load_state_dict(values, strict=isinstance(module, nn.Linear))


@pytest.mark.parametrize("path", files("compression/lfb_resnet8.json"))
def test_a_network_of_shared_bases(path):
    said, golden = notes(path), tensors(path)
    state = {
        name.removeprefix("state/"): value
        for name, value in golden.items()
        if name.startswith("state/")
    }
    model, names = _with_shared_bases(said, state)
    _copy_state(model, names, state)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(golden["x"]), golden["logits"], rtol=1e-5, atol=1e-5)
    assert sum(parameter.numel() for parameter in model.parameters()) == said["params"]
    graph = lwdna.trace(model, golden["x"][:1])
    assert graph.cost().params == said["params"]
    bases = [width for name, width in graph.widths.items() if name.endswith("basis")]
    assert bases == [len(state[basis]) for basis, *_ in said["shared"]]
    for stage in model.stages:
        for block in stage:
            block.conv1, block.conv2 = dense_of(block.conv1), dense_of(block.conv2)
    with torch.no_grad():
        torch.testing.assert_close(model(golden["x"]), golden["logits"], rtol=0, atol=2e-5)


def _weights(model: nn.Module) -> int:
    """Return how many weights convolutions and linear layers have, without biases."""
    kinds = (nn.Conv2d, nn.Linear)
    found = {id(m.weight): m.weight.numel() for m in model.modules() if isinstance(m, kinds)}
    return sum(found.values())


def _published(recipe: str, changes: dict[str, object] | None = None) -> nn.Module:
    """Return the network of a recipe, with other settings of its transforms where given."""
    source = load_recipe(RECIPES / f"{recipe}.yaml").model
    plain = lwdna.create_model(source.name, **source.args)
    if changes is None:
        return plain
    entries = [one.model_dump() for one in source.transforms]
    entries = [{**one, **(changes if not one["residual"] else {})} for one in entries]
    return rewrite(plain, entries)


RECIPE_OF = {"VGG-16": "vgg16", "ResNet-56": "resnet56", "DenseNet-12-40": "densenet40"}
THEIR_STEM = 24
"""Channels of their DenseNet's stem: twice the growth rate, where the paper's plain one has 16."""


def _settings_in(name: str) -> dict[str, object]:
    """Return what the name of one of their networks says of its bases, in our words."""
    found: dict[str, object] = {}
    if both := re.search(r"Basis (\d+)-(\d+)", name):
        found.update(size=int(both[1]), filters=int(both[2]))
    if filters := re.search(r"Basis (\d+) t", name):
        found["filters"] = int(filters[1])
    if side := re.search(r"k2=(\d)", name):
        found["mix_kernel"] = int(side[1])
    return found


@pytest.mark.parametrize("path", files("compression/lfb_counts_classification.json"))
def test_weights_and_macs_of_published_networks(path):
    """Equal, once our DenseNet has their stem. Biases are not compared: they have some in front of
    each normalisation and in each basis, we have none."""
    for name, counts in notes(path).items():
        architecture = name.split(" ")[0]
        model = _published(RECIPE_OF[architecture], _settings_in(name) if "Basis" in name else None)
        graph = lwdna.trace(model, IMAGE)
        if architecture == "DenseNet-12-40":
            model = lwdna.resize(model, graph, _as_wide_as_theirs(model, graph))
            graph = lwdna.trace(model, IMAGE)
        assert (_weights(model), graph.cost().macs) == (
            counts["params_conv_linear"],
            counts["macs"],
        ), name
        assert counts["params"] - _weights(model) > 0


def _as_wide_as_theirs(model: nn.Module, graph: lwdna.ChannelGraph) -> dict[str, int]:
    """Return widths of a DenseNet with their stem, whose transitions keep what comes in."""
    widths = {**graph.widths, "stem": THEIR_STEM}
    more = THEIR_STEM - graph.widths["stem"]
    for name, width in graph.widths.items():
        if name == "stem" or ".conv" in name:  # dense layers add as many as before
            continue
        if name.endswith(".basis"):  # a sixth of what the transition reads
            widths[name] = (model.get_submodule(name).in_channels + more) // 6
        else:
            widths[name] = width + more
    return widths


SR = re.compile(r"(SRResNet|EDSR-(?P<blocks>\d+)-(?P<width>\d+))( x4)?( Basis-(?P<basis>[S\d-]+))?")


@pytest.mark.parametrize("path", files("compression/lfb_counts_restoration.json"))
def test_weights_of_published_blocks(path):
    """Their weights of a block, which their tables count, and all parameters of block and network.

    Parameters differ by what the two of us do without: their layers have a bias behind the basis,
    their EDSR shifts colours by two 1x1 convolutions; our SRResNet has a PReLU wherever there is
    one, theirs the same one in its head, all blocks and between basis and mix.
    """
    for name, counts in notes(path).items():
        said = SR.fullmatch(name)
        small = name.startswith("SRResNet")
        shape = {} if small else {key: int(said[key]) for key in ("blocks", "width")}
        plain = lwdna.create_model(f"lwdna:{'srresnet' if small else 'edsr'}", scale=4, **shape)
        model, extra = plain, 0
        if said["basis"]:
            *shared, size, filters = said["basis"].split("-")
            model = lwdna.filter_basis(
                plain,
                "body.*.body.?",
                size=int(size),
                filters=int(filters),
                shared="siblings" if shared else False,
                between=("batch-norm", "prelu") if small else (),
                init="fresh",
            )
            extra = 2 * int(filters) - 2 * small
        assert _weights(model.body[0]) == counts["weights_per_resblock"], name
        params = {id(one): one.numel() for one in model.body[0].parameters()}
        assert sum(params.values()) + extra == counts["params_per_resblock"], name
        total = sum(one.numel() for one in model.parameters())
        if small:
            total += (len(model.body) - 2) * (extra - 1)
        else:
            total += (len(model.body) - 1) * extra + 2 * (3 * 3 + 3)
        assert total == counts["params"], name
