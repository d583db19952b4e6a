"""Peaks between the cells of a map of scores."""

from __future__ import annotations

import numpy as np
import pytest

from lwdna.tasks.tracking.online.localise import between_cells


def test_the_top_of_a_paraboloid_is_found_exactly():
    rows, columns = np.mgrid[:7, :9]
    scores = 0.8 - 0.05 * (columns - 5.3) ** 2 - 0.02 * (rows - 2.6) ** 2
    assert between_cells(scores, 5, 3) == pytest.approx((5.3, 2.6))


def test_flat_scores_borders_and_higher_neighbours_leave_the_cell():
    scores = np.zeros((5, 6))
    assert between_cells(scores, 2, 2) == (2, 2)
    scores[2, 3] = 1.0  # 2, 2 is no peak across, and flat in its column
    assert between_cells(scores, 2, 2) == (2, 2)
    scores[0, 5] = 2.0
    assert between_cells(scores, 5, 0) == (5, 0)
    scores[0, 4] = 2.0
    scores[0, 3] = 1.0
    assert between_cells(scores, 4, 0) == (4.5, 0)
