"""The law of a network: how the loss of a training falls with the widths.

The logarithm of the loss is close to a sum over groups,

    log loss = a - sum over features f of q_f log n_f,

n the widths: the loss is a product of powers of the widths (Cobb and Douglas, "A Theory of
Production", American Economic Review 1928), which over 32,768 trained networks of NATS-Bench's size
space (Dong 2021, arXiv 2009.00437) fits better than a sum of c / n. The exponents q are learnt from
a few dozen trainings by Bayesian linear regression: before any training

    q_f = m p_f + u_f,  u_f normal with standard deviation t,

p_f how many layers the feature takes part in, m anything, so that the exponents are pulled towards
a common multiple of p as far as the trainings allow (a ridge). The standard deviations of u and of
the noise are averaged over a grid, each pair weighted by how likely it makes the losses (Rasmussen
and Williams, "Gaussian Processes for Machine Learning", 2006, section 2.7 and chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lwdna.methods.limits import FloatArray

NOISES = np.geomspace(0.001, 0.15, 12)
"""Standard deviations of the logarithm of one training's loss that are considered."""
SPREADS = np.geomspace(0.005, 0.3, 7)
"""The same of the exponents around a multiple of the numbers of layers."""


@dataclass(frozen=True)
class Law:
    """Exponents of the features, and how sure they are."""

    exponents: FloatArray
    """(F,): by how much log loss falls per unit of log width."""
    covariance: FloatArray
    """(F, F), of their errors."""
    noise: float
    """Standard deviation of the logarithm of one training's loss."""

    @property
    def errors(self) -> FloatArray:
        """Standard errors of the exponents, (F,)."""
        return np.sqrt(np.diag(self.covariance))

    def gains(self, moves: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return by how much log loss falls with N changes of the log widths, and the errors.

        Args:
            moves: (N, F), each the difference of two networks' mean log widths by feature.
        """
        variances = ((moves @ self.covariance) * moves).sum(1)
        return moves @ self.exponents, np.sqrt(np.maximum(variances, 0))

    def drawn(self, generator: np.random.Generator) -> FloatArray:
        """Return exponents, (F,), drawn from what is known of them."""
        values, axes = np.linalg.eigh(self.covariance)
        steps = np.sqrt(np.maximum(values, 0)) * generator.standard_normal(len(values))
        return np.asarray(self.exponents + axes @ steps)


def relative(layers: FloatArray) -> FloatArray:
    """Return numbers of layers, (F,), as multiples of their mean: p above."""
    counted = np.maximum(layers, 1)
    return np.asarray(counted / counted.mean())


def fitted(places: FloatArray, losses: FloatArray, layers: FloatArray) -> Law:
    """Return the law that N trainings teach.

    Args:
        places: (N, F), mean log widths by feature.
        losses: (N,), of the trainings; positive.
        layers: (F,), in how many layers each feature takes part.
    """
    x = places - places.mean(0)
    variances, axes = np.linalg.eigh(x @ x.T)
    data = _Rotated(axes.T @ x, axes.T @ np.log(losses), axes.sum(0), np.maximum(variances, 0))
    prior = relative(layers)
    fits = [_fit(data, prior, noise, spread) for noise in NOISES for spread in SPREADS]
    likely = np.array([fit.likely for fit in fits])
    weights = np.exp(likely - likely.max())
    weights /= weights.sum()
    mean = np.asarray(sum(w * fit.mean for w, fit in zip(weights, fits, strict=True)))
    covariance = sum(
        w * (fit.covariance + np.outer(fit.mean - mean, fit.mean - mean))
        for w, fit in zip(weights, fits, strict=True)
    )
    noise = weights @ np.repeat(NOISES, len(SPREADS))
    return Law(mean, np.asarray(covariance), float(noise))


@dataclass(frozen=True)
class _Rotated:
    """The trainings in axes in which the deviations' effects on losses are independent."""

    x: FloatArray
    y: FloatArray
    ones: FloatArray
    variances: FloatArray
    """Of the effects, where the deviations of exponents have a standard deviation of 1."""


@dataclass(frozen=True)
class _Fit:
    mean: FloatArray
    covariance: FloatArray
    likely: float
    """Logarithm of the likelihood of the losses, but for a constant."""


def _fit(data: _Rotated, prior: FloatArray, noise: float, spread: float) -> _Fit:
    """Return exponents for given deviations; a and m may be anything (their section 2.7)."""
    variances = noise**2 + spread**2 * data.variances
    known = np.column_stack([data.ones, -data.x @ prior])
    weighted = known.T / variances
    precision = weighted @ known
    precision[1, 1] += 1.0  # where trainings do not tell m from a, m stays near 0
    inverse = np.linalg.inv(precision)
    trend = inverse @ weighted @ data.y
    rest = data.y - known @ trend
    across = -(spread**2) * data.x.T / variances  # from losses to deviations of exponents
    multiple = np.column_stack([np.zeros(len(prior)), prior])
    left = multiple - across @ known
    covariance = spread**2 * (np.eye(len(prior)) + across @ data.x) + left @ inverse @ left.T
    likely = np.log(variances).sum() + np.linalg.slogdet(precision)[1] + data.y / variances @ rest
    return _Fit(multiple @ trend + across @ rest, covariance, -0.5 * float(likely))
