"""Tracing leaves the user's network alone, repeats itself, and says what is wrong."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from lwdna.channels import trace
from lwdna.errors import GraphError

from . import small


def test_two_traces_of_two_copies_are_equal():
    model = timm.create_model("regnetx_002")
    image = torch.randn(1, 3, 64, 64)
    one, two = trace(model, image), trace(copy.deepcopy(model).train(), image + 1)
    assert one == two
    assert one.report() == two.report()
    names = [group.name for group in one.groups]
    assert names == sorted(names, key=names.index)
    assert names[:3] == ["stem.conv", "s1.b1.conv1.conv", "s1.b1.conv2.conv"]


def test_groups_do_not_depend_on_the_image_size_or_batch():
    model = timm.create_model("mobilenetv3_small_050")
    one, two = trace(model, torch.randn(1, 3, 64, 64)), trace(model, torch.randn(2, 3, 96, 128))
    assert one.groups == two.groups
    assert one.cost().params == two.cost().params
    assert two.cost().macs > 2 * one.cost().macs


def test_a_network_that_does_not_run_says_where():
    with pytest.raises(GraphError, match=r"\(1, 4, 8, 8\).*module 'a'"):
        trace(small.Chain(), torch.randn(1, 4, 8, 8))


class OnlyInTraining(nn.Module):
    """An auxiliary head that evaluation never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head, self.aux = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x):
        y = self.a(x)
        return (self.head(y), self.aux(y)) if self.training else self.head(y)


def test_modules_that_run_only_in_training_take_part():
    graph = trace(OnlyInTraining(), torch.randn(1, 3, 4, 4))
    (group,) = graph.groups
    assert ("aux.weight", 1) in group.members
    assert graph.cost().macs == 16 * (15 + 10), "the cost is that of evaluation"


def test_unused_parameters_keep_their_shape():
    model = small.Residual()
    model.spare = nn.Linear(13, 17)
    graph = trace(model, torch.randn(1, 3, 4, 4))
    assert graph.shape("spare.weight", graph.complete({"a": 3, "b": 2})) == (17, 13)
    assert graph.cost().params == sum(p.numel() for p in model.parameters())


def test_memory_and_weights_are_not_needed():
    """A network on the meta device has no weights at all."""
    with torch.device("meta"):
        model = timm.create_model("resnet18")
    assert len(trace(model, torch.empty(1, 3, 64, 64, device="meta")).groups) == 12
