"""Operators' times, interpolated over widths and added; the clock itself is never asserted."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import lwdna
from lwdna.engine import LatencyModel, operator_times
from lwdna.errors import BudgetError
from lwdna.methods import Budget
from lwdna.methods.limits import Limits
from networks import Branches, Chain


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def _work(op, shapes):
    """A made-up time, bilinear in the channels: the entries of the second of several tensors."""
    sizes = [math.prod(shape) for shape in shapes[:2]]
    free = not sizes or any(word in op for word in ("view", "aten.t.", "detach", "alias"))
    return 0.0 if free else 1e-6 * sizes[-1]


def _made_up(jobs, device):
    return [_work(job.operator.full_name, job.shapes) for job in jobs]


class _Added(TorchDispatchMode):
    """Adds up the made-up times over the operators of a real forward pass."""

    def __init__(self):
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        self.total += _work(str(func), [tuple(tensor.shape) for tensor in tensors])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "make",
    [
        Branches,
        Chain,
        lambda: timm.create_model("test_resnet"),
        lambda: lwdna.factorize(Chain(), layers="two"),
    ],
)
def test_what_is_bilinear_in_the_widths_is_interpolated_exactly(make, monkeypatch):
    monkeypatch.setattr(operator_times, "measure", _made_up)
    model, image = make().eval(), torch.zeros(1, 3, 64, 64)
    graph = lwdna.trace(model, image)
    # a concatenation's parts and its result are scaled together: keep them in step, up to rounding
    tolerance = 1e-3 if make is Branches else 1e-9
    factors = [1.0, 0.5, 2.0, 1.5] if make is Branches else [None] * 3
    generator = np.random.default_rng(0)
    candidates = [
        {
            name: round(width * (factor or generator.uniform(0.3, 2.5)))
            for name, width in graph.widths.items()
        }
        for factor in factors
    ]
    predicted = LatencyModel(graph)([list(widths.values()) for widths in candidates])
    for widths, milliseconds in zip(candidates, predicted, strict=True):
        added, network = _Added(), lwdna.resize(model, graph, widths).eval()
        with torch.no_grad(), added:
            network(image)
        assert milliseconds == pytest.approx(added.total, rel=tolerance)


@pytest.mark.parametrize(
    "make",
    [
        Branches,
        lambda: timm.create_model("test_convnext"),
        lambda: torchvision.models.DenseNet(8, (2, 3), 16),
        lambda: torchvision.models.ShuffleNetV2([1, 2, 1], [24, 48, 96, 192, 64]),
    ],
)
def test_every_operator_that_is_no_view_runs_at_other_widths(make, monkeypatch):
    monkeypatch.setattr(operator_times, "REPEATS", 1)
    monkeypatch.setattr(operator_times, "WARM_UPS", 0)
    graph = lwdna.trace(make(), torch.zeros(1, 3, 32, 32))
    model = LatencyModel(graph)
    assert model([list(graph.widths.values())])[0] > 0
    kept = json.loads(next(operator_times.cache_folder().glob("*.json")).read_text())
    failed = [key for key, time in kept["milliseconds"].items() if time is None]
    failed = [key for key in failed if "view" not in key and "as_strided" not in key]
    assert not failed
    assert all(time is None or time > 0 for time in kept["milliseconds"].values())


def test_what_was_measured_is_read_again_and_a_damaged_file_is_as_good_as_none(monkeypatch):
    graph = lwdna.trace(Chain(), torch.zeros(1, 3, 16, 16))
    row = [list(graph.widths.values())]
    asked = []

    def measure(jobs, device):
        asked.extend(jobs)
        return _made_up(jobs, device)

    monkeypatch.setattr(operator_times, "measure", measure)
    first = LatencyModel(graph)(row)[0]
    count = len(asked)
    assert count > 20
    assert LatencyModel(graph)(row)[0] == first
    assert len(asked) == count
    file = next(operator_times.cache_folder().glob("*.json"))
    file.write_text("{")
    assert LatencyModel(graph)(row)[0] == first
    assert len(asked) == 2 * count
    assert json.loads(file.read_text())["machine"]["threads"] == torch.get_num_threads()


def test_a_budget_of_latency_and_macs_holds_both(monkeypatch):
    monkeypatch.setattr(operator_times, "measure", _made_up)
    graph = lwdna.trace(Chain(), torch.zeros(1, 3, 16, 16))
    limits = Limits.of(graph, graph.widths, Budget(macs=0.5, latency=0.9))
    assert set(limits.allowed) == {"macs", "latency"}
    assert limits.allowed["latency"] == pytest.approx(0.9 * limits.usage_of()["latency"])
    widths = np.array([[12, 20, 16], [6, 10, 8], [1, 1, 1]])
    usage = limits.usage(widths)
    expected = [
        m <= limits.allowed["macs"] and t <= limits.allowed["latency"]
        for m, t in zip(usage["macs"], usage["latency"], strict=True)
    ]
    assert limits.fits(widths).tolist() == expected == [False, True, True]
    with pytest.raises(BudgetError, match=r"ms is below what the floors alone cost"):
        limits.check_reachable({"one": 24, "two": 40, "three": 32}, graph.widths)
