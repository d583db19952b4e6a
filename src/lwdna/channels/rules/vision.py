"""Operators of torchvision: deformable convolution, regions of interest, boxes.

They are named in full, so torchvision need not be imported before a network uses it.
"""

from __future__ import annotations

from lwdna.channels.algebra.layout import cut_equal, divide_inner, fixed, resolve
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.conv import convolve
from lwdna.channels.rules.table import Arguments, Shapes, register_rule


def _groups_follow(arguments: Arguments, shapes: Shapes) -> Arguments:
    """Of a depthwise convolution the groups follow the channels; of others they stay."""
    x, weight, *_ = shapes
    return arguments if arguments["groups"] == 1 else {**arguments, "groups": x[1] // weight[1]}


@register_rule("torchvision::deform_conv2d", adapt=_groups_follow)
def deform_conv2d(call: Call) -> Axes:
    """A convolution whose kernel's positions move by ``offset`` and fade by ``mask``.

    Each offset group moves an equal share of the input channels. Offsets are as many as kernel and
    offset groups say: (B, 2 * offset_groups * k_h * k_w, H, W); of a mask there are half as many.
    """
    batch, channels, *_ = call.axes(call["input"])
    cut_equal(channels, call["offset_groups"], call.blame)
    for moved in (call["offset"], call["mask"])[: 2 if call["use_mask"] else 1]:
        images, positions, *_ = call.axes(moved)
        call.unify(batch, images)
        call.pin(positions, "the offsets of a kernel")
    return convolve(call, call["input"], call["weight"], call["bias"], call["groups"])


@register_rule("torchvision::roi_align", "torchvision::roi_pool")
def regions(call: Call) -> list[Axes]:
    """(B, C, H, W) and (K, 5) to (K, C, h, w): channels pass."""
    channels = call.axes(call["input"])[1]
    return _regions(call, (channels, *_window(call)))


@register_rule("torchvision::ps_roi_align", "torchvision::ps_roi_pool")
def regions_by_place(call: Call) -> list[Axes]:
    """(B, C h w, H, W) and (K, 5) to (K, C, h, w): each place of a window has channels of its own.

    The h w places are the fast part of a channel.
    """
    height, width = call.shape[-2:]
    channels = divide_inner(resolve(call.axes(call["input"])[1]), height * width, call.blame)
    return _regions(call, (channels, *_window(call)))


def _window(call: Call) -> Axes:
    return tuple(fixed(size) for size in call.shape[-2:])


def _regions(call: Call, rest: Axes) -> list[Axes]:
    batch, _, *space = call.axes(call["input"])
    boxes, corners = call.axes(call["rois"])
    for axis in (batch, *space, corners):
        call.pin(axis, "regions are cut out by their coordinates")
    return [(boxes, *rest) for _ in call.outputs]


@register_rule("torchvision::nms")
def nms(call: Call) -> list[Axes]:
    """Which boxes are kept follows from their values."""
    for tensor in call.tensors:
        for axis in call.axes(tensor):
            call.pin(axis, "boxes are chosen by their scores")
    return call.plain()
