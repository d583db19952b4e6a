"""Odd widths padded in memory to multiples, so that training computes exactly what it did.

GPUs are fast at multiples of 8. A padded network has more units, whose parameters are zero. They
stay zero where a silent unit is zero in every activation: then the weights that read it get no
gradient, and the weights that write it get none because nobody reads it. After BatchNorm with a
scale of zero that holds, after a sigmoid before a convolution it does not, and normalisation over
channels counts the units themselves.

Which groups can be padded is not read off the network but seen: of the groups whose slices are
exact, those are kept with which one step of a padded copy gives what the network itself gives.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from lwdna.channels.copies.entries import added_entries, kept_entries
from lwdna.channels.copies.resize import resize
from lwdna.channels.copies.skeleton import copy_with, first_line, named_tensors
from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.tracing.results import tensors_in
from lwdna.inputs import call, plain

BATCH = 3
"""Examples of the step that is compared: batch statistics of two are always -1 and 1."""
MAX_STEPS = 64
"""Steps spent on finding the groups to blame for a difference; then whole sets keep their width."""
RELATIVE, ABSOLUTE = 1e-7, 1e-11
"""What rounding in double precision may do to a tensor, of its own and of all tensors' largest."""
NOT_ZERO = "its gradients are not zero where it is padded"
DIFFERS = "a padded network computes something else"


@dataclass(frozen=True)
class Padding:
    """Which groups of a network are wider in memory than they are."""

    graph: ChannelGraph
    """Of the network itself."""
    widths: Mapping[str, int]
    """Of all groups, in memory."""
    left: Mapping[str, str]
    """Groups that keep a width that is no multiple, and why."""

    @property
    def padded(self) -> tuple[str, ...]:
        """The names of the groups that are wider in memory."""
        own = self.graph.widths
        return tuple(name for name, width in self.widths.items() if width > own[name])

    @cached_property
    def _units(self) -> dict[int, Tensor]:
        """Which units of the padded groups are the network's own, by position of the group."""
        own = self.graph.widths
        return {self.graph.index[name]: torch.arange(own[name]) for name in self.padded}

    def pad(self, network: nn.Module) -> nn.Module:
        """Return a copy of the network whose additional units are zero."""
        return resize(network, self.graph, self.widths, init="pad")

    @torch.no_grad()
    def copy_back(self, padded: nn.Module, network: nn.Module) -> nn.Module:
        """Give ``network`` the parameters and buffers of ``padded``, and return it."""
        wide = dict(named_tensors(padded))
        for name, tensor in named_tensors(network):
            if name in self.graph.tensors:
                tensor.copy_(self.cut(name, wide[name]))
        return network

    def cut(self, name: str, tensor: Tensor) -> Tensor:
        """Return what the network itself has of a padded parameter or buffer."""
        widths = self.graph.in_order(self.widths)
        for axis, layout in enumerate(self.graph.tensors[name]):
            chosen = kept_entries(layout, widths, self._units)
            if chosen is not None:
                tensor = tensor.index_select(axis, chosen.to(tensor.device))
        return tensor

    def loud(self, name: str, tensor: Tensor) -> set[str]:
        """Return the groups in whose added units a parameter's gradient is not zero."""
        found = set()
        widths = self.graph.in_order(self.widths)
        for axis, layout in enumerate(self.graph.tensors[name]):
            for position in layout.groups:
                group = self.graph.groups[position]
                units = torch.arange(group.width, widths[position])
                if len(units):
                    added = added_entries(layout, widths, position, units)
                    if tensor.index_select(axis, added).any():
                        found.add(group.name)
        return found


def find_padding(
    network: nn.Module, graph: ChannelGraph, example_inputs: Any, multiple: int
) -> Padding:
    """Return which groups of a network can be padded to a multiple without any effect.

    Copies of the network train for one step in double precision on the CPU, on random inputs with
    random weights; random masks (dropout) are full ones. What makes a difference is left alone.

    Args:
        network: stays as it is; its values do not matter.
        graph: of this network.
        example_inputs: as for :func:`lwdna.trace`.
        multiple: of which widths in memory are to be.
    """
    odd = [group for group in graph.groups if group.width % multiple]
    left = {group.name: str(group.inexact) for group in odd if group.inexact is not None}
    trial = _Trial(network, graph, example_inputs, multiple)
    tried = [group.name for group in odd if group.exact]
    try:
        trial.begin()
    except Exception as error:  # whatever the network raises in training or double precision
        left |= dict.fromkeys(tried, f"one step in double precision failed: {first_line(error)}")
        tried = []
    while tried:
        loud = trial.loud(tried)
        if loud is None:
            break
        blamed = loud or set(trial.guilty(tried))
        left |= dict.fromkeys(blamed, NOT_ZERO if loud else DIFFERS)
        tried = [name for name in tried if name not in blamed]
    return trial.padding(tried, left)


@dataclass(frozen=True)
class _Step:
    """What one step of a network gives."""

    outputs: list[Tensor]
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]

    @property
    def finite(self) -> bool:
        values = (*self.outputs, *self.gradients.values())
        return all(bool(value.isfinite().all()) for value in values)


class _Trial:
    """Compares one step of a network with that of padded copies."""

    def __init__(self, network: nn.Module, graph: ChannelGraph, inputs: Any, multiple: int) -> None:
        self._network, self._inputs = network, inputs
        self._graph, self._multiple = graph, multiple
        self._steps = 0

    def begin(self) -> None:
        """Do the network's own step.

        Raises:
            Exception: whatever the network raises.
            ValueError: the step says nothing.
        """
        generator = torch.Generator().manual_seed(0)
        self._network = _random_copy(self._network, generator)
        self._inputs = _random_inputs(self._inputs, generator)
        self._own = _step(self.padding((), {}).pad(self._network), self._inputs)
        if not self._own.gradients or not self._own.finite:
            raise ValueError("no finite gradients")

    def padding(self, names: Collection[str], left: Mapping[str, str]) -> Padding:
        """Return the padding of some groups."""
        rounded = {
            name: math.ceil(width / self._multiple) * self._multiple if name in names else width
            for name, width in self._graph.widths.items()
        }
        return Padding(self._graph, rounded, dict(left))

    def loud(self, names: Collection[str]) -> set[str] | None:
        """Return None if a network with these groups padded does the same step.

        Otherwise return the groups whose padding would not stay zero; none, if that is not why.
        """
        self._steps += 1
        padding = self.padding(names, {})
        try:
            step = _step(padding.pad(self._network), self._inputs)
        except Exception:  # whatever the network raises: these widths do not run
            return set()
        loud = set().union(*(padding.loud(name, g) for name, g in step.gradients.items()))
        return loud if loud or not self._alike(step, padding) else None

    def guilty(self, suspects: Sequence[str], beside: Sequence[str] = ()) -> Sequence[str]:
        """Return groups without which there is no difference, by halving sets of suspects."""
        if not suspects or self.loud([*beside, *suspects]) is None:
            return ()
        if len(suspects) == 1 or self._steps > MAX_STEPS:
            return suspects
        left, right = suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]
        alone = [*self.guilty(left, beside), *self.guilty(right, beside)]
        return alone or self.guilty(right, [*beside, *left]) or suspects

    def _alike(self, step: _Step, padding: Padding) -> bool:
        own = self._own
        gradients = {name: padding.cut(name, value) for name, value in step.gradients.items()}
        buffers = {name: padding.cut(name, value) for name, value in step.buffers.items()}
        return (
            gradients.keys() == own.gradients.keys()
            and _close(step.outputs, own.outputs)
            and _close(list(gradients.values()), list(own.gradients.values()))
            and _close(list(buffers.values()), list(own.buffers.values()))
        )


def _step(network: nn.Module, inputs: Any) -> _Step:
    """Return outputs, the gradients of a random linear loss of them, and buffers afterwards."""
    network.train()
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), _FullMasks():
        torch.manual_seed(0)
        found = [one for one in tensors_in(call(network, inputs)) if one.requires_grad]
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(one.shape, generator=generator, dtype=one.dtype) for one in found]
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(found, list(trained.values()), weights, allow_unused=True)
    return _Step(
        outputs=[one.detach() for one in found],
        gradients={
            name: gradient
            for name, gradient in zip(trained, gradients, strict=True)
            if gradient is not None
        },
        buffers={name: b for name, b in network.named_buffers() if b.is_floating_point()},
    )


class _FullMasks(TorchDispatchMode):  # type: ignore[misc]
    """Draws ones only: masks of other shapes would be other draws."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func._schema.name == "aten::bernoulli_":
            return args[0].fill_(1)
        if func._schema.name == "aten::bernoulli":
            return torch.ones_like(args[0])
        return func(*args, **(kwargs or {}))


def _random_copy(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a copy in double precision; what starts at zero or one would hide differences."""
    copy = copy_with(network, lambda _, tensor: tensor.detach().clone()).to("cpu", torch.float64)
    with torch.no_grad():
        for parameter in copy.parameters():
            if not parameter.requires_grad or not parameter.is_floating_point():
                continue
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.ndim > 1:
                parameter.copy_(noise * math.sqrt(len(parameter) / parameter.numel()))
            else:
                parameter.copy_(1 + noise / 4)
    return copy


def _random_inputs(inputs: Any, generator: torch.Generator) -> Any:
    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor[:1].expand(BATCH, *tensor.shape[1:]).to("cpu", copy=True)
        return torch.randn((BATCH, *tensor.shape[1:]), generator=generator, dtype=torch.float64)

    return tree_map_only(Tensor, drawn, plain(inputs))


def _close(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    """Tell whether tensors differ by rounding only; some are zero but for rounding."""
    if [one.shape for one in found] != [one.shape for one in wanted]:
        return False
    largest = max((float(one.abs().max()) for one in wanted if one.numel()), default=0.0)
    return all(
        float((a - b).abs().max()) <= RELATIVE * float(b.abs().max()) + ABSOLUTE * largest
        for a, b in zip(found, wanted, strict=True)
        if b.numel()
    )
