"""What a network of timm costs at any widths, without building the others."""

import timm
import torch

import lwdna

model = timm.create_model("mobilenetv3_small_050")
image = torch.zeros(1, 3, 224, 224)

graph = lwdna.trace(model, image)  # which channels share a width; proven by a second run
print(f"{len(graph.groups)} groups of channels, {graph.cost().macs:,} MACs")

for factor in (1.0, 0.75, 0.5):
    widths = {name: max(1, round(width * factor)) for name, width in graph.widths.items()}
    cost = graph.cost(widths)  # a closed form: no network is built
    print(f"{factor:4.2f} of every width: {cost.macs:,} MACs, {cost.params:,} parameters")

half = lwdna.resize(model, graph, widths)  # an ordinary timm network with fresh weights
counted = sum(parameter.numel() for parameter in half.parameters())
print(f"the last one, built: {counted:,} parameters, outputs {tuple(half.eval()(image).shape)}")
assert counted == cost.params
