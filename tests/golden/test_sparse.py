"""Proximal operators and the choice of what stays, against the code of Hinge."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from golden.reference import files, notes, tensors
from lwdna.channels import trace
from lwdna.methods.keep import best_units
from lwdna.methods.keep.threshold import keep_by_threshold
from lwdna.methods.limits import Limits
from lwdna.methods.sparse import operators

pytestmark = pytest.mark.golden

OPERATORS = {
    "l1": operators.soft,
    "l1d2": lambda norms, r: operators.half(norms, r / 2),  # theirs is of the square without 1/2
    "l1-2": operators.l1_minus_l2,
    "logsum": operators.log_sum,
}


def _matrix(weight):
    """Return P, (inputs, outputs), of a 1x1 convolution."""
    return weight.flatten(1).t()


@pytest.mark.parametrize("path", files("compression/hinge_prox.json"))
def test_operators_do_what_those_of_hinge_do(path):
    given = tensors(path)
    for case in notes(path)["cases"]:
        dim = case["dim"]
        matrix, theirs = _matrix(given[f"{case['w']}/w"]), _matrix(given[case["key"]])
        norms = torch.linalg.vector_norm(matrix, dim=dim)
        factors = OPERATORS[case["kind"]](norms, case["reg"]).to(matrix)
        assert factors.isfinite().all(), case["key"]
        ours = matrix * factors.unsqueeze(dim)
        if case["kind"] == "logsum":
            found = torch.linalg.vector_norm(theirs, dim=dim)
            # the larger stationary point, where it is the minimum
            same = [_log_sum(n, x, case["reg"]) <= _log_sum(n, 0.0, case["reg"])
                    for n, x in zip(norms.tolist(), found.tolist(), strict=True)]  # fmt: skip
            ours, theirs = ours.movedim(1 - dim, 0)[same], theirs.movedim(1 - dim, 0)[same]
        if case["finite"]:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
        else:  # they divide by zero: all groups vanish at once
            assert ours.count_nonzero(dim).bool().sum() == 1


def _log_sum(n, x, strength):
    return 0.5 * (x - n) ** 2 + strength * math.log(x + operators.EPSILON)


@pytest.mark.parametrize("path", files("compression/hinge_keep.json"))
def test_the_rows_and_columns_that_stay_are_those_of_hinge(path):
    """By their count, which a budget stands for here: a unit costs two MACs."""
    matrix = tensors(path)["x"]
    for case in notes(path):
        norms = torch.linalg.vector_norm(matrix, dim=0 if case["dim"] == "output" else 1)
        n = len(norms)
        model = nn.Sequential(nn.Conv2d(1, n, 1, bias=False), nn.Conv2d(n, 1, 1, bias=False))
        graph = trace(model, torch.zeros(1, 1, 1, 1))
        least = case["fix_channel"] or math.floor(case["percentage"] * n)
        count = max(least, 0 if case["fix_channel"] else int((norms >= case["threshold"]).sum()))
        assert count == len(case["kept"])
        kept = keep_by_threshold(
            graph, {"0": norms}, {"0": least}, Limits(graph, {"macs": 2 * count})
        )
        assert best_units({"0": norms}, kept.widths)["0"].tolist() == case["kept"]
        if count > least:
            assert norms.sort().values[n - count - 1] < case["threshold"] <= kept.threshold
