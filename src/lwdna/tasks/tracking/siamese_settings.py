"""What a recipe may say about Siamese trackers beside what it says of all."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lwdna.settings import Settings

Fraction = Annotated[float, Field(ge=0, le=1)]


class SiameseSettings(Settings):
    """The section ``data.siamese`` of a recipe."""

    any_part: Fraction = 0.5
    """Probability that an example's target is any part of a frame, cut out twice, instead of the
    annotated one: few sequences show few targets, but many parts."""
    mirror: bool = True
    """Whether half of the examples are mirrored."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Differences to the mean of a crop are multiplied by a number from 1 minus to 1 plus this."""
    tint: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Each colour of a crop is multiplied by a number from 1 minus to 1 plus this."""
    blur: Fraction = 0.2
    """Probability that a crop is blurred."""
    core: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Cells in this middle part of the target's box should find it, cells outside of the box should
    not; those between do not count."""

    context: Fraction = 1.0
    """How much of what is around the target's box the template shows; the rest is the mean colour
    of the crop. Less than all of it tells the network the box, too."""

    not_found: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """A target whose best cell has a probability below this is not found."""
    window: Fraction = 0.3
    """What a cosine window about the last place counts beside probability and penalty."""
    penalty: Annotated[float, Field(ge=0)] = 0.1
    """How fast probabilities fall where size and aspect ratio of the box change between frames."""
    size_rate: Fraction = 0.3
    """How much of a sure find's size the box takes over, per frame."""
