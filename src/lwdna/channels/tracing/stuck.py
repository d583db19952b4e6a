"""A network that does not run without values: run it for real, or say where it stopped and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from lwdna.channels.algebra.source import line_of
from lwdna.channels.copies.outcomes import Outcomes, observe
from lwdna.channels.copies.skeleton import copy_with, first_line
from lwdna.channels.tracing.record import Recording
from lwdna.channels.tracing.session import Session
from lwdna.channels.tracing.settle import Memory
from lwdna.errors import GraphError


class Stuck(Exception):
    """A run on fake tensors that ended in an error of the network's or of an operator's."""

    def __init__(self, error: Exception, session: Session, recording: Recording) -> None:
        super().__init__(first_line(error))
        self.error, self.module = error, session.stack.current
        self.operator = recording.running
        self.finished = [path for path, _ in recording.results]

    def explained(self, model: nn.Module) -> GraphError:
        """Return the error of a network that runs but cannot be traced, with the way out."""
        where = f"operator {self.operator}, in module {self.module!r}"
        line = line_of(self.error)
        part = self._largest_part(model)
        way_out = f"trace a part of it, such as model.{part}" if part else "trace a part of it"
        return GraphError(
            f"the network runs but cannot be traced: {first_line(self.error)} "
            f"({where}{f', at {line}' if line else ''}); {way_out}"
        )

    def _largest_part(self, model: nn.Module) -> str:
        """Return the path of the module with most parameters that ran to its end."""
        modules = dict(model.named_modules())
        sizes = {
            path: sum(parameter.numel() for parameter in modules[path].parameters())
            for path in self.finished
            if path in modules
        }
        return max(sizes, key=lambda path: sizes[path], default="")


def real_outcomes(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], stuck: Stuck
) -> tuple[Outcomes, Outcomes]:
    """Run a copy of the network for real; return what its operators gave at first, and then.

    The second run takes another path where the first one changes what the network keeps.

    Raises:
        GraphError: the network does not run for real either, or its tensors have no values.
    """
    if any(tensor.is_meta for tensor in model.parameters()):
        raise GraphError(
            f"the network depends on values ({first_line(stuck.error)}, in module "
            f"{stuck.module!r}), and its parameters are on the meta device, which has none; build "
            "it on the CPU"
        ) from stuck.error
    try:
        replica = copy_with(model, lambda _, tensor: tensor.detach().clone()).eval()
        memory = Memory(replica)
        first = observe(replica, args, kwargs)
        return first, observe(replica, args, kwargs) if memory.changed() else first
    except Exception as error:
        given = tree_flatten((args, kwargs))[0]
        shapes = [tuple(value.shape) for value in given if isinstance(value, Tensor)]
        raise GraphError(
            f"the network does not run on inputs of shape {shapes}: {first_line(error)} "
            f"(in module {stuck.module!r})"
        ) from error
