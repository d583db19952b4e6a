"""Checkpoints of EDSR's PyTorch code, made here in their layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lwdna.errors import CheckpointError
from lwdna.interop import import_edsr
from lwdna.models import create_model

MEAN = torch.tensor([0.4488, 0.4371, 0.4040])


def layer(name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(name) + inputs * 31 + outputs)
    shape = (outputs, inputs, 3, 3)
    return {
        f"{name}.weight": torch.randn(shape, generator=generator) * 0.05,
        f"{name}.bias": torch.randn(outputs, generator=generator) * 0.05,
    }


def checkpoint(
    scale: int, blocks: int = 2, width: int = 5, inner: int = 5, up: int = 5, top: float = 255.0
) -> dict[str, Tensor]:
    """The file's layout, written out: names and shapes as the authors' code saves them."""
    tensors: dict[str, Tensor] = {}
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        tensors[f"{name}.weight"] = torch.eye(3).reshape(3, 3, 1, 1)
        tensors[f"{name}.bias"] = sign * top * MEAN
    tensors |= layer("head.0", 3, width)
    for number in range(blocks):
        tensors |= layer(f"body.{number}.body.0", width, inner)
        tensors |= layer(f"body.{number}.body.2", inner, width)
    tensors |= layer(f"body.{blocks}", width, width)
    if scale == 4:
        tensors |= layer("tail.0.0", width, 4 * up) | layer("tail.0.2", up, 4 * up)
    else:
        tensors |= layer("tail.0.0", width, scale**2 * up)
    return tensors | layer("tail.1", up, 3)


def by_hand(tensors: dict[str, Tensor], scale: int, blocks: int, x: Tensor, top: float) -> Tensor:
    """EDSR's formula, on values from 0 to ``top``."""

    def conv(name: str, x: Tensor, padding: int = 1) -> Tensor:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return torch.nn.functional.conv2d(x, weight, bias, padding=padding)

    x = conv("head.0", conv("sub_mean", x * top, 0))
    y = x
    for number in range(blocks):
        y = y + conv(f"body.{number}.body.2", conv(f"body.{number}.body.0", y).relu())
    x = x + conv(f"body.{blocks}", y)
    for name in ("tail.0.0", "tail.0.2") if scale == 4 else ("tail.0.0",):
        x = torch.nn.functional.pixel_shuffle(conv(name, x), 2 if scale == 4 else scale)
    return conv("add_mean", conv("tail.1", x), 0) / top


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("inner", "up"), [(5, 5), (7, 3)])
@pytest.mark.parametrize("top", [255.0, 1.0])
def test_a_checkpoint_computes_what_it_did(
    tmp_path: Path, scale: int, inner: int, up: int, top: float
) -> None:
    """Also with layers of other widths than the residual stream, as pruning leaves them."""
    tensors = checkpoint(scale, inner=inner, up=up, top=top)
    torch.save(tensors, tmp_path / "edsr.pt")
    network, architecture = import_edsr(tmp_path / "edsr.pt")
    x = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = network(x)
    assert torch.allclose(found, by_hand(tensors, scale, 2, x, top), atol=1e-5)
    assert architecture.model is not None
    assert architecture.model.args["scale"] == scale
    assert architecture.cost.params == sum(
        tensor.numel() for name, tensor in tensors.items() if "mean" not in name
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "blocks", "width"), [("edsr_baseline", 16, 64)])
def test_the_published_sizes(tmp_path: Path, name: str, blocks: int, width: int) -> None:
    torch.save(checkpoint(2, blocks, width, width, width), tmp_path / "edsr.pt")
    network, architecture = import_edsr(tmp_path / "edsr.pt")
    model = create_model(name, scale=2)
    assert architecture.model is not None
    assert architecture.model.name == f"lwdna:{name}"
    assert list(network.state_dict()) == list(model.state_dict())
    assert architecture.cost.params == sum(p.numel() for p in model.parameters())


def refused(tmp_path: Path, tensors: object) -> str:
    torch.save(tensors, tmp_path / "edsr.pt")
    with pytest.raises(CheckpointError) as caught:
        import_edsr(tmp_path / "edsr.pt")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    good = checkpoint(2)
    assert "is not a checkpoint of EDSR" in refused(tmp_path, {"fc.weight": torch.ones(3, 2)})
    lacking = {name: value for name, value in good.items() if name != "body.1.body.2.bias"}
    assert "body.1.body.2.bias is not in the file" in refused(tmp_path, lacking)
    assert "extra is not in the network" in refused(tmp_path, good | {"extra": torch.ones(2)})
    assert "lacks add_mean" in refused(
        tmp_path, {name: value for name, value in good.items() if name != "add_mean.bias"}
    )
    mixed = torch.eye(3).flip(0).reshape(3, 3, 1, 1)
    assert "mixes" in refused(tmp_path, good | {"sub_mean.weight": mixed})
    other = good | {"add_mean.bias": torch.tensor([1.0, 2.0, 3.0])}
    assert "mean colour is" in refused(tmp_path, other)
    assert "holds more than tensors" in refused(tmp_path, {"model": Path("x")})
