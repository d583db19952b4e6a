"""How the tables of this folder say which network to build, and what to give it.

Nothing of a table is imported or built before :func:`build` is asked for one network.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


@dataclass(frozen=True)
class Call:
    """Something to call by its path, ``package.module:name``; its arguments may be calls, too."""

    path: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Any:
        """Import what is called, and call it."""
        return named(self.path)(*made(self.args), **made(self.kwargs))


@dataclass(frozen=True)
class Named:
    """Something to take by its path, such as a class that a network is given as an argument."""

    path: str


@dataclass(frozen=True)
class Part:
    """A part of what a call makes, by its attribute."""

    whole: Call
    name: str


@dataclass(frozen=True)
class Noise:
    """A tensor of normally distributed numbers."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Uniform:
    """A tensor of numbers between 0 and 1."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Whole:
    """A tensor of whole numbers below ``high``."""

    high: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Constant:
    """A tensor of given numbers, lengths of sequences say: the same ones for every draw."""

    values: Any


@dataclass(frozen=True)
class Network:
    """A network of another library: how it is made, and what a user would give it."""

    library: str
    name: str
    model: Call | Part
    inputs: Any
    """A tensor's description, a tuple of positional arguments or a dict of named ones."""
    by_value: str = ""
    """What the network chooses by value, so that its shapes and its cost differ by image."""

    @property
    def title(self) -> str:
        """The name with its library's."""
        return f"{self.library}:{self.name}"


def call(path: str, *args: Any, **kwargs: Any) -> Call:
    """Describe a call."""
    return Call(path, args, kwargs)


def image(side: int, channels: int = 3, batch: int = 1) -> Noise:
    """Describe a batch of square images."""
    return Noise((batch, channels, side, side))


def volume(side: int, channels: int = 1) -> Noise:
    """Describe a batch of one cube."""
    return Noise((1, channels, side, side, side))


def named(path: str) -> Any:
    """Import what a path names."""
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def made(value: Any) -> Any:
    """Return the value with everything described in it made."""
    if isinstance(value, Call):
        return value.make()
    if isinstance(value, Named):
        return named(value.path)
    if isinstance(value, Part):
        found = value.whole.make()
        for name in value.name.split("."):
            found = getattr(found, name)
        return found
    if isinstance(value, tuple | list):
        return type(value)(made(entry) for entry in value)
    if isinstance(value, dict):
        return {key: made(entry) for key, entry in value.items()}
    return value


def build(network: Network, seed: int) -> nn.Module:
    """Return the network with random weights, in evaluation mode; nothing is downloaded."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "1", "YOLO_VERBOSE": "False"}
    _import_torchaudio()
    torch.manual_seed(seed)
    model: nn.Module = made(network.model)
    return model.eval()


def draw(inputs: Any, seed: int) -> Any:
    """Return inputs with numbers drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(value: Any) -> Any:
        if isinstance(value, Noise):
            return torch.randn(value.shape, generator=generator)
        if isinstance(value, Uniform):
            return torch.rand(value.shape, generator=generator)
        if isinstance(value, Whole):
            return torch.randint(value.high, value.shape, generator=generator)
        return torch.tensor(value.values) if isinstance(value, Constant) else value

    return tree_map(drawn, inputs)


def to_double(inputs: Any) -> Any:
    """Return inputs with their floating-point tensors in double precision."""
    return tree_map(
        lambda value: value.double() if isinstance(value, Tensor) and value.is_floating_point()
        else value,
        inputs,
    )  # fmt: skip


def _import_torchaudio() -> None:
    """Import torchaudio, which many import and which refuses another build of CUDA than its own.

    No build of CUDA is used here.
    """
    before, torch.version.cuda = torch.version.cuda, None
    try:
        importlib.import_module("torchaudio")
    finally:
        torch.version.cuda = before
