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
from torch.utils._pytree import tree_flatten, tree_map

from lwdna.channels.algebra.layout import Reason, fixed, free, pin
from lwdna.channels.copies.accepted import check_inputs, check_network, uncompiled
from lwdna.channels.copies.fake_shapes import fake_like
from lwdna.channels.copies.skeleton import (
    copy_with,
    first_line,
    frozen_parameters,
    named_tensors,
)
from lwdna.channels.graph.edits import Edits
from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.proof import apply_edits, verify
from lwdna.channels.proof.freeze import Draft
from lwdna.channels.proof.metadata import metadata, watched_features
from lwdna.channels.rules.call import Axes
from lwdna.channels.tracing.attention import plain_attention
from lwdna.channels.tracing.cuts import Cuts
from lwdna.channels.tracing.integers import lengths_in_place, restored
from lwdna.channels.tracing.record import Recording, parameter_axes
from lwdna.channels.tracing.results import tensors_in
from lwdna.channels.tracing.session import Session
from lwdna.errors import GraphError
from lwdna.inputs import arguments

OUTPUT = Reason("network output")
INPUT = Reason("network input")
REMADE = Reason("made anew while the network runs")
FROZEN = Reason("frozen parameter")


def trace(model: nn.Module, example_inputs: Any, edits: Edits | None = None) -> ChannelGraph:
    """Return the channel graph of ``model``.

    Args:
        model: any module; it is left untouched.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments,
            as the network takes them; only shapes and types matter. The graph's MACs are those of
            one forward pass on these inputs: give a batch of one for the usual figures.
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
    args, kwargs = tree_map(
        lambda value: (
            fake_like(fake, value, tuple(value.shape)) if isinstance(value, Tensor) else value
        ),
        (args, kwargs),
    )
    with _failures_are_answers(), uncompiled(model):
        session = Session(fake, skeleton, args, kwargs, frozen=frozen_parameters(model))
        session.stack.follow(skeleton)
        draft = _proven(session)
        if edits:
            session, draft = _edited(session, draft, edits)
        return replace(draft.graph, metadata=metadata(session, draft), edits=edits or Edits())


def _proven(session: Session) -> Draft:
    """Run the skeleton, and again to prove what was seen."""
    tensors = dict(named_tensors(session.skeleton))
    session.axes = {name: parameter_axes(tensor) for name, tensor in tensors.items()}
    with restored(session.skeleton):
        attributes = lengths_in_place(session.skeleton)
        _record(session, tensors, training=False)
        trainable = {name for name, _ in session.skeleton.named_parameters()}
        if trainable - session.touched:
            _record(session, tensors, training=True)
        now = dict(named_tensors(session.skeleton))
    session.remade = [name for name, tensor in tensors.items() if now.get(name) is not tensor]
    for name in session.remade:
        for layout in session.axes[name]:
            pin(layout, REMADE)
    for name in session.frozen:
        for layout in session.axes[name]:
            pin(layout, FROZEN)
    return verify.verified(session, attributes)


def _edited(session: Session, draft: Draft, edits: Edits) -> tuple[Session, Draft]:
    """Carry out edits by hand: cuts in a run of their own, then ties and pins."""
    if edits.cut:
        before = draft.graph
        old = session
        session = Session(
            old.fake, old.skeleton, old.args, old.kwargs, old.stack, old.frozen, Cuts(edits.cut)
        )
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


def _record(session: Session, tensors: dict[str, Tensor], training: bool) -> None:
    """Run the skeleton once and keep what was recorded under its mode."""
    recording = Recording(session.stack, session.fake, session.cuts)
    session.stack.restart(recording.module_returned)
    names = {}
    for name, tensor in tensors.items():
        recording.attach(tensor, session.axes[name])
        recording.lifetimes.own(tensor)
        names[id(tensor)] = name
    for value in tree_flatten((session.args, session.kwargs))[0]:
        if isinstance(value, Tensor):
            axes = _input_axes(value)
            recording.attach(value, axes)
            recording.lifetimes.see(value, axes)
    recording.touched.clear()
    try:
        session.skeleton.train(training)
        with (
            watched_features(session.skeleton, recording.module_returned),
            torch.no_grad(),
            session.fake,
            plain_attention(),
            recording.watch,
            recording,
        ):
            result = session.skeleton(*session.args, **session.kwargs)
    except Exception as error:
        if training:  # a batch of one may be too small for batch statistics
            return
        given = tree_flatten((session.args, session.kwargs))[0]
        shapes = [tuple(value.shape) for value in given if isinstance(value, Tensor)]
        raise GraphError(
            f"the network does not run on inputs of shape {shapes}: {first_line(error)} "
            f"(in module {session.stack.current!r})"
        ) from error
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
    session.passes[training] = recording.records
    for path, results in recording.results:
        session.results.setdefault(path, []).extend(results)
    if not training:
        session.stored = recording.lifetimes.stored
        session.last_operator = recording.lifetimes.time
    session.touched |= {names[key] for key in recording.touched if key in names}
    session.unknown |= recording.unknown


def _input_axes(tensor: Tensor) -> Axes:
    axes = [fixed(size) for size in tensor.shape]
    if tensor.ndim > 1:
        axes[1] = free(tensor.shape[1])
        pin(axes[1], INPUT)
    return tuple(axes)
