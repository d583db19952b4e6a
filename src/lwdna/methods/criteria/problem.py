"""What a criterion is given, and what every criterion does with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lwdna.channels import ChannelGraph
from lwdna.errors import TrainingError
from lwdna.hypernet import Latents
from lwdna.inputs import Inputs, examples
from lwdna.methods.settings import ShrinkSettings

Loss = Callable[[nn.Module, Any], Tensor]
"""Maps a network and a batch to the loss, a scalar: the mean over the batch's examples."""

Scores = dict[str, Tensor]
"""One score per unit by group, (n,) each; larger is better."""


@dataclass(frozen=True)
class Problem:
    """A widened network whose units are to be scored; a criterion may spoil its weights."""

    wide: nn.Module
    graph: ChannelGraph
    """The channel graph of the baseline."""
    widths: Mapping[str, int]
    """The widths of ``wide``."""
    example_inputs: Inputs
    """Those of one example."""
    batches: Sequence[Any]
    loss: Loss
    settings: ShrinkSettings
    seed: int
    """Everything random follows from it."""
    trained: bool = False
    """Whether the weights mean something, so that they have to be scored as they are."""
    latents: Latents | None = None
    """The latents that generate the weights, where a hypernetwork has been warmed up."""

    @property
    def sizes(self) -> list[int]:
        """How many examples each batch holds."""
        return [examples(batch) for batch in self.batches]

    def backward(self) -> None:
        """Leave the gradients of the mean loss over all examples of all batches in ``wide``.

        Raises:
            TrainingError: the loss is not finite.
        """
        self.wide.train()
        self.wide.zero_grad(set_to_none=True)
        for value in self.losses():
            value.backward()

    def losses(self) -> Iterator[Tensor]:
        """Yield the loss of each batch, weighted so that their sum is the mean over all examples.

        What is random in the network (dropout) follows from the seed.

        Raises:
            TrainingError: a loss is not finite.
        """
        sizes = self.sizes
        for number, (batch, size) in enumerate(zip(self.batches, sizes, strict=True)):
            with torch.random.fork_rng():
                torch.manual_seed(self.seed + number)
                value = self.loss(self.wide, batch) * (size / sum(sizes))
            if not bool(torch.isfinite(value)):
                raise TrainingError(
                    f"the loss of search batch {number} is {value.item()}; "
                    "check the data and the normalisation of the inputs"
                )
            yield value


@contextmanager
def gradients_dropped(network: nn.Module) -> Iterator[None]:
    """Inside the block, gradients of parameters are dropped one by one, as they are computed.

    For criteria that read others: all together they take as much memory as the network.
    """

    def drop(parameter: Tensor) -> None:
        parameter.grad = None

    handles = [
        parameter.register_post_accumulate_grad_hook(drop)
        for parameter in network.parameters()
        if parameter.requires_grad
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def reset_norms(network: nn.Module) -> None:
    """Let normalisation start as the identity, as the paper's networks do, and no gain at zero.

    Many families start the last scale of a residual branch at zero; the gradients of everything
    before it would then vanish, and with them the scores.
    """
    for module in network.modules():
        if isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
            module.reset_parameters()
    for name, parameter in network.named_parameters():
        if parameter.ndim <= 1 and not name.endswith("bias") and not parameter.any():
            nn.init.ones_(parameter)
