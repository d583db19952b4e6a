"""More small networks: patterns on which tools that read the code, not run it, stumble."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PartialResidual(nn.Module):
    """The first 5 of 12 channels get a shortcut, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 12, 1), nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.a(x)
        y = self.b(shortcut.relu())
        y[:, : shortcut.shape[1]] += shortcut
        return self.c(y)


class SelectiveKernel(nn.Module):
    """Two branches of 5, weighted by a softmax over 10 outputs seen as (2, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 3, padding=1)
        self.down, self.up = nn.Conv2d(5, 7, 1), nn.Conv2d(7, 10, 1)
        self.c = nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.stack([self.a(x), self.b(x)], 1)
        weight = self.up(self.down(y.sum(1).mean((2, 3), keepdim=True)).relu())
        weight = weight.view(y.shape[0], 2, y.shape[2], 1, 1).softmax(1)
        return self.c((y * weight).sum(1))


class BlurPool(nn.Module):
    """A fixed filter, repeated over the channels, in a functional grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 7, 1)
        self.channels = 5
        self.register_buffer("filter", torch.full((1, 1, 3, 3), 1 / 9).repeat(5, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(self.a(x), self.filter, stride=2, groups=self.channels)
        return self.b(y)


class MixedConvolution(nn.Module):
    """12 channels split into 5 and 7, each with its own kernel size, joined again."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.e = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 2, 1)
        self.b = nn.Conv2d(5, 5, 3, padding=1, groups=5)
        self.c = nn.Conv2d(7, 7, 5, padding=2, groups=7)
        self.splits = (5, 7)

    def forward(self, x: Tensor) -> Tensor:
        one, two = torch.split(self.a(x), self.splits, 1)
        return self.e(torch.cat([self.b(one), self.c(two)], 1))


class EqualSplits(MixedConvolution):
    """The parts are of one size and still independent of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.e = nn.Conv2d(3, 10, 1), nn.Conv2d(10, 2, 1)
        self.c = nn.Conv2d(5, 5, 5, padding=2, groups=5)
        self.splits = [5, 5]


class HierarchicalResidual(nn.Module):
    """Three slices of width 7, each added to the result before it (Res2Net)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.e = nn.Conv2d(3, 21, 1), nn.Conv2d(21, 2, 1)
        self.convs = nn.ModuleList(nn.Conv2d(7, 7, 3, padding=1) for _ in range(2))
        self.width = 7

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(self.a(x), self.width, 1)
        done = [self.convs[0](parts[0])]
        done.append(self.convs[1](done[0] + parts[1]))
        return self.e(torch.cat([*done, parts[2]], 1))


class CutElsewhere(nn.Module):
    """Joined as 5 + 7, cut as 3 + 9, each part with a partner of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1)
        self.c, self.d = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 9, 1)
        self.e, self.f = nn.Conv2d(3, 2, 1), nn.Conv2d(9, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.a(x), self.b(x)], 1)
        one, two = self.c(x), self.d(x)
        return self.e(y[:, : one.shape[1]] * one) + self.f(y[:, one.shape[1] :] * two)


class StandardisedWeight(nn.Module):
    """Weights normalised by a functional batch norm before they are used."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(3, 5, 1),
            nn.Conv2d(5, 7, 3, padding=1),
            nn.Conv2d(7, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        flat = self.b.weight.reshape(1, self.b.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True).reshape_as(self.b.weight)
        return self.c(F.conv2d(self.a(x), weight, self.b.bias, padding=1).relu())


class Einsum(nn.Module):
    """A mixing of channels written as einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(7, 2, 1)
        self.mix = nn.Parameter(torch.randn(7, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.einsum("oi,bihw->bohw", self.mix, self.a(x)))


class Unbind(nn.Module):
    """10 channels seen as 2 x 5, taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 10, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.a(x).unflatten(1, (2, -1)).unbind(1)
        return self.b(one.relu() + two)


class TiedEmbedding(nn.Module):
    """A table of 11 words, read and written with the same weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(11, 5), nn.Linear(5, 7)
        self.back = nn.Linear(7, 5)

    def forward(self, words: Tensor) -> Tensor:
        y = self.table(words)
        return F.linear(y + self.back(self.mix(y).relu()), self.table.weight)


class Attention(nn.Module):
    """Two heads: queries and keys of 3, values of 5 channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 7, 1)
        self.q, self.k, self.v = nn.Linear(7, 6), nn.Linear(7, 6), nn.Linear(7, 10)
        self.out, self.head = nn.Linear(10, 7), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).flatten(2).transpose(1, 2)
        q, k, v = (m(y).unflatten(-1, (2, -1)).transpose(1, 2) for m in (self.q, self.k, self.v))
        z = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head((y + self.out(z)).mean(1))


class LayerNormed(nn.Module):
    """Normalised over the channels, in channels-last order, with a learnt scale."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 5, 1), nn.LayerNorm(5)
        self.up, self.down = nn.Linear(5, 7), nn.Linear(7, 5)
        self.gamma, self.c = nn.Parameter(torch.ones(5)), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z = self.down(F.gelu(self.up(self.norm(y.permute(0, 2, 3, 1)))))
        return self.c(y + (self.gamma * z).permute(0, 3, 1, 2))


class Branching(nn.Module):
    """Takes another path on small images, and counts its channels in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(3, 5, 1),
            nn.Conv2d(5, 7, 3, padding=1),
            nn.Conv2d(7, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x))
        if x.shape[-1] > 64:
            y = F.max_pool2d(y, 2)
        for _ in range(2):
            y = y * torch.ones(1, y.shape[1], 1, 1).sigmoid()
        return self.c(y)


class Pyramid(nn.Module):
    """Two scales meet after lateral convolutions and upsampling; a shared head reads both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 7, 3, stride=2, padding=1)
        self.fine, self.coarse = nn.Conv2d(5, 11, 1), nn.Conv2d(7, 11, 1)
        self.head = nn.Conv2d(11, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.a(x)
        top = self.coarse(self.b(y.relu()))
        low = self.fine(y) + F.interpolate(top, size=y.shape[2:], mode="bilinear")
        return [self.head(low), self.head(top)]


class OneDimensional(nn.Module):
    """Rows as a sequence: 1-D convolutions, pooling and a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv1d(18, 5, 3, padding=1), nn.BatchNorm1d(5)
        self.b, self.head = nn.ConvTranspose1d(5, 7, 2, stride=2), nn.Linear(7 * 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.a(x.flatten(1, 2)))
        return self.head(F.max_pool1d(self.b(y), 2).flatten(1))


class ThreeDimensional(nn.Module):
    """The image twice as two frames."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv3d(3, 5, (2, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(5)
        self.b, self.head = nn.Conv3d(5, 7, 1), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.norm(self.a(torch.stack([x, x], 2))).relu())
        return self.head(F.adaptive_avg_pool3d(y, 1).flatten(1))


class SpatialGate(nn.Module):
    """Mean and maximum over the channels make a mask of the places."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gate, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(2, 1, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        pooled = torch.cat([y.mean(1, keepdim=True), y.amax(1, keepdim=True)], 1)
        return self.b(y * self.gate(pooled).sigmoid())
