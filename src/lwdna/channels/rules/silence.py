"""Whether an operator's result is zero in channels that are silenced.

A channel is silenced when all parameters that belong to it are zero. What a layer makes of it is
zero then, and stays zero through what maps zero to zero: ReLU, pooling, products. After a sigmoid
it is not. That matters where two activations are multiplied and summed over their channels, as in
a correlation or in attention: the sum is that over the other channels alone only if one factor of
each silenced channel is zero. (A parameter, as a factor, always is.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

from torch import Tensor

from lwdna.channels.algebra.layout import Unit, is_fixed, units_of
from lwdna.channels.rules.call import Axes, Call

Silent = Callable[[Tensor], bool]
"""Tells whether a tensor is zero in channels that are silenced."""

_AS_FIRST = frozenset(
    {
        "_conj",
        "_conj_physical",
        "_reshape_alias",
        "_reshape_copy",
        "_to_copy",
        "_unsafe_index",
        "_unsafe_view",
        "_weight_norm",
        "_prelu_kernel",
        "abs",
        "alias",
        "amax",
        "amin",
        "as_strided",
        "asin",
        "asinh",
        "atan",
        "bernoulli",
        "ceil",
        "celu",
        "channel_shuffle",
        "chunk",
        "clone",
        "col2im",
        "conj",
        "contiguous",
        "cumsum",
        "detach",
        "diagonal",
        "div",
        "dropout",
        "elu",
        "erf",
        "erfinv",
        "expand",
        "expand_copy",
        "expm1",
        "fix",
        "flatten",
        "flip",
        "floor",
        "floor_divide",
        "fmod",
        "frac",
        "gather",
        "gelu",
        "hardshrink",
        "hardswish",
        "im2col",
        "imag",
        "index",
        "index_select",
        "leaky_relu",
        "lift_fresh",
        "linalg_vector_norm",
        "log1p",
        "max_unpool2d",
        "max_unpool3d",
        "mean",
        "mish",
        "movedim",
        "native_channel_shuffle",
        "native_dropout",
        "neg",
        "nan_to_num",
        "norm",
        "permute",
        "pixel_shuffle",
        "pixel_unshuffle",
        "real",
        "reflection_pad1d",
        "reflection_pad2d",
        "reflection_pad3d",
        "relu",
        "relu6",
        "remainder",
        "repeat",
        "replication_pad1d",
        "replication_pad2d",
        "replication_pad3d",
        "reshape",
        "roll",
        "rot90",
        "round",
        "rrelu_with_noise",
        "select",
        "selu",
        "sgn",
        "sign",
        "silu",
        "sin",
        "sinh",
        "slice",
        "softshrink",
        "split",
        "split_with_sizes",
        "sqrt",
        "square",
        "squeeze",
        "std",
        "sum",
        "t",
        "tan",
        "tanh",
        "transpose",
        "tril",
        "triu",
        "trunc",
        "unbind",
        "unflatten",
        "unfold",
        "unsafe_chunk",
        "unsafe_split",
        "unsqueeze",
        "var",
        "view",
        "view_as_complex",
        "view_as_real",
    }
)
"""Operators that map zero to zero, or that only move, reduce or divide what they are given."""

_PREFIXES = ("upsample_", "_upsample_", "avg_pool", "max_pool", "adaptive_", "_adaptive_", "_fft_")
_SUMS = frozenset({"add", "sub", "rsub", "maximum", "minimum", "cat", "stack", "lerp", "fmax"})
_PRODUCTS = frozenset({"mm", "bmm", "linear", "addmm", "baddbmm", "matmul"})
_VECTORS = frozenset({"mv", "addmv", "dot", "vdot"})
_NORMS = frozenset(
    {
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "_batch_norm_with_update",
        "_batch_norm_no_update",
        "cudnn_batch_norm",
        "miopen_batch_norm",
        "native_layer_norm",
        "rms_norm",
        "_fused_rms_norm",
        "native_group_norm",
    }
)


def result_is_silent(call: Call, silent: Silent) -> bool:
    """Tell whether an operator's results are zero where channels are silenced."""
    op = _base(call.op)
    if op in _AS_FIRST or op.startswith(_PREFIXES):
        return silent(call.tensors[0])
    if op == "mul":
        return any(map(silent, call.tensors))
    if op in _SUMS:
        return all(map(silent, call.tensors)) and not any(
            call.get(name) for name in ("other", "self") if _is_number(call.get(name))
        )
    if op in _PRODUCTS:
        return all(silent(tensor) or not _moves(call, tensor) for tensor in call.tensors)
    if op in ("mv", "addmv"):
        return all(map(silent, call.tensors[:-1]))
    if op in ("convolution", "_convolution", "deform_conv2d"):
        return silent(call["weight"]) and (call["bias"] is None or silent(call["bias"]))
    if op in _NORMS:
        affine = [call.get("weight"), *([call["bias"]] if call.get("bias") is not None else [])]
        return all(isinstance(tensor, Tensor) and silent(tensor) for tensor in affine)
    return _depends_on_numbers(op, call, silent)


def _depends_on_numbers(op: str, call: Call, silent: Silent) -> bool:
    """Answer for operators that map zero to zero with some arguments only."""
    if op in ("copy", "set"):
        return silent(call.tensors[-1])
    if op in ("zero", "zeros", "zeros_like", "new_zeros"):
        return True
    if op in ("fill", "full", "new_full", "full_like"):
        return (
            not isinstance(value := call.get("value", call.get("fill_value")), Tensor) and not value
        )
    if op in ("masked_fill", "constant_pad_nd"):
        return silent(call["self"]) and not isinstance(call["value"], Tensor) and not call["value"]
    if op == "where":
        sides = [call.get("self"), call.get("other")]
        return all(silent(s) if isinstance(s, Tensor) else not s for s in sides)
    if op in ("hardtanh", "clamp", "clamp_min", "clamp_max"):
        low, high = _bounds(op, call)
        return silent(call["self"]) and low <= 0 <= high
    if op == "pow":
        exponent = call["exponent"]
        return _is_number(exponent) and exponent > 0 and silent(call.tensors[0])
    return False


def loud_sums(call: Call, results: Iterable[Axes], silent: Silent) -> list[Unit]:
    """Return units over which a product sums, and of which no factor is silent."""
    if not call.terms and _base(call.op) not in _VECTORS:
        return []
    quiet: set[Unit] = {unit for axes in results for axis in axes for unit in units_of(axis)}
    loud: dict[Unit, None] = {}
    for tensor in call.tensors:
        units = [unit for axis in call.axes(tensor) for unit in units_of(axis)]
        if silent(tensor):
            quiet.update(units)
        else:
            loud.update(dict.fromkeys(units))
    return [unit for unit in loud if unit not in quiet]


def _moves(call: Call, tensor: Tensor) -> bool:
    return not all(map(is_fixed, call.axes(tensor)))


def _bounds(op: str, call: Call) -> tuple[float, float]:
    low = call.get("min_val", call.get("min"))
    high = call.get("max_val", call.get("max"))
    numbers = all(bound is None or _is_number(bound) for bound in (low, high))
    if not numbers:
        return 1, 0
    return (float("-inf") if low is None else low), (float("inf") if high is None else high)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float)


def _base(op: str) -> str:
    """Return an operator's name without overload, and without the mark of one in place."""
    name = op.partition(".")[0]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name
