"""Where boxes lie in crops that are moved into the image (Danelljan et al. 2020, SuperDiMP)."""

from __future__ import annotations

import numpy as np
import pytest

from lwdna.data.sequences import window_about

from .reference import files, notes

pytestmark = pytest.mark.golden

IMAGE = (160, 120)
"""Width and height of the image they were cut from."""


@pytest.mark.parametrize("path", files("tracking/tracker_pieces.json"))
def test_boxes_lie_where_theirs_do(path):
    cases = notes(path)["training_crop"]
    assert cases
    for case in cases:
        window = window_about(
            case["crop_about"],
            case["area_factor"],
            case["output"],
            border="inside_major",
            image_size=IMAGE,
        )
        # float32 there
        np.testing.assert_allclose(
            window.into(case["ground_truth"]), case["box_in_crop"], rtol=1e-5, atol=1e-5
        )
