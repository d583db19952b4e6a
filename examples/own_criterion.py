"""A criterion of your own: how units are scored when widths are chosen."""

import torch
from torch import nn

import lwdna
from lwdna.methods.criteria.connections import sums_over_makers


@lwdna.register_criterion("gradient-size", paper="our own")
def gradient_size(problem):
    """Sum of the sizes of the gradients of the weights that make a unit."""
    problem.backward()  # leaves the gradients of the mean loss in the widened network

    def sizes(layer):  # (O, I) of a convolution or a linear layer
        gradient = layer.weight.grad.abs()
        return gradient.reshape(*gradient.shape[:2], -1).sum(2)

    found = sums_over_makers(problem.wide, problem.graph, problem.widths, sizes)
    return {group.name: score for group, score in zip(problem.graph.groups, found, strict=True)}


torch.manual_seed(0)
batches = [(torch.randn(16, 3, 32, 32), torch.randint(10, (16,))) for _ in range(2)]
for criterion in ("snip", "gradient-size"):
    found = lwdna.shrink(
        "lwdna:resnet20_cifar",
        batches[0][0][:1],
        batches,
        nn.CrossEntropyLoss(),
        lwdna.Budget(macs=0.5),
        criterion=criterion,
    )
    print(f"{criterion}: {found.cost.macs:,} MACs, widths {list(found.widths.values())}")
# In a recipe: shrink.criterion=gradient-size, where this module was imported before.
