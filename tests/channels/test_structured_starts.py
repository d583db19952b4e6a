"""Fresh weights keep the order that a constructor made: kernels, identities, ranges, parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lwdna.channels import resize, trace

IMAGE = torch.zeros(1, 3, 8, 8)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Around(nn.Module):
    """A convolution to ``width`` channels, a layer under test, and one to the outputs."""

    def __init__(self, layer: nn.Module, width: int, after: int) -> None:
        super().__init__()
        self.first, self.layer = nn.Conv2d(3, width, 3, padding=1), layer
        self.last = nn.Conv2d(after, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.first(x)))


def again(layer: nn.Module, width: int, after: int, new: dict[str, int], seed: int = 0) -> Any:
    """Return the layer with fresh weights, in a network of other widths."""
    model = Around(layer, width, after)
    graph = trace(model, IMAGE)
    assert set(new) <= set(graph.widths), graph.widths
    return resize(model, graph, new, seed=seed).layer


def filled(layer: nn.Module, values: Tensor) -> nn.Module:
    with torch.no_grad():
        layer.weight.copy_(values)
    return layer


BILINEAR = torch.tensor([0.25, 0.75, 0.75, 0.25])[:, None] * torch.tensor([0.25, 0.75, 0.75, 0.25])


@pytest.mark.parametrize("width", [5, 8, 13])
def test_depthwise_bilinear_kernels_are_those_of_every_channel(width: int) -> None:
    up = filled(nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8, bias=False), BILINEAR)
    new = again(up, 8, 8, {"first": width})
    assert new.weight.shape == (width, 1, 4, 4)
    assert torch.equal(new.weight, BILINEAR.expand(width, 1, 4, 4))


@pytest.mark.parametrize("width", [5, 8, 13])
def test_dense_bilinear_kernels_stay_on_the_diagonal(width: int) -> None:
    """As FCN's upsampling has it: each channel is enlarged alone."""
    up = nn.ConvTranspose2d(8, 8, 4, 2, 1, bias=False)
    with torch.no_grad():
        up.weight.zero_()
        up.weight[range(8), range(8)] = BILINEAR
    new = again(up, 8, 8, {"first": width, "layer": width})
    expected = torch.eye(width)[:, :, None, None] * BILINEAR
    assert torch.equal(new.weight, expected)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("before", "after"), [(8, 8), (4, 8), (12, 8), (8, 4), (8, 12), (12, 16)])
def test_identities_are_identities_of_the_new_widths(groups: int, before: int, after: int) -> None:
    same = nn.Conv2d(8, 8, 3, padding=1, bias=False, groups=groups)
    nn.init.dirac_(same.weight, groups)
    graph = trace(Around(same, 8, 8), IMAGE)
    units = {"first": before, "layer": after}
    new = again(same, 8, 8, {n: w * graph.widths[n] // 8 for n, w in units.items()})
    expected = nn.init.dirac_(torch.empty(after, before // groups, 3, 3), groups)
    assert torch.equal(new.weight, expected)


def test_an_identity_with_noise_keeps_the_diagonal_and_draws_the_noise() -> None:
    near = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(near.weight).add_(0.01 * torch.randn(16, 16, 3, 3))
    one, two = (again(near, 16, 16, {"first": 24, "layer": 24}, seed) for seed in (0, 1))
    centre = one.weight[:, :, 1, 1]
    assert bool((centre.diagonal() - 1).abs().max() < 0.06)
    assert bool((one.weight - nn.init.dirac_(torch.empty(24, 24, 3, 3))).abs().max() < 0.1)
    assert not torch.equal(one.weight, two.weight)


class Shuffled(nn.Sequential):
    def __init__(self, channels: int, factor: int) -> None:
        conv = nn.Conv2d(8, channels * factor**2, 3, padding=1)
        with torch.no_grad():
            kernels = nn.init.kaiming_normal_(torch.empty(channels, 8, 3, 3))
            conv.weight.copy_(kernels.repeat_interleave(factor**2, 0))
            conv.bias.zero_()
        super().__init__(conv, nn.PixelShuffle(factor))


@pytest.mark.parametrize("width", [3, 6, 10])
@pytest.mark.parametrize("factor", [2, 3])
def test_the_pixels_of_a_shuffle_start_equal(width: int, factor: int) -> None:
    """ICNR: without it, sub-pixel convolutions draw checkerboards at first."""
    new = again(Shuffled(6, factor), 8, 6, {"layer.0": width})
    weight = new[0].weight.unflatten(0, (width, factor**2))
    assert bool((weight == weight[:, :1]).all())
    kernels = weight[:, 0]
    assert float(kernels.detach().std()) == pytest.approx(math.sqrt(2 / 72), rel=0.15)
    assert len(kernels.unique()) > width * 8 * 9 // 3
    other = again(Shuffled(6, factor), 8, 6, {"layer.0": width}, seed=1)
    assert not torch.equal(new[0].weight, other[0].weight)


@pytest.mark.parametrize(("before", "after"), [(16, 16), (16, 24), (24, 16), (11, 20)])
def test_orthogonal_weights_are_orthogonal_at_the_new_widths(before: int, after: int) -> None:
    layer = nn.Conv2d(16, 16, 1, bias=False)
    nn.init.orthogonal_(layer.weight, gain=1.5)
    new = again(layer, 16, 16, {"first": before, "layer": after}).weight[:, :, 0, 0]
    small = new if after <= before else new.T
    assert torch.allclose(small @ small.T, 2.25 * torch.eye(min(before, after)), atol=1e-4)
    other = again(layer, 16, 16, {"first": before, "layer": after}, seed=1).weight
    assert not torch.equal(new, other[:, :, 0, 0])


SOBEL = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def test_a_bank_of_fixed_filters_goes_on_as_it_began() -> None:
    bank = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
    filled(bank, torch.stack([SOBEL, SOBEL.T] * 4)[:, None])
    for width in (8, 4, 14):
        new = again(bank, 8, 8, {"first": width})
        assert torch.equal(new.weight, torch.stack([SOBEL, SOBEL.T] * (width // 2))[:, None])


def gabor(count: int, size: int) -> Tensor:
    """Gratings of different direction under a Gaussian; no two values need be equal."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    angles = torch.arange(count) * math.pi / count
    along = angles.cos()[:, None, None] * x + angles.sin()[:, None, None] * y
    return (along * 3).cos() * torch.exp(-(x**2 + y**2))


def test_smooth_kernels_are_kept() -> None:
    bank = filled(nn.Conv2d(8, 8, 7, padding=3, groups=8, bias=False), gabor(8, 7)[:, None])
    assert torch.equal(again(bank, 8, 8, {}).weight, gabor(8, 7)[:, None])
    narrower = again(bank, 8, 8, {"first": 4}).weight
    assert torch.equal(narrower, gabor(8, 7)[::2, None])


class Own(nn.Module):
    """Adds or multiplies one parameter, of the shape that its values have."""

    def __init__(self, values: Tensor, times: bool = True) -> None:
        super().__init__()
        self.values, self.times = nn.Parameter(values), times

    def forward(self, x: Tensor) -> Tensor:
        values = self.values.view(1, -1, 1, 1) if self.values.ndim == 1 else self.values
        return x * values if self.times else x + values


RANGES: dict[str, Tensor] = {
    "linspace": torch.linspace(0.1, 1, 24),
    "logspace": torch.logspace(-2, 1, 24),
    "A_log": torch.arange(1, 25).float().log(),
    "decay": -torch.exp(torch.linspace(5, 0, 24)),
    "two values": torch.tensor([-2.0] * 12 + [3.0] * 12) * 0.123456,
    "two noisy values": torch.cat([torch.randn(12) - 20, torch.randn(12) + 30]),
    "written": torch.tensor([0.3, 0.11, 0.7, 0.05, 0.9, 0.42] * 4)[torch.randperm(24)],
    "frequencies": (1e4 ** (-torch.arange(24) / 24)),
}


@pytest.mark.parametrize("values", RANGES.values(), ids=RANGES)
def test_ranges_of_numbers_are_kept_in_order(values: Tensor) -> None:
    assert torch.equal(again(Own(values), 24, 24, {}).values, values)
    assert torch.equal(again(Own(values), 24, 24, {"first": 12}).values, values[::2])
    wider = again(Own(values), 24, 24, {"first": 48}).values
    assert torch.equal(wider, values.repeat_interleave(2))


@pytest.mark.parametrize(
    "values", [torch.tensor([0.1, 0.52, 0.27]), torch.tensor([1.0, 2, 4]), torch.rand(3)]
)
def test_a_few_numbers_given_one_by_one_are_kept(values: Tensor) -> None:
    assert torch.equal(again(Own(values), 3, 3, {}).values, values)


def test_periods_of_a_bias_are_kept() -> None:
    """As detectors have it: each anchor's box, object and classes start at other values."""
    head = nn.Conv2d(8, 3 * 29, 1)
    with torch.no_grad():
        by_anchor = head.bias.view(3, 29)
        by_anchor[:, 4] -= 5.54
        by_anchor[:, 5:] -= 3.71
    assert torch.equal(again(head, 8, 3 * 29, {}).bias, head.bias)


def test_tables_of_sines_are_kept() -> None:
    place = torch.arange(64).view(1, 1, 8, 8) / 1e3 ** (torch.arange(24).view(1, 24, 1, 1) / 24)
    table = torch.where(torch.arange(24).view(1, 24, 1, 1) % 2 == 0, place.sin(), place.cos())
    assert torch.equal(again(Own(table, times=False), 24, 24, {}).values, table)
    narrower = again(Own(table, times=False), 24, 24, {"first": 12}).values
    assert torch.equal(narrower, table[:, ::2])


@pytest.mark.parametrize("states", [5, 16])
def test_the_same_range_of_every_channel_is_that_of_new_ones(states: int) -> None:
    """As state-space models have it: the logarithms of 1, 2, 3, ... for each channel."""

    class Decay(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.A_log = nn.Parameter(torch.arange(1, states + 1).log().repeat(24, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.A_log.exp().sum(1).view(1, -1, 1, 1)

    new = again(Decay(), 24, 24, {"first": 31})
    assert torch.equal(new.A_log, torch.arange(1, states + 1).log().expand(31, states))


def test_transforms_by_fixed_waves_are_kept() -> None:
    """Cosines of eight frequencies in both directions, as JPEG has them."""
    waves = torch.outer(torch.arange(8) * math.pi / 8, torch.arange(8) + 0.5).cos()
    waves[0] *= 0.5**0.5
    kernels = torch.einsum("ay,bx->abyx", waves, waves).reshape(64, 1, 8, 8) / 4
    layer = filled(nn.Conv2d(1, 64, 8, bias=False), kernels)
    model = nn.Sequential(layer, nn.Conv2d(64, 2, 1))
    new: Any = resize(model, trace(model, torch.zeros(1, 1, 8, 8)), {}, seed=0)
    assert torch.equal(new[0].weight, kernels)


def test_transposed_kernels_that_enlarge_by_copies_start_so() -> None:
    up = nn.ConvTranspose2d(16, 16, 2, 2, bias=False)
    with torch.no_grad():
        up.weight.copy_(torch.randn(16, 16, 1, 1).expand(16, 16, 2, 2))
    new = again(up, 16, 16, {"first": 11, "layer": 24}).weight
    assert new.shape == (11, 24, 2, 2)
    assert torch.equal(new, new[:, :, :1, :1].expand_as(new))
    assert len(new.unique()) > 11 * 24 // 3


def test_layer_scale_and_zero_gammas_are_constants() -> None:
    new = again(Own(torch.full((24,), 1e-6)), 24, 24, {"first": 31})
    assert new.values.tolist() == [pytest.approx(1e-6)] * 31


def test_parts_of_an_axis_keep_their_own_spread() -> None:
    """Query, key and value of one layer are often drawn apart."""
    layer = nn.Conv2d(48, 96, 1)
    spreads = torch.tensor([0.02, 0.5, 0.1]).repeat_interleave(32)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(96, 48, 1, 1) * spreads.view(-1, 1, 1, 1))
    new = again(layer, 48, 96, {})
    found = new.weight.view(3, -1).std(1).tolist()
    assert found == pytest.approx([0.02, 0.5, 0.1], rel=0.1)
    assert not torch.equal(new.weight, layer.weight)
    half = again(layer, 48, 96, {"layer": 48}).weight.view(3, -1).std(1).tolist()
    assert half == pytest.approx([0.02, 0.5, 0.1], rel=0.15)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(5, 12, batch_first=True), nn.Linear(12, 2)
        with torch.no_grad():
            self.cell.bias_ih_l0[12:24] = 1.0
            for block in self.cell.weight_hh_l0.chunk(4):
                nn.init.orthogonal_(block)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0])


def test_forget_gates_start_open_and_recurrent_blocks_orthogonal() -> None:
    model = Recurrent()
    new: Any = resize(model, trace(model, torch.zeros(1, 4, 5)), {}, seed=0)
    bias = new.cell.bias_ih_l0
    assert bias[12:24].tolist() == [1.0] * 12
    assert bias[:12].abs().max() <= 12**-0.5
    assert not torch.equal(bias[:12], model.cell.bias_ih_l0[:12])
    for block in new.cell.weight_hh_l0.chunk(4):
        assert torch.allclose(block @ block.T, torch.eye(12), atol=1e-5)


def test_the_row_of_padding_stays_zero() -> None:
    model = nn.Sequential(nn.Embedding(1000, 12, padding_idx=3), nn.Linear(12, 2))
    new: Any = resize(model, trace(model, torch.zeros(1, 7, dtype=torch.long)), {"0": 17}, seed=0)
    assert new[0].weight.shape == (1000, 17)
    assert new[0].weight.abs().sum(1).eq(0).nonzero().tolist() == [[3]]
    assert not torch.equal(new[0].weight[:, :12], model[0].weight)


def test_kernels_with_one_tap_keep_it() -> None:
    """Delta-orthogonal starts (Xiao et al. 2018) use the centre alone."""
    layer = nn.Conv2d(32, 32, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, :, 1, 1] = torch.randn(32, 32)
    new = again(layer, 32, 32, {"first": 20, "layer": 40}).weight.detach().clone()
    assert bool(new[:, :, 1, 1].all())
    new[:, :, 1, 1] = 0
    assert not bool(new.any())


def test_biases_beyond_the_range_of_torch_were_set_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 11, 3), nn.Conv2d(11, 4, 1))
    priors = torch.tensor([0.013, 0.19, 0.62, 0.177]).log()
    with torch.no_grad():
        model[1].bias.copy_(priors)
    new: Any = resize(model, trace(model, IMAGE), {"0": 7}, seed=0)
    assert torch.equal(new[1].bias, priors)


def plain() -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv2d(3 if not layers else 24, 24, 3, padding=1), nn.BatchNorm2d(24)]
    return nn.Sequential(*layers, nn.Conv2d(24, 23, 1))


INITIALISERS: dict[str, Callable[[Tensor], Any]] = {
    "uniform": nn.init.uniform_,
    "normal": nn.init.normal_,
    "glorot": nn.init.xavier_uniform_,
    "he": nn.init.kaiming_normal_,
    "truncated": lambda w: nn.init.trunc_normal_(w, std=0.02),
    "heavy tails": lambda w: w.exponential_().mul_(torch.randn_like(w)),
    "signs": lambda w: w.bernoulli_(0.5).mul_(2).sub_(1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("initialise", INITIALISERS.values(), ids=INITIALISERS)
def test_independent_draws_are_drawn_anew(
    initialise: Callable[[Tensor], Any], dtype: torch.dtype
) -> None:
    """Each entry is one of the old, in an order that follows from the seed alone."""
    model = plain()
    with torch.no_grad():
        for layer in model[::2]:
            initialise(layer.weight)
    model = model.to(dtype)
    new = resize(model, trace(model, IMAGE.to(dtype)), {}, seed=5)
    generator = torch.Generator().manual_seed(5)
    for name, old in model.named_parameters():
        if len(old.unique()) == 1:
            continue
        chosen = torch.randint(old.numel(), (old.numel(),), generator=generator)
        expected = old.detach().flatten()[chosen].view_as(old)
        assert torch.equal(new.get_parameter(name), expected), name


def test_an_order_in_one_tensor_changes_no_draw_in_others() -> None:
    model = plain()
    with torch.no_grad():
        model[3].weight.uniform_()
    graph = trace(model, IMAGE)
    before = resize(model, graph, {"0": 17}, seed=5)
    with torch.no_grad():
        nn.init.dirac_(model[2].weight)
        model[3].weight.copy_(torch.linspace(1, 2, 24))
    after = resize(model, graph, {"0": 17}, seed=5)
    for name, tensor in after.named_parameters():
        expected = name not in ("2.weight", "3.weight")
        assert torch.equal(tensor, before.get_parameter(name)) is expected, name


def test_what_training_made_is_not_a_start_to_keep() -> None:
    model = plain()
    with torch.no_grad():
        model[1].num_batches_tracked.fill_(1000)
        model[2].weight.mul_(torch.linspace(0.1, 3, 24).view(-1, 1, 1, 1))
    new: Any = resize(model, trace(model, IMAGE), {}, seed=5)
    spread = new[2].weight.flatten(1).std(1)
    assert spread.max() < 1.3 * spread.min()


def test_of_a_network_that_is_all_structure_the_seed_changes_what_is_random() -> None:
    layers = (Shuffled(6, 2), 8, 6)
    one, two, other = (again(*layers, {}, seed)[0].weight for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
