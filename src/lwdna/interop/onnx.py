"""Networks as ONNX files, for runtimes other than PyTorch."""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from lwdna.errors import LwdnaError, ModelError
from lwdna.files import atomic

NEEDED = ("onnx", "onnxscript")


def export_onnx(model: nn.Module, input_size: tuple[int, ...], path: str | Path) -> None:
    """Write a network in evaluation mode as one ONNX file, atomically.

    Its input is named ``input`` and takes batches of any size.

    Args:
        model: an ordinary module, as every lwdna network is.
        input_size: shape of one input without the batch axis, (C, H, W) for images.
        path: the file to write.

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
    images = torch.zeros(2, *input_size)  # a batch of one would be taken for a constant
    batch = {0: torch.export.Dim("batch")}
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
            program = torch.onnx.export(
                model.cpu().eval(),
                (images,),
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=(batch,),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"torch cannot export this network to ONNX: {first}") from error
    assert program is not None
    with atomic(path) as temporary:
        program.save(temporary, external_data=False)
