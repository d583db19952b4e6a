"""What recipes may say about tracking."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from lwdna.data.sequences import Border as Borders
from lwdna.recipe import load_recipe
from lwdna.tasks.tracking.metrics import TOOLKITS
from lwdna.tasks.tracking.settings import Border, Toolkit, TrackingSettings


def test_settings_name_what_there_is():
    assert get_args(Toolkit) == TOOLKITS
    assert get_args(Border) == get_args(Borders)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tracker": "dipm"}, "there is no tracker 'dipm'; did you mean dimp"),
        ({"kind": "photos", "root": "/x"}, "photos need no files"),
        ({"box_loss": "kl", "proposals": 8}, "set proposals to 16 or more"),
        ({"train": [{"weight": 0}]}, "greater than 0"),
        ({"train": [{"sequence": "a"}]}, "Extra inputs are not permitted"),
        ({"toolkit": "vot"}, "Input should be 'otb'"),
    ],
)
def test_what_cannot_be_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        TrackingSettings(**values)


def test_super_dimp_differs_from_dimp_as_published():
    dimp, super_dimp = (load_recipe(f"tracking/{name}") for name in ("dimp50", "super_dimp"))
    assert (dimp.data.area, super_dimp.data.area) == (5, 6)
    assert (dimp.data.image_size, super_dimp.data.image_size) == (288, 352)
    assert (dimp.data.gap, super_dimp.data.gap) == (30, 200)
    assert super_dimp.data.online.boxes.space == "relative"
    # the width of the labels in cells: 0.9 at 288 pixels
    assert dimp.data.label_sigma * dimp.data.image_size / (dimp.data.area * 16) == 0.9


def test_an_unknown_key_of_a_recipe_names_the_nearest():
    with pytest.raises(Exception, match=r"data\.train_frame is no known key.*data\.train_frames"):
        load_recipe("tracking/tiny", ["data.train_frame=3"])
