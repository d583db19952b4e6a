"""Convolutions as pairs of two: the same outputs, the best low rank, ranks that are groups."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from timm.layers import Conv2dSame, ScaledStdConv2d
from torch import nn
from torch.nn.utils import parametrizations

import lwdna
from lwdna.errors import ModelError
from networks import Branches, Chain

from ..channels.proof import assert_resizes, assert_slices

IMAGE = torch.zeros(1, 3, 16, 16)


def _resnet20() -> nn.Module:
    return lwdna.create_model("lwdna:resnet20_cifar", width_mult=0.5, num_classes=100)


def _resnet20_macs(rank: int) -> int:
    """MACs of ResNet-20 at 8, 16 and 32 channels for 16 x 16 pixels, ranks divided by ``rank``.

    Each stage has six convolutions, for 16 x 16, 8 x 8 and 4 x 4 pixels. One from c to n channels
    of rank r costs 9 c r per pixel and its mix r n; the first of a stage reads half the channels.
    Stem and classifier stay.
    """
    macs = 3 * 8 * 9 * 16**2 + 32 * 100
    for first, n, pixels in ((8, 8, 16**2), (8, 16, 8**2), (16, 32, 4**2)):
        r = n // rank
        macs += pixels * (9 * first * r + r * n + 5 * (9 * n * r + r * n))
    return macs


def test_resnet20_with_its_blocks_split_has_eighteen_groups_more():
    plain, split = _resnet20(), lwdna.factorize(_resnet20())
    before, after = lwdna.trace(plain, IMAGE), lwdna.trace(split, IMAGE)
    assert (len(before.groups), before.cost().macs) == (12, 2_565_248)
    assert _resnet20_macs(rank=1) == 2_860_160
    assert (len(after.groups), after.cost().macs) == (30, 2_860_160)
    ranks = {name: width for name, width in after.widths.items() if name.endswith(".basis")}
    assert list(ranks.values()) == 6 * [8] + 6 * [16] + 6 * [32]
    halved = {name: width // 2 for name, width in ranks.items()}
    assert after.cost(halved).macs == _resnet20_macs(rank=2) == 1_459_328
    half = lwdna.factorize(_resnet20(), rank=0.5)
    assert lwdna.trace(half, IMAGE).cost() == after.cost(halved)


def test_resnet20_so_split_resizes_and_slices_exactly():
    split = lwdna.factorize(_resnet20())
    graph = lwdna.trace(split, IMAGE)
    assert all(group.exact for group in graph.groups)
    assert_resizes(split, torch.randn(2, 3, 16, 16)[:1], graph)
    assert_slices(split, torch.randn(2, 3, 16, 16), graph)


@torch.no_grad()
def _difference(one: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    expected = one.eval()(x)
    return float((other.eval()(x) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_at_full_rank_the_network_computes_what_it_did(dtype, tolerance):
    model = torchvision.models.resnet18(weights=None).to(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    split = lwdna.factorize(model)
    assert type(split) is type(model)
    assert all(type(module).__module__.partition(".")[0] != "lwdna" for module in split.modules())
    assert _difference(model, split, torch.randn(2, 3, 64, 64, dtype=dtype)) < tolerance
    pair = split.layer1[0].conv1
    assert (pair.basis.kernel_size, pair.mix.kernel_size) == ((3, 3), (1, 1))
    assert {value.dtype for value in split.parameters()} == {dtype}
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), "the network given was changed"


@pytest.mark.parametrize("shape", [(20, 12, 3, 3), (40, 2, 3, 3)], ids=["wide", "tall"])
def test_starts_differ_in_where_the_singular_values_are(shape):
    """Tall weights have rank 18: there the identity has more channels than the decompositions."""
    conv = nn.Conv2d(shape[1], shape[0], 3, bias=False)
    matrix = conv.weight.detach().flatten(1)
    values = torch.linalg.svdvals(matrix)
    norms = {}
    for init in ("svd", "svd-mix", "identity"):
        pair = lwdna.factorize(nn.Sequential(conv), layers="0", init=init)[0]
        basis, mix = pair.basis.weight.detach().flatten(1), pair.mix.weight.detach().flatten(1)
        torch.testing.assert_close(mix @ basis, matrix, rtol=0, atol=5e-7)
        norms[init] = basis.norm(dim=1), mix.norm(dim=0)
    for init, (one, other) in {"svd": (0, 1), "svd-mix": (1, 0)}.items():
        torch.testing.assert_close(norms[init][one], values)
        torch.testing.assert_close(norms[init][other], torch.ones(len(values)))
    assert torch.equal(norms["identity"][0], matrix.norm(dim=1))
    assert torch.equal(norms["identity"][1], torch.ones(shape[0]))


def test_weights_that_lack_rank_start_finite_with_the_values_in_the_mix():
    conv = nn.Conv2d(7, 11, 3, bias=False)
    with torch.no_grad():
        conv.weight[1] = conv.weight[0]
        conv.weight[2:5] = 0
    for weight in (conv.weight.detach().clone(), torch.zeros_like(conv.weight)):
        conv.weight = nn.Parameter(weight)
        pair = lwdna.factorize(nn.Sequential(conv), layers="0", init="svd-mix")[0]
        product = pair.mix.weight.flatten(1) @ pair.basis.weight.flatten(1)
        torch.testing.assert_close(product, weight.flatten(1), rtol=0, atol=5e-7)


@pytest.mark.parametrize("shape", [(20, 12, 3, 3), (40, 2, 3, 3)], ids=["wide", "tall"])
@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.1])
def test_a_lower_rank_is_the_best_approximation(shape, fraction):
    """The error is what Eckart and Young give: the singular values left out."""
    conv = nn.Conv2d(shape[1], shape[0], 3, bias=False).double()
    pair = lwdna.factorize(nn.Sequential(conv), layers="0", rank=fraction)[0]
    matrix = conv.weight.detach().flatten(1)
    values = torch.linalg.svdvals(matrix)
    rank = round(fraction * min(shape[0], shape[1] * 9))
    product = (pair.mix.weight.flatten(1) @ pair.basis.weight.flatten(1)).detach()
    assert pair.basis.out_channels == pair.mix.in_channels == rank
    error = (matrix - product).square().sum()
    torch.testing.assert_close(error, values[rank:].square().sum(), rtol=1e-9, atol=1e-20)
    norms = pair.basis.weight.detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, values[:rank])


@pytest.mark.parametrize(
    ("conv", "size"),
    [
        (nn.Conv2d(5, 7, 3), (13, 11)),
        (nn.Conv2d(5, 7, (3, 2), stride=(2, 3), padding=(2, 1), bias=False), (13, 11)),
        (nn.Conv2d(5, 7, 3, dilation=2, padding="same"), (13, 11)),
        (nn.Conv2d(5, 7, 3, padding=1, padding_mode="reflect"), (13, 11)),
        (nn.Conv2d(5, 7, 3, padding=(2, 1), padding_mode="replicate"), (13, 11)),
        (nn.Conv2d(5, 7, 5, padding=2, padding_mode="circular"), (13, 11)),
        (Conv2dSame(5, 7, 3, stride=2), (13, 11)),
        (nn.Conv1d(5, 7, 3, stride=2, padding=1), (29,)),
        (nn.Conv3d(5, 7, 3, padding=1), (5, 7, 3)),
        (nn.Conv2d(5, 7, 1), (13, 11)),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "x".join(map(str, value)),
)
def test_every_option_of_a_convolution_is_kept(conv, size):
    first = type(conv)(2, 5, 1)
    model = nn.Sequential(first, copy.deepcopy(conv), nn.ReLU(), type(conv)(7, 3, 1)).double()
    split = lwdna.factorize(model, layers="1")
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    assert _difference(model, split, x) < 1e-10
    assert type(split[1].basis) is type(conv)
    assert split[1].basis.bias is None
    assert (split[1].mix.bias is None) == (conv.bias is None)
    graph = lwdna.trace(split.float(), x.float())
    assert graph.widths == {"0": 5, "1.basis": 5 if max(conv.kernel_size) == 1 else 7, "1.mix": 7}
    assert_slices(split, x.float(), graph)


def test_modes_gradients_and_the_bias_are_those_of_the_convolution():
    model = Chain()
    model.eval()
    model.two.train()
    model.one.weight.requires_grad_(False)
    model.half()
    split = lwdna.factorize(model, layers=["one", "two"])
    assert [part.training for part in split.one.modules()] == [False] * 3
    assert [part.training for part in split.two.modules()] == [True] * 3
    assert [part.weight.requires_grad for part in split.one] == [False, False]
    assert [part.weight.requires_grad for part in split.two] == [True, True]
    assert {value.dtype for value in split.parameters()} == {torch.float16}
    assert torch.equal(split.one.mix.bias, model.one.bias)


def test_by_default_images_and_what_cannot_be_split_stay():
    """Branches has a stem for images, a 1x1, a depthwise and a grouped convolution."""
    split = lwdna.factorize(Branches())
    names = [name for name, module in split.named_modules() if isinstance(module, nn.Sequential)]
    assert names == ["left"]


def test_a_module_used_twice_stays_one():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 7, 1)
            self.a = nn.Conv2d(7, 7, 3, padding=1)
            self.blocks = nn.ModuleList([self.a, self.a])

        def forward(self, x):
            return self.blocks[1](self.a(self.stem(x)).relu()).mean((2, 3))

    model = Twice().double()
    for pattern in ("a", "blocks.1", None):
        split = lwdna.factorize(model, layers=pattern)
        assert split.a is split.blocks[0] is split.blocks[1]
        assert isinstance(split.a.basis, nn.Conv2d)
        assert _difference(model, split, torch.randn(2, 3, 8, 8, dtype=torch.float64)) < 1e-10


def test_a_network_that_is_a_convolution():
    conv = nn.Conv2d(5, 7, 3)
    split = lwdna.factorize(conv)
    assert isinstance(conv, nn.Conv2d)
    assert _difference(conv, split, torch.randn(2, 5, 8, 8)) < 1e-5


def test_fresh_pairs_keep_the_size_of_outputs_and_follow_the_seed():
    """The variance of the product is that of the weights; four standard errors of 576 draws."""
    model = nn.Sequential(nn.Conv2d(64, 96, 3, bias=False))
    products = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        pair = lwdna.factorize(model, init="fresh", rank=0.5)[0]
        products.append((pair.mix.weight.flatten(1) @ pair.basis.weight.flatten(1)).detach())
    assert torch.equal(products[0], products[1])
    assert not torch.equal(products[0], products[2])
    ratio = float(products[0].std() / model[0].weight.detach().std())
    assert abs(ratio - 1) < 4 / (2 * 576) ** 0.5
    assert torch.linalg.matrix_rank(products[0]) == 48


def test_fresh_weights_of_other_ranks_keep_the_size_of_outputs():
    """A pair so split is trained from fresh weights, at ranks that a search has found."""
    model = timm.create_model("resnet18", num_classes=5)
    for init in ("svd", "fresh"):
        split = lwdna.factorize(model, layers="layer[34]*.conv*", init=init)
        graph = lwdna.trace(split, torch.zeros(1, 3, 32, 32))
        ranks = {name: width // 3 for name, width in graph.widths.items() if "basis" in name}
        found = lwdna.resize(split, graph, {**graph.widths, **ranks}, seed=0)
        for name in ("layer3.0.conv1", "layer4.1.conv2"):
            pair = found.get_submodule(name)
            product = pair.mix.weight.flatten(1) @ pair.basis.weight.flatten(1)
            ratio = product.std() / model.get_submodule(name).weight.std()
            assert float(ratio.detach()) == pytest.approx(1, abs=0.1)


def _hooked() -> nn.Module:
    model = Chain()
    model.two.register_forward_hook(lambda *_: None)
    return model


def _tied() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(7, 7, 3), nn.Conv2d(7, 7, 3))
    model[1].weight = model[0].weight
    return model


def _patched() -> nn.Module:
    model = Chain()
    model.two.forward = lambda x: x
    return model


@pytest.mark.parametrize(
    ("make", "layers", "reason"),
    [
        (lambda: nn.Sequential(nn.ConvTranspose2d(5, 7, 3)), "0", "0 .*it is transposed"),
        (Branches, "depthwise", "depthwise .*it has 18 groups"),
        (Branches, ["left", "gr*"], "grouped .*it has 2 groups"),
        (
            lambda: nn.Sequential(ScaledStdConv2d(5, 7, 3)),
            "0",
            "0 .*ScaledStdConv2d has a forward pass of its own",
        ),
        (_patched, "two", "two .*Conv2d has a forward pass of its own"),
        (
            lambda: nn.Sequential(parametrizations.weight_norm(nn.Conv2d(5, 7, 3))),
            "0",
            "0 .*its weight is parametrised",
        ),
        (
            lambda: nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(5, 7, 3))),
            "0",
            "0 .*its weight is parametrised",
        ),
        (lambda: nn.Sequential(nn.LazyConv2d(7, 3)), "0", "0 .*no shape yet"),
        (_hooked, "two", "two .*it has hooks"),
        (_tied, "1", "1 .*its weight is shared by 0 and 1"),
    ],
)
def test_what_cannot_be_split_is_named(make, layers, reason):
    with pytest.raises(ModelError, match=f"factorize: {reason}.*choose patterns"):
        lwdna.factorize(make(), layers=layers)


def test_other_faults_say_what_to_do():
    with pytest.raises(ModelError, match=r"'tow' names no convolution; did you mean two\?"):
        lwdna.factorize(Chain(), layers=["one", "tow"])
    with pytest.raises(ModelError, match="'head' names no convolution"):
        lwdna.factorize(Chain(), layers="head")
    with pytest.raises(ModelError, match=r"rank=1\.5: input should be less than or equal to 1"):
        lwdna.factorize(Chain(), rank=1.5)
    with pytest.raises(ModelError, match=r"init=identity has as many .*leave rank out"):
        lwdna.factorize(Chain(), rank=0.5, init="identity")
    with pytest.raises(ModelError, match=r"layers=.*at least 1 item"):
        lwdna.factorize(Chain(), layers=[])
    broken = Chain()
    with torch.no_grad():
        broken.two.weight[3, 5] = float("nan")
    with pytest.raises(ModelError, match="weights of two are not finite"):
        lwdna.factorize(broken)
