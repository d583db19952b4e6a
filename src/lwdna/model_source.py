"""Where a baseline comes from: its network by name, with or without weights, and its graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from torch import nn

from lwdna.channels import ChannelGraph, Edits, trace
from lwdna.channels.copies.accepted import needs_weights
from lwdna.errors import EditError, GraphError, ModelError
from lwdna.models import create_model
from lwdna.settings import Settings
from lwdna.transforms import Transform, rewrite


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
        self._check_arguments()
        network = create_model(self.name, trust_code=trust_code, **self.args)
        return rewrite(network, self.transforms)

    def skeleton(self, trust_code: bool = False) -> nn.Module | None:
        """Build the baseline without weights, which costs no memory: it can be traced, not run.

        Args:
            trust_code: allow sources that import Python code.

        Returns:
            The network, or None where it is not to be had like that: weights are loaded, rewritten
            or computed from others, or its constructor reads them; and where :meth:`create` fails.

        Raises:
            ModelError: the arguments are none that a network's may be.
        """
        self._check_arguments()
        if self.transforms or self.args.get("pretrained"):
            return None
        try:
            network = create_model(
                self.name, trust_code=trust_code, with_weights=False, **self.args
            )
        except ModelError:
            return None
        return None if needs_weights(network) else network

    def graph(
        self, example_inputs: Any, edits: Edits | None = None, trust_code: bool = False
    ) -> ChannelGraph:
        """Return the baseline's channel graph, traced without weights where it does not need them.

        Args:
            example_inputs: as for :func:`lwdna.trace`, on the CPU.
            edits: decisions by hand about its groups.
            trust_code: allow sources that import Python code.

        Raises:
            ModelError: there is no such network, its code is not trusted, or a transform cannot
                be applied to it.
            GraphError: the network does not run; the transforms that rewrote it are named.
            EditError: an edit names nothing or cannot hold.
        """
        skeleton, create = self.skeleton(trust_code), partial(self.create, trust_code)
        if skeleton is None:
            return traced(create(), example_inputs, edits, self)
        return traced_without_weights(skeleton, create, example_inputs, edits)

    def _check_arguments(self) -> None:
        ours = {"name", "trust_code", "with_weights"} & self.args.keys()
        if ours:  # whether code is trusted is never for a file to say
            raise ModelError(
                f"{', '.join(sorted(ours))} cannot be among the arguments of {self.name}; leave "
                "that out of model.args"
            )

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


def traced_without_weights(
    skeleton: nn.Module,
    create: Callable[[], nn.Module],
    example_inputs: Any,
    edits: Edits | None = None,
) -> ChannelGraph:
    """Return the channel graph of a network built without weights.

    Where it does not run like that, since which way it takes depends on values, it is that of the
    network with weights, which ``create`` builds. Errors are those of :func:`lwdna.trace`.
    """
    try:
        return trace(skeleton, example_inputs, edits)
    except EditError:
        raise
    except GraphError:
        return trace(create(), example_inputs, edits)
