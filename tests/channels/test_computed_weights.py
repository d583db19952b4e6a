"""Weights that modules compute from other parameters: norms, parametrizations, low rank."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm

from lwdna.channels import resize, trace
from lwdna.weights import load_weights, save_weights

from .proof import assert_resizes, assert_slices, outputs_of, random_widths
from .test_untouched import state_of

IMAGE = torch.randn(2, 3, 12, 14, generator=torch.Generator().manual_seed(0))

Norm = Callable[..., nn.Module]


def old_form(norm: Norm) -> Norm:
    def apply(module: nn.Module, **options: int | None) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return norm(module, **options)

    return apply


NORMS = {
    "weight": parametrizations.weight_norm,
    "weight, old": old_form(old_weight_norm),
    "spectral": parametrizations.spectral_norm,
    "spectral, old": old_form(old_spectral_norm),
}


def plain(norm: Norm, **options: int | None) -> nn.Module:
    return nn.Sequential(
        norm(nn.Conv2d(3, 7, 3), **options),
        nn.ReLU(),
        norm(nn.Conv2d(7, 5, 3), **options),
        nn.ReLU(),
        norm(nn.Conv2d(5, 2, 1), **options),
    )


def transposed_and_depthwise(norm: Norm) -> nn.Module:
    return nn.Sequential(
        norm(nn.Conv2d(3, 7, 3)),
        norm(nn.ConvTranspose2d(7, 5, 2, 2)),
        norm(nn.ConvTranspose2d(5, 5, 2, groups=5)),
        norm(nn.Conv2d(5, 10, 3, groups=5)),
        nn.Flatten(),
        nn.ReLU(),
        norm(nn.Linear(10 * 19 * 23, 11)),
        norm(nn.Linear(11, 2)),
    )


class Shared(nn.Module):
    """One normalised convolution at two places."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.a, self.c = nn.Conv2d(3, 7, 3), nn.Conv2d(7, 2, 1)
        self.b = norm(nn.Conv2d(7, 7, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.b(self.a(x)).relu()))


class Auxiliary(nn.Module):
    """A head that only training runs, where spectral norms take a step."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.a, self.b, self.aux = (norm(nn.Conv2d(3, 7, 3)), norm(nn.Conv2d(7, 5, 3)),
                                    norm(nn.Conv2d(7, 2, 1)))  # fmt: skip
        self.c = nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.a(x)
        z = self.c(self.b(y).relu())
        return (z, self.aux(y)) if self.training else (z,)


NETWORKS = {
    plain: {"0": 7, "2": 5},
    transposed_and_depthwise: {"0": 7, "1": 5, "6": 11},
    Shared: {"a": 7},
    Auxiliary: {"a": 7, "b": 5},
}


def sizes_agree(model: nn.Module) -> bool:
    """Tell whether layers say of themselves what their weights are."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            if (layer.out_features, layer.in_features) != tuple(layer.weight.shape):
                return False
        elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            sizes = (layer.out_channels, layer.in_channels // layer.groups)
            if isinstance(layer, nn.ConvTranspose2d):
                sizes = (layer.in_channels, layer.out_channels // layer.groups)
            if tuple(layer.weight.shape[:2]) != sizes:
                return False
    return True


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("network", NETWORKS)
def test_widths_under_a_norm_are_free(network, norm, tmp_path):
    torch.manual_seed(0)
    model = network(NORMS[norm])
    before = state_of(model)
    graph = trace(model, IMAGE)
    assert state_of(model) == before
    assert (graph.widths, graph.unknown_ops) == (NETWORKS[network], ())
    assert not any(group.exact for group in graph.groups if group.name in ("0", "a"))
    assert_resizes(model, IMAGE, graph)

    model.eval()
    whole = outputs_of(model, IMAGE)
    same = resize(model, graph, graph.widths, init="slice")
    assert all(map(torch.equal, outputs_of(same, IMAGE), whole))

    other = resize(model, graph, random_widths(graph, 3), seed=1)
    assert sizes_agree(other)
    expected = outputs_of(other, IMAGE)[0]
    assert expected.isfinite().all()
    assert torch.equal(outputs_of(copy.deepcopy(other), IMAGE)[0], expected)
    save_weights(tmp_path / "weights.safetensors", other.state_dict(), {})
    again = resize(model, graph, random_widths(graph, 3), seed=2).eval()
    load_weights(again, other.state_dict(), "a file")
    assert torch.equal(outputs_of(again, IMAGE)[0], expected)

    remove_all(other)
    assert (outputs_of(other, IMAGE)[0] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert torch.equal(outputs_of(model, IMAGE)[0], whole[0]), "the original keeps its norms"


def remove_all(model: nn.Module) -> None:
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
        for hook in list(module._forward_pre_hooks.values()):
            if type(hook).__name__ == "WeightNorm":
                remove_weight_norm(module)
            elif type(hook).__name__ == "SpectralNorm":
                remove_spectral_norm(module)
    assert not [
        name for name, _ in model.named_parameters() if not name.endswith((".weight", ".bias"))
    ]


@pytest.mark.parametrize("dim", [1, 3, None])
@pytest.mark.parametrize("norm", ["weight", "weight, old"])
def test_weights_normalised_along_other_axes(norm, dim):
    torch.manual_seed(0)
    model = plain(NORMS[norm], dim=dim)
    graph = trace(model, IMAGE)
    assert graph.widths == {"0": 7, "2": 5}
    assert not any(group.exact for group in graph.groups)
    assert_resizes(model, IMAGE, graph)


def test_a_slice_along_the_norms_is_what_a_mask_leaves():
    """Zeros have no norm, so these slices are not called exact; without the channels, they are."""
    torch.manual_seed(0)
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Conv2d(3, 7, 3)), nn.Conv2d(7, 2, 1)
    ).eval()
    graph = trace(model, IMAGE)
    kept = torch.tensor([0, 3, 4])
    sliced = resize(model, graph, {"0": kept}, init="slice", inexact="allow")
    assert torch.equal(sliced[0].weight, model[0].weight[kept])
    mask = torch.zeros(7).index_fill(0, kept, 1)[:, None, None]
    expected = model[1](model[0](IMAGE) * mask)
    assert torch.allclose(sliced(IMAGE), expected, atol=1e-6)


@pytest.mark.parametrize("norm", ["weight", "weight, old"])
@pytest.mark.parametrize("dim", [0, 1, None])
def test_a_fresh_weight_norm_begins_as_torchs_own(norm, dim):
    """Its lengths are those of the slices, so that the weight is the one that was drawn."""
    torch.manual_seed(0)
    model = plain(NORMS[norm], dim=dim)
    other = resize(model, trace(model, IMAGE), {"0": 31, "2": 23}, seed=0)
    parameters = dict(other.named_parameters())
    v = next(p for n, p in parameters.items() if n.startswith("2.") and n.endswith(("_v", "l1")))
    assert v.shape == (23, 31, 3, 3)
    outputs_of(other, IMAGE)
    assert torch.allclose(other[2].weight, v, rtol=1e-5)
    bound = (31 * 9) ** -0.5  # torch's own draw: uniform up to one over the root of the fan-in
    assert 0.9 * bound < v.abs().max() <= 1.01 * bound


def test_trained_lengths_are_drawn_from_the_old_ones():
    torch.manual_seed(0)
    model = plain(parametrizations.weight_norm)
    with torch.no_grad():
        model[2].parametrizations.weight.original0.fill_(13.0)
    other = resize(model, trace(model, IMAGE), {"2": 11}, seed=0)
    assert other[2].parametrizations.weight.original0.flatten().tolist() == [13.0] * 11


@pytest.mark.parametrize("norm", ["spectral", "spectral, old"])
@pytest.mark.parametrize("init", ["fresh", "slice"])
def test_spectral_norms_of_other_widths_are_estimated_anew(norm, init):
    torch.manual_seed(0)
    model = plain(NORMS[norm])
    for _ in range(40):
        model.train()(IMAGE)
    graph = trace(model, IMAGE)
    other = resize(model, graph, {"0": 6, "2": 4}, init=init, seed=0, inexact="allow")
    outputs_of(other, IMAGE)
    for layer in (other[0], other[2]):
        assert abs(float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) - 1) < 0.05
    buffers = dict(other.named_buffers())
    assert sorted(map(len, buffers.values())) == [2, 4, 4, 6, 27, 54]
    assert all(abs(float(vector.norm()) - 1) < 1e-5 for vector in buffers.values())


class Exp(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.exp()


class Standardised(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        centred = weight - weight.mean((1, 2, 3), keepdim=True)
        return centred / (weight.std((1, 2, 3), keepdim=True) + 1e-5)


class Squared(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * weight.abs()


class LowRank(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left @ right

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return weight[:, :3].clone(), torch.randn(3, weight.shape[1])


def parametrized(parametrization: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1)
    )
    for layer in (model[0], model[2]):
        parametrize.register_parametrization(layer, "weight", parametrization())
    return model


def test_parametrizations_of_a_users_own():
    model = parametrized(Squared)
    graph = trace(model, IMAGE)
    assert graph.widths == {"0": 7, "2": 5}
    assert all(group.exact for group in graph.groups)
    assert_resizes(model, IMAGE, graph)
    assert_slices(model, IMAGE, graph)


@pytest.mark.parametrize("parametrization", [Exp, Standardised])
def test_silence_that_is_not_zero_is_not_exact(parametrization):
    model = parametrized(parametrization)
    graph = trace(model, IMAGE)
    assert graph.widths == {"0": 7, "2": 5}
    assert not graph.groups[0].exact
    assert_resizes(model, IMAGE, graph)


def test_chains_of_parametrizations():
    torch.manual_seed(0)
    model = plain(parametrizations.weight_norm)
    for layer in (model[0], model[2]):
        parametrize.register_parametrization(layer, "weight", Standardised())
        parametrizations.spectral_norm(layer)
    graph = trace(model, IMAGE)
    assert graph.widths == {"0": 7, "2": 5}
    assert_resizes(model, IMAGE, graph)
    other = resize(model, graph, {"0": 4, "2": 11}, seed=0).eval()
    assert abs(float(torch.linalg.matrix_norm(other[2].weight.detach().flatten(1), 2)) - 1) < 0.05


def test_the_rank_of_a_factored_weight_is_a_width():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 7, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(7, 11),
        nn.Linear(11, 2),
    )
    parametrize.register_parametrization(model[3], "weight", LowRank(), unsafe=True)
    graph = trace(model, IMAGE)
    assert sorted(graph.widths.values()) == [3, 7, 11]
    assert_resizes(model, IMAGE, graph)
    assert_slices(model, IMAGE, graph)


def test_orthogonal_weights_keep_their_shape_and_say_why():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 14, 7), nn.Linear(7, 5), nn.Linear(5, 2))
    parametrizations.orthogonal(model[1])
    graph = trace(model, IMAGE)
    assert graph.widths == {"2": 5}
    assert "an operator without a rule at" in graph.report()
    assert_resizes(model, IMAGE, graph)


def test_lengths_that_two_layers_share():
    torch.manual_seed(0)

    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Conv2d(3, 7, 3), nn.Conv2d(10, 2, 1)
            self.one, self.two = (
                parametrizations.weight_norm(nn.Conv2d(7, 5, 3)) for _ in range(2)
            )
            own, other = self.one.parametrizations.weight, self.two.parametrizations.weight
            other.original1 = own.original1

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return self.c(torch.cat([F.relu(self.one(y)), self.two(y)], 1))

    model = Twins()
    graph = trace(model, IMAGE)
    assert graph.widths == {"a": 7, "one": 5}
    assert_resizes(model, IMAGE, graph)
    other = resize(model, graph, {"a": 3, "one": 11}, seed=0)
    assert (
        other.one.parametrizations.weight.original1 is other.two.parametrizations.weight.original1
    )
