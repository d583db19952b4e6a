"""Other widths for a network of your own, and a training loop of plain PyTorch for both."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import lwdna

pixels, labels = load_digits(return_X_y=True)  # 1,797 handwritten digits
images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
labels = torch.tensor(labels)
data = [(images[i : i + 64], labels[i : i + 64]) for i in range(0, 1408, 64)]


def layer(inputs, outputs):
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


net = nn.Sequential(*layer(1, 16), *layer(16, 16), nn.MaxPool2d(2), *layer(16, 32), *layer(32, 32))
net = nn.Sequential(*net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
loss_of = nn.CrossEntropyLoss()
budget = lwdna.Budget(macs=0.5)  # of what `net` costs
found = lwdna.shrink(net, images[:1], data[:2], loss_of, budget)  # a guess by two batches
print(f"{found.baseline.macs:,} -> {found.cost.macs:,} MACs; widths {found.widths}")

for name, network in (("baseline", net), ("found", found.build(net))):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for batch, targets in data * 3:
        optimizer.zero_grad()
        loss_of(network(batch), targets).backward()
        optimizer.step()
    right = network.eval()(images[1408:]).argmax(1) == labels[1408:]
    print(f"{name}: {right.float().mean():.1%} of 389 images")
# One pair of trainings says little: `lwdna compare` repeats them with other seeds.
lwdna.save(network, found, "found.safetensors")
