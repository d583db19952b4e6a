"""Operators between two layers: what passes, what is mixed, what keeps its number, and what not.

Each network is convolution - operator - convolution, ``a`` with 14 channels and ``e`` with 14 more
where the operator takes two tensors; expectations are read off the operator by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from lwdna.channels import ChannelGraph, resize, trace

from . import operators
from .proof import assert_holds, assert_resizes, assert_slices

C = 14
IMAGE = (2, 3, 8, 10)
READERS = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


class Between(nn.Module):
    """The operator takes the first result, or both, or both and layers of its own."""

    def __init__(self, operator: Callable[..., Tensor], layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.operator, self.layers = (operator,), nn.ModuleDict(layers)
        self.count = len(inspect.signature(operator).parameters)
        self.a = nn.Conv2d(3, C, 1)
        if self.count > 1:
            self.e = nn.Conv2d(3, C, 1)
        found = self.between(torch.randn(IMAGE))
        reader = READERS[found.ndim]
        shape = (found.shape[1], 2)
        self.b = reader(*shape) if reader is nn.Linear else reader(*shape, 1)

    def between(self, x: Tensor) -> Tensor:
        given = (self.a(x), self.e(x) if self.count > 1 else None, self.layers)
        return self.operator[0](*given[: self.count])

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(x).to(x.dtype))


def case(
    operator: Callable[..., Tensor], layers: Callable[[], dict[str, nn.Module]] = dict
) -> tuple[nn.Module, Tensor, ChannelGraph]:
    torch.manual_seed(0)
    model, image = Between(operator, layers()), torch.randn(IMAGE)
    graph = trace(model, image)
    assert graph.unknown_ops == ()
    return model, image, graph


def flat(y: Tensor) -> Tensor:
    return y.flatten(2)


def places(y: Tensor, count: int = 5) -> Tensor:
    """Places in a grid from -1 to 1, (B, 3, count, 2)."""
    line = torch.linspace(-0.9, 0.7, 3 * count * 2, dtype=y.dtype)
    return line.view(1, 3, count, 2).expand(len(y), -1, -1, -1)


def boxes(y: Tensor) -> Tensor:
    return torch.tensor([[0, 0, 0, 4, 5], [1, 1, 2, 5, 7], [0, 2, 1, 6, 6]], dtype=y.dtype)


def order(y: Tensor) -> Tensor:
    return flat(y).argsort(-1)


PASS: dict[str, Callable[..., Tensor]] = {
    "sort": lambda y: flat(y).sort(-1).values,
    "stable sort": lambda y: flat(y).sort(dim=-1, stable=True).values,
    "topk": lambda y: flat(y).topk(7).values,
    "kthvalue": lambda y: flat(y).kthvalue(3).values,
    "kthvalue keepdim": lambda y: flat(y).kthvalue(3, keepdim=True).values,
    "median": lambda y: flat(y).median(-1).values,
    "nanmedian": lambda y: flat(y).nanmedian(-1).values,
    "mode": lambda y: flat(y).mode(-1).values,
    "cummax": lambda y: y.cummax(-1).values,
    "cummin indices": lambda y: y.cummin(-1).indices,
    "aminmax": lambda y: flat(y).aminmax(dim=-1).max,
    "count_nonzero": lambda y: (y > 0).count_nonzero(dim=(2, 3)),
    "std_mean": lambda y: torch.std_mean(y, (2, 3))[0],
    "nansum": lambda y: y.nansum(-1),
    "renorm": lambda y: flat(y).transpose(0, 1).renorm(2, 0, 0.5).transpose(0, 1),
    "gather": lambda y: flat(y).gather(2, order(y)[..., :9]),
    "gather tokens": lambda y: (
        flat(y).mT.gather(1, torch.tensor([3, 1, 7])[None, :, None].expand(2, 3, y.shape[1])).mT
    ),
    "take_along_dim": lambda y: torch.take_along_dim(flat(y), torch.tensor([3, 1])[None, None], 2),
    "scatter": lambda y: torch.zeros_like(flat(y)).scatter(2, order(y), flat(y)),
    "scatter value": lambda y: flat(y).scatter(2, order(y)[..., :3], 0.5),
    "scatter_": lambda y: torch.zeros_like(flat(y)).scatter_(2, order(y), flat(y)),
    "scatter_add": lambda y: y.new_zeros(2, y.shape[1], 9).scatter_add(2, order(y) % 9, flat(y)),
    "scatter_reduce": lambda y: y.new_zeros(2, y.shape[1], 9).scatter_reduce(
        2, order(y) % 9, flat(y), "amax"
    ),
    "index": lambda y: y[:, :, [1, 3, 0]],
    "index_add": lambda y: y.new_zeros(2, y.shape[1], 5, 10).index_add(2, torch.arange(8) % 5, y),
    "index_copy": lambda y: y.new_zeros(2, y.shape[1], 9, 10).index_copy(2, torch.arange(8), y),
    "index_fill": lambda y: y.index_fill(2, torch.tensor([1, 3]), 0.5),
    "index_put": lambda y: y.clone().index_put((torch.tensor([1]),), y[:1] * 2),
    "index_put by a mask": lambda y: (
        y.permute(2, 3, 0, 1)
        .index_put((torch.ones(8, 10).triu().bool(),), y.sum((2, 3)))
        .permute(2, 3, 0, 1)
    ),
    "index_put in space": lambda y: (
        y.permute(2, 0, 1, 3).index_put((torch.tensor([1, 2]),), y[:, :, 0] * 2).permute(1, 2, 0, 3)
    ),
    "select_scatter": lambda y: torch.select_scatter(y, y[:, :, 0], 2, 3),
    "slice_scatter": lambda y: torch.slice_scatter(y, y[:, :, :3], 2, 2, 5),
    "diagonal_scatter": lambda y: torch.diagonal_scatter(y, y[..., 0], 0, 2, 3),
    "diagonal": lambda y: y.diagonal(0, 2, 3),
    "diag_embed": lambda y: y[..., 0].diag_embed(),
    "diagonal of products": lambda y: (flat(y) @ flat(y).mT).diagonal(0, 1, 2),
    "searchsorted": lambda y: torch.searchsorted(torch.tensor([0.0, 1.0]).to(y), y),
    "bucketize": lambda y: torch.bucketize(y, torch.tensor([0.0, 1.0]).to(y)),
    "isin": lambda y: y * ~torch.isin(y, y.new_ones(2)),
    "rot90": lambda y: y.rot90(1, (2, 3)),
    "tril": lambda y: y.tril(),
    "transpose_": lambda y: (y * 1).transpose_(2, 3),
    "abs_ and gelu_": lambda y: F.gelu((y * 1).abs_()),
    "floor_divide": lambda y: y + y.floor_divide(3.0),
    "eye": lambda y: torch.eye(y.shape[1]).to(y) @ flat(y),
    "drawn": lambda y: y + 0 * torch.randn(y.shape),
    "grid_sample": lambda y: F.grid_sample(y, places(y), align_corners=True),
    "affine_grid": lambda y: F.grid_sample(
        y, F.affine_grid(y.new_ones(2, 2, 3), y.shape, align_corners=True), align_corners=True
    ),
    "fractional_max_pool2d": lambda y: F.fractional_max_pool2d(
        y, 2, output_size=(3, 4), _random_samples=y.new_full((2, y.shape[1], 2), 0.5)
    ),
    "max_unpool1d": lambda y: F.max_unpool1d(*F.max_pool1d(flat(y), 2, return_indices=True), 2),
    "max_unpool2d": lambda y: F.max_unpool2d(*F.max_pool2d(y, 2, return_indices=True), 2),
    "max_unpool3d": lambda y: F.max_unpool3d(
        *F.max_pool3d(y[:, :, None], (1, 2, 2), return_indices=True), (1, 2, 2)
    ),
    "roi_align": lambda y: torchvision.ops.roi_align(y.float(), boxes(y).float(), 3),
    "roi_pool": lambda y: torchvision.ops.roi_pool(y.float(), boxes(y).float(), 3),
    "fft2": lambda y: torch.fft.fft2(y).real,
    "rfft2 and back": lambda y: torch.fft.irfft2(torch.fft.rfft2(y) * 2, s=y.shape[-2:]),
    "fftn": lambda y: torch.fft.fftn(y, dim=(2, 3)).abs(),
    "fft of conjugates": lambda y: torch.fft.fft(y).conj().imag,
    "view_as_real": lambda y: torch.view_as_real(torch.fft.rfft2(y)).flatten(3),
    "view_as_complex": lambda y: torch.fft.irfft2(
        torch.view_as_complex(torch.view_as_real(torch.fft.rfft2(y)))
    ),
    "polar": lambda y: torch.polar(y.abs(), y).imag,
    "linalg_inv": lambda y: torch.linalg.inv(y[..., :8] + 9 * torch.eye(8).to(y)),
    "linalg_svd": lambda y: torch.linalg.svdvals(y),
    "linalg_cross": lambda y: torch.linalg.cross(flat(y)[..., :3], flat(y)[..., 3:6]),
}
"""Channels come out as they go in: one group of all of them, sliced exactly."""


@pytest.mark.parametrize("name", PASS)
def test_channels_pass(name):
    model, image, graph = case(PASS[name])
    assert graph.widths == {"a": C}
    assert graph.groups[0].exact
    assert {str(m.tensor) for m in graph.groups[0].members} == {"a.weight", "a.bias", "b.weight"}
    assert_resizes(model, image, graph, rounds=1)
    if "drawn" not in name:
        assert_slices(model, image, graph)


MIXED: dict[str, Callable[..., Tensor]] = {
    "max of all": lambda y: y - y.max(),
    "min of all": lambda y: y - y.min(),
    "median of all": lambda y: y - y.median(),
    "product of all": lambda y: y * y.sigmoid().prod(),
    "any of all": lambda y: y * (y > 0).any(),
    "count of all": lambda y: y / (1 + y.count_nonzero()),
    "aminmax of all": lambda y: y - y.aminmax().min,
    "histogram": lambda y: y * torch.histc(y.detach(), 5)[0],
    "dist": lambda y: y * torch.dist(y, y.flip(2)),
    "loss": lambda y: y * F.mse_loss(y, y.flip(2)),
    "sort": lambda y: y.sort(1).values,
    "cummax": lambda y: y.cummax(1).values,
    "flip": lambda y: y.flip(1),
    "roll": lambda y: y.roll(1, 1),
    "rot90": lambda y: y.rot90(2, (1, 2)),
    "roll of all": lambda y: y.roll(3),
    "tril": lambda y: flat(y).tril(),
    "fft along the channels": lambda y: torch.fft.fft(y, dim=1).real,
    "local response normalisation": lambda y: F.local_response_norm(y, 5),
    "an even window": lambda y: F.local_response_norm(y, 4),
}
"""As many channels as go in, but each depends on all, or stands where another stood."""


@pytest.mark.parametrize("name", MIXED)
def test_channels_are_mixed(name):
    model, image, graph = case(MIXED[name])
    assert graph.widths == {"a": C}
    assert not graph.groups[0].exact
    assert_resizes(model, image, graph)


PINNED: dict[str, tuple[Callable[..., Tensor], str]] = {
    "topk": (lambda y: y.topk(5, 1).values, "a number of channels is chosen by value"),
    "kthvalue": (lambda y: y * y.kthvalue(5, 1, True).values, "chosen by its rank"),
    "index": (lambda y: y[:, [1, 3]], "channels are picked by index"),
    "gather": (lambda y: y.gather(1, torch.zeros(2, 5, 8, 10).long()), "picked by index"),
    "scatter": (lambda y: y.scatter(1, y.argmax(1, True), 0.0), "picked by index"),
    "index_fill": (lambda y: y.index_fill(1, torch.tensor([1]), 0.0), "picked by index"),
    "half a spectrum": (lambda y: torch.fft.rfft(y, dim=1).abs(), "half a spectrum"),
    "matrices of channels": (
        lambda y: torch.linalg.inv(flat(y) @ flat(y).mT + 9 * torch.eye(C).to(y)),
        "matrices are taken apart",
    ),
    "shifted diagonal": (lambda y: (flat(y) @ flat(y).mT).diagonal(1, 1, 2), "a diagonal"),
    "take": (lambda y: y.take(torch.zeros(2, 5).long()), "by their number among all"),
    "searched": (
        lambda y: torch.searchsorted(y.mean((0, 2, 3)).sort().values, y),
        "looked up among the channels",
    ),
}


@pytest.mark.parametrize("name", PINNED)
def test_only_the_channels_that_are_chosen_keep_their_number(name):
    operator, why = PINNED[name]
    _, _, graph = case(operator)
    assert graph.widths == {}
    (pinned,) = (p for p in graph.pinned if p.tensor == "a.weight" and p.axis == 0)
    assert any(why in reason.why for reason in pinned.reasons)


# Network: for each group its name, width and member axes; "!" marks a group that is not exact.
EXPECTED: dict[str, dict[str, tuple[int, str]]] = {
    "Deformable": {
        "a": (5, "a.weight.0 a.bias.0 offset.weight.1 mask.weight.1 b.weight.1"),
        "b": (14, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "DeformableGroups": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 c.weight.0 d.weight.1"),
    },
    "Unpooled": {"a": (5, "a.weight.0 a.bias.0 b.weight.0 b.weight.1 b.bias.0 c.weight.1")},
    "Sampled": {
        "a": (5, "a.weight.0 a.bias.0 grid.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "Regions": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "Bilinear": {
        "a": (5, "a.weight.0 a.bias.0 both.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 both.weight.2"),
        "both": (11, "both.weight.0 both.bias.0 c.weight.1"),
    },
    "Bags": {"a": (5, "a.weight.0 a.bias.0 table.weight.1 b.weight.1")},
    "Codebook": {"a!": (5, "a.weight.0 a.bias.0 codes.1"), "codes": (13, "codes.0 b.weight.1")},
    "Spectral": {
        "a": (5, "a.weight.0 a.bias.0 b.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "GlobalFilter": {"a": (5, "a.weight.0 a.bias.0 filter.0 b.weight.1")},
    "ShuffledByTorch": {
        "a": (7, "a.weight.0 a.bias.0 b.weight.1"),
        "b": (11, "b.weight.0 b.bias.0 c.weight.1"),
    },
    "Gated": {"a": (7, "a.weight.0 a.bias.0 b.weight.1")},
    "TimeFirst": {
        "a": (5, "a.weight.0 a.bias.0 weight.1"),
        "conv_tbc": (7, "weight.2 bias.0 c.weight.1"),
    },
    "Vectors": {
        "a": (5, "a.weight.0 a.bias.0 one.0 two.0"),
        "mm": (7, "b.weight.0 b.bias.0 row.0 c.weight.1"),
    },
    "ShiftedByProducts": {
        "a": (5, "a.weight.0 a.bias.0 d.weight.1"),
        "b": (7, "b.weight.0 b.bias.0 row.0 c.weight.1"),
    },
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return getattr(operators, name)(), torch.randn(2, 3, 6, 8)


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_are_those_read_off_the_network(name):
    model, image = network(name)
    graph = trace(model, image)
    found = {
        group.name + "!" * (not group.exact): (
            group.width,
            sorted(f"{tensor}.{axis}" for tensor, axis in group.members),
        )
        for group in graph.groups
    }
    assert found == {
        key: (width, sorted(text.split())) for key, (width, text) in EXPECTED[name].items()
    }
    assert graph.unknown_ops == ()
    assert_holds(model, image, graph)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        # 48 places: 3 to 10, 10 to 36 and 18, 9 places of 10 to 14, 14 to 2
        ("Deformable", 2 * 48 * (30 + 360 + 180 + 9 * 140 + 28)),
        # 3 to 10 and 18, 9 places of 5 to 14, of 1 to 14, 14 to 2
        ("DeformableGroups", 2 * 48 * (30 + 54 + 9 * 70 + 9 * 14 + 28)),
        ("Bilinear", 2 * (15 + 21 + 5 * 7 * 11 + 22)),
        ("TimeFirst", 2 * 48 * (15 + 3 * 35 + 14)),
    ],
)
def test_multiply_accumulates_are_those_counted_by_hand(name, macs):
    assert trace(*network(name)).cost().macs == macs


def test_a_deformable_convolution_knows_its_sizes():
    """Its own attributes, and the groups among the operator's arguments."""
    model, image = network("DeformableGroups")
    graph = trace(model, image)
    other = resize(model, graph, {"a": 4, "b": 3})
    assert (other.b.in_channels, other.b.out_channels, other.b.groups) == (8, 6, 2)
    assert (other.c.in_channels, other.c.out_channels, other.c.groups) == (6, 6, 6)
    found = {one.module: one for one in graph.operators if one.op == "deform_conv2d"}
    names = [argument.name for argument in found["b"].overload._schema.arguments]
    at = names.index("groups")
    shapes = [(2, 8, 6, 8), (6, 4, 3, 3)], [(2, 6, 6, 8), (6, 1, 3, 3)]
    assert [found[m].arguments_at(s)[at] for m, s in zip("bc", shapes, strict=True)] == [2, 6]
