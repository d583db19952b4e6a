"""Filter bases: exact or the best approximation, shared, on parts; filters are a group."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import lwdna
from lwdna.engine import operator_times
from lwdna.errors import ModelError, RecipeError
from lwdna.interop.onnx import export_onnx
from lwdna.recipe import load_recipe
from lwdna.transforms import costs_of_pairs, dense_of, rewrite

from ..channels.proof import assert_resizes, assert_slices
from ..cli.command import done

SIZE = (3, 13, 11)
IMAGES = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))


class Parts(nn.Module):
    """Convolutions that read 14, 14, 21 and 7 channels: parts of 7; the third one has stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 14, 1)
        self.one = nn.Conv2d(14, 14, 3, padding=1)
        self.two = nn.Conv2d(14, 21, 3, padding=1, bias=False)
        self.three = nn.Conv2d(21, 7, 3, stride=2, padding=1)
        self.four = nn.Conv2d(7, 11, 3)
        self.head = nn.Linear(11, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = x + self.one(x).relu()
        x = self.four(self.three(self.two(x).relu()).relu()).relu()
        return self.head(x.mean((2, 3)))


LAYERS = ["one", "two", "three", "four"]
ROWS = {"one": 2 * 14, "two": 2 * 21, "three": 3 * 7, "four": 11}
"""Rows of weights, one per output and part, each of 7 * 9 = 63 entries."""


@torch.no_grad()
def _difference(one: nn.Module, other: nn.Module, x: Tensor = IMAGES) -> float:
    expected = one.eval()(x)
    return float((other.eval()(x) - expected).abs().max() / expected.abs().max())


def _dense(pair: nn.Sequential) -> Tensor:
    """Return the weight that a pair is equal to, by the definition, entry by entry."""
    basis, mix = pair.basis.weight.detach(), pair.mix.weight.detach()[:, :, 0, 0]
    n, size = basis.shape[:2]
    parts = mix.shape[1] // n
    weight = basis.new_zeros(len(mix), parts * size, *basis.shape[2:])
    for part in range(parts):
        for b in range(n):
            factor = mix[:, part * n + b]
            weight[:, part * size : (part + 1) * size] += factor[:, None, None, None] * basis[b]
    return weight


@pytest.mark.parametrize("shared", [False, True])
def test_at_full_rank_the_network_computes_what_it_did(shared):
    model = Parts().double()
    before = copy.deepcopy(model.state_dict())
    mixed = lwdna.filter_basis(model, LAYERS, size=7, shared=shared)
    assert _difference(model, mixed, IMAGES.double()) < 1e-12
    filters = [mixed.get_submodule(name).basis.out_channels for name in LAYERS]
    full = [63] * 4 if shared else [min(63, ROWS[name]) for name in LAYERS]
    assert filters == full
    assert all(type(module).__module__.startswith("torch.") for module in list(mixed.modules())[1:])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), "the network given was changed"


def test_fewer_filters_are_the_best_approximation_of_all_layers_that_share_them():
    """The squared errors add up to what Eckart and Young give for all rows stacked."""
    model = Parts().double()
    mixed = lwdna.filter_basis(model, LAYERS, size=7, filters=17, shared=True)
    rows = []
    error = 0.0
    for name in LAYERS:
        weight = model.get_submodule(name).weight.detach()
        rows += [part.flatten(1) for part in weight.split(7, dim=1)]
        error += float((weight - _dense(mixed.get_submodule(name))).square().sum())
    stacked = torch.cat(rows)
    assert stacked.shape == (sum(ROWS.values()), 63)
    values = torch.linalg.svdvals(stacked)
    assert error == pytest.approx(float(values[17:].square().sum()), rel=1e-9)
    alone = lwdna.filter_basis(model, "two", size=7, filters=17)
    left = (model.two.weight.detach() - _dense(alone.two)).square().sum()
    apart = torch.linalg.svdvals(torch.cat([part.flatten(1) for part in
                                 model.two.weight.detach().split(7, dim=1)]))  # fmt: skip
    torch.testing.assert_close(left, apart[17:].square().sum())


def test_a_shared_basis_is_one_parameter_and_one_group():
    mixed = lwdna.filter_basis(Parts(), LAYERS, size=7, filters=5, shared=True)
    graph = lwdna.trace(mixed, IMAGES[:1])
    # stem and one in parts of 7, as what two gives; then the basis and what four gives
    assert graph.widths == {"stem": 7, "one.basis": 5, "four.mix": 11}
    plain = 3 * 14 + 14 + 11 * 5 + 5
    mixes = 14 * 2 * 5 + 14 + 21 * 2 * 5 + 7 * 3 * 5 + 7 + 11 * 5 + 11
    assert graph.cost().params == plain + 5 * 7 * 9 + mixes
    assert sum(one.numel() for one in mixed.parameters()) == graph.cost().params
    # 13 x 11 pixels, 7 x 6 behind the stride, 5 x 4 inside of the last one
    dense = {"one": 14 * 14, "two": 14 * 21, "three": 21 * 7, "four": 7 * 11}
    pixels = {"one": 143, "two": 143, "three": 42, "four": 20}
    parts = {"one": 2, "two": 2, "three": 3, "four": 1}
    for pair in costs_of_pairs(graph):
        outputs = dense[pair.name] // (7 * parts[pair.name])
        filters = 5 * parts[pair.name]
        assert pair.macs == pixels[pair.name] * (filters * 63 + filters * outputs)
        assert pair.dense == pixels[pair.name] * dense[pair.name] * 9
    assert len(costs_of_pairs(graph)) == 4
    assert costs_of_pairs(graph, {"one.basis": 10})[0].macs == 2 * costs_of_pairs(graph)[0].macs
    found = lwdna.resize(mixed, graph, {**graph.widths, "one.basis": 3})
    assert all(found.get_submodule(name).basis.weight is found.one.basis.weight for name in LAYERS)
    assert found.one.basis.weight.shape == (3, 7, 3, 3)
    assert_resizes(mixed, IMAGES[:1], graph)
    assert_slices(mixed, IMAGES, graph)


def test_bases_of_a_block_and_of_the_widest_layer_resize_exactly():
    """A dense block whose layers read 7, 12 and 17 channels; filters use their first ones."""

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 7, 1)
            self.layers = nn.ModuleList(
                nn.Conv2d(7 + 5 * place, 5, 3, padding=1, bias=False) for place in range(3)
            )
            self.narrow = nn.Conv2d(22, 22, 1)
            self.head = nn.Conv2d(22, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for layer in self.layers:
                x = torch.cat([x, layer(x.relu())], dim=1)
            return self.head(self.narrow(x))

    mixed = rewrite(
        Dense(),
        [
            {"name": "filter-basis", "layers": "layers.*", "filters": 4, "mix_kernel": 3,
             "shared": "first-channels", "init": "fresh"},
            {"name": "filter-basis", "layers": "narrow", "filters": 3, "residual": True},
        ],
    )  # fmt: skip
    graph = lwdna.trace(mixed, IMAGES[:1])
    assert graph.tensors["layers.0.basis.weight"][1].length([7, 4, 5, 5, 5, 3]) == 17
    assert graph.cost().params == 28 + 4 * 17 * 9 + 3 * 5 * 4 * 9 + 3 * 22 + 22 * 3 + 22 + 46
    first = costs_of_pairs(graph)[0]
    assert (first.macs, first.dense) == (143 * 9 * (7 * 4 + 4 * 5), 143 * 9 * 7 * 5)
    assert_resizes(mixed, IMAGES[:1], graph)
    assert_slices(mixed, IMAGES, graph)
    blocks = nn.Sequential(*(nn.Sequential(*(nn.Conv2d(7, 7, 3) for _ in range(2))) for _ in "ab"))
    mixed = lwdna.filter_basis(blocks, "*", shared="siblings", filters=5)
    weights = [mixed[i][j].basis.weight for i in range(2) for j in range(2)]
    assert weights[0] is weights[1]
    assert weights[2] is weights[3]
    assert weights[0] is not weights[2]


@pytest.mark.parametrize("residual", [False, True])
def test_a_pair_folds_back_into_one_convolution(residual):
    conv = nn.Conv2d(14, 14, 3, padding=1)
    chain = nn.Sequential(conv)
    pair = lwdna.filter_basis(chain, "0", size=7, filters=6, residual=residual)[0]
    inner = pair.added if residual else pair
    inner.basis.bias = nn.Parameter(torch.randn(6))
    weight = inner.basis.weight
    folded = dense_of(pair)
    assert type(folded) is nn.Conv2d
    assert (folded.in_channels, folded.out_channels, folded.padding) == (14, 14, (1, 1))
    x = torch.randn(2, 14, 5, 7)
    torch.testing.assert_close(folded(x), pair(x), rtol=1e-5, atol=1e-5)
    assert inner.basis.weight is weight, "the pair given was changed"
    whole = lwdna.filter_basis(chain, "0", size=7, residual=residual)[0]
    torch.testing.assert_close(dense_of(whole).weight, conv.weight)
    torch.testing.assert_close(dense_of(whole).bias, conv.bias)


def test_what_is_no_convolution_is_not_folded():
    chain = nn.Sequential(nn.Conv2d(7, 7, 3, padding=1))
    named = {"layers": "0", "init": "fresh"}
    norm = lwdna.filter_basis(chain, between=["batch-norm", "prelu"], **named)[0]
    assert [type(one).__name__ for one in norm] == ["Conv2d", "BatchNorm2d", "PReLU", "Conv2d"]
    with pytest.raises(ModelError, match="no convolution, because there is BatchNorm2d and PReLU"):
        dense_of(norm, "body.0")
    with pytest.raises(ModelError, match=r"no basis and mix of the transforms .* but Conv2d"):
        dense_of(chain[0])
    with pytest.raises(ModelError, match="its mix has kernel 3x3"):
        dense_of(lwdna.filter_basis(chain, mix_kernel=3, **named)[0])
    with pytest.raises(ModelError, match="how many channels come in"):
        dense_of(lwdna.filter_basis(chain, shared="first-channels", **named)[0])


def test_a_mix_with_a_kernel_starts_from_the_approximation_in_its_centre():
    chain = nn.Sequential(nn.Conv2d(14, 9, 3, padding=1))
    mixed = lwdna.filter_basis(chain, "0", size=7, mix_kernel=3)
    assert mixed[0].mix.kernel_size == (3, 3)
    assert _difference(chain, mixed, torch.randn(2, 14, 5, 7)) < 1e-5


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": 16},
        {"size": 16, "shared": True},
        {"mix_kernel": 3},
        {"between": ["batch-norm"]},
        {"shared": "first-channels"},
    ],
    ids=str,
)
def test_fresh_bases_keep_the_size_of_outputs_at_any_number_of_filters(settings):
    """For white noise; three standard errors of 2 x 96 outputs at 100 pixels are about 5 %."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 64, 1), nn.Conv2d(64, 96, 3, padding=1, bias=False))
    mixed = lwdna.filter_basis(model, "1", filters=80, init="fresh", **settings).train()
    image = torch.zeros(1, 64, 10, 10)
    graph = lwdna.trace(mixed.eval(), image)
    narrow = lwdna.resize(mixed, graph, {**graph.widths, "1.basis": 20}, seed=0)
    x = torch.randn(8, 64, 10, 10)
    expected = model[1](x).std()
    for network in (mixed, narrow):
        found = network.train()[1](x).std()
        assert float((found / expected).detach()) == pytest.approx(1, abs=0.15)


def test_a_convolution_along_one_axis_has_a_basis_too():
    chain = nn.Sequential(nn.Conv1d(14, 9, 3, stride=2, padding=1)).double()
    mixed = lwdna.filter_basis(chain, "0", size=7)
    assert _difference(chain, mixed, torch.randn(2, 14, 13, dtype=torch.float64)) < 1e-12


TRANSFORMS = [
    {"name": "filter-basis", "layers": ["stages.[01].*.conv?"], "size": 4, "shared": True},
    {"name": "filter-basis", "layers": ["stages.2.0.conv2"], "between": ["batch-norm", "relu"],
     "init": "fresh"},
]  # fmt: skip
ARGS = {"width_mult": 0.5, "num_classes": 5}


@pytest.mark.parametrize("criterion", ["snip", "latent-gradient"])
def test_a_search_chooses_the_filters(criterion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = torch.zeros(1, 3, 16, 16)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = images, torch.tensor([0, 1, 2, 3])
    found = lwdna.shrink(
        "lwdna:resnet20_cifar",
        image,
        [batch],
        nn.CrossEntropyLoss(),
        lwdna.Budget(macs=0.6),
        model_args=ARGS,
        transforms=TRANSFORMS,
        criterion=criterion,
        multiple=1,
    )
    assert 0.55 * found.baseline.macs < found.cost.macs <= 0.6 * found.baseline.macs
    shared = "stages.0.0.conv1.basis"
    assert [name for name in found.widths if "basis" in name] == [shared, "stages.2.0.conv2.basis"]
    network = found.build(seed=0).eval()
    filters = network.stages[1][2].conv2.basis.weight.shape[0]
    assert filters == found.widths[shared] < 72, "fewer than twice as many, of which it chose"
    lwdna.save(network, found, "model.safetensors")
    in_file = load_file("model.safetensors")
    assert [name for name in in_file if name.endswith("basis.weight")] == [
        f"{name}.weight" for name in (shared, "stages.2.0.conv2.basis")
    ], "a shared basis is written once"
    loaded, same = lwdna.load("model.safetensors")
    assert same == found
    assert torch.equal(loaded.eval()(batch[0]), network(batch[0]))
    assert loaded.stages[0][0].conv1.basis.weight is loaded.stages[1][2].conv2.basis.weight


def test_inspecting_says_what_pairs_cost(tmp_path, monkeypatch):
    """Per pixel 36 filters on each of 2 or 4 parts of 4 channels, where 8 or 16 outputs were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        operator_times,
        "measure",
        lambda jobs, device: [
            1e-3 * math.prod(job.shapes[1]) if "convolution" in job.operator.op else 0.0
            for job in jobs
        ],
    )
    source = lwdna.ModelSource(name="lwdna:resnet20_cifar", args=ARGS, transforms=TRANSFORMS[:1])
    lwdna.Architecture.of_baseline(source, (3, 16, 16)).save("a.lwdna.json")
    printed = " ".join(done("inspect", "a.lwdna.json", "--latency").split())
    first = 256 * 6 * 72 * (36 + 8)
    second = 64 * (72 * (36 + 16) + 5 * 144 * (36 + 16))
    single = 256 * 6 * 8 * 8 * 9 + 64 * (8 * 16 + 5 * 16 * 16) * 9
    change = 100 * ((first + second) / single - 1)
    assert f"its 12 pairs of basis and mix need {(first + second) / 1e6:.2f} M MACs" in printed
    assert f"{single / 1e6:.2f} M (+{change:.1f} %)" in printed
    network = source.create()
    convolutions = [one for one in network.modules() if isinstance(one, nn.Conv2d)]
    latency = json.loads(done("inspect", "a.lwdna.json", "--latency", "--json"))["cost"]["latency"]
    weights = sum(one.weight.numel() for one in convolutions)
    assert latency == pytest.approx(1e-3 * weights)


@pytest.mark.slow
def test_a_file_for_onnx_holds_a_shared_basis_once(tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    mixed = lwdna.filter_basis(Parts(), LAYERS, size=7, filters=5, shared=True).eval()
    file = tmp_path / "parts.onnx"
    assert export_onnx(mixed, SIZE, file) is None, "height and width are fixed"
    images = torch.randn(5, 3, 17, 19)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), mixed(images), rtol=0, atol=1e-5)
    shapes = [tuple(one.dims) for one in onnx.load(file).graph.initializer]
    assert shapes.count((5, 7, 3, 3)) == 1


RECIPES = Path(__file__).parents[2] / "recipes" / "filter-basis"
PUBLISHED = {
    "vgg16": (32, 202_314_752, 313_201_664),
    "resnet56": (32, 198_722_176, 125_485_696),
    "densenet40": (32, 722_934_144, 264_812_928),
    # what a convolution of a block costs per pixel
    "edsr-x4": (4, 27 * (9 * 128 + 128), 9 * 128 * 128),
    "edsr-shared-x4": (4, 32 * (9 * 256 + 256), 9 * 256 * 256),
    "srresnet-x4": (4, 14 * (9 * 64 + 64), 9 * 64 * 64),
}
"""Side of an image; MACs with bases and of the plain network, of the whole or per layer."""


@pytest.mark.parametrize("name", [path.stem for path in sorted(RECIPES.glob("*.yaml"))])
def test_recipes_build_what_they_say_it_costs(name):
    source = load_recipe(RECIPES / f"{name}.yaml").model
    side, mixed, plain = PUBLISHED[name]
    plain_network = lwdna.create_model(source.name, **source.args)
    image = torch.zeros(1, 3, side, side)
    graph = lwdna.trace(rewrite(plain_network, source.transforms), image)
    if side == 32:
        assert (graph.cost().macs, lwdna.trace(plain_network, image).cost().macs) == (mixed, plain)
    else:
        assert {(one.macs, one.dense) for one in costs_of_pairs(graph)} == {
            (side**2 * mixed, side**2 * plain)
        }


@pytest.mark.parametrize(
    ("layers", "settings", "reason"),
    [
        ("three", {"size": 5}, "parts of 5 channels .* 21 inputs of three; choose one of 1, 3, 7"),
        ("four", {"filters": 12}, "12 filters is larger than four, .* at most 11; set filters"),
        (LAYERS, {"size": 7, "shared": True, "filters": 64}, "larger than one and 3 more, .* 63"),
        ("on*", {"filters": 127}, "of 127 filters is larger than one, which need at most 14"),
        ("two", {"residual": True}, "two does not keep the shape of its input"),
        ("three", {"residual": True}, "three does not keep the shape of its input"),
        ("fuor", {}, r"'fuor' names no convolution; did you mean four\?"),
        ("one", {"size": 0}, "size=0: input should be greater than or equal to 1"),
        ("one", {"mix_kernel": 2}, "mix_kernel=2: a kernel of even side would shift"),
        ("one", {"between": ["relu"]}, r"between=\['relu'\] no start is the best .*init=fresh"),
        ("one", {"shared": "first-channels"}, "first-channels no start .* add init=fresh"),
        ("one", {"shared": "first-channels", "size": 7}, "leave size out"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(layers, settings, reason):
    with pytest.raises(ModelError, match=f"filter-basis: .*{reason}") as caught:
        lwdna.filter_basis(Parts(), layers, **settings)
    assert "\n" not in str(caught.value)


def test_recipes_say_it_and_weights_must_be_finite():
    said = "model.transforms=[{name: filter-basis, layers: 'stages.*.conv?', size: 3, filter: 4}]"
    with pytest.raises(RecipeError, match=r"no setting 'filter'; did you mean filters"):
        load_recipe("digits", [said])
    broken = Parts()
    with torch.no_grad():
        broken.two.weight[3, 5] = float("nan")
    with pytest.raises(ModelError, match=r"weights of two are not finite.*init=fresh"):
        lwdna.filter_basis(broken, LAYERS)
