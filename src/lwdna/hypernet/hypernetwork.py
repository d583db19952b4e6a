"""A network whose weights are generated from latents, as one module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from lwdna.channels.graph.graph import ChannelGraph
from lwdna.hypernet.generator import Generator
from lwdna.hypernet.latents import Latents, generated_weights


class Hypernetwork(nn.Module):
    """Wraps a network so that its convolution and linear weights come from latents.

    The weights become parametrizations of the network's own layers: they are computed whenever
    they are read, and the network's class, ``forward`` and calling convention stay the same. Its
    parameters are now the latents, the generators' and what is not generated (biases,
    normalisation).
    """

    def __init__(
        self,
        network: nn.Module,
        graph: ChannelGraph,
        widths: Mapping[str, int],
        embedding_dim: int,
        seed: int,
        *,
        keep_weights: bool = False,
    ) -> None:
        """Turn ``network`` into one that generates its weights, in place.

        Args:
            network: the (widened) network.
            graph: the channel graph of the baseline.
            widths: the widths of ``network`` by group.
            embedding_dim: m.
            seed: the latents and generators are drawn from it alone.
            keep_weights: generate the weights that ``network`` has, bit for bit, from latents of
                1, so that a latent is the factor of its unit; nothing is drawn.
        """
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.latents = Latents(graph, widths, generator).to(next(network.parameters()))
        if keep_weights:
            for vector in self.latents.vectors:
                nn.init.ones_(vector)
        self.network = network
        used: set[int] = set()
        for name, layer in generated_weights(network, graph).items():
            axes = graph.tensors[name][:2]
            used.update(group for axis in axes for group in axis.groups)
            parametrize.register_parametrization(
                layer,
                "weight",
                Generator(self.latents, axes, embedding_dim, None if keep_weights else generator),
                unsafe=True,
            )
        for position, vector in enumerate(self.latents.vectors):
            vector.requires_grad_(position in used)  # several processes wait for each gradient

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run the network."""
        return self.network(*inputs, **options)

    def bake(self) -> nn.Module:
        """Return the network with its generators replaced by the weights that they generate."""
        for module in list(self.network.modules()):
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        return self.network
