"""Super-resolution and denoising networks: sizes, and LW-DNA's widths for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import lwdna
from lwdna.errors import ModelError
from lwdna.models import create_model

from ..channels.proof import assert_resizes, assert_slices, random_units

SHORT = [
    ("edsr_baseline", {"scale": 2, "blocks": 3}, 3),
    ("edsr_baseline", {"scale": 3, "blocks": 2, "res_scale": 0.1}, 3),
    ("edsr_baseline", {"scale": 4, "blocks": 2, "in_chans": 1}, 1),
    ("srresnet", {"scale": 2, "blocks": 2}, 3),
    ("srresnet", {"scale": 4, "blocks": 2}, 3),
    ("dncnn17", {"depth": 5}, 1),
    ("dncnn20", {"depth": 4}, 3),
    ("unet_denoise", {"width": 5, "depth": 3}, 1),
]
FULL = [
    ("edsr_baseline", {"scale": 2}, 3),
    ("srresnet", {"scale": 4}, 3),
    ("dncnn17", {}, 1),
    ("unet_denoise", {}, 1),
]


def params(name: str, **args: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(name, **args).parameters())


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    return outputs * (inputs * kernel**2 + 1)


@pytest.mark.parametrize(
    ("name", "blocks", "width"), [("edsr_baseline", 16, 64), ("edsr", 32, 256)]
)
def test_parameters_of_edsr(name: str, blocks: int, width: int) -> None:
    body = conv(3, width) + (2 * blocks + 1) * conv(width, width) + conv(width, 3)
    assert params(name, scale=2) == body + conv(width, 4 * width)
    assert params(name, scale=3) == body + conv(width, 9 * width)
    assert params(name, scale=4) == body + 2 * conv(width, 4 * width)


def test_parameters_of_the_others() -> None:
    srresnet = conv(3, 64, 9) + 33 * (conv(64, 64) + 2 * 64) + 2 * conv(64, 256) + conv(64, 3)
    assert params("srresnet") == srresnet + 1 + 16 + 2  # with one number per PReLU
    dncnn = conv(1, 64) + conv(64, 1) + 15 * (conv(64, 64) + 2 * 64)
    assert params("dncnn17") == dncnn == 557_057
    assert params("dncnn20") == conv(3, 64) + conv(64, 3) + 18 * (conv(64, 64) + 2 * 64)
    assert params("unet_denoise") == 7_759_521  # 7759.52 K in the tables of DHP


@pytest.mark.parametrize(("name", "args", "channels"), SHORT)
def test_outputs_have_the_size_asked_for(name: str, args: dict[str, int], channels: int) -> None:
    model = create_model(name, **args).eval()
    scale = args.get("scale", 1)
    for height, width in ((12, 20), (13, 11)):
        restored = model(torch.rand(2, channels, height, width))
        assert restored.shape == (2, channels, scale * height, scale * width)


def test_a_scale_that_does_not_exist() -> None:
    with pytest.raises(ModelError, match="choose 2, 3 or 4"):
        create_model("edsr", scale=5)


@pytest.mark.parametrize(("name", "args", "channels"), SHORT)
def test_any_widths_cost_what_is_foretold_and_slices_equal_silence(
    name: str, args: dict[str, int], channels: int
) -> None:
    model, x = create_model(name, **args), torch.rand(1, channels, 12, 8)
    graph = lwdna.trace(model, x)
    assert not graph.unknown_ops
    assert all(group.exact for group in graph.groups)
    assert {reason.why for pin in graph.pinned for reason in pin.reasons} <= {
        "network input",
        "network output",
    }
    assert_resizes(model, x, graph, rounds=2)
    assert_slices(model, x, graph)


def test_every_layer_but_the_ends_is_free() -> None:
    """EDSR: the residual stream, the inside of 16 blocks, the upsampler. DnCNN: a chain of 17."""
    edsr, dncnn = create_model("edsr_baseline"), create_model("dncnn17")
    assert len(lwdna.trace(edsr, torch.rand(1, 3, 8, 8)).groups) == 18
    assert len(lwdna.trace(dncnn, torch.rand(1, 1, 8, 8)).groups) == 16


def test_the_mean_colour_is_never_redrawn() -> None:
    model, x = create_model("edsr_baseline", blocks=1, width=8), torch.rand(1, 3, 8, 8)
    graph = lwdna.trace(model, x)
    expected = 255 * torch.tensor([0.4488, 0.4371, 0.4040])
    for other in (
        lwdna.widen(model, graph, 2.0),
        lwdna.resize(model, graph, dict.fromkeys(graph.widths, 5), init="fresh"),
        lwdna.resize(model, graph, random_units(graph, 1), init="slice"),
    ):
        assert torch.equal(other.add_mean.shift.flatten(), expected)
        assert torch.equal(other.sub_mean.shift.flatten(), -expected)
        assert not any("mean" in key for key, _ in other.named_parameters())


def shrunk(name: str, args: dict[str, int], channels: int) -> tuple[nn.Module, lwdna.Architecture]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, channels, 16, 16, generator=generator)
    targets = images.repeat_interleave(args.get("scale", 1), 2)
    targets = targets.repeat_interleave(args.get("scale", 1), 3)
    loss: nn.Module = nn.L1Loss() if "scale" in args else nn.MSELoss()
    architecture = lwdna.shrink(
        name,
        images[:1],
        [(images, targets)],
        loss,
        budget=lwdna.Budget(macs=0.9),
        model_args={**args, "in_chans": channels},
        normalize="group-mean",
        multiple=1,
    )
    return architecture.build(seed=0), architecture


@pytest.mark.parametrize(("name", "args", "channels"), SHORT)
def test_a_search_finds_a_network_at_nine_tenths_of_the_cost(
    name: str, args: dict[str, int], channels: int
) -> None:
    network, architecture = shrunk(name, args, channels)
    assert 0.85 * architecture.baseline.macs < architecture.cost.macs
    assert architecture.cost.macs <= 0.9 * architecture.baseline.macs
    assert len(set(architecture.widths.values())) > 1
    restored: Tensor = network.eval()(torch.rand(1, channels, 16, 16))
    assert restored.shape[2] == 16 * args.get("scale", 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "args", "channels"), FULL)
def test_full_networks_at_nine_tenths_of_the_cost(
    name: str, args: dict[str, int], channels: int
) -> None:
    network, architecture = shrunk(name, args, channels)
    assert 0.88 * architecture.baseline.macs < architecture.cost.macs
    assert architecture.cost.macs <= 0.9 * architecture.baseline.macs
    x = torch.rand(1, channels, 16, 16)
    graph = lwdna.trace(network, x)
    assert graph.cost().macs == architecture.cost.macs
    assert graph.cost().params == sum(p.numel() for p in network.parameters())
    assert_resizes(network, x, graph, rounds=1)
    assert_slices(network, x, graph, double=False)
