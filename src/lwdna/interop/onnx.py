"""Networks as ONNX files, for runtimes other than PyTorch."""

from __future__ import annotations

import contextlib
import io
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from lwdna.errors import LwdnaError, ModelError
from lwdna.files import atomic
from lwdna.input_size import InputSize, InputTypes, only
from lwdna.inputs import arguments, zeros

NEEDED = ("onnx", "onnxscript")


def export_onnx(
    model: nn.Module,
    input_size: InputSize,
    path: str | Path,
    input_types: InputTypes | None = None,
) -> None:
    """Write a network in evaluation mode as one ONNX file, atomically.

    Its inputs take batches of any size. A single one is named ``input``; several have the names of
    the parameters of ``forward``.

    Args:
        model: an ordinary module, as every lwdna network is.
        input_size: without the batch axis, (C, H, W) for images.
        path: the file to write.
        input_types: types of the inputs; default: float32.

    Raises:
        LwdnaError: the packages that torch exports with are not installed.
        ModelError: torch cannot export the network.
        FileError: the file cannot be written.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise LwdnaError(
            f"torch exports ONNX with {' and '.join(missing)}, which this Python lacks; "
            f"install them: pip install {' '.join(NEEDED)}"
        )
    # a batch of one would be taken for a constant
    inputs = tree_map(torch.Tensor.contiguous, zeros(input_size, input_types, batch=2))
    args, kwargs = arguments(inputs)
    batch = {0: torch.export.Dim("batch")}
    sizes: Any = dict.fromkeys(kwargs, batch) if kwargs else (batch,) * len(args)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),  # it reports its progress there
            warnings.catch_warnings(),
        ):
            # that all inputs have one batch size is meant
            warnings.filterwarnings("ignore", message="# The axis name")
            program = torch.onnx.export(
                model.cpu().eval(),
                args,
                kwargs=kwargs,
                input_names=["input"] if only(input_size) is not None else None,
                output_names=["output"],
                dynamic_shapes=sizes,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"torch cannot export this network to ONNX: {first}") from error
    assert program is not None
    with atomic(path) as temporary:
        program.save(temporary, external_data=False)
