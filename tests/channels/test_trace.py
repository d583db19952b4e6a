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


def state_of(model: nn.Module) -> dict[str, object]:
    return {
        "tensors": {
            key: (id(value), value.detach().clone())
            for key, value in model.state_dict(keep_vars=True).items()
        },
        "grads": {
            key: None if p.grad is None else p.grad.clone() for key, p in model.named_parameters()
        },
        "requires": {key: p.requires_grad for key, p in model.named_parameters()},
        "modes": {key: module.training for key, module in model.named_modules()},
        "hooks": {
            key: (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks))
            for key, m in model.named_modules()
        },
        "attributes": {key: sorted(vars(module)) for key, module in model.named_modules()},
    }  # fmt: skip


def assert_same(before: dict, after: dict) -> None:
    for key, (identity, tensor) in before["tensors"].items():
        assert after["tensors"][key][0] == identity
        assert torch.equal(after["tensors"][key][1], tensor), key
    for key, grad in before["grads"].items():
        other = after["grads"][key]
        assert (grad is None and other is None) or torch.equal(grad, other)
    for key in ("requires", "modes", "hooks", "attributes"):
        assert before[key] == after[key]


def test_the_network_comes_back_untouched():
    torch.manual_seed(0)
    model = small.SplitRejoin()
    model.norm = nn.BatchNorm2d(11)
    model.b.eval()
    model.c.weight.requires_grad_(False)
    called = []
    model.a.register_forward_hook(lambda *_: called.append("hook"))
    image = torch.randn(2, 3, 6, 8)
    model(image).sum().backward()
    before, random_state, image_before = state_of(model), torch.get_rng_state(), image.clone()
    called.clear()
    trace(model, image)
    assert_same(before, state_of(model))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(image, image_before)
    assert torch.is_grad_enabled()
    model(image)
    assert called[-1:] == ["hook"]


def test_tracing_a_large_network_leaves_it_untouched_in_training_mode():
    model = timm.create_model("mobilenetv3_small_050")
    model.train()
    image = torch.randn(1, 3, 64, 64)
    before, random_state = state_of(model), torch.get_rng_state()
    trace(model, image)
    assert_same(before, state_of(model))
    assert torch.equal(torch.get_rng_state(), random_state)


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
