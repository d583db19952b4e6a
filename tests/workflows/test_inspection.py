from __future__ import annotations

import pytest

from lwdna.errors import GraphError
from lwdna.workflows import trace_network


def test_a_network_is_traced_at_the_size_it_is_made_for() -> None:
    graph, shape = trace_network("lwdna:mobilenetv1_64px")
    assert shape == (3, 64, 64)
    smaller, shape = trace_network("lwdna:mobilenetv1_64px", size=32)
    assert shape == (3, 32, 32)
    assert smaller.widths == graph.widths
    assert smaller.cost().params == graph.cost().params
    assert smaller.cost().macs < graph.cost().macs


def test_a_failure_names_what_to_set() -> None:
    with pytest.raises(GraphError, match="set --size and --channels to what torchvision:alexnet"):
        trace_network("torchvision:alexnet", size=16)
