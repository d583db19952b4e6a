"""Gates on units: at zero the network without the unit, and their derivatives by differences."""

from __future__ import annotations

import pytest
import torch
from families import EXACT, FAMILIES, batches, loss

import lwdna
from lwdna.methods.criteria.gates import GateGradients, gate, sites, transformed


def _setup(name):
    torch.manual_seed(1)
    network = FAMILIES[name]()
    graph = lwdna.trace(network, torch.zeros(1, 3, 32, 32))
    return network.double(), graph


def _gated_loss(network, graph, images, vectors):
    with transformed(sites(network, graph), lambda x, site: gate(x, site, vectors)):
        return loss(network, images)


@pytest.mark.parametrize("name", EXACT)
def test_a_gate_at_zero_is_the_network_without_the_unit(name):
    network, graph = _setup(name)
    (images,) = batches((5,), torch.float64)
    kept, vectors = {}, []
    for group in graph.groups:
        units = torch.arange(group.width)
        units = units[units % 3 != 1]
        if not group.exact:
            units = torch.arange(group.width)
        kept[group.name] = units
        vectors.append(torch.zeros(group.width, dtype=torch.float64).index_fill_(0, units, 1.0))
    assert any(
        len(units) < group.width for units, group in zip(kept.values(), graph.groups, strict=True)
    )
    sliced = lwdna.resize(network, graph, kept, init="slice")
    found = _gated_loss(network, graph, images, vectors)
    torch.testing.assert_close(found, loss(sliced, images), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", [*EXACT, "resnet", "weight-standardised", "shuffle"])
def test_gate_gradients_are_those_of_multiplying_by_gates(name):
    network, graph = _setup(name)
    network.eval()  # finite differences go through the network many times
    (images,) = batches((2,), torch.float64)
    gates = GateGradients(network, graph, graph.widths)
    with gates.watching():
        value = loss(network, images)
    value.backward()
    found = gates.take(2)
    vectors = [torch.ones(group.width, dtype=torch.float64) for group in graph.groups]
    for index, group in enumerate(graph.groups):
        unit, step = group.width // 2, 1e-7
        values = []
        for sign in (1, -1):
            vectors[index][unit] = 1 + sign * step
            with torch.no_grad():
                values.append(_gated_loss(network, graph, images, vectors))
        vectors[index][unit] = 1
        expected = (values[0] - values[1]) / (2 * step)
        got = found[group.name].sum(0)[unit]
        assert found[group.name].shape == (2, group.width)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7 * float(value.detach()))


@pytest.mark.parametrize(
    ("name", "group", "reader"),
    [("hourglass", "grouped", "out"), ("upscaler", "one", "two"), ("branches", "hidden", "head")],
)
def test_gates_are_where_units_are_read_and_nowhere_else(name, group, reader):
    network, graph = _setup(name)
    (images,) = batches((3,), torch.float64)
    gates = GateGradients(network, graph, graph.widths)
    with gates.watching():
        loss(network, images).backward()
    weight = getattr(network, reader).weight
    by_input = (weight * weight.grad).transpose(0, 1).flatten(1).sum(1).detach()
    if name == "hourglass":  # two groups of channels share their units
        by_input = by_input.reshape(2, -1).sum(0)
    torch.testing.assert_close(gates.take(1)[group][0], by_input)


def test_gate_gradients_are_kept_apart_by_example():
    network, graph = _setup("upscaler")
    (images,) = batches((3,), torch.float64)
    gates = GateGradients(network, graph, graph.widths)
    with gates.watching():
        (loss(network, images) * 3).backward()
        together = gates.take(3)
        for n in range(3):
            loss(network, images[n : n + 1]).backward()
            for name, alone in gates.take(1).items():
                torch.testing.assert_close(alone[0], together[name][n])
