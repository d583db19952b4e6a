"""Run a network on fake tensors and record every operator with the layouts of its results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lwdna.channels.algebra.layout import Layout, Reason, fixed, free, is_fixed, mark_inexact
from lwdna.channels.copies.constants import Constants
from lwdna.channels.graph.operators import memory_order, slots
from lwdna.channels.rules import rule_of
from lwdna.channels.rules.call import Axes, Call, Term, tensors_of
from lwdna.channels.rules.weights import put_in_place
from lwdna.channels.tracing.cuts import Cuts
from lwdna.channels.tracing.lifetimes import Lifetimes
from lwdna.channels.tracing.results import tensors_in
from lwdna.channels.tracing.silence import Silence
from lwdna.channels.tracing.watch import PUTS_DATA, SHARES_MEMORY, Watch
from lwdna.channels.tracing.weights import Weights

SILENT = frozenset({"alias", "detach", "lift_fresh"})
"""Operators that do nothing and that torch inserts as it likes: no part of a network's path."""


@dataclass
class Record:
    """An operator while layouts may still change: later an :class:`Operator` in terms of groups."""

    full_name: str
    op: str
    module: str
    inputs: list[Axes]
    outputs: list[Axes]
    terms: list[Term]
    produced: list[Layout]
    arguments: tuple[Any, ...]
    """With slots in place of tensors."""
    memory: list[tuple[str, tuple[int, ...] | None, bool]]
    """Type, order of axes and whether it is a constant, of each tensor among the arguments."""
    constants: list[Tensor | None]
    """Of the tensors among the arguments, the values of those that the network's code made as
    constants; empty where the result is a constant too."""


class ModuleStack:
    """Knows which module's ``forward`` is running, and tells of what one returns."""

    def __init__(self) -> None:
        self.restart()

    @property
    def current(self) -> str:
        return self.paths[-1]

    def follow(self, model: nn.Module, known: Collection[nn.Module] = ()) -> None:
        """Follow the calls of the submodules of ``model``, and of its copies, from now on.

        Those ``known`` are followed already. The hooks are functions, as copies of bound methods
        would report to copies of the stack.
        """

        def enter(path: str) -> Callable[..., None]:
            return lambda *_: self.paths.append(path)

        def leave(module: nn.Module, args: Any, result: Any) -> None:
            self.returned(self.paths.pop(), result)

        for path, module in model.named_modules():
            if path and module not in known:
                module.register_forward_pre_hook(enter(path), prepend=True)
                module.register_forward_hook(leave)

    def restart(self, returned: Callable[[str, Any], None] = lambda path, result: None) -> None:
        """Begin a run, after one that may have failed half-way."""
        self.paths = [""]
        self.returned = returned


@dataclass(eq=False)
class Recording(TorchDispatchMode):  # type: ignore[misc]
    """Attaches layouts to tensors as operators run, without keeping the tensors alive."""

    stack: ModuleStack
    constants: Constants
    cuts: Cuts = field(default_factory=Cuts)
    records: list[Record] = field(default_factory=list)
    unknown: dict[str, None] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    results: list[tuple[str, list[Axes]]] = field(default_factory=list)
    """Paths of modules in the order in which they returned, and the layouts of what they did."""

    def __post_init__(self) -> None:
        super().__init__()
        self._axes: dict[int, tuple[ref[Tensor], Axes]] = {}
        """By identity, which a later tensor may share: only the tensor referred to counts."""
        self.silence = Silence()
        self.lifetimes = Lifetimes()
        self.watch = Watch(self.axes, self.scaled_by_width, self.put)
        self.constants.on_read = self.read_as_numbers
        self.running = ""
        """The operator that runs now."""

    def begin_again(self, constants: Constants, inputs: Sequence[Tensor]) -> None:
        """Forget what was recorded, but not the layouts of tensors that the network keeps."""
        self.records, self.results = [], []
        self.constants = constants
        self.constants.on_read = self.read_as_numbers
        self.lifetimes = Lifetimes()
        given = set(map(id, inputs))
        for reference, _ in self._axes.values():
            tensor = reference()
            if tensor is not None and id(tensor) not in given:
                self.lifetimes.own(tensor)

    def own(self, name: str, tensor: Tensor, axes: Axes) -> None:
        """Give a parameter or buffer its layouts."""
        self.attach(tensor, axes)
        self.lifetimes.own(tensor)
        self.weights.own(name, tensor)

    def attach(self, tensor: Tensor, axes: Axes) -> None:
        """Give a tensor its layouts."""
        self._axes[id(tensor)] = ref(tensor), axes

    def keep(self, tensor: Tensor) -> None:
        """Let a tensor that the network keeps fit any widths, as the network may renew it.

        Whether it does is for the second run to say; how its values follow is not known.
        """
        axes = parameter_axes(tensor)
        for axis in axes:
            mark_inexact(axis, Reason("meets a tensor that the network keeps"))
        self.attach(tensor, axes)
        self.lifetimes.own(tensor)

    def known(self, tensor: Tensor) -> Axes | None:
        found = self._axes.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def lookup(self, tensor: Tensor) -> Axes:
        """Return the layouts of a tensor; one never seen before is a constant."""
        self.weights.touch(tensor)
        axes = self.known(tensor)
        if axes is None:
            axes = tuple(fixed(size) for size in tensor.shape)
            self.attach(tensor, axes)
            self.lifetimes.own(tensor)
        return axes

    def put(self, func: Any, tensor: Tensor, source: Any) -> None:
        """Note that a tensor is about to take the values of another: by ``.data = ``, say."""
        if not isinstance(source, Tensor):
            return
        self.weights.put(tensor, source, func in SHARES_MEMORY)
        if func == PUTS_DATA:  # no operator: torch exchanges what the tensor is made of
            call = Call("data", self.stack.current, {}, [], self.lookup)
            axes = self.lookup(source)
            put_in_place(call, self.lookup(tensor), axes)
            self.attach(tensor, axes)
            self.silence.put(tensor, source)

    def module_returned(self, path: str, value: Any) -> None:
        """Note the layouts of all tensors in a module's result."""
        known = map(self.known, tensors_in(value))
        self.results.append((path, [axes for axes in known if axes is not None]))

    def axes(self, tensor: Tensor) -> Axes:
        """Return the layouts of a tensor, without taking it for one that an operator reads."""
        return self.known(tensor) or tuple(fixed(size) for size in tensor.shape)

    def read_as_numbers(self, tensor: Tensor) -> None:
        """Note that the network's code reads a tensor's values, and may make others of them."""
        call = Call("read", self.stack.current, {}, [], self.lookup)
        for axis in self.lookup(tensor):
            call.pin(axis, "its values are read by the network's code")

    def scaled_by_width(self, query: Tensor) -> None:
        """Note that the last axis of an attention's query sets the scale of its products."""
        why = "the attention's scale follows from this width"
        call = Call("scaled_dot_product_attention", self.stack.current, {}, [], self.lookup)
        call.mark_inexact(self.lookup(query)[-1], why)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.lifetimes.next_operator()
        self.running = str(func)
        result = self.constants.run(func, args, kwargs or {})
        outputs = tensors_of((result,))
        if not outputs:
            return result
        arguments = by_name(func, args, kwargs or {})
        name = func._schema.name.partition("::")[2]
        call = Call(name, self.stack.current, arguments, outputs, self.lookup, self.watch.asked)
        inputs = [self.lookup(tensor) for tensor in call.tensors]
        axes = self._apply(func, name, call, inputs)
        self.silence.follow(func, call, axes)
        for output, layouts in zip(outputs, axes, strict=True):
            self.attach(output, layouts)
            self.lifetimes.see(output, layouts)
        if inputs and name not in SILENT:
            memory = [self._memory(tensor) for tensor in call.tensors]
            plain = slots(tuple(arguments.values()))
            constants = self.constants.entering(call.tensors, outputs)
            self.records.append(
                Record(
                    *(str(func), name, call.module, inputs, axes, call.terms, call.produced),
                    *(plain, memory, constants),
                )
            )
        return result

    def _memory(self, tensor: Tensor) -> tuple[str, tuple[int, ...] | None, bool]:
        dtype = str(tensor.dtype).removeprefix("torch.")
        return dtype, memory_order(tensor), self.lifetimes.owns(tensor)

    def _apply(self, func: Any, name: str, call: Call, inputs: list[Axes]) -> list[Axes]:
        rule = rule_of(func)
        if rule is None and (not inputs or all(is_fixed(a) for axes in inputs for a in axes)):
            return call.plain()

        def results(call: Call) -> list[Axes]:
            axes = rule.layouts(call) if rule is not None else []
            axes = axes if isinstance(axes, list) else [axes]
            return axes + call.plain()[len(axes) :]

        cut = self.cuts.results(call, results)
        if cut is not None:
            return cut
        if rule is not None:
            return results(call)
        self.unknown[name] = None
        for layouts in inputs:
            for layout in layouts:
                call.pin(layout, "an operator without a rule")
        return call.plain()


def by_name(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by their names in the operator's schema, defaults included."""
    named = {}
    for position, argument in enumerate(func._schema.arguments):
        if position < len(args):
            named[argument.name] = args[position]
        elif argument.name in kwargs:
            named[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            named[argument.name] = argument.default_value
    return named


def parameter_axes(tensor: Tensor, known: Axes | None = None) -> Axes:
    """Every axis of a parameter may vary until something says otherwise; lengths 0 and 1 never do.

    ``known`` are the axes of a tensor that the network itself has made.
    """
    axes = known or tuple(free(size) for size in tensor.shape)
    return tuple(
        axis if size > 1 else fixed(size) for axis, size in zip(axes, tensor.shape, strict=True)
    )
