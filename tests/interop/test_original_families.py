"""The original project's RegNets and ResNets for CIFAR: made up here, run by a forward of our own.

Each state dict is drawn in the project's layout; the expected logits come from torch's functions
applied to its tensors by their names in that layout.
"""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

import lwdna
from lwdna.cli.app import app
from lwdna.errors import CheckpointError
from lwdna.interop import import_original
from lwdna.interop.original_regnet import NETWORKS


class _Layout:
    """Draws tensors of a checkpoint and applies them."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.tensors = {"latent_vector_stage0": torch.zeros(3)}

    def conv_bn(self, name, c_in, c_out, kernel, groups=1):
        shape = (c_out, c_in // groups, kernel, kernel)
        fan = c_in // groups * kernel**2
        self.tensors[f"{name}.latent_vector"] = torch.zeros(c_out)
        self.tensors[f"{name}.weight"] = torch.randn(shape, generator=self.generator) / fan**0.5
        for what in ("weight", "bias", "running_mean", "running_var"):
            values = torch.rand(c_out, generator=self.generator)
            self.tensors[f"{name}.bn_main.{what}"] = values + (
                0.5 if what in ("weight", "running_var") else -0.5
            )
        self.tensors[f"{name}.bn_main.num_batches_tracked"] = torch.tensor(7)

    def linear(self, name, c_in, c_out):
        self.tensors[f"{name}.weight"] = torch.randn(c_out, c_in, generator=self.generator)
        self.tensors[f"{name}.bias"] = torch.randn(c_out, generator=self.generator)

    def apply(self, x, name, stride=1, groups=1):
        own = {
            key.removeprefix(f"{name}."): tensor.to(x.dtype)
            for key, tensor in self.tensors.items()
            if key.startswith(f"{name}.")
        }
        weight = own["weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        norm = (own[f"bn_main.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *norm)


def _cifar(blocks, seed=0):
    """Basic blocks of odd widths; return the state dict and its forward."""
    layout, strides = _Layout(seed), {}
    stages = [13, 21, 40]
    inner = [7 + (5 * n) % 11 for n in range(3 * blocks)]
    layout.conv_bn("features.0", 3, stages[0], 3)
    width = stages[0]
    for number in range(3 * blocks):
        name, out = f"features.{number + 1}", stages[number // blocks]
        layout.conv_bn(f"{name}.layer1", width, inner[number], 3)
        layout.conv_bn(f"{name}.layer2", inner[number], out, 3)
        strides[name] = 2 if number in (blocks, 2 * blocks) else 1
        if strides[name] == 2:
            layout.conv_bn(f"{name}.downsample", width, out, 1)
        width = out
    layout.linear("classifier", width, 9)

    def forward(x):
        x = layout.apply(x, "features.0").relu()
        for name, stride in strides.items():
            out = layout.apply(layout.apply(x, f"{name}.layer1", stride).relu(), f"{name}.layer2")
            if stride == 2:
                x = layout.apply(x, f"{name}.downsample", 2)
            x = (x + out).relu()
        w, b = (layout.tensors[f"classifier.{k}"].to(x.dtype) for k in ("weight", "bias"))
        return F.avg_pool2d(x, 8).flatten(1) @ w.T + b

    return layout.tensors, forward


def _regnet(depths, groups, multiple=1, squeezed=False, seed=0):
    layout, strides, grouped = _Layout(seed), {}, {}
    layout.tensors["latent_vectors.0"] = torch.zeros(3)
    layout.conv_bn("features.0", 3, 17, 3)
    width, number = 17, 0
    for stage, (depth, group) in enumerate(zip(depths, groups, strict=True)):
        out = 11 + 6 * stage
        for index in range(depth):
            number += 1
            name = f"features.{number}"
            inner = group * multiple * (1 + number % 3)
            strides[name], grouped[name] = (2 if index == 0 else 1), group * multiple
            layout.conv_bn(f"{name}.layer1", width, inner, 1)
            layout.conv_bn(f"{name}.layer2", inner, inner, 3, group * multiple)
            if squeezed:
                for key, (a, b) in (("0", (inner, 3 + number)), ("2", (3 + number, inner))):
                    layout.linear(f"{name}.se.fc.{key}", a, b)
                    layout.tensors[f"{name}.se.fc.{key}.weight"] = layout.tensors[
                        f"{name}.se.fc.{key}.weight"
                    ][..., None, None]
            layout.conv_bn(f"{name}.layer3", inner, out, 1)
            if index == 0:
                layout.conv_bn(f"{name}.skip_proj", width, out, 1)
            width = out
    layout.linear("classifier", width, 5)

    def squeeze(x, name):
        gate = x.mean((2, 3), keepdim=True)
        for key, act in (("0", torch.relu), ("2", torch.sigmoid)):
            w, b = (layout.tensors[f"{name}.se.fc.{key}.{k}"].to(x) for k in ("weight", "bias"))
            gate = act(F.conv2d(gate, w, b))
        return x * gate

    def forward(x):
        x = layout.apply(x, "features.0", 2).relu()
        for name, stride in strides.items():
            out = layout.apply(x, f"{name}.layer1").relu()
            out = layout.apply(out, f"{name}.layer2", stride, grouped[name]).relu()
            out = layout.apply(squeeze(out, name) if squeezed else out, f"{name}.layer3")
            x = layout.apply(x, f"{name}.skip_proj", 2) if stride == 2 else x
            x = (x + out).relu()
        w, b = (layout.tensors[f"classifier.{k}"].to(x.dtype) for k in ("weight", "bias"))
        return x.mean((2, 3)) @ w.T + b

    return layout.tensors, forward


def _check(tmp_path, state, forward, size):
    torch.save(state, tmp_path / "x.pt")
    network, arch = import_original(tmp_path / "x.pt", (3, size, size))
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        torch.testing.assert_close(network.double()(images), forward(images), rtol=1e-9, atol=1e-9)
    lwdna.save(network.float(), arch, tmp_path / "x.safetensors")
    loaded, again = lwdna.load(tmp_path / "x.safetensors")
    assert again.widths == arch.widths
    torch.testing.assert_close(
        loaded.eval().double()(images), network.double()(images), rtol=0, atol=0
    )
    return arch


def test_a_resnet_for_cifar(tmp_path):
    state, forward = _cifar(3)
    arch = _check(tmp_path, state, forward, 32)
    assert arch.model.name == "lwdna:resnet20_cifar"
    assert arch.widths["stem.0"] == 13


@pytest.mark.parametrize(
    ("squeezed", "depths", "multiple"),
    [(False, (1, 1, 4, 7), 1), (False, (1, 1, 4, 7), 2), (True, (1, 3, 7, 4), 1)],
)
def test_regnets(tmp_path, squeezed, depths, multiple):
    name, groups = NETWORKS[squeezed, depths]
    state, forward = _regnet(depths, groups, multiple, squeezed)
    arch = _check(tmp_path, state, forward, 64)
    assert arch.model.args.get("base", arch.model.name) == f"timm:{name}"
    assert arch.model.args.get("group_mult", 1) == multiple


def test_the_table_of_regnets_is_that_of_timm():
    for (squeezed, depths), (name, groups) in NETWORKS.items():
        model = timm.create_model(name)
        stages = [getattr(model, f"s{n}") for n in (1, 2, 3, 4)]
        assert tuple(len(list(stage.children())) for stage in stages) == depths
        assert tuple(stage.b1.conv2.conv.groups for stage in stages) == groups
        assert any(".se.fc1" in key for key in model.state_dict()) == squeezed


def test_the_command_chooses_the_size(tmp_path):
    state, _ = _cifar(3)
    torch.save(state, tmp_path / "x.pt")
    out = tmp_path / "x.safetensors"
    result = CliRunner().invoke(
        app, ["import", "original", str(tmp_path / "x.pt"), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert lwdna.Architecture.load(out).input_size == (3, 32, 32)


def test_checkpoints_that_lwdna_has_no_network_for_are_refused(tmp_path):
    state, _ = _cifar(2)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"6 blocks of 2 layers.*lwdna:resnet20_cifar"):
        import_original(tmp_path / "a.pt")
    state, _ = _regnet((1, 1, 2, 2), (1, 1, 1, 1))
    torch.save(state, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match=r"stages of \[1, 1, 2, 2\] blocks; .*regnetx_040"):
        import_original(tmp_path / "b.pt")
    state, _ = _regnet((1, 1, 4, 7), (3, 7, 19, 5))
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="numbers of groups are no common multiple"):
        import_original(tmp_path / "c.pt")
