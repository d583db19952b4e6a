"""What recipes say of filter bases."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from lwdna.settings import Settings

Shared = bool | Literal["siblings", "first-channels"]
Between = Literal["batch-norm", "relu", "prelu"]
Init = Literal["least-squares", "fresh"]


class FilterBasisSettings(Settings):
    """Which convolutions become mixes of a basis, and of which."""

    layers: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Convolutions by shell patterns of their names. None is all that can be split and may gain
    from it: kernels larger than 1, more than 4 channels (an image's) on either side."""
    size: int | None = Field(default=None, ge=1)
    """Input channels of the basis: a layer's inputs are split into parts of so many, and each part
    is convolved with the same filters. None is all inputs of a layer, one part."""
    filters: int | None = Field(default=None, ge=1)
    """Filters of the basis; None is the full rank. They are a group of the channel graph, so a
    search may choose their number; leave it out there."""
    shared: Shared = False
    """Whether one basis serves all these layers whose parts and kernels are of one size, or those
    of them that one module holds (``siblings``, as the convolutions of a block). With
    ``first-channels`` it serves layers of any width: it is made for the widest, and the others use
    the filters' first channels (DenseNet)."""
    between: tuple[Between, ...] = ()
    """What stands between basis and mix, in this order: with it the two are no longer equal to one
    convolution."""
    mix_kernel: int = Field(default=1, ge=1)
    """Side of the kernel of the mix, odd."""
    residual: bool = False
    """Whether a layer's input is added to the mix's output, so that the two make up what the
    convolution adds to the identity; for layers that keep the shape of their input."""
    init: Init = "least-squares"
    """Whether basis and mix start as the best approximation of the weights, which at full rank they
    equal, or from random ones, such that outputs keep their size."""

    @field_validator("layers", mode="before")
    @classmethod
    def _one_or_several(cls, layers: Any) -> Any:
        return (layers,) if isinstance(layers, str) else layers

    @field_validator("mix_kernel")
    @classmethod
    def _odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError("a kernel of even side would shift the image; choose 1, 3, 5, ...")
        return side

    @model_validator(mode="after")
    def _consistent(self) -> FilterBasisSettings:
        if self.shared == "first-channels" and self.size is not None:
            raise ValueError(
                "shared=first-channels is for layers that are not split; leave size out"
            )
        reasons = {
            f"between={list(self.between)}": bool(self.between),
            "shared=first-channels": self.shared == "first-channels",
        }
        for said, holds in reasons.items():
            if holds and self.init == "least-squares":
                raise ValueError(
                    f"with {said} no start is the best approximation of given weights; add "
                    "init=fresh"
                )
        return self
