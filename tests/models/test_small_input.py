from __future__ import annotations

from functools import cache
from itertools import product

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lwdna.errors import ModelError
from lwdna.models import create_model

TIMM_NAMES = {
    "mobilenetv1": "mobilenetv1_100",
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3_large": "mobilenetv3_large_100",
    "mobilenetv3_small": "mobilenetv3_small_100",
    "mnasnet": "mnasnet_100",
    "efficientnet_b0": "efficientnet_b0",
    "regnetx_002": "regnetx_002",
    "regnetx_004": "regnetx_004",
    "regnety_002": "regnety_002",
    "regnety_004": "regnety_004",
}
RESNETS = ["resnet18", "resnet50"]


@cache
def on_meta(name: str, **args: object) -> nn.Module:
    """A network without data; tests must not change it."""
    with torch.device("meta"):
        return create_model(name, **args).eval()


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {path: tensor.shape for path, tensor in model.state_dict().items()}


def last_map(model: nn.Module, size: int) -> tuple[int, ...]:
    features = model.forward_features(torch.zeros(1, 3, size, size, device="meta"))
    return tuple(features.shape[-2:])


def macs(model: nn.Module, size: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, size, size, device="meta"))
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize(("name", "size"), list(product(TIMM_NAMES, (32, 64))))
def test_timm_with_fewer_strides(name: str, size: int) -> None:
    model = on_meta(f"lwdna:{name}_{size}px", num_classes=11)
    original = on_meta(f"timm:{TIMM_NAMES[name]}", num_classes=11)
    assert shapes(model) == shapes(original)
    assert type(model) is type(original)
    assert last_map(model, size) == (4, 4)
    assert model.pretrained_cfg["input_size"] == (3, size, size)
    assert original.pretrained_cfg["input_size"][1] > 64


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_a_stem_of_stride_one_sees_twice_the_size(name: str) -> None:
    small = macs(on_meta(f"lwdna:{name}_64px", num_classes=11), 64)
    assert small == macs(on_meta(f"timm:{TIMM_NAMES[name]}", num_classes=11), 128)


@pytest.mark.parametrize(("name", "size"), list(product(RESNETS, (32, 64))))
def test_resnets_without_early_strides(name: str, size: int) -> None:
    model = on_meta(f"lwdna:{name}_{size}px", num_classes=11)
    expected = shapes(on_meta(f"timm:{name}", num_classes=11))
    expected["conv1.weight"] = torch.Size((64, 3, 3, 3))
    assert shapes(model) == expected
    assert last_map(model, size) == (size // 8, size // 8)


def test_the_new_stem_of_a_resnet_is_drawn_like_the_rest() -> None:
    torch.manual_seed(0)
    weight = create_model("resnet18_32px").get_parameter("conv1.weight")
    assert weight.var().item() == pytest.approx(2 / (9 * 64), rel=0.1)


def test_width_mult_chooses_among_timms_widths() -> None:
    model = on_meta("mobilenetv2_32px", num_classes=1000, width_mult=0.5)
    assert shapes(model) == shapes(on_meta("timm:mobilenetv2_050"))
    with pytest.raises(ModelError, match=r"width_mult is 0\.6; .* 0\.35, 0\.5, 0\.75, 1\.0, 1\.4"):
        create_model("mobilenetv2_32px", width_mult=0.6)


def test_further_arguments_are_timms() -> None:
    model = create_model("mnasnet_32px", in_chans=1, drop_rate=0.3)
    assert model.drop_rate == 0.3
    assert model.eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_timms_own_networks_stay_as_they_are() -> None:
    create_model("resnet18_32px")
    assert timm.create_model("resnet18").conv1.kernel_size == (7, 7)
    assert timm.get_pretrained_cfg("resnet18").input_size[1] >= 160
