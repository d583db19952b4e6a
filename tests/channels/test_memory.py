"""The closed form of the peak activation memory equals what a real forward pass holds."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import lwdna
from channels import hard, small
from channels.proof import random_widths
from networks import Branches, Chain


class _Held(TorchDispatchMode):
    """Adds up the storages that are alive after every operator of a real forward pass."""

    def __init__(self, model, inputs):
        super().__init__()
        self.parameters = {t.untyped_storage()._cdata for t in model.state_dict().values()}
        self.alive = {}
        self.peak = 0
        self._note(inputs)

    def _note(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.parameters:
            self.alive.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self.alive = {key: one for key, one in self.alive.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf)
        return result


def _measured(model, inputs):
    model.eval()
    held = _Held(model, inputs)
    with torch.no_grad(), held:
        model(inputs)
    return held.peak


def _predicted(graph, *candidates):
    return graph.peak_memory([list(graph.complete(one).values()) for one in candidates]).tolist()


def test_a_chain_worked_out_by_hand():
    graph = lwdna.trace(Chain(), torch.zeros(1, 3, 16, 16))
    candidates = [{"one": a, "two": b, "three": c} for a, b, c in [(12, 20, 16), (1, 7, 3)]]
    candidates += [{"one": 2, "two": 31, "three": 1}, {"one": 1, "two": 3, "three": 29}]
    expected = []
    for one in candidates:
        a, b, c = one.values()
        expected.append(
            4  # bytes
            * max(
                768 + 256 * a + 256 * a,  # the image, a convolution's result, that of its relu
                768 + 256 * a + 64 * b,  # the second convolution
                768 + 64 * b + 64 * b,
                768 + 64 * b + 64 * c + 64 * c,  # forward's local x lives on
            )
        )
    assert len(set(expected)) == 4
    assert _predicted(graph, *candidates) == expected


NETWORKS = {
    "Branches": (Branches, 16),
    "Chunk": (small.Chunk, 8),
    "SplitRejoin": (small.SplitRejoin, 8),
    "PixelShuffle": (small.PixelShuffle, 8),
    "CalledTwice": (small.CalledTwice, 8),
    "ZeroPadded": (small.ZeroPadded, 8),
    "SqueezeExcite": (small.SqueezeExcite, 8),
    "StandardisedWeight": (hard.StandardisedWeight, 16),
    "test_resnet": (lambda: timm.create_model("test_resnet"), 64),
    "test_efficientnet": (lambda: timm.create_model("test_efficientnet"), 64),
    "densenet": (lambda: torchvision.models.DenseNet(8, (3, 4), 16), 32),
    "shufflenet": (
        lambda: torchvision.models.ShuffleNetV2([1, 2, 1], [24, 48, 96, 192, 64]),
        32,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_what_a_real_forward_pass_holds(name):
    make, size = NETWORKS[name]
    inputs = torch.zeros(1, 3, size, size)
    model = make()
    graph = lwdna.trace(model, inputs)
    candidates = [graph.widths, random_widths(graph, 0), random_widths(graph, 1)]
    networks = [model, *(lwdna.resize(model, graph, widths) for widths in candidates[1:])]
    assert _predicted(graph, *candidates) == [_measured(net, inputs) for net in networks]


def test_more_channels_never_need_less():
    graph = lwdna.trace(timm.create_model("test_resnet"), torch.zeros(1, 3, 64, 64))
    widths = np.array(list(graph.widths.values()))
    peaks = graph.peak_memory(np.vstack([widths, widths + np.eye(len(widths), dtype=int)]))
    assert (peaks[1:] >= peaks[0]).all()


@torch.library.custom_op("lwdna_tests::part_of_more", mutates_args=())
def part_of_more(x: torch.Tensor) -> torch.Tensor:
    """Return a copy that lies in memory of three times its size."""
    return torch.cat([x.flatten()] * 3)[: x.numel()].view_as(x)


@part_of_more.register_fake
def _(x):
    return x.new_empty(3 * x.numel())[: x.numel()].view_as(x)


class InMoreMemory(torch.nn.Module):
    """Nothing is held but an image and the memory that its copy is a part of."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return part_of_more(x)


def test_a_tensor_that_is_a_part_of_its_memory_counts_as_all_of_it():
    image = torch.zeros(1, 2, 3, 5)
    graph = lwdna.trace(InMoreMemory(), image)
    assert graph.cost().memory == (30 + 3 * 30) * 4
