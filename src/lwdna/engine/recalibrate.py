"""Running statistics of normalisation, taken anew.

Without some of its units a network's activations are distributed otherwise than the running
statistics say, which alone costs most of the accuracy: Li et al., "EagleEye: Fast Sub-net
Evaluation for Efficient Neural Network Pruning", ECCV 2020 (arXiv 2007.02491), section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from lwdna.errors import TrainingError
from lwdna.inputs import call


@torch.no_grad()
def recalibrate(
    model: nn.Module,
    batches: Iterable[Any],
    forward: Callable[[nn.Module, Any], object] = call,
) -> int:
    """Replace running means and variances by the means of what the batches give.

    Every batch counts the same (a cumulative average), and the variances are those of the layers'
    own estimate, as in training. Nothing else in the network is in training mode meanwhile, so that
    dropout is off. Afterwards mode and momentum of every layer are what they were.

    Args:
        model: changed in place, on the device of the batches.
        batches: mini-batches of training data; of a network without such layers none is taken.
        forward: runs the network on a batch, as ``task.loss`` does. By default a batch is the
            network's inputs: a tensor, a tuple or a dict of them.

    Returns:
        How many layers have new statistics.

    Raises:
        TrainingError: no batches, statistics that are not finite, or a batch too small for
            statistics.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _NormBase) and layer.running_mean is not None
    ]
    if not layers:
        return 0
    with _cumulative(model, layers):
        count = 0
        for batch in batches:
            forward(model, batch)
            count += 1
    if not count:
        raise TrainingError("there are no batches to recalibrate with; give at least one")
    for layer in layers:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        if not bool((layer.running_mean.isfinite() & layer.running_var.isfinite()).all()):
            raise TrainingError(
                "statistics of normalisation are not finite after recalibration; check the weights "
                "and the data"
            )
    return len(layers)


@contextmanager
def _cumulative(model: nn.Module, layers: Sequence[_NormBase]) -> Iterator[None]:
    """Let layers start their statistics anew and average them over the batches inside."""
    modes = [(module, module.training) for module in model.modules()]
    momenta = [layer.momentum for layer in layers]
    try:
        model.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            "a batch of one example has no statistics; recalibrate with larger batches"
        ) from error
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in modes:
            module.training = mode
