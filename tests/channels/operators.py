"""Networks of operators with parameters of their own; widths are told apart by their numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import ops


class Deformable(nn.Module):
    """10 channels in two offset groups (5 and 5), 14 out; offsets and mask of 3 x 3 places."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Conv2d(3, 10, 1), nn.Conv2d(14, 2, 1)
        self.offset, self.mask = nn.Conv2d(10, 36, 1), nn.Conv2d(10, 18, 1)
        self.b = ops.DeformConv2d(10, 14, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.c(self.b(y, self.offset(y), self.mask(y).sigmoid()))


class DeformableGroups(nn.Module):
    """10 channels in two groups (5 and 5) to 14 in two (7 and 7), then depthwise; no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.offset = nn.Conv2d(3, 10, 1), nn.Conv2d(3, 18, 1)
        self.b = ops.DeformConv2d(10, 14, 3, padding=1, groups=2)
        self.c = ops.DeformConv2d(14, 14, 3, padding=1, groups=14, bias=False)
        self.d = nn.Conv2d(14, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        offset = self.offset(x)
        return self.d(self.c(self.b(self.a(x), offset), offset))


class Unpooled(nn.Module):
    """The maxima of 5 channels say where those of another 5 go."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, where = F.max_pool2d(self.a(x), 2, return_indices=True)
        return self.c(F.max_unpool2d(self.b(y), where, 2))


class Sampled(nn.Module):
    """A layer of 2 says where 7 channels are sampled."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1)
        self.grid, self.c = nn.Conv2d(5, 2, 1), nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.grid(self.a(x)).tanh().permute(0, 2, 3, 1)
        return self.c(F.grid_sample(self.b(x), grid, align_corners=False))


class Regions(nn.Module):
    """28 channels for the 2 x 2 places of 7; windows of them are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 28, 1), nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        boxes = torch.tensor([[0, 0, 0, 4, 5], [1, 1, 2, 5, 5]], dtype=x.dtype)
        y = self.b(self.a(x))
        return self.c(ops.ps_roi_pool(y.float(), boxes.float(), 2).to(x.dtype))


class Bilinear(nn.Module):
    """Products of 5 and 7 entries, 11 sums of them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 5), nn.Linear(3, 7)
        self.both, self.c = nn.Bilinear(5, 7, 11), nn.Linear(11, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        return self.c(self.both(self.a(y), self.b(y)))


class Bags(nn.Module):
    """Means of rows of a table, 5 wide, added to 5 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.table = nn.Linear(3, 5), nn.Linear(5, 2), nn.EmbeddingBag(13, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.tensor([[1, 3, 4], [2, 2, 7]])
        return self.b(self.a(x.mean((2, 3))) + self.table(rows))


class Codebook(nn.Module):
    """5 channels are compared with 13 codes; the distances are read."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.codes = nn.Conv2d(3, 5, 1), nn.Parameter(torch.randn(13, 5))
        self.b = nn.Linear(13, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).flatten(2).transpose(1, 2)
        return self.b(torch.cdist(y, self.codes[None].expand(len(y), -1, -1)))


class Spectral(nn.Module):
    """Real and imaginary parts of 5 channels, side by side, mixed to 7 of each and sent back."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(10, 14, 1), nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.fft.rfft2(self.a(x))
        real, imaginary = self.b(torch.cat([y.real, y.imag], 1)).relu().chunk(2, 1)
        return self.c(torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:]))


class GlobalFilter(nn.Module):
    """A weight for each frequency of each channel, its two parts on the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1)
        self.filter = nn.Parameter(torch.randn(5, 6, 5, 2))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.fft.rfft2(self.a(x)) * torch.view_as_complex(self.filter)
        return self.b(torch.fft.irfft2(y, s=x.shape[-2:]))


class ShuffledByTorch(nn.Module):
    """14 channels in 2 groups of 7, interleaved by torch's own operator."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 14, 1), nn.Conv2d(14, 11, 1), nn.Conv2d(11, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(F.channel_shuffle(self.a(x), 2)))


class Gated(nn.Module):
    """Half of 14 channels gates the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 14, 1), nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.glu(self.a(x), 1))


class TimeFirst(nn.Module):
    """A convolution of (time, batch, channels), 5 to 7 with a kernel of 3."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(3, 5), nn.Linear(7, 2)
        self.weight, self.bias = nn.Parameter(torch.randn(3, 5, 7)), nn.Parameter(torch.randn(7))

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x.flatten(2).permute(2, 0, 1).contiguous())
        return self.c(torch.conv_tbc(y, self.weight, self.bias, 1))


class Vectors(nn.Module):
    """Products of matrices and vectors: 5 channels meet vectors of 5, 7 meet one of 7."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 5), nn.Linear(3, 7), nn.Linear(7, 2)
        self.one, self.two = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(5))
        self.row, self.bias = nn.Parameter(torch.randn(7)), nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        scale = torch.addmv(self.bias, self.a(y), self.one)
        mixed = self.a(y) @ torch.addr(self.bias[:1, None], self.two, self.row)
        return self.c(self.b(y) * scale[:, None] + mixed)


class ShiftedByProducts(nn.Module):
    """The sum over a batch of products of 5 tokens with 7 channels, plus a row of 7."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1), nn.Linear(7, 2)
        self.row, self.d = nn.Parameter(torch.randn(7)), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.a(x).flatten(2), self.b(x).flatten(2).transpose(1, 2)
        mixed = torch.addbmm(self.row, y, z)
        return self.d(self.c(mixed).T)
