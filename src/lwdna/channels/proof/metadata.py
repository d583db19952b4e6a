"""Sizes that a network notes down for those who use it, and that its forward never reads.

A second run cannot prove such numbers, but other calls can: ``reset_classifier`` makes a layer from
them, ``feature_info`` names the module whose result has ``num_chs`` channels, ``num_features`` are
the channels that ``forward_features`` returns and ``head_hidden_size`` those that the classifier
reads. These names are timm's, and those of networks written like timm's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from torch import nn

from lwdna.channels.algebra.layout import Layout, is_fixed, size_of
from lwdna.channels.copies.resize import reshaped, write_metadata
from lwdna.channels.graph.axes import AxisLayout
from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.graph.structure import Metadata
from lwdna.channels.proof.freeze import Draft, write
from lwdna.channels.rules.call import Axes
from lwdna.channels.tracing.session import Session

FEATURES = "forward_features"


def metadata(session: Session, draft: Draft) -> tuple[Metadata, ...]:
    """Return the sizes noted in modules that follow the widths of groups."""
    found: dict[tuple[str, tuple[str | int, ...]], Layout] = {}
    for path, module in session.skeleton.named_modules():
        for keys, layout in (*_sizes(session, path, module), *_features(session, path, module)):
            found[path, keys] = layout
    index = {unit: group for group, unit in enumerate(draft.units)}
    known = [Metadata(path, keys, write(axis, index)) for (path, keys), axis in found.items()]
    for path, module in session.skeleton.named_modules():
        if _has_method(module, "reset_classifier"):
            try:
                known += _read_by_reset(session, draft.graph, path, known)
            except Exception:  # a reset may leave the copy in any state, modules missing included
                continue
    return tuple(known)


def _has_method(module: nn.Module, name: str) -> bool:
    """Tell whether a module has a method of its own, without asking what computes attributes."""
    return callable(vars(module).get(name, getattr(type(module), name, None)))


@contextmanager
def watched_features(model: nn.Module, returned: Callable[[str, Any], None]) -> Iterator[None]:
    """Inside the block, tell ``returned`` what every ``forward_features`` returns."""
    watched = [
        (path, module)
        for path, module in model.named_modules()
        if FEATURES not in vars(module) and _has_method(module, FEATURES)
    ]

    def watch(path: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            returned(f"{path}.{FEATURES}", result)
            return result

        return call

    for path, module in watched:
        vars(module)[FEATURES] = watch(path, getattr(module, FEATURES))
    try:
        yield
    finally:
        for _, module in watched:
            del vars(module)[FEATURES]


def _sizes(session: Session, path: str, module: nn.Module) -> Iterator[tuple[Any, Layout]]:
    """Yield ``num_features`` and ``head_hidden_size`` with the axes they count."""
    results = session.results.get(f"{path}.{FEATURES}", [])
    own = vars(module)
    if "num_features" in own and results:
        yield from _axis(("num_features",), results[-1], own["num_features"])
    if "head_hidden_size" in own:
        for name in _classifiers(session, module):
            yield from _axis(
                ("head_hidden_size",), session.axes[name][1:2], own["head_hidden_size"]
            )


def _features(session: Session, path: str, module: nn.Module) -> Iterator[tuple[Any, Layout]]:
    """Yield ``num_chs`` of every entry of ``feature_info`` with the axis of the module it names."""
    info: Any = vars(module).get("feature_info")
    keys: tuple[str, ...] = ("feature_info",)
    if "info" in getattr(info, "__dict__", {}):
        info, keys = info.info, ("feature_info", "info")
    for position, entry in enumerate(info if isinstance(info, list | tuple) else ()):
        if not isinstance(entry, dict) or entry.get("hook_type") == "forward_pre":
            continue
        if not isinstance(entry.get("module"), str):
            continue
        name = f"{path}.{entry['module']}".lstrip(".")
        for axes in session.results.get(name, [])[-1:]:
            yield from _axis((*keys, position, "num_chs"), axes, entry.get("num_chs"))


def _axis(keys: tuple[str | int, ...], axes: Axes, value: Any) -> Iterator[tuple[Any, Layout]]:
    """Yield the channel axis of a result, the second or the last, if it has ``value`` entries."""
    if type(value) is not int:
        return
    for layout in (*axes[1:2], *axes[-1:]):
        if size_of(layout) == value and not is_fixed(layout):
            yield keys, layout
            return


def _read_by_reset(
    session: Session, graph: ChannelGraph, path: str, known: Sequence[Metadata]
) -> list[Metadata]:
    """Return the attributes from which ``reset_classifier`` makes layers of the wrong shape.

    The network is given other widths and a new classifier; every tensor of it must have the shape
    that the graph predicts. An attribute that equals the old length of an axis with another length
    follows that axis if the classifier then comes out right.
    """
    widths = {name: width + 3 + 2 * i for i, (name, width) in enumerate(graph.widths.items())}
    moved = reshaped(session.skeleton, graph, widths, session.fake)
    write_metadata(moved, known, graph, widths)

    def better() -> Metadata | None:
        """Let one more attribute follow, if that brings the classifier nearer to its shape."""
        for name, axis in wrong or _classifier_inputs(session, graph, path):
            for note in _candidates(session.skeleton, graph, name, graph.tensors[name][axis]):
                place, key = moved.get_submodule(note.module), str(note.path[0])
                before = getattr(place, key)
                write_metadata(moved, [note], graph, widths)
                left = _wrong_axes(session, moved, graph, path, widths)
                if left is not None and (wrong is None or len(left) < len(wrong)):
                    return note
                setattr(place, key, before)
        return None

    found: list[Metadata] = []
    wrong = _wrong_axes(session, moved, graph, path, widths)
    while wrong != [] and (note := better()) is not None:
        found.append(note)
        wrong = _wrong_axes(session, moved, graph, path, widths)
    return found


def _wrong_axes(
    session: Session, moved: nn.Module, graph: ChannelGraph, path: str, widths: Mapping[str, int]
) -> list[tuple[str, int]] | None:
    """Reset the classifier; return the axes of parameters that have another length than theirs.

    None where it cannot be reset at these widths.
    """
    owner: Any = moved.get_submodule(path)
    classes = vars(owner).get("num_classes")
    if type(classes) is not int or classes < 1:
        return []
    try:
        with session.fake:
            owner.reset_classifier(classes)
    except Exception:  # whatever the network raises
        return None
    return [
        (name, axis)
        for name, tensor in moved.named_parameters()
        if name in graph.tensors and tensor.ndim == len(graph.tensors[name])
        for axis, length in enumerate(graph.shape(name, widths))
        if tensor.shape[axis] != length
    ]


def _classifiers(session: Session, module: nn.Module) -> Iterator[str]:
    """Yield the names of the weights of a module's classifier, if it has one."""
    if _has_method(module, "get_classifier"):
        try:
            classifier = cast(Any, module).get_classifier()
        except Exception:  # left over from a class whose classifier was deleted, for example
            return
        for name, other in session.skeleton.named_modules():
            if other is classifier and f"{name}.weight" in session.axes:
                yield f"{name}.weight"


def _classifier_inputs(
    session: Session, graph: ChannelGraph, path: str
) -> Iterator[tuple[str, int]]:
    owner = session.skeleton.get_submodule(path)
    yield from ((name, 1) for name in _classifiers(session, owner) if len(graph.tensors[name]) > 1)


def _candidates(
    skeleton: nn.Module, graph: ChannelGraph, tensor: str, axis: AxisLayout
) -> Iterator[Metadata]:
    """Yield integers that equal an axis' traced length, in the modules around a tensor."""
    length, module = graph.length(axis, graph.widths), tensor.rpartition(".")[0]
    while True:
        for name, value in vars(skeleton.get_submodule(module)).items():
            if not name.startswith("_") and type(value) is int and value == length:
                yield Metadata(module, (name,), axis)
        if not module:
            return
        module = module.rpartition(".")[0]
