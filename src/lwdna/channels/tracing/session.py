"""What one tracing knows: the skeleton of the network and what was recorded while it ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_flatten, tree_map

from lwdna.channels.algebra.layout import Unit
from lwdna.channels.copies.constants import Constants, Shapes
from lwdna.channels.copies.outcomes import Outcomes
from lwdna.channels.copies.skeleton import named_tensors
from lwdna.channels.graph.structure import Cache
from lwdna.channels.rules.call import Axes
from lwdna.channels.tracing.cuts import Cuts
from lwdna.channels.tracing.lifetimes import Stored
from lwdna.channels.tracing.record import ModuleStack, Record


@dataclass
class Session:
    """A skeleton of the network (fake tensors) and what was recorded while it ran."""

    fake: FakeTensorMode
    skeleton: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    stack: ModuleStack = field(default_factory=ModuleStack)
    frozen: set[str] = field(default_factory=set)
    """Parameters that are constants of the network."""
    never_silent: set[str] = field(default_factory=set)
    """Parameters from whose zeros the network computes other weights than zeros."""
    cuts: Cuts = field(default_factory=Cuts)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    """The network's own buffers by name: they have values."""
    outcomes: tuple[Outcomes, Outcomes] | None = None
    """What a first and a second real run gave, for networks that depend on values."""
    memoised: Sequence[Any] = ()
    """Functions of the network's code that remember their results."""
    axes: dict[str, Axes] = field(default_factory=dict)
    passes: dict[bool, list[Record]] = field(default_factory=dict)
    """Records by mode: False for evaluation, True for training where that runs more modules."""
    results: dict[str, list[Axes]] = field(default_factory=dict)
    """What modules have returned, by their paths."""
    stored: list[Stored] = field(default_factory=list)
    """Memory of the pass in evaluation mode."""
    last_operator: int = 0
    """The number of that pass' last operator, as memory counts them."""
    parameters: set[str] = field(default_factory=set)
    """Names of parameters, also of those that the first run makes."""
    settles: set[bool] = field(default_factory=set)
    """Modes in which the first run changes what the network keeps: the second is recorded."""
    caches: list[Cache] = field(default_factory=list)
    """What the first run fills with tensors."""
    touched: set[str] = field(default_factory=set)
    overwritten: set[str] = field(default_factory=set)
    """Parameters and buffers whose values the network computes anew in every run."""
    unknown: dict[str, None] = field(default_factory=dict)
    names: dict[Unit, str] = field(default_factory=dict)
    """Names that units keep, whatever happens to others: those before edits by hand."""
    remade: list[str] = field(default_factory=list)
    """Parameters and buffers in whose place the network puts other tensors while it runs."""

    @property
    def inputs(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return [x for x in tree_flatten((self.args, self.kwargs))[0] if isinstance(x, Tensor)]

    def run(self, model: nn.Module) -> Any:
        """Call the network with its inputs, in containers of their own: it may write to these.

        Functions of its code that remember results do so within one run only.
        """
        args, kwargs = tree_map(lambda value: value, (self.args, self.kwargs))
        try:
            return model(*args, **kwargs)
        finally:
            for function in self.memoised:
                function.cache_clear()

    def constants(
        self,
        model: nn.Module,
        settled: bool,
        predicted: Callable[[], Shapes | None] = lambda: None,
    ) -> Constants:
        """Return what follows the constants of one run of a copy, which may have run before."""
        given = [
            (tensor, self.buffers[name])
            for name, tensor in named_tensors(model)
            if name in self.buffers and tensor.shape == self.buffers[name].shape
        ]
        outcomes = self.outcomes[settled] if self.outcomes else None
        return Constants(self.fake, given, outcomes, predicted)
