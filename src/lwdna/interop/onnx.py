"""Networks as ONNX files, for runtimes other than PyTorch."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lwdna.errors import LwdnaError, ModelError
from lwdna.files import atomic
from lwdna.input_size import InputSize, InputTypes
from lwdna.inputs import arguments, call, zeros

NEEDED = ("onnx", "onnxscript")
CHECKED_BY = "onnxruntime"
_MORE = (1, 0, 32, 64)
"""By how much the batch, the channels, height and width of the images grow for the trial."""
_CLOSE = 1e-3
"""By how much of its largest value a result may differ from the network's own."""


def check_packages() -> None:
    """Make sure that the packages are there that torch exports with.

    Raises:
        LwdnaError: they are not.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise LwdnaError(
            f"torch exports ONNX with {' and '.join(missing)}, which this Python lacks; "
            f"install them: pip install {' '.join(NEEDED)} {CHECKED_BY}"
        )


def export_onnx(
    model: nn.Module,
    input_size: InputSize,
    path: str | Path,
    input_types: InputTypes | None = None,
    notes: Mapping[str, str] = {},
) -> str | None:
    """Write a network in evaluation mode as one ONNX file, atomically.

    Its inputs take batches of any size and, where the network does, images of any height and
    width: what onnxruntime makes of the file and of larger images is compared with the network's
    own answer, because torch writes some operators (adaptive pooling) for the one size that it
    saw. A single input is named ``input``; several, and one that is given by name, have the names
    of the parameters of ``forward``. A single output is named ``output``; several have the names of
    the fields of a named tuple, or are numbered from ``output_0`` on.

    Args:
        model: an ordinary module, as every lwdna network is.
        input_size: without the batch axis, (C, H, W) for images.
        path: the file to write.
        input_types: types of the inputs; default: float32.
        notes: metadata of the file, texts by key, such as :meth:`lwdna.interface.Interface.notes`.

    Returns:
        Why height and width of images are fixed, None if they are not.

    Raises:
        LwdnaError: the packages that torch exports with are not installed.
        ModelError: torch cannot export the network.
        FileError: the file cannot be written.
    """
    check_packages()
    model.cpu().eval()
    return _export(model, _zeros(input_size, input_types), path, notes)


@runtime_checkable
class HasParts(Protocol):
    """A network whose parts are used in turn, as a Siamese tracker's."""

    def parts(
        self, inputs: Mapping[str, Tensor]
    ) -> Mapping[str, tuple[nn.Module, dict[str, Tensor]]]:
        """Return the parts by name, each with its inputs where the network is given ``inputs``."""
        ...


def export_parts(
    model: nn.Module,
    input_size: InputSize,
    path: str | Path,
    input_types: InputTypes | None = None,
    notes: Mapping[str, str] = {},
) -> dict[Path, str | None]:
    """Write each part of a network as an ONNX file; else as :func:`export_onnx`.

    Args:
        model: a :class:`HasParts`.
        input_size: of the whole network.
        path: of ``x.onnx``, parts are written to ``x-NAME.onnx``.
        input_types: types of the inputs of the whole network; default: float32.
        notes: metadata of every file, texts by key.

    Returns:
        The files, and why height and width of their images are fixed, None where they are not.

    Raises:
        LwdnaError: the packages that torch exports with are not installed.
        ModelError: the network has no parts, or torch cannot export one.
        FileError: a file cannot be written.
    """
    check_packages()
    if not isinstance(model, HasParts):
        raise ModelError(
            f"{type(model).__name__} has no parts to export; Siamese trackers have, of others "
            "export the whole"
        )
    model.cpu().eval()
    written, path = {}, Path(path)
    for name, (part, inputs) in model.parts(_zeros(input_size, input_types)).items():
        file = path.with_name(f"{path.stem}-{name}{path.suffix}")
        written[file] = _export(part.eval(), inputs, file, notes)
    return written


def _zeros(input_size: InputSize, input_types: InputTypes | None) -> Any:
    """Return inputs for two examples: a batch of one would be taken for a constant."""
    return tree_map(torch.Tensor.contiguous, zeros(input_size, input_types, batch=2))


def _export(
    model: nn.Module, inputs: Any, path: str | Path, notes: Mapping[str, str]
) -> str | None:
    """Write a network that takes such inputs; return why they are of one size, if they are."""
    has_images = any(tensor.ndim == 4 for tensor in tree_leaves(inputs))
    why = None
    with _quiet():
        if has_images:
            try:
                program = _of_any_size(model, inputs)
                _write(program, inputs, _axes(inputs, images=True), path, notes, model)
                return None
            except _Fixed as error:
                why = str(error)
        try:
            _write(model, inputs, _axes(inputs, images=False), path, notes)
        except torch.onnx.OnnxExporterError as error:
            raise ModelError(f"torch cannot export this network to ONNX: {_said(error)}") from error
    return why


class _Fixed(Exception):
    """Why a network takes images of one size only."""


def _of_any_size(model: nn.Module, inputs: Any) -> torch.export.ExportedProgram:
    """Export a network for images of any height and width.

    Raises:
        _Fixed: the network does not take them, or what torch makes of it does not.
    """
    if find_spec(CHECKED_BY) is None:
        raise _Fixed(f"only {CHECKED_BY} can check others; install it: pip install {CHECKED_BY}")
    larger = _larger(inputs)
    with torch.no_grad():
        try:
            expected = call(model, larger)
        except Exception as error:  # of the user's network
            raise _Fixed(f"the network takes no others ({_said(error)})") from error
        args, kwargs = arguments(inputs)
        free = tree_map(lambda _: torch.export.Dim.DYNAMIC, _axes(inputs, images=True))
        try:
            program = torch.export.export(model, args, kwargs, dynamic_shapes=free, strict=False)
            found = call(program.module(), larger)
        except Exception as error:  # torch's errors here have no common class
            raise _Fixed(f"torch cannot export it for others ({_said(error)})") from error
    if not _same(found, expected):
        raise _Fixed("what torch exports computes something else at others")
    return program


def _write(
    exported: nn.Module | torch.export.ExportedProgram,
    inputs: Any,
    axes: Any,
    path: str | Path,
    notes: Mapping[str, str],
    model: nn.Module | None = None,
) -> None:
    """Convert and write; what is written is compared with ``model`` on larger images, if given.

    Raises:
        _Fixed: torch cannot convert it, or the file computes something else.
        OnnxExporterError: the same without ``model``.
    """
    args, kwargs = arguments(inputs)
    try:
        program = torch.onnx.export(
            exported,
            args,
            kwargs=kwargs,
            input_names=["input"] if isinstance(inputs, Tensor) else None,
            output_names=_output_names(exported, inputs),
            dynamic_shapes=axes,
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        if model is None:
            raise
        raise _Fixed(f"torch cannot convert it for others ({_said(error)})") from error
    assert program is not None
    program.model.metadata_props.update(notes)
    with atomic(path) as temporary:
        program.save(temporary, external_data=False)
        if model is not None:
            _check_file(temporary, model, _larger(inputs))


def _output_names(network: nn.Module | torch.export.ExportedProgram, inputs: Any) -> list[str]:
    """Return what the outputs are called: as the fields of a named tuple, or by number."""
    module = network.module() if isinstance(network, torch.export.ExportedProgram) else network
    with torch.no_grad():
        outputs = call(module, inputs)
    if isinstance(outputs, Tensor):
        return ["output"]
    fields = getattr(outputs, "_fields", None)
    if fields and all(isinstance(one, Tensor) for one in outputs):
        return list(fields)
    count = len(tree_leaves(outputs))
    return ["output"] if count == 1 else [f"output_{place}" for place in range(count)]


def _check_file(path: Path, model: nn.Module, inputs: Any) -> None:
    """Make sure that a file computes what the network does.

    Raises:
        _Fixed: it does not.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        given = [tensor.numpy() for tensor in tree_leaves(inputs)]
        found = session.run(None, dict(zip(names, given, strict=True)))
    except Exception as error:  # onnxruntime's errors have no common class
        raise _Fixed(f"onnxruntime cannot run it on others ({_said(error)})") from error
    with torch.no_grad():
        expected = call(model, inputs)
    if not _same([torch.from_numpy(array) for array in found], expected):
        raise _Fixed("what torch exports computes something else at others in onnxruntime")


def _axes(inputs: Any, *, images: bool) -> Any:
    """Return the names of the free axes of all inputs, in the form that torch asks for.

    Args:
        inputs: of the network.
        images: whether height and width of images are free, too.
    """
    args, kwargs = arguments(inputs)
    several = len(args) + len(kwargs) > 1

    def of(name: str, tensor: Tensor) -> dict[int, str]:
        mark = f"_{name}" if several else ""
        sides = {2: f"height{mark}", 3: f"width{mark}"} if images and tensor.ndim == 4 else {}
        return {0: "batch", **sides}

    if kwargs:
        return {name: of(name, tensor) for name, tensor in kwargs.items()}
    return tuple(of(str(place), tensor) for place, tensor in enumerate(args))


def _larger(inputs: Any) -> Any:
    """Return noise for a larger batch of larger images; what is no image keeps its size."""
    generator = torch.Generator().manual_seed(0)

    def grow(tensor: Tensor) -> Tensor:
        more = _MORE if tensor.ndim == 4 else _MORE[:1]
        size = [
            one + (more[axis] if axis < len(more) else 0) for axis, one in enumerate(tensor.shape)
        ]
        if not tensor.is_floating_point():
            return tensor.new_zeros(size)
        return torch.rand(size, generator=generator).to(tensor)

    return tree_map(grow, inputs)


def _same(found: Any, expected: Any) -> bool:
    ours, theirs = ([leaf.double() for leaf in tree_leaves(one)] for one in (found, expected))
    return len(ours) == len(theirs) and all(
        one.shape == two.shape
        and torch.allclose(one, two, rtol=0, atol=_CLOSE * max(float(two.abs().max()), _CLOSE))
        for one, two in zip(ours, theirs, strict=True)
    )


def _said(error: Exception) -> str:
    """Return what an error says in one line; torch's go on for pages."""
    cause = error.__cause__ if isinstance(error, torch.onnx.OnnxExporterError) else None
    text = str(cause or error)
    lines = [line.strip(" -") for line in text.splitlines() if line.strip(" -")]
    telling = [line for line in lines if "specialized" in line]
    return (telling or lines or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with (
        contextlib.redirect_stdout(io.StringIO()),  # torch reports its progress there
        warnings.catch_warnings(),
    ):
        # that all inputs have one batch size is meant
        warnings.filterwarnings("ignore", message="# The axis name")
        yield
