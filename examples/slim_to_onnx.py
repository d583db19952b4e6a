"""Halve what a trained network computes, tune it, and write it as ONNX."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import lwdna
from lwdna.interop.onnx import export_onnx

pixels, labels = load_digits(return_X_y=True)
images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
labels = torch.tensor(labels)
data = [(images[i : i + 64], labels[i : i + 64]) for i in range(0, 1408, 64)]
loss_of = nn.CrossEntropyLoss()


def train(network, rate, epochs):
    optimizer = torch.optim.SGD(network.parameters(), rate, momentum=0.9)
    for batch, targets in data * epochs:
        optimizer.zero_grad()
        loss_of(network(batch), targets).backward()
        optimizer.step()
    right = network.eval()(images[1408:]).argmax(1) == labels[1408:]
    return f"{right.float().mean():.1%}"


model = lwdna.create_model("lwdna:resnet8_digits")
print("dense:", train(model, 0.1, 2))  # in place of weights that you have
source = lwdna.ModelSource(name="lwdna:resnet8_digits")
slimmed = lwdna.slim(model, data[:8], loss_of, lwdna.Budget(macs=0.5), source=source)
print(f"{slimmed.before.macs:,} -> {slimmed.after.macs:,} MACs")
print("tuned:", train(slimmed.network, 0.02, 2))
lwdna.save(slimmed.network, slimmed.architecture, "slim.safetensors")
export_onnx(slimmed.network, slimmed.architecture.input_size, "slim.onnx")
print("wrote slim.safetensors and slim.onnx")
