"""Normalisation: per-channel parameters agree with the channels they normalise."""

from __future__ import annotations

from torch import Tensor

from lwdna.channels.algebra.layout import cut_equal, fixed
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import Arguments, Shapes, register_rule


@register_rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update",
    "_batch_norm_no_update",
    "cudnn_batch_norm",
    "miopen_batch_norm",
)
def batch_norm(call: Call) -> list[Axes]:
    """Each channel on its own: weight, bias and running statistics follow axis 1."""
    x, *statistics = call.tensors
    axes = call.axes(x)
    for tensor in statistics:
        call.unify(axes[1], call.axes(tensor)[0])
    if call.get("training", "no_training" not in call.op):
        for d, axis in enumerate(axes):
            if d != 1:  # as where a weight (1, C_out, C_in * k * k) is standardised
                call.mark_inexact(axis, "normalised over the channels")
    return [
        axes if output.ndim == x.ndim else _per_channel(output, axes) for output in call.outputs
    ]


def _per_channel(output: Tensor, axes: Axes) -> Axes:
    same = output.ndim == 1 and output.shape[0] == sum(part.size for part in axes[1])
    return (axes[1],) if same else tuple(fixed(size) for size in output.shape)


def _shape_follows(arguments: Arguments, shapes: Shapes) -> Arguments:
    rank = len(arguments["normalized_shape"])
    return {**arguments, "normalized_shape": tuple(shapes[0][-rank:])}


@register_rule("native_layer_norm", "rms_norm", "_fused_rms_norm", adapt=_shape_follows)
def layer_norm(call: Call) -> list[Axes]:
    """Statistics run over the trailing axes, so a slice changes them."""
    x = call["input"]
    axes = call.axes(x)
    rank = len(call["normalized_shape"])
    for axis in axes[-rank:]:
        call.mark_inexact(axis, "normalised over the channels")
    for name in ("weight", "bias"):
        if isinstance(call.get(name), Tensor):
            for left, right in zip(axes[-rank:], call.axes(call[name]), strict=True):
                call.unify(left, right)
    rest = (*axes[:-rank], *(fixed(1) for _ in range(rank)))
    return [axes, *(rest for _ in call.outputs[1:])]


def _channels_follow(arguments: Arguments, shapes: Shapes) -> Arguments:
    return {**arguments, "C": shapes[0][1]}


@register_rule("native_group_norm", adapt=_channels_follow)
def group_norm(call: Call) -> list[Axes]:
    """Statistics run over the channels of a group; the number of groups stays."""
    x, groups = call["input"], call["group"]
    axes = call.axes(x)
    for name in ("weight", "bias"):
        if isinstance(call.get(name), Tensor):
            call.unify(axes[1], call.axes(call[name])[0])
    cut_equal(axes[1], groups, call.blame)
    call.mark_inexact(axes[1], "normalised over the channels of a group")
    return [axes, *call.plain()[1:]]
