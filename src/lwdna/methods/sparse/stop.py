"""When sparse training has gone far enough: what it has not driven to zero meets the budget.

A unit counts if its size reaches a threshold, or if it is among the best of its group that always
stay: |z| >= min(T, the k-th largest |z|) with k the group's floor. What the network of these units
costs follows from the channel graph, so that a look costs next to nothing.

Source: Li et al., "DHP: Differentiable Meta Pruning via HyperNetworks", ECCV 2020 (arXiv
2003.13683), section 3.4, and its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lwdna.channels import ChannelGraph
from lwdna.methods.budget import Budget
from lwdna.methods.limits import CPU, Limits
from lwdna.methods.sparse.sizes import Sizes
from lwdna.methods.sparse.stop_settings import UntilSettings


def masked(size: Tensor, threshold: float, least: int) -> Tensor:
    """Return which units of a group count, (n,) bool.

    Args:
        size: what is compared, (n,), not negative.
        threshold: units of this size count.
        least: so many of the largest count whatever their size; more, where sizes are equal.
    """
    bound = size.topk(min(least, len(size))).values[-1].clamp_max(threshold)
    return size >= bound


@dataclass(frozen=True)
class Target:
    """What sparse training is to reach."""

    threshold: float
    limits: Limits
    """What the network of the units that count may need at the end."""
    least: Mapping[str, int]
    """How many units of a group always count."""
    sizes: Sizes

    @classmethod
    def of(
        cls,
        settings: UntilSettings,
        budget: Budget,
        graph: ChannelGraph,
        widened: Mapping[str, int],
        least: Mapping[str, int],
        sizes: Sizes,
        device: torch.device = CPU,
    ) -> Target:
        """Return the target of a budget.

        Args:
            settings: the threshold, and how far above the budget is near enough.
            budget: fractions of the baseline or of the widened network.
            graph: channel graph of the baseline.
            widened: widths of the network that is trained.
            least: floors by group.
            sizes: says of the network that is trained what is compared with the threshold.
            device: what latency is measured on.

        Raises:
            BudgetError: the floors alone cost more than the budget, or the widened network less.
        """
        Limits.of(graph, widened, budget, device).check_reachable(widened, least)
        near = {name: part + settings.below for name, part in budget.fractions().items()}
        limits = Limits.of(graph, widened, budget.model_copy(update=near), device)
        return cls(settings.threshold, limits, least, sizes)

    def widths(self) -> dict[str, int]:
        """Return how many units of every group count."""
        sizes = self.sizes()
        counted = [
            masked(sizes[group.name].detach(), self.threshold, self.least[group.name]).sum()
            for group in self.limits.graph.groups
        ]
        found = torch.stack(counted).tolist()  # one wait for the device
        return dict(zip(self.limits.graph.widths, found, strict=True))

    def met(self) -> bool:
        """Whether the network of the units that count is cheap enough.

        Sizes that are no numbers meet nothing: the training has failed.
        """
        failed = torch.stack([size.detach().isnan().any() for size in self.sizes().values()])
        if bool(failed.any()):
            return False
        row = self.limits.graph.in_order(self.widths())
        return bool(self.limits.fits([row])[0])

    def spares(self, name: str, size: Tensor) -> Tensor:
        """Whether no more units of a group than always stay reach the threshold, a bool scalar.

        A penalty should spare such a group: it would make what stays smaller to no end.
        """
        reaching: Tensor = (size >= self.threshold).sum()
        return reaching <= self.least[name]
