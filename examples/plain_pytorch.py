"""Widths for a network of your own, trained by plain PyTorch: half of the MACs, on digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import lwdna

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # (1797, 1, 8, 8)
labels = torch.tensor(digits.target)
model = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
    nn.Sequential(nn.Conv2d(16, 32, 3, 2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
    nn.Sequential(nn.Conv2d(32, 64, 3, 2, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
    nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
)
loss_of, half = nn.CrossEntropyLoss(), lwdna.Budget(macs=0.5)
batches = [(images[:256], labels[:256])]
found = lwdna.shrink(model, images[:1], batches, loss_of, budget=half)
network = found.build(model, seed=0)  # an ordinary module, with fresh weights

optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
for _ in range(5):
    for chosen in torch.randperm(1500).split(50):
        optimizer.zero_grad()
        loss_of(network(images[chosen]), labels[chosen]).backward()
        optimizer.step()

right = (network.eval()(images[1500:]).argmax(1) == labels[1500:]).sum()
print(f"{found.baseline.macs:,} MACs before, {found.cost.macs:,} after; {right} of 297 right")
lwdna.save(network, found, "digits.safetensors")  # lwdna.load("digits.safetensors", model)
