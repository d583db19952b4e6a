"""Units that are exactly zero go without a change of what the network computes.

In the public code of Hinge (Li et al., CVPR 2020) they do not in ResNet-164 and ResNeXt, whose
outputs change by 124 % and 68 % of the largest.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import lwdna
from lwdna.models.cifar_resnet import CifarResNet, PreActBottleneck
from lwdna.models.cifar_resnext import CifarResNeXt
from lwdna.models.cifar_wide_resnet import CifarWideResNet

NETWORKS = {
    "bottlenecks": lambda: CifarResNet(
        PreActBottleneck, 2, (5, 7, 11), shortcut="B", num_classes=3, in_chans=2
    ),
    "paths": lambda: CifarResNeXt(2, 5, num_classes=3, in_chans=2),
    "wide": lambda: CifarWideResNet(2, 5, (7, 11, 13), num_classes=3, in_chans=2),
}


@torch.no_grad()
def _shaken(network: nn.Module) -> nn.Module:
    """Give all normalisations statistics, scales and shifts of their own."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                values.copy_(torch.randn_like(values))
            module.running_var.copy_(torch.rand_like(module.running_var) + 0.5)
    return network.double().eval()


@torch.no_grad()
def _silence(network: nn.Module, graph: lwdna.ChannelGraph, kept: dict[str, torch.Tensor]) -> None:
    """Set what writes the other units to zero: their filters, and scales and shifts behind."""
    widths = [group.width for group in graph.groups]
    for name, tensor in network.named_parameters():
        for (outer, index, inner), first, end in graph.tensors[name][0].runs(widths):
            if index is None:
                continue
            group = graph.groups[index]
            gone = torch.ones(group.width, dtype=torch.bool)
            gone[kept[group.name]] = False
            tensor[first:end][gone[None, :, None].expand(outer, -1, inner).flatten()] = 0


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_units_whose_weights_are_zero_are_removed_exactly(name: str):
    torch.manual_seed(0)
    network = _shaken(NETWORKS[name]())
    x = torch.randn(3, 2, 16, 16, dtype=torch.float64)
    graph = lwdna.trace(network.float(), x[:1].float())
    network.double()
    kept = {
        group.name: torch.randperm(group.width)[: max(1, 2 * group.width // 3)].sort().values
        for group in graph.groups
    }
    assert sum(len(units) < graph.widths[one] for one, units in kept.items()) > 5
    before = network(x)
    _silence(network, graph, kept)
    silenced = network(x)
    assert (silenced - before).abs().max() > 1e-3 * before.abs().max()
    small = lwdna.resize(network, graph, kept, init="slice").eval()
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())
    torch.testing.assert_close(small(x), silenced, rtol=1e-12, atol=1e-12)
