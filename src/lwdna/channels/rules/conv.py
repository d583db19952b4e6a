"""Convolutions: plain, grouped, depthwise and transposed, in any number of dimensions."""

from __future__ import annotations

from math import prod

from torch import Tensor

from lwdna.channels.algebra.layout import Layout, Segment, cut_equal, fixed, is_fixed, resolve
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import Arguments, Shapes, register_rule


def _groups_follow(arguments: Arguments, shapes: Shapes) -> Arguments:
    """Of a depthwise convolution the groups follow the channels; of others they stay."""
    x, weight, *_ = shapes
    if arguments["groups"] == 1:
        return arguments
    if not arguments["transposed"]:
        return {**arguments, "groups": x[1] // weight[1]}
    return {**arguments, "groups": weight[0]} if weight[1] == 1 else arguments


@register_rule("convolution", "_convolution", adapt=_groups_follow)
def convolution(call: Call) -> Axes:
    """Unify input channels, weight and bias; kernel and spatial axes are fixed."""
    transposed = call["transposed"]
    return convolve(call, call["input"], call["weight"], call["bias"], call["groups"], transposed)


def convolve(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    transposed: bool = False,
) -> Axes:
    """Return the axes of a convolution's result and declare what it costs.

    Weight (C_out, C_in / g, *kernel), or (C_in, C_out / g, *kernel) when transposed.
    """
    batch, channels, *space = call.axes(x)
    first, second, *kernel = call.axes(weight)
    for axis in kernel:
        call.pin(axis, "kernel")
    if groups == 1:
        taken, given = (first, second) if transposed else (second, first)
        call.unify(channels, taken)
    elif transposed and groups == x.shape[1]:
        call.unify(channels, first)
        call.pin(second, "channel multiplier of a depthwise convolution")
        given = _inner(channels, weight.shape[1])
    elif groups == x.shape[1]:
        for asked in call.asked:
            if asked == groups:
                call.tie(channels, asked)
        given = _inner(channels, weight.shape[0] // groups)
        call.unify(given, first)
    elif transposed:
        call.unify(channels, first)
        cut_equal(first, groups, call.blame)
        given = _outer(second, groups)
    else:
        call.unify(cut_equal(channels, groups, call.blame), second)
        cut_equal(first, groups, call.blame)
        given = first
    if bias is not None:
        call.unify(given, call.axes(bias)[0])
    call.produces(given)
    result = (batch, given, *_space(call, space))
    positions = space if transposed else result[2:]
    call.macs(prod(weight.shape[2:]), batch, first, second, *positions)
    return result


@register_rule("conv_tbc")
def conv_tbc(call: Call) -> Axes:
    """(T, B, C_in) with weight (k, C_in, C_out): a convolution along the first axis."""
    time, batch, channels = call.axes(call["self"])
    kernel, taken, given = call.axes(call["weight"])
    call.pin(kernel, "kernel")
    call.pin(time, "convolved as if it were space")
    call.unify(channels, taken)
    call.unify(given, call.axes(call["bias"])[0])
    call.produces(given)
    result = (fixed(call.shape[0]), batch, given)
    call.macs(call["weight"].shape[0], *result, taken)
    return result


def _inner(layout: Layout, factor: int) -> Layout:
    return tuple(Segment(o, u, i * factor) for o, u, i in resolve(layout))


def _outer(layout: Layout, factor: int) -> Layout:
    return resolve(tuple(resolve(layout)) * factor)


def _space(call: Call, space: list[Layout]) -> list[Layout]:
    """A convolution may run along an axis of channels (ECA): any length, but no exact slices."""
    result = []
    for axis, size in zip(space, call.shape[2:], strict=True):
        if is_fixed(axis):
            result.append(fixed(size))
        elif sum(part.size for part in axis) == size:
            call.mark_inexact(axis, "a kernel slides along the channels")
            result.append(axis)
        else:
            call.pin(axis, "a kernel slides along the channels and changes their number")
            result.append(fixed(size))
    return result
