"""The filter of a discriminative tracker: correlation with features, and steepest descent.

Bhat et al., "Learning Discriminative Model Prediction for Tracking", ICCV 2019 (arXiv 1904.07220).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_REGULARISATION = 1e-6
LEAST_CURVATURE = 1e-8
MASK_FACTOR, MASK_RADIUS = 3.0, 2.0
"""The mask starts as sigmoid(3 tanh(2 - d)), d cells from the target's centre."""


class Windows:
    """The windows of features that a filter meets, as one matrix per sequence.

    Args:
        features: (B, T, C, h, w), of T frames.
        side: of the filter, k; score maps have h' = h + 1 rows for even and h for odd k.
    """

    def __init__(self, features: Tensor, side: int) -> None:
        self.sequences, self.frames, self.channels, *space = features.shape
        self.side = side
        self.padding = side - 1 - side // 2
        self.scored = (space[0] + 1 - side % 2, space[1] + 1 - side % 2)
        self.matrix = features.transpose(1, 2).reshape(self.sequences, self.channels, -1)

    def scores(self, filters: Tensor) -> Tensor:
        """Correlate with F filters per sequence, (B, F, C, k, k); padding is k // 2 of zeros.

        Returns:
            (B, F, T, h', w').
        """
        count, taps = filters.shape[1], self.side**2
        flipped = filters.flip(-2, -1).flatten(-2).transpose(2, 3)
        answers = torch.bmm(flipped.reshape(self.sequences, count * taps, -1), self.matrix)
        answers = answers.view(self.sequences, count, taps, self.frames, -1).transpose(2, 3)
        folded = F.fold(
            answers.reshape(self.sequences * count * self.frames, taps, -1),
            self.scored,
            self.side,
            padding=self.padding,
        )
        return folded.view(self.sequences, count, self.frames, *self.scored)

    def gradient(self, residuals: Tensor) -> Tensor:
        """Return the filters (B, C, k, k) whose products with others are those of their scores.

        It is the adjoint of :meth:`scores` for one filter; ``residuals`` are (B, T, h', w').
        """
        spread = F.unfold(residuals.flatten(0, 1)[:, None], self.side, padding=self.padding)
        taps = self.side**2
        spread = spread.view(self.sequences, self.frames, taps, -1).transpose(2, 3)
        found = torch.bmm(self.matrix, spread.reshape(self.sequences, -1, taps))
        return found.view(self.sequences, -1, self.side, self.side).flip(-2, -1)


class FilterOptimizer(nn.Module):
    """Steepest descent on a weighted least-squares loss whose targets are learnt.

    Label, mask and weight are functions of the distance to the target's centre, linear between
    knots ``bin_size`` cells apart and constant behind the last.

    Args:
        steps: of descent, unless asked for others.
        bins: number of knots, at least 2.
        bin_size: distance of neighbouring knots, in cells of the score map.
        label_sigma: of the Gaussian that the label starts with, in cells.
    """

    def __init__(self, steps: int, bins: int, bin_size: float, label_sigma: float) -> None:
        super().__init__()
        self.steps = steps
        self.bin_size = bin_size
        self.label_sigma = label_sigma
        self.label = nn.Parameter(torch.empty(1, bins, 1, 1))
        self.mask = nn.Parameter(torch.empty(1, bins, 1, 1))
        self.weight = nn.Parameter(torch.empty(1, bins, 1, 1))
        self.log_step = nn.Parameter(torch.empty(1))
        self.regularisation = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set what training starts with; nothing is drawn."""
        knots = torch.arange(self.label.shape[1], device=self.label.device) * self.bin_size
        distance = knots.view_as(self.label)
        gauss = torch.exp(-0.5 * (distance / self.label_sigma) ** 2)
        self.label.copy_(gauss - gauss.min())
        self.mask.copy_(MASK_FACTOR * torch.tanh(MASK_RADIUS - distance))
        self.weight.fill_(1.0)
        self.log_step.fill_(math.log(0.9))
        self.regularisation.fill_(0.1)

    def maps(self, distances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return label, mask (from 0 to 1) and weight at distances in cells, of any shape."""
        place = (distances / self.bin_size).clamp(max=self.label.shape[1] - 1)
        before = place.floor().clamp(max=self.label.shape[1] - 2)
        share, index = (place - before)[..., None], before.long()

        def at(table: Tensor) -> Tensor:
            knots = table.view(-1, 1)
            low, high = F.embedding(index, knots), F.embedding(index + 1, knots)
            return torch.lerp(low, high, share.to(low.dtype)).squeeze(-1)

        return at(self.label), at(self.mask).sigmoid(), at(self.weight)

    def forward(
        self,
        filters: Tensor,
        windows: Windows,
        distances: Tensor,
        weights: Tensor | None = None,
        steps: int | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Improve one filter per sequence.

        Args:
            filters: (B, C, k, k).
            windows: of the training frames.
            distances: (B, T, h', w'), of each score to the target's centre, in cells.
            weights: (B, T), of the training frames; default: 1 / T.
            steps: default: those of the constructor.

        Returns:
            Lists of the filters, the given ones first, and of their losses (B,).
        """
        label, mask, weight = self.maps(distances)
        if weights is None:
            weight = weight * math.sqrt(1 / windows.frames)
        else:
            weight = weight * weights.sqrt()[..., None, None]
        regularisation = self.regularisation.square().clamp(min=LEAST_REGULARISATION)
        step = self.log_step.exp()
        scores = windows.scores(filters[:, None])[:, 0]
        found, losses = [filters], []
        for last in [False] * (self.steps if steps is None else steps) + [True]:
            bent = (1 - mask) / 2 * scores.abs() + (1 + mask) / 2 * scores
            slope = weight * ((1 - mask) / 2 * scores.sign() + (1 + mask) / 2)
            residual = weight * (bent - label)
            losses.append(_squares(residual) + regularisation * _product(found[-1]))
            if last:
                break
            gradient = windows.gradient(slope * residual) + regularisation * found[-1]
            along = windows.scores(gradient[:, None])[:, 0]
            length = _product(gradient)
            curvature = _squares(slope * along) + regularisation * length
            pace = (step * length / curvature.clamp(min=LEAST_CURVATURE))[:, None, None, None]
            found.append(found[-1] - pace * gradient)
            scores = scores - pace * along  # those of the new filter: scores are linear in it
        return found, losses


def _squares(maps: Tensor) -> Tensor:
    return maps.square().flatten(1).sum(1)


def _product(filters: Tensor) -> Tensor:
    """Return the sum of squares per filter (B, C, k, k).

    Written as a product, so that channels are known to add to it one by one.
    """
    rows = filters.reshape(len(filters), 1, -1)
    return torch.bmm(rows, rows.transpose(1, 2)).flatten()
