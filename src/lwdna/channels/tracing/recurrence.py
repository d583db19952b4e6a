"""Recurrent layers as one operator each, whatever kernels a device would choose."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _pop_mode_temporarily

aten = torch.ops.aten

LAYERS = {
    torch.gru: aten.gru,
    torch.lstm: aten.lstm,
    torch.rnn_relu: aten.rnn_relu,
    torch.rnn_tanh: aten.rnn_tanh,
}
CELLS = {
    torch.gru_cell: aten.gru_cell.default,
    torch.lstm_cell: aten.lstm_cell.default,
    torch.rnn_relu_cell: aten.rnn_relu_cell.default,
    torch.rnn_tanh_cell: aten.rnn_tanh_cell.default,
}


class WholeRecurrence(TorchFunctionMode):
    """Shows recurrent layers and cells to the innermost dispatch mode undivided.

    Torch takes them apart before any mode sees them: into steps, which may be thousands of
    operators, or into one vendor's kernels. Here they arrive as ``aten.lstm.input`` and the like.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operator = CELLS.get(func)
        if func in LAYERS:  # of packed sequences the weights are one argument later
            packed = isinstance(args[3], list | tuple)
            operator = LAYERS[func].data if packed else LAYERS[func].input
        if operator is None:
            return func(*args, **(kwargs or {}))
        with _pop_mode_temporarily() as mode:
            return mode.__torch_dispatch__(operator, types, args, kwargs)
