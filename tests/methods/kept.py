"""Graphs and scores for the tests of keep rules."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

from lwdna.channels import trace
from networks import Branches, Chain

GRAPHS = [
    trace(model, torch.zeros(1, 3, 16, 16))
    for model in (Branches(), Chain(), timm.create_model("test_resnet", num_classes=5))
]


def random_scores(widened, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.exp(spread * torch.randn((), generator=generator))
        * torch.rand(width, generator=generator)
        for name, width in widened.items()
    }


class Parallel(nn.Module):
    """Three branches of one layer each, which cost 27 x 256, 27 x 64 and 27 x 16 MACs a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(3, 40, 3, stride=stride, padding=1, bias=False) for stride in (1, 2, 4)
        )
        self.heads = nn.ModuleList(nn.Linear(40, 5, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.branches, self.heads, strict=True)
        return sum(head(branch(x).relu().mean((2, 3))) for branch, head in parts)


PARALLEL = trace(Parallel(), torch.zeros(1, 3, 16, 16))
