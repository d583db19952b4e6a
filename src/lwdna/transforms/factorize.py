"""Convolutions as products of two: the settings, which recipes name; ``pairs`` does the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from lwdna.settings import Settings
from lwdna.transforms.table import register_transform

if TYPE_CHECKING:
    from torch import nn

Init = Literal["svd", "svd-mix", "identity", "fresh"]


class FactorizeSettings(Settings):
    """Which convolutions become pairs of two, and what the pairs start from."""

    layers: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Convolutions by shell patterns of their names. None is all that can be split and may gain
    from it: kernels larger than 1, more than 4 channels (an image's) on either side."""
    rank: float | None = Field(default=None, gt=0, le=1)
    """Channels between the two, as a fraction of the full rank; None is the full rank. Budgets
    choose ranks later, so that a recipe for a search leaves it out."""
    init: Init = "svd"
    """What the pair starts from: the best approximation of the convolution's weights, which at full
    rank it equals, with the singular values in ``basis`` (svd) or in ``mix`` (svd-mix); the weights
    themselves and an identity (identity); or random weights of the same size (fresh)."""

    @field_validator("layers", mode="before")
    @classmethod
    def _one_or_several(cls, layers: Any) -> Any:
        return (layers,) if isinstance(layers, str) else layers

    @model_validator(mode="after")
    def _whole_identity(self) -> FactorizeSettings:
        if self.init == "identity" and self.rank not in (None, 1):
            raise ValueError(
                "init=identity has as many channels between the two as the convolution has outputs;"
                " leave rank out, or choose init=svd"
            )
        return self


@register_transform("factorize", settings=FactorizeSettings)
def split_convolutions(network: nn.Module, settings: FactorizeSettings) -> nn.Module:
    """Convolutions become pairs of two, whose ranks are widths like any other."""
    from lwdna.transforms.pairs import split  # with torch, which settings do not need

    return split(network, settings.layers, settings.rank, settings.init)


def factorize(
    model: nn.Module,
    layers: Sequence[str] | str | None = None,
    rank: float | None = None,
    init: Init = "svd",
) -> nn.Module:
    """Return a network whose convolutions are products of two.

    A convolution with C inputs, N outputs and kernel k x k becomes one with kernel k x k from C to
    r channels, ``basis``, and one with kernel 1 x 1 from r to N, ``mix`` (Li et al., "Learning
    Filter Basis for Convolutional Neural Network Compression", ICCV 2019). The full rank is
    min(N, C k k). To :func:`lwdna.trace` the r channels are a group like any other. ``mix`` is the
    matrix A of Li et al., "Group Sparsity: The Hinge Between Filter Pruning and Decomposition for
    Network Compression", CVPR 2020 (arXiv 2003.08935): what it reads are the rows of A, what it
    writes the columns.

    Args:
        model: is not changed.
        layers: shell patterns of the names of convolutions, in one to three dimensions. By default
            all that can be split, have kernels larger than 1 and more than 4 channels on either
            side: image channels and those that cannot be split stay.
        rank: r as a fraction of the full rank, rounded; by default the full rank.
        init: ``svd`` starts from the best approximation of the weights in the Frobenius norm,
            which at full rank gives the same outputs; the columns of ``mix`` are orthonormal, so
            that the norms of the filters of ``basis`` are the singular values, in descending
            order. ``svd-mix`` has the same product with orthonormal filters in ``basis`` and the
            singular values in the columns of ``mix``. ``identity`` leaves the convolution as it is
            and starts ``mix`` as the identity, with N channels between. ``fresh`` draws both from
            torch's global generator, so that outputs keep their size.

    Raises:
        ModelError: a pattern names no convolution, or one that cannot be split (transposed, in
            groups, with a forward pass or a parametrised weight of its own, with hooks, sharing its
            weight); or there is none to split; or settings that there are not.

    Example:
        >>> model = lwdna.factorize(timm.create_model("resnet18"), layers="layer*.conv*")
        >>> graph = lwdna.trace(model, images[:1])
    """
    from lwdna.transforms.rewrite import rewrite  # with torch, which settings do not need

    settings = {"layers": layers, "rank": rank, "init": init}
    return rewrite(model, [{"name": "factorize", **settings}])
