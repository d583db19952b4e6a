"""Convolutions as mixes of few filters: the settings, which recipes name; ``bases`` does the work.

Li et al., "Learning Filter Basis for Convolutional Neural Network Compression", ICCV 2019 (arXiv
1908.08932).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from lwdna.settings import Settings
from lwdna.transforms.table import register_transform

if TYPE_CHECKING:
    from torch import nn

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


@register_transform("filter-basis", settings=FilterBasisSettings)
def mix_bases(network: nn.Module, settings: FilterBasisSettings) -> nn.Module:
    """Convolutions become mixes of few filters on parts of their channels."""
    from lwdna.transforms.bases import to_bases  # with torch, which settings do not need

    return to_bases(network, settings)


def filter_basis(
    model: nn.Module,
    layers: Sequence[str] | str | None = None,
    *,
    size: int | None = None,
    filters: int | None = None,
    shared: Shared = False,
    between: Sequence[Between] = (),
    mix_kernel: int = 1,
    residual: bool = False,
    init: Init = "least-squares",
) -> nn.Module:
    """Return a network whose convolutions mix the answers of few filters.

    A convolution with C = G S inputs, N outputs and kernel k x k becomes one from S to n channels,
    ``basis``, applied to each of the G parts of the input alike, and one with kernel 1 x 1 from the
    G n channels that result to N, ``mix``. The basis has no bias; the mix has the layer's. With one
    part this is what :func:`lwdna.factorize` makes. To :func:`lwdna.trace` the n filters are one
    group, also where several layers share them.

    A basis saves parameters, n S k k + N G n for N C k k, and more where layers share it. It saves
    MACs only below N k k / (k k + N / S) filters; :func:`lwdna.transforms.costs_of_pairs` tells.

    Args:
        model: is not changed.
        layers: shell patterns of the names of convolutions, as for :func:`lwdna.factorize`.
        size: S; by default C, a single part.
        filters: n; by default the full rank.
        shared: whether one basis serves all layers with S and k alike; ``siblings``: those in the
            same module; ``first-channels``: all with k alike, which use the filters' first
            channels.
        between: what stands between: ``batch-norm``, ``relu``, ``prelu``, in the order given.
        mix_kernel: side of the mix's kernel, odd.
        residual: whether the input is added to the output.
        init: ``least-squares`` starts from the best approximation of the weights of all layers that
            share a basis, in the Frobenius norm (Eckart and Young); the filters of ``basis`` are
            orthonormal and come in descending order of their singular values, which are in ``mix``.
            ``fresh`` draws both from torch's global generator, so that outputs keep their size.

    Raises:
        ModelError: settings that there are not; a pattern that names no convolution or one that
            cannot be split; a size that does not divide a layer's inputs; more filters than are
            independent; a residual where input and output differ.

    Example:
        >>> model = lwdna.create_model("lwdna:resnet56_cifar")
        >>> small = filter_basis(model, "stages.2.[1-8].conv?", filters=84, shared=True)
    """
    from lwdna.transforms.rewrite import rewrite  # with torch, which settings do not need

    settings = {
        "layers": layers,
        "size": size,
        "filters": filters,
        "shared": shared,
        "between": tuple(between),
        "mix_kernel": mix_kernel,
        "residual": residual,
        "init": init,
    }
    return rewrite(model, [{"name": "filter-basis", **settings}])
