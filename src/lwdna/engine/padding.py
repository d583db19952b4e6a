"""Training with odd widths padded in memory; see :mod:`lwdna.channels.proof.padding`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lwdna.channels import trace
from lwdna.channels.copies.skeleton import first_line
from lwdna.channels.proof.padding import Padding, find_padding
from lwdna.engine.optim import make_optimizer
from lwdna.engine.settings import TrainSettings
from lwdna.engine.task import Task
from lwdna.engine.together import shared
from lwdna.errors import GraphError, LwdnaError, TrainingError

_STEPS = 7
"""Some optimizers do something else at every sixth step."""
_SHAPES = (((67, 37, 3, 3), (72, 40, 3, 3)), ((131, 67), (136, 72)), ((67,), (72,)))
"""Of parameters and of the same padded; some optimizers treat those of 32 or 128 in another way."""
_BY_SIZE = frozenset({"adamp", "sgdp", "kron", "kronw"})
"""Optimizers that compare with numbers made of the sizes, so that a few steps may show nothing."""


def make_padding(model: nn.Module, task: Task, settings: TrainSettings) -> Padding | None:
    """Return how the network is padded for training, if the settings ask for it.

    None also where nothing is to be padded: all widths are multiples, no group can be padded, or
    the network cannot be traced. All processes get the same.

    Raises:
        TrainingError: what the optimizer does to a weight depends on the sizes of tensors.
    """
    if settings.pad_channels is None:
        return None
    _check_optimizer(settings)
    inputs = task.example_inputs()
    try:
        graph = trace(model, inputs)
    except GraphError:
        return None
    padding = find_padding(model, graph, inputs, settings.pad_channels)
    padding = Padding(graph, *shared((dict(padding.widths), dict(padding.left))))
    return padding if padding.padded else None


def _check_optimizer(settings: TrainSettings) -> None:
    """Make sure that the optimizer does to padded tensors what it does to those inside them.

    Raises:
        TrainingError: it does not.
    """
    why = f"the steps of optimizer {settings.optimizer} depend on the sizes of tensors"
    if settings.optimizer not in _BY_SIZE:
        try:
            if _sizes_do_not_matter(settings):
                return
        except LwdnaError:  # it cannot be made from these settings
            raise
        except Exception as error:  # whatever it needs that is not here, such as a GPU
            why = f"optimizer {settings.optimizer} cannot be tried here ({first_line(error)})"
    raise TrainingError(
        f"{why}, so that a padded network might be trained differently; leave out "
        "train.pad_channels or use another train.optimizer, such as sgd or adamw"
    )


def _sizes_do_not_matter(settings: TrainSettings) -> bool:
    own, padded = (list(_trained(settings, padded)) for padded in (False, True))
    for one, wide in zip(own, padded, strict=True):
        inside = wide[tuple(slice(length) for length in one.shape)]
        if not torch.allclose(inside, one, rtol=1e-6) or wide.count_nonzero() > one.numel():
            return False
    return True


def _trained(settings: TrainSettings, padded: bool) -> Iterator[Tensor]:
    """Yield tensors after a few steps with random gradients, in the padding zero."""
    generator = torch.Generator().manual_seed(0)

    def drawn() -> list[Tensor]:
        values = []
        for shape, wide in _SHAPES:
            value = torch.randn(shape, generator=generator, dtype=torch.float64)
            if padded:
                inside, value = value, value.new_zeros(wide)
                value[tuple(map(slice, shape))] = inside
            values.append(value)
        return values

    network = nn.ParameterList(drawn())
    optimizer = make_optimizer(network, settings, torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        for _ in range(_STEPS):
            for parameter, gradient in zip(network, drawn(), strict=True):
                parameter.grad = gradient
            optimizer.step()
    return (parameter.detach() for parameter in network)
