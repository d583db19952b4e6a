"""The file a user keeps: which network, how wide each group, what it costs, how it was found.

An :class:`Architecture` is data. It rebuilds the network anywhere: build the baseline from its
source, trace its channel graph, give every group its width. Weights travel as ``.safetensors``
with the architecture in the metadata; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)
from torch import Tensor, nn

from lwdna.channels import ChannelGraph, Edits, resize, trace
from lwdna.channels.graph.notebook import table
from lwdna.channels.graph.structure import MOST_CHANNELS
from lwdna.errors import (
    ArchitectureError,
    CheckpointError,
    EditError,
    GraphError,
    ModelError,
    nearest,
)
from lwdna.files import json_text, write_text
from lwdna.input_size import InputSize, InputTypes, check_size, check_types
from lwdna.inputs import zeros
from lwdna.interface import Interface
from lwdna.models import create_model
from lwdna.models.memory import limited_memory
from lwdna.settings import Settings
from lwdna.transforms import Transform, rewrite
from lwdna.weights import load_weights, read_tensors, save_weights

FORMAT_VERSION = 1
METADATA_KEY = "lwdna_architecture"


class ModelSource(Settings):
    """Where the baseline comes from: a name (``timm:resnet50``), its arguments, transforms."""

    name: str
    args: dict[str, Any] = Field(default_factory=dict)
    transforms: tuple[Transform, ...] = ()
    """How the network is rewritten before it is traced; absent from the file if it is not."""

    def create(self, trust_code: bool = False) -> nn.Module:
        """Build the baseline, transforms included.

        Args:
            trust_code: allow sources that import Python code.

        Raises:
            ModelError: there is no such network, its code is not trusted, or a transform cannot
                be applied to it.
        """
        ours = {"name", "trust_code"} & self.args.keys()
        if ours:  # whether code is trusted is never for a file to say
            raise ModelError(
                f"{', '.join(sorted(ours))} cannot be among the arguments of {self.name}; leave "
                "that out of model.args"
            )
        network = create_model(self.name, trust_code=trust_code, **self.args)
        return rewrite(network, self.transforms)

    @model_serializer(mode="wrap")
    def _without_nothing(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = write(self)
        if not self.transforms:
            data.pop("transforms", None)
        return data


def traced(
    model: nn.Module,
    example_inputs: Any,
    edits: Edits | None = None,
    source: ModelSource | None = None,
) -> ChannelGraph:
    """Return the channel graph of a network that ``source`` made; see :func:`lwdna.trace`.

    Raises:
        GraphError: the network does not run; the transforms that rewrote it are named.
        EditError: an edit names nothing or cannot hold.
    """
    try:
        return trace(model, example_inputs, edits)
    except EditError:
        raise
    except GraphError as error:
        if source is None or not source.transforms:
            raise
        raise GraphError(
            f"{error}; it was rewritten before by: {'; '.join(map(str, source.transforms))}. If it "
            "runs without that, its code uses more of a replaced layer than its result: choose "
            "layers that leave those of this module out"
        ) from error


Count = Annotated[int, Field(ge=0, le=2**62)]


class CostRecord(Settings):
    """MACs of one image, number of parameters, and bytes of activations held at most."""

    macs: Count
    params: Count
    memory: Count | None = None


class Architecture(Settings):
    """A network as widths of the groups of a baseline."""

    format_version: Literal[1] = 1
    model: ModelSource | None
    """None when the baseline was an object; :meth:`build` then needs it again."""
    input_size: Annotated[InputSize, BeforeValidator(check_size)]
    """Shape of one input without the batch axis, (C, H, W) for images; a tuple of such shapes for
    several positional inputs, a dict for inputs by name."""
    input_types: InputTypes | None = None
    """Types of the inputs, in the form of their sizes; None, and absent from the file, if all are
    float32."""
    widths: dict[str, Annotated[int, Field(ge=1, le=MOST_CHANNELS)]]
    baseline: CostRecord
    cost: CostRecord
    found: dict[str, Any] = Field(default_factory=dict)
    """How it was found: method, criterion, seed, budget, versions. Empty for the baseline."""
    edits: Edits = Edits()
    """What was decided about the baseline's groups by hand; absent from the file if nothing was."""

    @field_validator("input_types", mode="before")
    @classmethod
    def _of_the_inputs(cls, value: Any, info: ValidationInfo) -> Any:
        known = value is not None and "input_size" in info.data
        return check_types(value, info.data["input_size"]) if known else value

    @classmethod
    def of(
        cls,
        graph: ChannelGraph,
        input_size: InputSize,
        model: ModelSource | None,
        widths: Mapping[str, int] | None = None,
        found: dict[str, Any] | None = None,
        input_types: InputTypes | None = None,
    ) -> Architecture:
        """Describe a network by its baseline's graph and widths (default: the baseline itself).

        :func:`lwdna.inputs.size_of` and :func:`lwdna.inputs.types_of` tell size and types.

        Raises:
            InputError: sizes that no inputs have.
        """
        before, after = graph.cost(), graph.cost(widths)
        input_size = check_size(input_size)
        return cls(
            model=model,
            input_size=input_size,
            input_types=input_types and check_types(input_types, input_size),
            widths=graph.complete(widths),
            baseline=CostRecord(**asdict(before)),
            cost=CostRecord(**asdict(after)),
            found=found or {},
            edits=graph.edits,
        )

    @classmethod
    def of_baseline(
        cls,
        source: ModelSource,
        input_size: InputSize,
        trust_code: bool = False,
        edits: Edits | None = None,
        input_types: InputTypes | None = None,
    ) -> Architecture:
        """Return the architecture of an unchanged baseline.

        Args:
            source: how to make it.
            input_size: shape of one input, or of several, without the batch axis.
            trust_code: allow a source that imports Python code.
            edits: decisions by hand about its groups.
            input_types: types of the inputs; default: float32.

        Raises:
            ModelError: there is no such network, or its code is not trusted.
            InputError: sizes that no inputs have.
        """
        model = source.create(trust_code)
        graph = traced(model, zeros(input_size, input_types), edits, source)
        return cls.of(graph, input_size, source, input_types=input_types)

    def build(
        self, model: nn.Module | None = None, seed: int | None = None, trust_code: bool = False
    ) -> nn.Module:
        """Return the network with fresh weights.

        Args:
            model: the baseline, where the file does not say how to make it; if it was rewritten,
                by :func:`lwdna.factorize` for example, then as rewritten.
            seed: makes the weights repeatable.
            trust_code: allow a baseline whose source imports Python code.

        Raises:
            ArchitectureError: the widths do not fit the baseline.
            ModelError: the baseline cannot be made, or is far larger than the file says.
        """
        if model is None:
            if self.model is None:
                raise ArchitectureError(
                    "this architecture does not say how to make its baseline; "
                    "pass the model: architecture.build(model)"
                )
            with torch.random.fork_rng(devices=[], enabled=seed is not None):
                if seed is not None:
                    torch.manual_seed(seed)
                # a buffer may be as large as the parameters, and some are made twice
                most = 8 * torch.float32.itemsize * self.baseline.params + 2**30
                with limited_memory(most, f"the file's {self.baseline.params} parameters suggest"):
                    model = self.model.create(trust_code)
        inputs = zeros(self.input_size, self.input_types)
        graph = traced(model, inputs, self.edits, self.model)
        self._check_fits(graph)
        return resize(model, graph, self.widths, init="fresh", seed=seed)

    def _check_fits(self, graph: ChannelGraph) -> None:
        known = graph.widths
        for name in self.widths:
            if name not in known:
                raise ArchitectureError(
                    f"the architecture names a group {name!r} that its baseline does not have"
                    f"{nearest(name, known)}; use the file with the model it was made from"
                )
        for name in known:
            if name not in self.widths:
                raise ArchitectureError(
                    f"the architecture gives no width for group {name!r} of its baseline; "
                    "use the file with the model it was made from"
                )
        for what, recorded, widths in (
            ("baseline", self.baseline, None),
            ("network", self.cost, self.widths),
        ):
            cost = graph.cost(widths)
            if (cost.macs, cost.params) != (recorded.macs, recorded.params):
                raise ArchitectureError(
                    f"the {what} has {cost.macs} MACs and {cost.params} parameters, the file says "
                    f"{recorded.macs} and {recorded.params}; use the file with the model it was "
                    "made from"
                )

    def __repr__(self) -> str:
        return f"<Architecture: {self._summary()}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what it costs, and the width of every group."""
        rows = [(name, f"{width}") for name, width in self.widths.items()]
        return table(f"Architecture: {self._summary()}", ("group", "width"), rows)

    def _summary(self) -> str:
        name = self.model.name if self.model is not None else "a network of your own"
        before, now = self.baseline, self.cost
        costs = f"{now.macs:,} MACs, {now.params:,} parameters"
        if now == before:
            return f"{name}, {costs}"
        return f"{name}, {costs} (baseline: {before.macs:,} and {before.params:,})"

    def save(self, path: str | Path) -> None:
        """Write the architecture as JSON, atomically."""
        write_text(path, self.to_json())

    def to_json(self) -> str:
        """Return readable JSON; equal architectures give equal bytes."""
        usual = {"edits": not self.edits, "input_types": self.input_types is None}
        absent = {name for name, is_usual in usual.items() if is_usual}
        data = self.model_dump(mode="json", exclude=absent)
        return json_text(data, indent=2) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> Architecture:
        """Read an architecture file, or the architecture inside a ``.safetensors`` file.

        Raises:
            ArchitectureError: the file is missing, damaged or of an unknown version.
        """
        path = Path(path)
        if path.suffix == ".safetensors":
            return _read_weights(path)[1]
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArchitectureError(f"cannot read architecture {path}: {error}") from error
        return cls.from_json(text, str(path))

    @classmethod
    def from_json(cls, text: str, origin: str) -> Architecture:
        """Parse what :meth:`to_json` wrote; ``origin`` names the file in errors."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArchitectureError(f"{origin} is not an architecture file: {error}") from error
        version = data.get("format_version") if isinstance(data, dict) else None
        if version != FORMAT_VERSION:
            raise ArchitectureError(
                f"{origin} has format version {reprlib.repr(version)}; this lwdna reads version "
                f"{FORMAT_VERSION}: update lwdna or write the file again"
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ArchitectureError(
                f"{origin} is not a valid architecture file: {place}: {first['msg']}"
            ) from error


def save(
    model: nn.Module,
    architecture: Architecture,
    path: str | Path,
    interface: Interface | None = None,
) -> None:
    """Write weights as safetensors with the architecture in the metadata, atomically.

    Args:
        model: the network.
        architecture: what it is.
        path: the file.
        interface: how images become its input and which classes its outputs stand for, which is
            written down, too; see :func:`lwdna.interface.read_interface`.

    Raises:
        FileError: the file cannot be written.
    """
    notes = {} if interface is None else interface.notes()
    save_weights(path, model.state_dict(), {METADATA_KEY: architecture.to_json(), **notes})


def load(
    path: str | Path, model: nn.Module | None = None, trust_code: bool = False
) -> tuple[nn.Module, Architecture]:
    """Build the network a ``.safetensors`` file describes and load its weights.

    Args:
        path: a file written by :func:`save`.
        model: the baseline, where the architecture does not say how to make it.
        trust_code: allow a baseline whose source imports Python code.

    Raises:
        CheckpointError: the file is missing, damaged, without an architecture, or its tensors do
            not fit the network.
    """
    tensors, architecture = _read_weights(Path(path))
    network = architecture.build(model, trust_code=trust_code)
    load_weights(network, tensors, path)
    return network, architecture


def _read_weights(path: Path) -> tuple[dict[str, Tensor], Architecture]:
    tensors, notes = read_tensors(path)
    text = notes.get(METADATA_KEY)
    if text is None:
        raise CheckpointError(
            f"{path} has no lwdna architecture in its metadata; "
            "only files written by lwdna can be loaded this way"
        )
    return tensors, Architecture.from_json(text, str(path))
