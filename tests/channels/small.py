"""Small networks, each with one pattern; widths are distinct primes so that nothing cancels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Chain(nn.Module):
    """conv 3>5 - BatchNorm - conv 5>7 - mean - linear 7>10."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.b = nn.Conv2d(5, 7, 3, padding=1, bias=False)
        self.head = nn.Linear(7, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(F.relu(self.norm(self.a(x)))).mean((2, 3)))


class Cat(nn.Module):
    """Two branches side by side, the second first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1)
        self.c = nn.Conv2d(12, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.cat([self.b(x), self.a(x)], 1).relu()).sum((2, 3))


class Chunk(nn.Module):
    """A gated linear unit: two halves of 14 channels meet."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 14, 1), nn.Conv2d(7, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.a(x).chunk(2, dim=1)
        return self.b(value * gate.sigmoid())


class SplitRejoin(nn.Module):
    """12 channels, cut into 5 and 7, joined the other way round, meet 12 others."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 12, 1), nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1)
        self.d = nn.Conv2d(12, 11, 1)
        self.sizes = [5, 7]

    def forward(self, x: Tensor) -> Tensor:
        one, two = torch.split(self.a(x), self.sizes, dim=1)
        return self.d(torch.cat([two + self.c(x), one * self.b(x)], 1))


class FlattenLinear(nn.Module):
    """C x H x W to a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5 * 4 * 6, 11)
        self.last = nn.Linear(11, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.head(self.a(x).flatten(1)).relu())


class View(nn.Module):
    """2C outputs viewed as (2, C): channel i pairs with C + i."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 14, 1), nn.Conv2d(7, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y = y.view(y.shape[0], 2, -1, *y.shape[2:]).softmax(1)
        return self.b(y[:, 0] * y[:, 1])


class PixelShuffle(nn.Module):
    """7 channels at twice the size come from 28."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 28, 3, padding=1), nn.Conv2d(7, 11, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.pixel_shuffle(self.a(x), 2))


class PixelUnshuffle(nn.Module):
    """5 channels become 20 at half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(20, 11, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.pixel_unshuffle(self.a(x), 2))


class SharedModule(nn.Module):
    """One module under two names, called twice on different inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 1)
        self.one = nn.Conv2d(5, 7, 3, padding=1)
        self.two = self.one
        self.c = nn.Conv2d(14, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.cat([self.one(self.a(x)), self.two(self.b(x)).relu()], 1))


class SharedWeight(nn.Module):
    """Two modules with one weight tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 5, 1)
        self.b, self.c = nn.Conv2d(5, 7, 3, padding=1), nn.Conv2d(5, 7, 3, padding=1)
        self.c.weight = self.b.weight
        self.d = nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.d(self.b(y) * self.c(y.relu()))


class CalledTwice(nn.Module):
    """A module that feeds itself: its input and output widths agree."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(3, 5, 1),
            nn.Conv2d(5, 5, 3, padding=1),
            nn.Conv2d(5, 7, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.b(self.a(x)).relu()))


class TwoSizes(nn.Module):
    """A module used twice, at two image sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 7, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        small = self.b(F.max_pool2d(self.a(x), 2))
        return self.b(self.a(x)) + F.interpolate(small, size=x.shape[2:], mode="nearest")


class ChannelShuffle(nn.Module):
    """Two convolution groups, shuffled, go through two groups again."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 14, 1)
        self.b, self.c = nn.Conv2d(14, 22, 1, groups=2), nn.Conv2d(22, 26, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x))
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return self.c(y.reshape(batch, channels, height, width).relu()).sum((2, 3))


class Grouped(nn.Module):
    """3 groups: 15 > 21 channels, 5 and 7 of each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(3, 15, 1),
            nn.Conv2d(15, 21, 3, padding=1, groups=3),
            nn.Conv2d(21, 11, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)).relu())


class Depthwise(nn.Module):
    """Each of 5 channels gives 3."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(3, 5, 1),
            nn.Conv2d(5, 15, 3, padding=1, groups=5),
            nn.Conv2d(15, 11, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)).relu())


class Transposed(nn.Module):
    """A transposed convolution, its weight (in, out, *kernel)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.ConvTranspose2d(5, 7, 3, stride=2)
        self.c = nn.Conv2d(7, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)).relu())


class GroupedTransposed(nn.Module):
    """3 groups: 15 > 21 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 15, 1)
        self.b, self.c = nn.ConvTranspose2d(15, 21, 3, groups=3), nn.Conv2d(21, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)).relu())


class DepthwiseTransposed(nn.Module):
    """Each of 5 channels gives 2, upsampled."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 5, 1)
        self.b, self.c = nn.ConvTranspose2d(5, 10, 2, stride=2, groups=5), nn.Conv2d(10, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)).relu())


class ZeroPadded(nn.Module):
    """A shortcut without parameters: every other pixel, 2 and 4 channels of zeros around."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = (
            nn.Conv2d(3, 5, 1),
            nn.Conv2d(5, 11, 3, stride=2, padding=1),
            nn.Linear(11, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        shortcut = F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 2, 4))
        return self.head((self.b(y) + shortcut).mean((2, 3)))


class PaddedToFit(ZeroPadded):
    """The same with as many zeros behind the channels as are missing."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        z = self.b(y)
        shortcut = F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 0, z.shape[1] - y.shape[1]))
        return self.head((z + shortcut).mean((2, 3)))


class Residual(nn.Module):
    """Sum of a stem and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(3, 5, 1),
            nn.Conv2d(5, 7, 3, padding=1),
            nn.Conv2d(7, 5, 1),
        )
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y = y + self.c(self.b(y).relu())
        return self.head(y.mean((2, 3)))


class SqueezeExcite(nn.Module):
    """Gates over a concatenation of 5 and 7 channels, 3 in between."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1)
        self.down, self.up, self.c = nn.Linear(12, 3), nn.Linear(3, 12), nn.Conv2d(12, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.a(x), self.b(x)], 1)
        gate = self.up(self.down(y.mean((2, 3))).relu()).sigmoid()
        return self.c(y * gate[:, :, None, None])


class HardView(nn.Module):
    """A size written into the code."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 7, 1), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x).relu())
        return self.head(y.view(y.shape[0], 7, -1).mean(2))


class Scale(nn.Module):
    """A parameter without a module of its own, seen as (C, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 7, 1)
        self.gamma = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu() * self.gamma.view(-1, 1, 1))


class Norms(nn.Module):
    """GroupNorm over 2 groups of 7, then a PReLU of 11."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 14, 1), nn.GroupNorm(2, 14)
        self.b, self.act, self.c = nn.Conv2d(14, 11, 1), nn.PReLU(11), nn.Conv2d(11, 13, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.act(self.b(self.norm(self.a(x)))))


class ECA(nn.Module):
    """A convolution along the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 7, 1), nn.Conv2d(7, 11, 1)
        self.along = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        gate = self.along(y.mean((2, 3))[:, None]).sigmoid()
        return self.b(y * gate.view(*y.shape[:2], 1, 1))


class ManyInOut(nn.Module):
    """Two named inputs, two named outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(2, 5, 1)
        self.c, self.d = nn.Conv2d(5, 7, 1), nn.Conv2d(7, 11, 1)

    def forward(self, image: Tensor, depth: Tensor) -> dict[str, Tensor]:
        both = self.c(self.a(image) + self.b(depth))
        return {"features": both, "logits": self.d(both.relu())}


class UnknownOp(nn.Module):
    """An operator on lists of tensors has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 7, 1), nn.Conv2d(7, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch._foreach_neg([self.b(self.a(x))])[0])
