"""Tracing and resizing leave the user's network alone, and need no memory for its activations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from lwdna.channels import resize, trace, widen
from lwdna.errors import GraphError

from . import small


class Remembers(small.SplitRejoin):
    """Has all that could be lost: modes, hooks, gradients, state that ``forward`` changes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(11)
        self.calls, self.seen = 0, [2]
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(x.shape[1])
        self.count += 1
        self.last = self.count + torch.rand(())
        return self.norm(super().forward(x))


def used() -> nn.Module:
    torch.manual_seed(0)
    model = Remembers().train()
    model.b.eval()
    model.c.weight.requires_grad_(False)
    model.a.register_forward_hook(lambda *_: None)
    model.a.register_forward_pre_hook(lambda *_: None)
    model.b.register_full_backward_hook(lambda *_: None)
    model.norm.register_load_state_dict_post_hook(lambda *_: None)
    model.b.weight.register_hook(lambda grad: grad)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)
    return model


def large() -> nn.Module:
    return timm.create_model("mobilenetv3_small_050").train()


def plain(value: Any) -> Any:
    """Return what a network holds as something that can be compared."""
    if isinstance(value, Tensor):
        grad = None if value.grad is None else value.grad.numpy().tobytes()
        hooks = list(value._backward_hooks or ())
        settings = (value._version, value.requires_grad, type(value), value.stride())
        return (id(value), value.detach().numpy().tobytes(), grad, hooks, settings)
    if isinstance(value, dict):
        return [(key, plain(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | set):
        return [type(value), *map(plain, value)]
    return (id(value), repr(value)) if not isinstance(value, nn.Module) else id(value)


def state_of(model: nn.Module) -> dict[str, Any]:
    """Return every attribute of every submodule: tensors, hooks, modes, sizes, lists."""
    state = {path: (id(m), plain(vars(m))) for path, m in model.named_modules()}
    state["random state"] = torch.get_rng_state().tolist()
    state["globals"] = (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
    )
    return state


def narrow(model: nn.Module, image: Tensor) -> dict[str, int]:
    graph = trace(copy.deepcopy(model), image)
    return {group.name: max(1, group.width // 2) for group in graph.groups if group.exact}


WORK = {
    "trace": lambda model, image, widths: trace(model, image),
    "fresh": lambda model, image, w: resize(model, trace(model, image), w, "fresh", seed=1),
    "slice": lambda model, image, w: resize(model, trace(model, image), w, "slice"),
    "widen": lambda model, image, w: widen(model, trace(model, image), 2.0, seed=1),
}


@pytest.mark.parametrize("build", [used, large])
@pytest.mark.parametrize("work", WORK)
def test_the_network_comes_back_untouched(work, build):
    model, image = build(), torch.randn(2, 3, 32, 32)
    widths = narrow(model, image)
    before, image_before = state_of(model), plain(image)
    result = WORK[work](model, image, widths)
    assert state_of(model) == before
    assert plain(image) == image_before
    if isinstance(result, nn.Module):
        modes = {path: module.training for path, module in model.named_modules()}
        assert {path: module.training for path, module in result.named_modules()} == modes
        shared = set(map(id, model.state_dict(keep_vars=True).values()))
        assert not shared & set(map(id, result.state_dict(keep_vars=True).values()))


def test_the_network_comes_back_untouched_when_it_does_not_run():
    model, image = used(), torch.randn(2, 4, 8, 8)
    before = state_of(model)
    with pytest.raises(GraphError, match="does not run"):
        trace(model, image)
    assert state_of(model) == before


def allocated(work: Callable[[], Any]) -> int:
    """Return how many bytes torch allocates meanwhile, whatever is freed again."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    return sum(max(0, event.nbytes()) for event in found.profiler.kineto_results.events())


def test_memory_does_not_grow_with_the_image():
    model = timm.create_model("mobilenetv3_small_050").eval()
    images = [torch.empty(1, 3, side, side) for side in (64, 1024)]
    small_one, large_one = (allocated(lambda: trace(model, image)) for image in images)  # noqa: B023
    assert small_one == large_one < 1000
    with torch.no_grad():
        assert allocated(lambda: model(images[0])) > 100_000, "allocations are seen"
