"""Proximal operators of penalties on the norms of vectors, in closed form.

A penalty R of the l2 norms of vectors w_1, w_2, ... depends on lengths alone, so its proximal
operator

    argmin over v of 1/2 sum |v_k - w_k|^2 + r R(|v_1|, |v_2|, ...)

keeps every direction and scales w_k by a factor s_k >= 0. Each function here takes the norms n,
(N,), and the strength r (a number or (N,), never negative), and returns the factors, (N,) in double
precision. The factor of a vector of norm zero says nothing and is finite.

Sources: Li et al., "Group Sparsity: The Hinge Between Filter Pruning and Decomposition for Network
Compression", CVPR 2020 (arXiv 2003.08935), section 3.3, and the papers named below. What was
published with the l1/2 penalty leaves out the factor 1/2 of the square: its strength is twice that
of :func:`half` here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Strength = float | Tensor
Operator = Callable[[Tensor, Strength], Tensor]

EPSILON = 1e-8
"""What is added to norms in the logarithm of the log-sum penalty."""


def soft(norms: Tensor, strength: Strength) -> Tensor:
    """Return the factors for R = sum of n, the group lasso: s = max(0, 1 - r / n).

    Source: Parikh and Boyd, "Proximal Algorithms", 2014, section 6.5.4.
    """
    n = norms.double()
    return torch.where(n > strength, 1 - strength / _positive(n), 0.0)


def half(norms: Tensor, strength: Strength) -> Tensor:
    """Return the factors for R = sum of sqrt(n).

    With q = 2 r: s = 0 where n <= 54^(1/3) / 4 q^(2/3), else

        s = 2/3 (1 + cos(2/3 (pi - phi))),  phi = acos(q / 8 (n / 3)^(-3/2))

    Source: Xu et al., "L1/2 Regularization: A Thresholding Representation Theory and a Fast
    Solver", IEEE Transactions on Neural Networks and Learning Systems 2012, theorem 1, which
    minimises the square without the factor 1/2.
    """
    n, q = norms.double(), 2 * torch.as_tensor(strength, dtype=torch.float64, device=norms.device)
    phi = (q / 8 * (_positive(n) / 3) ** -1.5).clamp_max(1).acos()
    scaled = 2 / 3 * (1 + (2 / 3 * (math.pi - phi)).cos())
    return torch.where(n > 54 ** (1 / 3) / 4 * q ** (2 / 3), scaled, 0.0)


def l1_minus_l2(norms: Tensor, strength: Strength) -> Tensor:
    """Return the factors for R = sum of n - sqrt(sum of n^2).

    With w = max(0, n - r): s = (1 + r / |w|_2) w / n. Where no norm is above r the minimum has one
    vector only: the largest (of equal ones the first), which stays as it is. So no step ever makes
    the last vector vanish, and nothing is divided by zero.

    Source: Lou and Yan, "Fast L1-L2 Minimization via a Proximal Operator", Journal of Scientific
    Computing 2018, lemma 1.
    """
    n = norms.double()
    above = (n - strength).clamp_min(0)
    size = torch.linalg.vector_norm(above)
    largest = torch.zeros_like(n)
    largest[n.argmax()] = 1.0
    return torch.where(size > 0, (1 + strength / _positive(size)) * above / _positive(n), largest)


def log_sum(norms: Tensor, strength: Strength, epsilon: float = EPSILON) -> Tensor:
    """Return the factors for R = sum of log(n + e).

    The objective 1/2 (x - n)^2 + r log(x + e) is stationary at

        x = (n - e + sqrt((n - e)^2 - 4 (r - n e))) / 2

    where that is real, a minimum or not of all x >= 0: s = x / n if the objective there is below
    that of 0, else s = 0.

    Source: Candes, Wakin and Boyd, "Enhancing Sparsity by Reweighted l1 Minimization", 2008,
    section 2.3, for the penalty; the comparison with 0 is elementary.
    """
    n = norms.double()
    root = (n - epsilon).square() - 4 * (strength - n * epsilon)
    x = ((n - epsilon + root.clamp_min(0).sqrt()) / 2).clamp_min(0)
    gain = 0.5 * n.square() - 0.5 * (x - n).square()
    better = (root >= 0) & (gain > strength * torch.log1p(x / epsilon))
    return torch.where(better, x / _positive(n), 0.0)


def shrunk(norms: Tensor, strength: Strength) -> Tensor:
    """Return the factors for R = 1/2 sum of n^2, weight decay: s = 1 / (1 + r)."""
    return 1 / (1 + torch.zeros_like(norms, dtype=torch.float64) + strength)


def _positive(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(torch.float64).tiny)
