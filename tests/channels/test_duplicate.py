"""Networks widened by copies of their units compute what they did."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from lwdna.channels import resize, trace, widen_exactly, widened_widths
from lwdna.errors import GraphError


def _network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Return a network none of whose parameters hides another, and inputs for it."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=7).double().eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += noise * (0.1 + parameter.abs().mean())
    return network, torch.randn(2, 3, 64, 64, generator=generator).double()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_byobnet"])
@pytest.mark.parametrize("factor", [2.0, 1.5])
def test_a_widened_network_computes_the_same(name: str, factor: float) -> None:
    network, images = _network(name)
    graph = trace(network, images[:1])
    wide = widen_exactly(network, graph, widened_widths(graph, factor), images, seed=3).eval()
    with torch.no_grad():
        assert torch.allclose(network(images), wide(images), rtol=1e-9, atol=1e-9)
    assert sum(p.numel() for p in wide.parameters()) > factor * graph.cost().params


def test_groups_that_copies_would_change_are_named() -> None:
    network, images = _network("test_convnext")
    graph = trace(network, images[:1])
    widen_exactly(network, graph, widened_widths(graph, 2.0), images)
    with pytest.raises(GraphError, match="native_layer_norm"):
        widen_exactly(network, graph, widened_widths(graph, 1.5), images)
    with pytest.raises(GraphError, match="only widen"):
        widen_exactly(network, graph, widened_widths(graph, 0.5), images)


def test_copies_share_what_reads_them_in_unequal_parts() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 5))
    graph = trace(network, torch.zeros(1, 3))
    units = {graph.groups[0].name: torch.tensor([1, 0, 1])}
    wide = resize(network, graph, units, init="duplicate", seed=0)
    assert torch.equal(wide[0].weight, network[0].weight[[1, 0, 1]])
    assert torch.equal(wide[2].weight[:, 1], network[2].weight[:, 0])
    first, second = wide[2].weight[:, 0], wide[2].weight[:, 2]
    assert torch.allclose(first + second, network[2].weight[:, 1])
    parts = first / network[2].weight[:, 1]
    assert bool(((parts >= 0.25) & (parts <= 0.75)).all())
    assert len(parts.unique()) == 5
