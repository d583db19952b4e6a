from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lwdna.errors import ModelError
from lwdna.models import create_model
from lwdna.models.cifar_densenet import DenseBottleneck, DenseLayer
from lwdna.models.cifar_resnet import PreActBottleneck, ZeroPadShortcut


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(x)
    return int(counter.get_total_flops()) // 2


# Millions of parameters as the papers print them (He et al. 2016 table 6, He et al. 2016b,
# Huang et al. 2017 table 2), and the exact numbers, which other implementations confirm.
GOLDEN = [
    ("resnet20_cifar", "0.27", 269_722),
    ("resnet32_cifar", "0.46", 464_154),
    ("resnet56_cifar", "0.85", 853_018),
    ("resnet110_cifar", "1.7", 1_727_962),
    ("resnet110_bottleneck_cifar", "1.1", 1_146_842),
    ("resnet164_cifar", "1.7", 1_703_258),
    ("densenet40_cifar", "1.0", 1_019_722),
    ("densenet_bc100_cifar", "0.8", 769_162),
    # Liu et al. 2017, table 1, of the unpruned VGGNet
    ("vgg19_cifar", "20.04", 20_035_018),
    # Zagoruyko and Komodakis 2016, table 4
    ("wrn16_10_cifar", "17.1", 17_116_634),
]


@pytest.mark.parametrize(("name", "printed", "exact"), GOLDEN)
def test_parameters_as_in_the_papers(name: str, printed: str, exact: int) -> None:
    model = create_model(name)
    assert count(model) == exact
    digits = len(printed.partition(".")[2])
    assert f"{exact / 1e6:.{digits}f}" == printed


def resnet_by_hand(blocks: int, classes: int, shortcut: str) -> int:
    """Parameters of a basic CIFAR ResNet, added up layer by layer."""
    total = 9 * 3 * 16 + 2 * 16
    channels = 16
    for width in (16, 32, 64):
        for _ in range(blocks):
            total += 9 * channels * width + 2 * width + 9 * width * width + 2 * width
            if channels != width and shortcut == "B":
                total += channels * width + 2 * width
            channels = width
    return total + 64 * classes + classes


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize(("name", "blocks"), [("resnet20_cifar", 3), ("resnet32_cifar", 5)])
def test_parameters_by_hand(name: str, blocks: int, shortcut: str) -> None:
    model = create_model(name, num_classes=17, shortcut=shortcut)
    assert count(model) == resnet_by_hand(blocks, 17, shortcut)


def densenet_by_hand(depth: int, bottleneck: bool) -> int:
    """Parameters of a CIFAR DenseNet with growth rate 12 and 10 classes."""
    channels = 24 if bottleneck else 16
    total = 9 * 3 * channels
    for block in range(3):
        for _ in range((depth - 4) // (6 if bottleneck else 3)):
            if bottleneck:
                total += 2 * channels + channels * 48 + 2 * 48 + 9 * 48 * 12
            else:
                total += 2 * channels + 9 * channels * 12
            channels += 12
        if block < 2:
            narrower = channels // 2 if bottleneck else channels
            total += 2 * channels + channels * narrower
            channels = narrower
    return total + 2 * channels + channels * 10 + 10


def test_densenets_by_hand() -> None:
    assert count(create_model("densenet40_cifar")) == densenet_by_hand(40, False)
    assert count(create_model("densenet_bc40_cifar")) == densenet_by_hand(40, True)
    assert count(create_model("densenet_bc100_cifar")) == densenet_by_hand(100, True)


def resnext_by_hand(blocks: int, paths: int, classes: int) -> int:
    """Parameters of a CIFAR ResNeXt on 5 image channels."""
    channels = 2 * paths
    total = 5 * channels + 2 * channels
    for each in (1, 2, 4):  # channels per path
        width, out = paths * each, 2 * paths * each
        for block in range(blocks):
            total += channels * width + 2 * width  # 1x1
            total += 9 * each * width + 2 * width  # 3x3, each channel reads those of its path
            total += width * out + 2 * out
            if block == 0 and (each > 1 or channels != out):
                total += channels * out + 2 * out
            channels = out
    return total + channels * classes + classes


@pytest.mark.parametrize(("name", "blocks"), [("resnext20_cifar", 2), ("resnext164_cifar", 18)])
def test_resnexts_by_hand(name: str, blocks: int) -> None:
    model = create_model(name, num_classes=17, in_chans=5, cardinality=7)
    assert count(model) == resnext_by_hand(blocks, 7, 17)
    paths = [conv.groups for conv in model.modules() if isinstance(conv, nn.Conv2d)]
    assert set(paths) == {1, 7}


def test_a_wide_resnet_by_hand() -> None:
    """Half of WRN-16-10: 8 channels, then 80, 160, 320 in two blocks each."""
    channels, total = 8, 5 * 9 * 8
    for width in (80, 160, 320):
        total += 2 * channels + 9 * channels * width + 2 * width + 9 * width * width
        total += channels * width
        total += 2 * width + 9 * width * width + 2 * width + 9 * width * width
        channels = width
    total += 2 * channels + channels * 17 + 17
    assert (
        count(create_model("wrn16_10_cifar", num_classes=17, in_chans=5, width_mult=0.5)) == total
    )


def chain_by_hand(stages: list[list[int]], classes: int) -> int:
    """Parameters of a plain chain of normalised 3x3 convolutions on 5 image channels."""
    channels, total = 5, 0
    for width in [width for stage in stages for width in stage]:
        total += 9 * channels * width + 2 * width
        channels = width
    return total + channels * classes + classes


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("vgg11_cifar", [[32], [64], [128] * 2, [256] * 2, [256] * 2]),
        ("vgg16_cifar", [[32] * 2, [64] * 2, [128] * 3, [256] * 3, [256] * 3]),
        ("vgg19_cifar", [[32] * 2, [64] * 2, [128] * 4, [256] * 4, [256] * 4]),
        ("uniform8_cifar", [[32] * 2, [32] * 2, [32] * 3]),
    ],
)
def test_chains_by_hand(name: str, stages: list[list[int]]) -> None:
    model = create_model(name, num_classes=17, in_chans=5, width_mult=0.5)
    assert count(model) == chain_by_hand(stages, 17)
    by_hand, channels = 17 * stages[-1][-1], 5
    for number, widths in enumerate(stages):
        for width in widths:
            by_hand += 9 * channels * width * (32 // 2**number) ** 2
            channels = width
    assert macs(model, torch.zeros(1, 5, 32, 32)) == by_hand


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("resnet8_digits", 8),
        ("uniform8_cifar", 8),
        ("resnet20_cifar", 20),
        ("resnet32_cifar", 32),
        ("resnet56_cifar", 56),
        ("resnet110_cifar", 110),
        ("resnet110_bottleneck_cifar", 110),
        ("resnet164_cifar", 164),
        ("resnext20_cifar", 20),
        ("resnext164_cifar", 164),
        ("densenet40_cifar", 40),
        ("densenet_bc40_cifar", 40),
        ("densenet_bc100_cifar", 100),
    ],
)
def test_the_name_tells_the_depth(name: str, depth: int) -> None:
    layers = [
        module
        for path, module in create_model(name).named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in path
    ]
    assert len(layers) == depth


def test_macs_of_resnet20() -> None:
    # Stem, then per stage the maps of 32, 16 and 8 pixels, then the classifier.
    by_hand = 9 * 3 * 16 * 32**2
    by_hand += 6 * 9 * 16 * 16 * 32**2
    by_hand += (9 * 16 * 32 + 5 * 9 * 32 * 32) * 16**2
    by_hand += (9 * 32 * 64 + 5 * 9 * 64 * 64) * 8**2
    by_hand += 64 * 10
    assert macs(create_model("resnet20_cifar"), torch.zeros(1, 3, 32, 32)) == by_hand


@pytest.mark.parametrize(
    "name",
    [
        "resnet20_cifar",
        "densenet_bc40_cifar",
        "resnet8_digits",
        "vgg11_cifar",
        "resnext20_cifar",
        "wrn16_10_cifar",
    ],
)
def test_classes_channels_and_gradients(name: str) -> None:
    model = create_model(name, num_classes=7, in_chans=5)
    logits = model(torch.randn(2, 5, 16, 16))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.abs().sum() > 0, path


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("name", ["resnet20_cifar", "resnet164_cifar"])
def test_both_shortcuts_run_at_odd_widths(name: str, shortcut: str) -> None:
    model = create_model(name, shortcut=shortcut, width_mult=0.3).eval()
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 10)
    padded = [module for module in model.modules() if isinstance(module, ZeroPadShortcut)]
    assert bool(padded) == (shortcut == "A")


@pytest.mark.parametrize(
    "name", ["resnet20_cifar", "densenet40_cifar", "resnet8_digits", "vgg19_cifar"]
)
def test_width_mult_scales_every_layer(name: str) -> None:
    plain, doubled = create_model(name), create_model(name, width_mult=2.0)
    for path, module in plain.named_modules():
        if isinstance(module, nn.Conv2d):
            assert doubled.get_submodule(path).out_channels == 2 * module.out_channels, path


def test_zero_padding_takes_every_second_pixel_and_pads_behind() -> None:
    x = torch.randn(2, 3, 5, 6)
    out = ZeroPadShortcut(7, 2)(x)
    assert out.shape == (2, 7, 3, 3)
    assert torch.equal(out[:, :3], x[:, :, [0, 2, 4]][:, :, :, [0, 2, 4]])
    assert out[:, 3:].eq(0).all()


def test_zero_padding_follows_the_widths_around_it() -> None:
    shortcut = ZeroPadShortcut(32, 2)
    shortcut.out_channels = 11
    x = torch.randn(1, 11, 4, 4)
    assert torch.equal(shortcut(x), x[:, :, ::2, ::2])
    assert shortcut(x[:, :2]).shape == (1, 11, 2, 2)


def test_a_pre_activated_block_without_residual_is_the_identity() -> None:
    block = PreActBottleneck(8, 2, 1, "B").eval()
    nn.init.zeros_(block.conv3.weight)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x), x)


def test_a_pre_activated_shortcut_starts_behind_the_activation() -> None:
    block = PreActBottleneck(6, 2, 2, "A").eval()
    nn.init.zeros_(block.conv3.weight)
    x = torch.randn(2, 6, 4, 4)
    activated = block.bn1(x).relu()[:, :, ::2, ::2]
    assert torch.equal(block(x)[:, :6], activated)


@pytest.mark.parametrize("layer", [DenseLayer, DenseBottleneck])
def test_a_dense_layer_appends_its_channels(layer: type[DenseLayer]) -> None:
    x = torch.randn(2, 5, 4, 4)
    out = layer(5, 3)(x)
    assert out.shape == (2, 8, 4, 4)
    assert torch.equal(out[:, :5], x)


def test_weights_are_drawn_with_variance_two_over_fan_out() -> None:
    torch.manual_seed(0)
    model = create_model("resnet20_cifar")
    weight = model.get_parameter("stages.2.0.conv1.weight")
    assert weight.shape == (64, 32, 3, 3)
    assert weight.var().item() == pytest.approx(2 / (9 * 64), rel=0.05)
    assert model.get_parameter("fc.bias").eq(0).all()


def test_a_seed_repeats_the_weights() -> None:
    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(create_model("resnet8_digits").parameters())

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"shortcut": "C"}, "shortcut is 'C'; choose 'A'"),
        ({"width_mult": 0.0}, "width_mult is 0.0; it must be above 0"),
        ({"width_mult": float("nan")}, "width_mult is nan"),
    ],
)
def test_arguments_out_of_range(args: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model("resnet20_cifar", **args)
