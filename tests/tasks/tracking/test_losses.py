"""Labels and losses against numbers worked out by hand, and against integrals."""

from __future__ import annotations

import math

import pytest
import torch

from lwdna.errors import ModelError
from lwdna.tasks.tracking.labels import ScoreGrid, gaussian_labels
from lwdna.tasks.tracking.losses import density_loss, hinge_loss, overlap_loss, score_loss
from lwdna.tasks.tracking.settings import LossWeights


@pytest.mark.parametrize(
    ("side", "size", "stride", "even"),
    [(19, 288, 16, True), (18, 288, 16, False), (23, 352, 16, True), (17, 128, 8, True),
     (16, 128, 8, False), (10, 145, 16, False), (11, 145, 16, True), (37, 288, 8, True)],
)  # fmt: skip
def test_the_map_tells_the_stride_and_the_kind_of_filter(side, size, stride, even):
    assert ScoreGrid.of(side, size) == ScoreGrid(side, stride, even)


def test_a_map_of_no_stride_is_refused():
    with pytest.raises(ModelError, match="23 x 23 scores for crops of 288 pixels"):
        ScoreGrid.of(23, 288)


@pytest.mark.parametrize(("even", "peak"), [(True, (3, 5)), (False, (2.5, 4.5))])
def test_labels_peak_at_the_centre_of_the_target(even, peak):
    """The centre is x = 80, y = 48 pixels: at a stride of 16, index 5 and 3 of an even filter."""
    boxes = torch.tensor([[70.0, 40.0, 20.0, 16.0]], dtype=torch.float64)
    label = gaussian_labels(boxes, ScoreGrid(9, 16, even), 0.7)[0]
    assert label.shape == (9, 9)
    for row, column in ((3, 5), (2, 4), (0, 8)):
        squares = (row - peak[0]) ** 2 + (column - peak[1]) ** 2
        assert label[row, column].item() == pytest.approx(math.exp(-squares / (2 * 0.49)))


def test_background_may_score_below_zero_and_the_target_not():
    scores = torch.tensor([0.5, -2.0, 3.0, -1.0])
    labels = torch.tensor([0.01, 0.04, 0.05, 0.6])
    # 0.5^2, nothing, (3 - 0.05)^2, (-1 - 0.6)^2
    wanted = (0.25 + 0 + 2.95**2 + 1.6**2) / 4
    assert hinge_loss(scores, labels, 0.05).item() == pytest.approx(wanted)


def test_filters_count_by_their_place():
    labels = torch.zeros(1, 1, 2, 2)
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).reshape(1, 5, 1, 1, 1).expand(1, 5, 1, 2, 2)
    weights = LossWeights(initial=2, steps=3, last=7)
    wanted = 2 * 1 + 3 * (4 + 9 + 16) / 3 + 7 * 25
    assert score_loss(scores, labels, weights, 0.05).item() == pytest.approx(wanted)
    assert score_loss(scores[:, :2], labels, weights, 0.05).item() == pytest.approx(2 * 1 + 7 * 4)
    assert score_loss(scores[:, 1:2], labels, weights, 0.05).item() == pytest.approx(9 * 4)


def test_overlaps_are_compared_on_the_scale_from_minus_one_to_one():
    loss = overlap_loss(torch.tensor([0.5, -0.2]), torch.tensor([1.0, 0.3]))
    assert loss.item() == pytest.approx((0.5**2 + 0.2**2) / 2)


def test_the_density_loss_is_least_at_the_density_that_is_wanted():
    """On a line: boxes drawn from N(0, 1), wanted N(0.3, 0.5). With s = log p the loss is minus the
    integral of p log p, which is -1/2 - log(0.5 sqrt(2 pi)); it grows for any other s."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200_000, generator=generator, dtype=torch.float64)

    def log_normal(mean, sigma):
        return -0.5 * ((x - mean) / sigma) ** 2 - math.log(sigma * math.sqrt(2 * math.pi))

    sampled, wanted = log_normal(0.0, 1.0), log_normal(0.3, 0.5)
    best = density_loss(wanted, sampled, wanted).item()
    assert best == pytest.approx(0.5 + math.log(0.5 * math.sqrt(2 * math.pi)), abs=0.01)
    assert density_loss(wanted + 11.0, sampled, wanted).item() == pytest.approx(best, abs=0.1)
    for other in (log_normal(0.0, 0.5), log_normal(0.3, 0.7), 1.5 * wanted):
        assert density_loss(other, sampled, wanted).item() > best + 0.02
