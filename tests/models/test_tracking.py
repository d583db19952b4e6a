"""DiMP trackers: sizes, scores, the channel graph, and LW-DNA's widths for them."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import lwdna
from lwdna.errors import ModelError
from lwdna.models import create_model, registry

from ..channels.proof import assert_resizes, assert_slices
from .trackers import inputs

NETWORKS = [
    pytest.param("dimp_tiny", {}, 40, id="tiny"),
    pytest.param("dimp_tiny", {"iou_head": False}, 40, id="tiny without head"),
    pytest.param("dimp18", {}, 80, id="dimp18", marks=pytest.mark.slow),
    pytest.param("dimp50", {}, 80, id="dimp50", marks=pytest.mark.slow),
]


def params(name: str, **args: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(name, **args).parameters())


def conv(inputs: int, outputs: int, kernel: int) -> int:
    """Weights of a convolution, its normalisation, and a bias."""
    return outputs * (inputs * kernel**2 + 3)


def head_params(shallow: int, deep: int, width: int = 256, reference: int = 128) -> int:
    first = conv(shallow, reference, 3) + conv(reference, width, 3) + conv(deep, width, 3)
    test = conv(shallow, width, 3) + conv(deep, width, 3) + 2 * conv(width, width, 3)
    boxes = conv(width, width, 5) + conv(width, width, 3) + 2 * width + 1
    return first + 2 * conv(2 * width, width, 1) + test + boxes


@pytest.mark.parametrize(
    ("name", "deep", "shallow", "width", "body"),
    [
        ("dimp18", 256, 128, 256, 11_689_512 - 8_393_728 - 513_000),  # less layer4 and classifier
        ("dimp50", 1024, 512, 512, 25_557_032 - 14_964_736 - 2_049_000),
    ],
)
def test_parameters(name: str, deep: int, shallow: int, width: int, body: int) -> None:
    start = width * (9 * width + 1) + 3 * 100 + 2
    embed = 9 * deep * width + (2 * (9 * deep * deep + 2 * deep) if name == "dimp18" else 0)
    assert params(name, iou_head=False) == body + embed + start
    assert params(name) == body + embed + start + head_params(shallow, deep)


@pytest.mark.parametrize(("filter_size", "side"), [(1, 10), (3, 10), (4, 11), (5, 10)])
def test_scores_stand_where_the_target_is(filter_size: int, side: int) -> None:
    """A filter of one tap sees the features that lie on it; even filters add a row."""
    network = create_model(
        "dimp", backbone="timm:resnet18", blocks=0, filter_size=filter_size, iou_head=False
    ).double()
    assert network.score_size(160) == side
    features = torch.rand(1, 1, 7, 10, 10, dtype=torch.float64)
    weights = torch.rand(1, 7, filter_size, filter_size, dtype=torch.float64)
    expected = torch.conv2d(features[0], weights, padding=filter_size // 2)
    found = network.classifier.scores(features, weights)
    torch.testing.assert_close(found, expected)
    # centre at pixel 16 * 5: between cells 4 and 5 of the features, at which an even filter, half
    # of whose taps lie on each side, has its score 5
    distances = network.classifier.distances(
        torch.tensor([[[70.0, 60.0, 20.0, 40.0]]]), (side,) * 2
    )
    nearest = 5.0 if filter_size % 2 == 0 else 4.5
    assert distances[0, 0, 2, 1] == pytest.approx(((nearest - 2) ** 2 + (nearest - 1) ** 2) ** 0.5)


def test_the_optimiser_descends_and_frames_can_be_weighted() -> None:
    torch.manual_seed(0)
    classifier = create_model("dimp_tiny", iou_head=False).double().classifier
    features = torch.rand(2, 3, 32, 6, 6, dtype=torch.float64)
    boxes = torch.tensor([[[8.0, 12.0, 20.0, 16.0]] * 3] * 2, dtype=torch.float64)
    first = classifier.initial_filter(features, boxes)
    filters, losses = classifier.optimize(first, features, boxes, steps=7)
    assert len(filters) == len(losses) == 8
    assert all((after < before).all() for before, after in pairwise(losses))
    # frames of weight 0 are as if they were not there; equal weights are the default
    weights = torch.tensor([[0.0, 1.0, 0.0]] * 2, dtype=torch.float64)
    one, _ = classifier.optimize(first, features, boxes, weights)
    alone, _ = classifier.optimize(first, features[:, 1:2], boxes[:, 1:2])
    torch.testing.assert_close(one, alone)
    even, _ = classifier.optimize(first, features, boxes, torch.full_like(weights, 1 / 3))
    torch.testing.assert_close(even, filters[:6])
    assert not torch.allclose(even[-1], one[-1])


def test_a_step_is_the_least_of_a_quadratic_loss() -> None:
    """With a mask of ones the loss is quadratic in the filter, and a full step minimises it along
    its gradient."""
    torch.manual_seed(1)
    classifier = create_model("dimp_tiny", iou_head=False).double().classifier
    optimizer = classifier.optimizer
    with torch.no_grad():
        optimizer.mask.fill_(50.0)
        optimizer.log_step.fill_(0.0)
    features = torch.rand(1, 2, 32, 5, 5, dtype=torch.float64)
    boxes = torch.tensor([[[8.0, 12.0, 20.0, 16.0]] * 2], dtype=torch.float64)

    def loss(weights: Tensor) -> Tensor:
        return classifier.optimize(weights, features, boxes, steps=0)[1][0].sum()

    first = torch.rand(1, 32, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(first), first)
    second = classifier.optimize(first, features, boxes, steps=1)[0][1].detach().requires_grad_()
    step = second - first
    assert torch.allclose(step / step.norm(), -gradient / gradient.norm())
    (after,) = torch.autograd.grad(loss(second), second)
    assert abs(float((after * gradient).sum() / gradient.square().sum())) < 1e-12


def test_overlaps_do_not_depend_on_other_boxes_and_have_gradients() -> None:
    torch.manual_seed(0)
    head = create_model("dimp_tiny").double().eval().iou
    shallow = torch.rand(2, 16, 12, 12, dtype=torch.float64)
    deep = torch.rand(2, 32, 6, 6, dtype=torch.float64)
    boxes = inputs(48, sequences=2)["proposals"][:, 0].double().requires_grad_()
    modulation = head.modulation(shallow, deep, boxes[:, 0])
    features = head.features(shallow, deep)
    whole = head.predict(modulation, features, boxes)
    assert whole.shape == (2, 5)
    torch.testing.assert_close(whole[:, 3:4], head.predict(modulation, features, boxes[:, 3:4]))
    (gradient,) = torch.autograd.grad(whole[1, 4], boxes)
    assert gradient[1, 4].ne(0).all()
    assert gradient[0].eq(0).all()
    step = torch.zeros_like(gradient)
    step[1, 4, 2] = 1e-5
    up, down = (head.predict(modulation, features, boxes + sign * step) for sign in (1, -1))
    assert float((up - down)[1, 4].detach() / 2e-5) == pytest.approx(
        float(gradient[1, 4, 2]), rel=1e-5
    )


@pytest.mark.parametrize(("name", "args", "size"), NETWORKS)
def test_all_widths_are_free_and_cost_what_is_foretold(
    name: str, args: dict[str, Any], size: int
) -> None:
    model, x = create_model(name, **args), inputs(size, head=args.get("iou_head", True))
    graph = lwdna.trace(model, x)
    assert not graph.unknown_ops
    assert all(group.exact for group in graph.groups)
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            axes = graph.tensors[f"{path}.weight"]
            assert [axis.constant for axis in axes[:2]] == [0, 3 * (module.in_channels == 3)], path
    assert_resizes(model, x, graph, rounds=1)
    assert_slices(model, x, graph, double=name == "dimp_tiny")


def test_other_widths_start_with_the_same_optimiser() -> None:
    model, x = create_model("dimp_tiny"), inputs(40)
    graph = lwdna.trace(model, x)
    other = lwdna.resize(model, graph, dict.fromkeys(graph.widths, 11), init="fresh", seed=3)
    for name, value in model.classifier.optimizer.state_dict().items():
        assert torch.equal(other.classifier.optimizer.state_dict()[name], value), name
    gains = other.iou.test_deep[0][1].weight
    assert 0 <= gains.min() < 0.5 < gains.max() <= 1


def test_training_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    model = create_model("dimp_tiny").double()
    scores, overlaps = model(**{k: v.double() for k, v in inputs(64, sequences=2).items()})
    (scores.square().mean() + overlaps.square().mean()).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # biases in front of normalisations by the batch have no effect
    assert all(name.startswith("iou.") and name.endswith("0.bias") for name in silent), silent


def test_a_network_answers_for_each_sequence_alone() -> None:
    model = create_model("dimp_tiny").double().eval()
    x = {name: value.double() for name, value in inputs(64, sequences=3).items()}
    with torch.no_grad():
        scores, overlaps = model(**x)
        assert scores.shape == (3, 6, 3, 9, 9)
        assert overlaps.shape == (3, 3, 5)
        alone = model(**{name: value[1:2] for name, value in x.items()})
    torch.testing.assert_close(alone, (scores[1:2], overlaps[1:2]))
    assert model.score_size(64) == 9
    assert len(model(**{**x, "proposals": None})) == 1
    assert copy.deepcopy(model).has_iou_head
    bare = create_model("dimp_tiny", iou_head=False)
    assert bare.iou is None
    assert not bare.has_iou_head


class Maps(nn.Module):
    """Maps at strides 2 and 4, and a third where there are three."""

    def __init__(self, count: int = 2) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, 2, 1), nn.Conv2d(5, 7, 3, 2, 1)
        self.count = count

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.first(x)
        return (x, self.second(x), x)[: self.count]


def two_maps(count: int = 2) -> nn.Module:
    return Maps(count)


@pytest.fixture(autouse=True)
def own_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register it for a test only: other tests ask for the names of all networks."""
    monkeypatch.setattr(registry, "_builders", dict(registry._builders))
    lwdna.register_model(two_maps)


@pytest.mark.parametrize(
    ("backbone", "strides", "channels"),
    [
        ("timm:mobilenetv2_035", (8, 16), (16, 32)),
        ("torchvision:resnet18", (8, 16), (128, 256)),
        ("torchvision:mobilenet_v3_small", (4, 8), (16, 24)),
        ("lwdna:two_maps", (2, 4), (5, 7)),
    ],
)
def test_backbones_from_elsewhere(
    backbone: str, strides: tuple[int, int], channels: tuple[int, int]
) -> None:
    args = {"width": 11, "blocks": 0, "iou_width": 13, "iou_reference_width": 17}
    model = create_model("dimp", backbone=backbone, strides=strides, **args)
    x = inputs(64)
    with torch.no_grad():
        maps = model.eval().backbone(x["test_images"][0])
    assert [tuple(one.shape[1:]) for one in maps] == [
        (count, 64 // stride, 64 // stride) for count, stride in zip(channels, strides, strict=True)
    ]
    graph = lwdna.trace(model, x)
    assert all(group.exact for group in graph.groups)
    assert_resizes(model, x, graph, rounds=1)
    assert graph.cost().params == sum(p.numel() for p in model.parameters())


def test_what_no_tracker_can_be_made_of() -> None:
    with pytest.raises(ModelError, match=r"has maps at strides \[2, 4, 8, 16, 32\], none at 3"):
        create_model("dimp", backbone="timm:resnet18", strides=(3, 8))
    with pytest.raises(ModelError, match="none at 64; name others"):
        create_model("dimp", backbone="torchvision:resnet18", strides=(16, 64))
    with pytest.raises(ModelError, match="not at strides 8 and 16"):
        create_model("dimp", backbone="two_maps")
    with pytest.raises(ModelError, match="must return two maps"):
        create_model("dimp", backbone="two_maps", backbone_args={"count": 3})
    with pytest.raises(ModelError, match="block is 'wide'; choose one of basic, bottleneck"):
        create_model("dimp", block="wide")
    with pytest.raises(ModelError, match="bins is 1"):
        create_model("dimp", bins=1)


def shrunk(name: str, size: int) -> tuple[lwdna.Architecture, dict[str, Tensor]]:
    frames = (1, 1)
    x, batch = inputs(size, frames=frames), inputs(size, frames=frames, sequences=2)

    def loss(outputs: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return (outputs[0].flatten(1).mean(1) - target).square().mean() + (outputs[1] ** 2).mean()

    architecture = lwdna.shrink(
        name, x, [(batch, torch.zeros(2))], loss, budget=lwdna.Budget(macs=0.9), multiple=1
    )
    return architecture, x


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("dimp_tiny", 40),
        pytest.param("dimp18", 288, marks=pytest.mark.slow),
        pytest.param("dimp50", 288, marks=pytest.mark.long),
    ],
)
def test_a_search_finds_a_tracker_at_nine_tenths_of_the_cost(name: str, size: int) -> None:
    architecture, x = shrunk(name, size)
    assert 0.88 * architecture.baseline.macs < architecture.cost.macs
    assert architecture.cost.macs <= 0.9 * architecture.baseline.macs
    network = architecture.build(seed=0)
    assert architecture.cost.params == sum(p.numel() for p in network.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        scores, overlaps = network.eval()(**x)
    assert architecture.cost.macs == counter.get_total_flops() / 2
    side = network.score_size(size)
    assert scores.shape == (1, 6, 1, side, side)
    assert scores.isfinite().all()
    assert overlaps.isfinite().all()
