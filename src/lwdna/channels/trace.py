"""Trace a network's channel graph by running it once on fake tensors, then prove it by re-running.

The model is never run itself: a copy without data is. Its parameters, buffers, modes, hooks and
the random state stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from lwdna.channels.algebra.layout import (
    Reason,
    Segment,
    fixed,
    free,
    is_fixed,
    mark_inexact,
    pin,
    size_of,
    unify,
    units_of,
)
from lwdna.channels.copies.accepted import check_inputs, check_network, uncompiled
from lwdna.channels.copies.computed import kernels, never_silent
from lwdna.channels.copies.fake_shapes import fake_like
from lwdna.channels.copies.skeleton import copy_with, frozen_parameters, held_tensors, named_tensors
from lwdna.channels.graph.edits import Edits
from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.graph.structure import Cache
from lwdna.channels.proof import apply_edits, verify
from lwdna.channels.proof.freeze import Draft
from lwdna.channels.proof.metadata import metadata, watched_features
from lwdna.channels.rules.call import Axes
from lwdna.channels.tracing.attention import plain_attention
from lwdna.channels.tracing.cuts import Cuts
from lwdna.channels.tracing.integers import lengths_in_place
from lwdna.channels.tracing.memoised import memoised
from lwdna.channels.tracing.record import ModuleStack, Recording, parameter_axes
from lwdna.channels.tracing.results import tensors_in
from lwdna.channels.tracing.session import Session
from lwdna.channels.tracing.settle import Memory
from lwdna.channels.tracing.stuck import Stuck, real_outcomes
from lwdna.errors import GraphError
from lwdna.inputs import arguments

OUTPUT = Reason("network output")
INPUT = Reason("network input")
REMADE = Reason("made anew while the network runs")
FROZEN = Reason("frozen parameter")
KERNEL = Reason("kernel")
NEVER_SILENT = Reason("parameters of zeros do not become weights of zeros")


def trace(model: nn.Module, example_inputs: Any, edits: Edits | None = None) -> ChannelGraph:
    """Return the channel graph of ``model``.

    Args:
        model: any module; it is left untouched.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments,
            as the network takes them. Only shapes and types matter, unless the network depends on
            values: then it runs once for real on these, and the graph holds for the path it takes.
            The graph's MACs are those of one forward pass on these inputs: give a batch of one for
            the usual figures.
        edits: what you decide by hand: groups to pin or tie, operators at which channels end.

    Raises:
        GraphError: the network does not run on these inputs, cannot be copied, or is of a kind
            that cannot take other widths (scripted, quantised, lazy).
        EditError: an edit names nothing or cannot hold.
    """
    check_network(model)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    args, kwargs = arguments(example_inputs)
    check_inputs((args, kwargs))
    skeleton = copy_with(model, lambda _, tensor: fake_like(fake, tensor, tuple(tensor.shape)))
    given = tree_map(
        lambda value: (
            fake_like(fake, value, tuple(value.shape)) if isinstance(value, Tensor) else value
        ),
        (args, kwargs),
    )
    with _failures_are_answers(), uncompiled(model):
        session = Session(
            *(fake, skeleton, given[0], given[1], ModuleStack()),
            *(frozen_parameters(model), never_silent(model), Cuts()),
            dict(model.named_buffers()),
            memoised=memoised(model),
        )
        session.stack.follow(skeleton)
        try:
            draft = _proven(session)
        except Stuck as stuck:
            session = replace(session, outcomes=real_outcomes(model, args, kwargs, stuck))
            try:
                draft = _proven(session)
            except Stuck as again:
                raise again.explained(model) from again.error
        if edits:
            session, draft = _edited(session, draft, edits)
        return replace(draft.graph, metadata=metadata(session, draft), edits=edits or Edits())


def _proven(session: Session) -> Draft:
    """Run a copy of the skeleton, and others to prove what was seen."""
    copied = copy_with(
        session.skeleton, lambda _, tensor: fake_like(session.fake, tensor, tuple(tensor.shape))
    )
    tensors = dict(named_tensors(copied))
    session.passes, session.results, session.touched, session.unknown = {}, {}, set(), {}
    session.settles, session.caches, session.overwritten, session.remade = set(), [], set(), []
    session.axes = {name: parameter_axes(tensor) for name, tensor in tensors.items()}
    for name in kernels(copied):
        for layout in session.axes.get(name, ())[2:]:  # a shared one has another name
            pin(layout, KERNEL)
    for name in session.never_silent:
        for layout in session.axes.get(name, ()):
            mark_inexact(layout, NEVER_SILENT)
    attributes = lengths_in_place(copied)
    _record(session, copied, training=False)
    if session.parameters - session.touched:  # some may run in training only
        _record(session, copied, training=True)
    if session.outcomes:
        _pin_what_may_feed_the_rest(session)
    for name in session.frozen - session.overwritten:
        for layout in session.axes[name]:
            pin(layout, FROZEN)
    return verify.verified(session, attributes)


def _pin_what_may_feed_the_rest(session: Session) -> None:
    """Let channels keep their number that parts may take which other values would let run."""
    for name in sorted(session.parameters - session.touched):
        if len(session.axes[name]) < 2:
            continue
        taken = size_of(session.axes[name][1])
        why = Reason(f"{name} may take them, which the values of these inputs keep from running")
        for axes in session.axes.values():
            for unit in {unit for axis in axes for unit in units_of(axis)}:
                if taken % unit.size == 0:
                    pin((Segment(1, unit, 1),), why)


def _edited(session: Session, draft: Draft, edits: Edits) -> tuple[Session, Draft]:
    """Carry out edits by hand: cuts in a run of their own, then ties and pins."""
    if edits.cut:
        before = draft.graph
        session = replace(session, cuts=Cuts(edits.cut))
        draft = _proven(session)
        session.cuts.check()
        draft = apply_edits.prove_cuts(session, draft)
        apply_edits.check_nothing_lost(before, draft.graph, edits)
    if edits.pin or edits.tie:
        draft = apply_edits.tied_and_pinned(session, draft, edits)
    return session, draft


@contextmanager
def _failures_are_answers() -> Iterator[None]:
    """Keep torch from logging a traceback for every operator that refuses fake tensors."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _record(session: Session, model: nn.Module, training: bool) -> None:
    """Run a copy of the skeleton and keep what was recorded under its mode.

    Where the run changes what the network keeps, the next one is recorded: the first time,
    a network may register hooks, make modules or fill caches.
    """
    recording, before = _recording(session, model, training)
    memory = Memory(model)
    results = _run(session, model, recording, training)
    if results and memory.changed():
        results.clear()
        results = _settled(session, model, recording, memory, training)
    if not results:
        return
    _pin_outputs(results[0], recording, training)
    _note_replaced(session, model, recording, before)
    session.passes[training] = recording.records
    for path, results in recording.results:
        session.results.setdefault(path, []).extend(results)
    if not training:
        session.stored = recording.lifetimes.stored
        session.last_operator = recording.lifetimes.time
    session.parameters = {name for name, _ in model.named_parameters()}
    session.touched |= recording.weights.touched | session.overwritten
    session.overwritten |= recording.weights.overwritten
    session.unknown |= recording.unknown


def _recording(
    session: Session, model: nn.Module, training: bool
) -> tuple[Recording, dict[str, Tensor]]:
    """Return what records a run, and the parameters and buffers that the network has before it.

    Raises:
        Stuck: the network does not change its mode.
    """
    recording = Recording(session.stack, session.constants(model, settled=False), session.cuts)
    try:
        model.train(training)
    except Exception as error:  # whatever a network's own train() raises
        raise Stuck(error, session, recording) from error
    before = dict(named_tensors(model))
    for name, tensor in before.items():
        recording.own(name, tensor, session.axes[name])
    silent = {name for name, _ in model.named_parameters()} - session.never_silent
    for name in silent & before.keys():
        recording.silence.add(before[name])
    for tensor in held_tensors(model.modules()):
        if recording.known(tensor) is None:  # a list may hold parameters, too
            session.settles.add(training)
            recording.keep(tensor)
    return recording, before


def _settled(
    session: Session, model: nn.Module, recording: Recording, memory: Memory, training: bool
) -> list[Any]:
    """Record the run after one that has changed what the network keeps."""
    session.settles.add(training)
    filled = memory.filled()
    session.stack.follow(model, memory.modules)
    recording.begin_again(session.constants(model, settled=True), session.inputs)
    known, session.axes = session.axes, {}
    for name, tensor in named_tensors(model):
        session.axes[name] = known.get(name) or parameter_axes(tensor, recording.known(tensor))
        if name not in known:
            recording.own(name, tensor, session.axes[name])
    session.axes.update((name, axes) for name, axes in known.items() if name not in session.axes)
    results = _run(session, model, recording, training)
    session.caches += _kept_caches(filled, memory.filled(), recording)
    return results


def _pin_outputs(result: Any, recording: Recording, training: bool) -> None:
    """Let what the network returns keep its size.

    Raises:
        GraphError: it returns no tensor.
    """
    outputs = tensors_in(result)
    if not outputs and not training:
        raise GraphError(
            f"the network returns {type(result).__name__} without a tensor, so that nothing tells "
            "its outputs, which must keep their size; let forward return them, in a tensor, a "
            "tuple or a dict"
        )
    for value in outputs:
        for layout in recording.lookup(value):
            pin(layout, OUTPUT)


def _run(session: Session, model: nn.Module, recording: Recording, training: bool) -> list[Any]:
    """Run the network under a recording; return its result in a list, [] where it does not train.

    Raises:
        Stuck: it does not run without values.
    """
    session.stack.restart(recording.module_returned)
    for value in session.inputs:
        axes = _input_axes(value)
        recording.attach(value, axes)
        recording.lifetimes.see(value, axes)
    try:
        with (
            watched_features(model, recording.module_returned),
            torch.no_grad(),
            session.fake,
            plain_attention(),
            recording.watch,
            recording.constants.reads,
            recording,
        ):
            return [session.run(model)]
    except Exception as error:
        if training:  # a batch of one may be too small for batch statistics
            return []
        raise Stuck(error, session, recording) from error


def _kept_caches(
    first: dict[Cache, list[Tensor]], second: dict[Cache, list[Tensor]], recording: Recording
) -> Iterator[Cache]:
    """Yield what the first run filled, the second left as it was, and other widths would change."""
    for cache, tensors in second.items():
        kept = set(map(id, tensors)) & set(map(id, first.get(cache, ())))
        axes = [axis for tensor in tensors if id(tensor) in kept for axis in recording.axes(tensor)]
        if not all(map(is_fixed, axes)):
            yield cache


def _note_replaced(
    session: Session, model: nn.Module, recording: Recording, before: dict[str, Tensor]
) -> None:
    """Let tensors that the network has replaced agree with what stands in their place now."""
    for name, tensor in before.items():
        now: Any = model
        for step in name.split("."):
            now = getattr(now, step, None)
        if now is tensor:
            continue
        session.remade = list(dict.fromkeys([*session.remade, name]))
        axes = recording.known(now) if isinstance(now, Tensor) else None
        alike = axes is not None and now.shape == tensor.shape
        for position, layout in enumerate(session.axes[name]):
            if axes is not None and alike:
                session.overwritten.add(name)
                unify(layout, axes[position], lambda why: REMADE)
            else:
                pin(layout, REMADE)


def _input_axes(tensor: Tensor) -> Axes:
    axes = [fixed(size) for size in tensor.shape]
    if tensor.ndim > 1:
        axes[1] = free(tensor.shape[1])
        pin(axes[1], INPUT)
    return tuple(axes)
