"""The hypernetwork generates what it should, and its closed form has the same gradients."""

from __future__ import annotations

from copy import deepcopy

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from lwdna.channels import resize, trace, widened_widths
from lwdna.hypernet import Hypernetwork, formula, generator
from lwdna.methods import ShrinkSettings
from lwdna.methods.criteria import Problem, latent_gradients, reset_norms
from lwdna.weights import load_weights, save_weights
from networks import Branches, Chain


def _loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def _batches(count, shape, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(shape, generator=generator, dtype=torch.float64),
            torch.randint(classes, (shape[0],), generator=generator),
        )
        for _ in range(count)
    ]


def _small_resnet():
    return timm.create_model("test_resnet", num_classes=5)


@pytest.mark.parametrize("build", [Branches, Chain, _small_resnet])
@pytest.mark.parametrize("embedding_dim", [1, 3])
def test_closed_form_gradients_equal_autograd_through_the_hypernetwork(build, embedding_dim):
    torch.manual_seed(0)
    model = build().double()
    graph = trace(model, torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    widths = widened_widths(graph, 1.5)
    batches = _batches(2, (4, 3, 16, 16), 5)
    settings = [
        ShrinkSettings(embedding_dim=embedding_dim, hypernetwork=hypernetwork)
        for hypernetwork in (False, True)
    ]
    found = []
    for hypernetwork in (False, True):
        wide = resize(model, graph, widths, seed=1)
        reset_norms(wide)
        given = (wide, graph, widths, batches[0][0][:1], batches, _loss, settings[hypernetwork])
        found.append(latent_gradients(Problem(*given, seed=7)))
    closed, through = found
    assert list(closed) == [group.name for group in graph.groups]
    for name, gradient in closed.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, through[name], rtol=1e-6, atol=1e-9)


def test_generated_weights_have_fan_in_variance():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.Conv2d(64, 96, 3), nn.Flatten(), nn.LazyLinear(10)
    )
    model(torch.zeros(1, 3, 8, 8))
    graph = trace(model, torch.zeros(1, 3, 8, 8))
    variances = []
    for seed in range(40):
        copy = resize(model, graph, {}, seed=0)
        Hypernetwork(copy, graph, graph.widths, 2, seed)
        variances.append(float(copy[1].weight.detach().var()) * 64 * 9)
    assert sum(variances) / len(variances) == pytest.approx(1.0, rel=0.1)


def test_parameters_are_the_latents_and_the_generators_and_bake_restores_the_class():
    model = Branches().eval()
    images = torch.randn(2, 3, 16, 16)
    graph = trace(model, images)
    names = [name for name, _ in model.named_parameters()]
    whole = Hypernetwork(model, graph, graph.widths, 2, seed=3)
    owned = {id(parameter) for parameter in whole.parameters()}
    assert all(id(vector) in owned for vector in whole.latents.vectors)
    generated = whole(images)
    assert whole.bake() is model
    assert [type(module) for module in model.modules()] == [
        type(module) for module in Branches().modules()
    ]
    assert sorted(name for name, _ in model.named_parameters()) == sorted(names)
    torch.testing.assert_close(model(images), generated)


def test_a_unit_whose_latent_is_zero_generates_no_weights():
    model = Chain()
    graph = trace(model, torch.zeros(1, 3, 16, 16))
    latents = Hypernetwork(model, graph, graph.widths, 2, seed=3).latents
    with torch.no_grad():
        latents.vectors[graph.index["two"]][4] = 0
    assert model.two.weight[4].abs().max() == 0
    assert model.three.weight[:, 4].abs().max() == 0
    assert model.two.weight[5].abs().max() > 0


def _arguments(out, inside, kernel, m, dtype=torch.float64):
    """Return latents and generator parameters, none of them zero."""
    source = torch.Generator().manual_seed(0)
    shapes = [(out,), (inside,), (out, inside), (out, m, inside), (out, m, inside)]
    shapes += [(out, m * kernel, inside), (out, inside, kernel)]
    return [torch.randn(shape, generator=source, dtype=dtype).requires_grad_() for shape in shapes]


SHAPES = [(5, 3, 9, 2), (7, 11, 1, 2), (5, 1, 9, 3), (2, 7, 3, 1)]
"""Output and input channels, kernel positions, embedding size; depthwise is (O, 1, K, m)."""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunk", [1, 40, 1 << 18])
def test_generation_in_chunks_equals_the_formula_and_so_do_its_gradients(shape, chunk, monkeypatch):
    monkeypatch.setattr(generator, "CHUNK", chunk)
    given = _arguments(*shape)
    weight, wanted = generator._Generate.apply(*given), formula(*given)
    torch.testing.assert_close(weight, wanted)
    outside = torch.randn_like(weight)
    found = torch.autograd.grad(weight, given, outside)
    for one, two in zip(found, torch.autograd.grad(wanted, given, outside), strict=True):
        torch.testing.assert_close(one, two)
    assert torch.autograd.gradcheck(generator._Generate.apply, given)


def test_the_formula_is_the_papers_sum_written_out():
    z_a, z_b, b0, w1, b1, w2, b2 = _arguments(2, 3, 4, 2)
    w2 = w2.unflatten(1, (2, 4))
    weight = formula(z_a, z_b, b0, w1, b1, w2.flatten(1, 2), b2)
    o, i, k = 1, 2, 3
    embedding = [(z_a[o] * z_b[i] + b0[o, i]) * w1[o, j, i] + b1[o, j, i] for j in range(2)]
    emitted = embedding[0] * w2[o, 0, k, i] + embedding[1] * w2[o, 1, k, i] + b2[o, i, k]
    torch.testing.assert_close(weight[o, i, k], emitted)


@pytest.mark.parametrize("m", [1, 3])
def test_nothing_larger_than_the_weight_times_the_embedding_is_kept_for_backward(m):
    network = nn.Sequential(nn.Conv2d(3, 13, 3), nn.ReLU(), nn.Conv2d(13, 17, 3, groups=1))
    graph = trace(network, torch.zeros(1, 3, 9, 9))
    whole = Hypernetwork(network, graph, graph.widths, m, seed=0)
    own = {parameter.untyped_storage().data_ptr() for parameter in whole.parameters()}
    kept = []

    def note(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        weight = network[0].weight
    assert kept
    assert max(tensor.numel() for tensor in kept) <= weight.numel() * m
    # but for the latents spread along the two axes, only parameters are kept
    made = [tensor for tensor in kept if tensor.untyped_storage().data_ptr() not in own]
    assert sum(tensor.numel() for tensor in made) <= sum(weight.shape[:2])


def _hypernetwork(build=Branches, dtype=torch.float32, seed=3):
    torch.manual_seed(0)
    model = build()
    graph = trace(model, torch.zeros(1, 3, 16, 16))
    widths = widened_widths(graph, 1.5)
    return Hypernetwork(resize(model, graph, widths, seed=0).to(dtype), graph, widths, 2, seed)


def _gradients(whole, run, images):
    whole.zero_grad(set_to_none=True)
    run(images).square().sum().backward()
    return {name: tensor.grad for name, tensor in whole.named_parameters()}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_without_a_break_it_gives_the_same_results_and_gradients(backend):
    whole = _hypernetwork(dtype=torch.float64)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    torch._dynamo.reset()
    compiled = torch.compile(whole, backend=backend, fullgraph=True)
    plain = deepcopy(whole)
    wanted = _gradients(plain, plain, images)
    found = _gradients(whole, compiled, images)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient)


def test_under_bfloat16_autocast_the_gradients_stay_float32_and_close():
    whole = _hypernetwork()
    images = torch.randn(8, 3, 16, 16)
    wanted = _gradients(whole, whole, images)

    def run(images):
        with torch.autocast("cpu", torch.bfloat16):
            return whole(images).float()

    found = _gradients(whole, run, images)
    for name, gradient in wanted.items():
        if gradient is not None:
            assert found[name].dtype == torch.float32
            assert (found[name] - gradient).norm() <= 0.1 * gradient.norm() + 1e-3


def test_latents_are_saved_once_and_weights_survive_a_file(tmp_path):
    whole, other = _hypernetwork(seed=3).eval(), _hypernetwork(seed=4).eval()
    images = torch.randn(2, 3, 16, 16)
    names = [name for name in whole.state_dict() if "latents" in name]
    assert len(names) == len(whole.latents.vectors)
    save_weights(tmp_path / "x.safetensors", whole.state_dict(), {})
    assert not torch.equal(other(images), whole(images))
    load_weights(other, load_file(tmp_path / "x.safetensors"), "x.safetensors")
    assert torch.equal(other(images), whole(images))


def test_a_copy_has_latents_of_its_own():
    whole = _hypernetwork()
    copy = deepcopy(whole)
    images = torch.randn(2, 3, 16, 16)
    before = whole.eval()(images)
    with torch.no_grad():
        copy.latents.vectors[0].zero_()
    assert torch.equal(whole(images), before)
    assert not torch.equal(copy.eval()(images), before)
