"""The parts of DiMP's training loss: of scores, of overlaps, of densities of boxes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lwdna.tasks.tracking.settings import LossWeights


def hinge_loss(scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Return the mean square error of scores, those of the background counted from 0 upwards.

    Where the label is below ``threshold``, max(score, 0) should be 0 (Bhat et al. 2019, section
    3.3).

    Args:
        scores: any shape.
        labels: of a shape that goes with it.
        threshold: in units of labels.

    Returns:
        The mean over all scores, a scalar.
    """
    target = labels >= threshold
    errors = torch.where(target, scores - labels, F.relu(scores))
    return errors.square().mean()


def score_loss(scores: Tensor, labels: Tensor, weights: LossWeights, threshold: float) -> Tensor:
    """Return the weighted loss of the scores by every filter.

    Args:
        scores: by the initial filter, those after each step, and the last one, (B, K, N, h, w).
        labels: (B, N, h, w).
        weights: of the last filter, the initial one and the mean over all between; a network
            without steps has one filter, which counts as both.
        threshold: see :func:`hinge_loss`.
    """
    each = [hinge_loss(one, labels, threshold) for one in scores.unbind(1)]
    loss = weights.last * each[-1] + weights.initial * each[0]
    between = each[1:-1]
    return loss + weights.steps * sum(between) / len(between) if between else loss


def overlap_loss(predicted: Tensor, overlaps: Tensor) -> Tensor:
    """Return the mean square error of what should be 2 IoU - 1, a scalar.

    Args:
        predicted: any shape.
        overlaps: intersection over union with the target, from 0 to 1, the same shape.
    """
    return F.mse_loss(predicted, 2 * overlaps - 1)


def density_loss(scores: Tensor, log_sampled: Tensor, log_wanted: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of the boxes' density from the one that is wanted.

    The density of a box y is exp(s(y)) / Z, and Z as well as the expectation of s under the wanted
    density are estimated from the boxes sampled (Danelljan et al., CVPR 2020, equation 7). What
    does not depend on the network is left out.

    Args:
        scores: s of the boxes, (..., P).
        log_sampled: logarithm of the density that each was drawn from, the same shape.
        log_wanted: logarithm of the density wanted there, the same shape.

    Returns:
        The mean over all axes but the last, a scalar.
    """
    log_z = torch.logsumexp(scores - log_sampled, dim=-1) - math.log(scores.shape[-1])
    expected = (scores * torch.exp(log_wanted - log_sampled)).mean(dim=-1)
    return (log_z - expected).mean()
