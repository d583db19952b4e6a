"""Convolutions as mixes of few filters: the transform's name; ``bases`` does the work.

Li et al., "Learning Filter Basis for Convolutional Neural Network Compression", ICCV 2019 (arXiv
1908.08932).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lwdna.transforms.basis_settings import Between, FilterBasisSettings, Init, Shared
from lwdna.transforms.table import register_transform

if TYPE_CHECKING:
    from torch import nn


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
    ``basis``, for each of the G parts of the input alike, and one with kernel 1 x 1 from the G n
    channels that result to N, ``mix``, which has the bias. To :func:`lwdna.trace` the n filters are
    one group, also where several layers share them. With one part and nothing shared this is what
    :func:`lwdna.factorize` makes.

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
            share a basis (Eckart and Young); the filters are orthonormal, in descending order of
            their singular values. ``fresh`` draws from torch's global generator, so that outputs
            keep their size.

    Raises:
        ModelError: settings that there are not; a pattern that names no convolution or one that
            cannot be split; a size that does not divide a layer's inputs; more filters than are
            independent; a residual where input and output differ.
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
