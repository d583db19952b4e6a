"""Fourier transforms and complex numbers."""

from __future__ import annotations

from lwdna.channels.algebra.layout import fixed, is_fixed
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import register_rule


@register_rule("_fft_c2c", "_fft_r2c", "_fft_c2r")
def transform(call: Call) -> Axes:
    """Every frequency depends on the whole axis; one of half a spectrum has another length."""
    axes = list(call.axes(call["self"]))
    for axis in (call.dim(d, len(axes)) for d in call["dim"]):
        if not is_fixed(axes[axis]) and call.shape[axis] != call["self"].shape[axis]:
            call.pin(axes[axis], "half a spectrum along the channels")
        call.mark_inexact(axes[axis], "transformed along the channels")
        if is_fixed(axes[axis]):
            axes[axis] = fixed(call.shape[axis])
    return tuple(axes)


@register_rule("view_as_real")
def real_and_imaginary(call: Call) -> Axes:
    """Both parts in a new last axis."""
    return (*call.axes(call["self"]), fixed(2))


@register_rule("view_as_complex")
def complex_of_parts(call: Call) -> Axes:
    """The last axis, of both parts, vanishes."""
    *axes, parts = call.axes(call["self"])
    call.pin(parts, "real and imaginary part")
    return tuple(axes)
