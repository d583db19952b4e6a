"""Small networks whose code computes sizes from other sizes, as attention usually does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SizesOfInput(nn.Module):
    """Two heads of 7: queries, keys and values are as wide as what flows in, 14."""

    heads = 2

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Conv2d(3, 14, 1), nn.Linear(14, 2)
        self.q, self.k, self.v, self.out = (nn.Linear(14, 14) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).flatten(2).transpose(1, 2)
        b, n, c = y.shape
        q, k, v = (
            m(y).reshape(b, n, self.heads, c // self.heads).transpose(1, 2)
            for m in (self.q, self.k, self.v)
        )
        z = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.head((y + self.out(z.transpose(1, 2).reshape(b, n, c))).mean(1))


class SizesOfModule(SizesOfInput):
    """The same, but heads of 5 (more of them than they are wide), known to the module."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width, self.whole = 7, 5, 35
        self.q, self.k, self.v = (nn.Linear(14, 35) for _ in range(3))
        self.out = nn.Linear(35, 14)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).flatten(2).transpose(1, 2)
        b, n, _ = y.shape
        q, k, v = (
            m(y).view(b, -1, self.heads, self.width).transpose(1, 2)
            for m in (self.q, self.k, self.v)
        )
        z = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.head((y + self.out(z.transpose(1, 2).reshape(b, n, self.whole))).mean(1))


class ScaledByInput(SizesOfInput):
    """The same, with products divided by the root of their length."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).flatten(2).transpose(1, 2)
        q, k = self.q(y), self.k(y)
        z = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ self.v(y)
        return self.head((y + self.out(z)).mean(1))


class Outlook(nn.Module):
    """Neighbourhoods of 3 x 3 taken apart into 2 heads of 5 and put together again."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.v, self.c = nn.Conv2d(3, 10, 1), nn.Conv2d(10, 10, 1), nn.Conv2d(10, 2, 1)
        self.heads, self.side = 2, 3

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        b, c, h, w = y.shape
        k = self.side * self.side
        z = F.unfold(self.v(y), self.side, padding=1)
        z = z.reshape(b, self.heads, c // self.heads, k, h * w).relu()
        z = z.reshape(b, c * self.side * self.side, h * w)
        return self.c(y + F.fold(z, (h, w), self.side, padding=1))


class HeadsInBatch(nn.Module):
    """Two heads of 7 as if each were an image of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Conv2d(3, 14, 1), nn.Conv2d(14, 2, 1)
        self.width, self.whole = 7, 14

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).reshape(-1, self.width, *x.shape[2:])
        return self.c(y.relu().view(x.shape[0], self.whole, *x.shape[2:]))


class TorchsAttention(nn.Module):
    """torch's own layer of two heads of 7, which knows its width, and hidden channels beside."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Conv2d(3, 14, 1), nn.Conv2d(14, 2, 1)
        self.attention = nn.MultiheadAttention(14, 2, batch_first=True)
        self.up, self.down = nn.Linear(14, 11), nn.Linear(11, 14)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z = y.flatten(2).transpose(1, 2)
        z = z + self.attention(z, z, z, need_weights=False)[0]
        z = z + self.down(self.up(z).relu())
        return self.c(z.transpose(1, 2).reshape(y.shape))


class AttentionToAnother(nn.Module):
    """Two heads of 7 ask keys of 5 channels and values of 11."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.d = nn.Linear(3, 14), nn.Linear(3, 5), nn.Linear(3, 11)
        self.attention = nn.MultiheadAttention(14, 2, kdim=5, vdim=11, batch_first=True)
        self.c = nn.Linear(14, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(2).transpose(1, 2)
        return self.c(self.attention(self.a(y), self.b(y), self.d(y))[0])


class LikeAnother(nn.Module):
    """Seen as and spread like what another layer gives, whose channels are as many."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 1)
        self.c, self.d = nn.Conv2d(5, 2, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.a(x), self.b(x)
        flat = self.c(y.flatten(2).view_as(z) + z.mean((2, 3), keepdim=True).expand_as(y))
        return flat + self.d(z.flatten(1).reshape_as(y))


class TwoIntoOne(nn.Module):
    """Branches of 5 and 7 joined; a layer of its own is asked to be as wide as both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1)
        self.e, self.c = nn.Conv2d(3, 24, 1), nn.Conv2d(24, 2, 1)
        self.d = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.a(x), self.b(x)
        width = y.shape[1] + z.size(1)
        wide = self.e(x).view(x.shape[0], 2, width, *x.shape[2:]).relu().flatten(1, 2)
        return self.c(wide) + self.d(torch.cat([y, z], 1))


class SlicedBySize(nn.Module):
    """The first as many of 12 channels as another layer has, 5, and the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 12, 1)
        self.c, self.d, self.e = nn.Conv2d(5, 2, 1), nn.Conv2d(7, 2, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.a(x), self.b(x)
        return self.c(y) + self.d(z[:, y.shape[1] :]) + self.e(z[:, : y.shape[1]])


class SlicedByPlainNumber(nn.Module):
    """As many of 12 channels as ``a`` has, 5, are added to the 5 of ``c``: both must be as many.

    ``int`` forgets where the number comes from, so it looks as if the 5 and ``a`` were independent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 12, 1), nn.Conv2d(3, 5, 1)
        self.d, self.e, self.f = nn.Conv2d(5, 2, 1), nn.Conv2d(5, 2, 1), nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.a(x), self.b(x)
        count = int(y.shape[1])
        return self.d(y) + self.e(self.c(x) + z[:, :count]) + self.f(z[:, count:])


class _Seen(nn.Module):
    """A convolution whose result is seen as so many channels as the module was told of."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.count = nn.Conv2d(inputs, outputs, 1), outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).view(x.shape[0], int(self.count), *x.shape[2:])


class _SeenToo(_Seen):
    """Another class, so that what helps the one is not tried on the other."""


class PlainNumbersInARow(nn.Module):
    """Two modules whose numbers ``int`` has made plain: each has to be found by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = _Seen(3, 5), _SeenToo(5, 7), nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)))


class PlainNumbersAlike(PlainNumbersInARow):
    """The same with three modules of one class: what helps the first is tried on all at once."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Sequential(_Seen(3, 5), _Seen(5, 11)), _Seen(11, 7)


class UnequalChunks(nn.Module):
    """11 channels in chunks of 4, 4 and 3."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 11, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = self.a(x).chunk(3, 1)
        return self.b(one) + self.b(two) + self.c(three)


class Windows(nn.Module):
    """Overlapping windows of 3 along one axis of space."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).unfold(3, 3, 1).amax(-1))


class Positions(nn.Module):
    """Makes a buffer of the size of its image when it first runs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1)
        self.register_buffer("seen", torch.zeros(1, 1))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.seen.shape != x.shape[2:]:
            self.seen = torch.linspace(0, 1, x[0, 0].numel()).view(x.shape[2:])
        return self.b(self.a(x) * self.seen)


class Rooms(nn.Module):
    """Each of four layers is seen with a size written into the code; many others are not."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.ModuleList(nn.Conv2d(3 if i == 0 else 5, 5, 1) for i in range(8))
        self.stuck = nn.ModuleList(nn.Conv2d(5, 7, 1) for _ in range(4))
        self.c = nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.free:
            x = layer(x)
        views = [layer(x).view(x.shape[0], 7, -1) for layer in self.stuck]
        return self.c(torch.stack(views, 1).amax(1).view(x.shape[0], 7, *x.shape[2:]))
