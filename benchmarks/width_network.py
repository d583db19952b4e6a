"""The network of the size search space of NATS-Bench, as a module that can be traced.

Dong et al., TPAMI 2021 (arXiv 2009.00437). Convolutions stand behind a ReLU and before a batch
normalisation. Inside a cell and a residual block all convolutions have the same number of outputs,
so that their groups are tied: what is left are five widths. A cell whose input and output have one
width skips by the identity, others by a convolution; for a search, which changes the one and the
other, the skip is always a convolution, and its cost is taken off where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lwdna.channels import Edits

WIDTHS = ("stem.0", "down1.skip.1", "cell2.to_first.1", "down2.skip.1", "cell3.to_first.1")
"""The groups of the widths c0 to c4, named after the first module that makes each."""
EDITS = Edits(
    tie=(("stem.0", "cell1.*.1"), ("down1.*.1",), ("cell2.*.1",), ("down2.*.1",), ("cell3.*.1",))
)


class Convolution(nn.Sequential):
    """ReLU, convolution, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Cell(nn.Module):
    """Two nodes between input and output, joined by convolutions and one skip connection."""

    def __init__(self, inputs: int, outputs: int, *, identity: bool) -> None:
        super().__init__()
        self.to_first = Convolution(inputs, outputs)
        self.to_second = Convolution(inputs, outputs)
        self.first_to_second = Convolution(outputs, outputs)
        self.skip = nn.Identity() if identity else Convolution(inputs, outputs, 1)
        self.first_to_out = Convolution(outputs, outputs)
        self.second_to_out = Convolution(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the cell's output, (N, outputs, H, W)."""
        first = self.to_first(x)
        second = self.to_second(x) + self.first_to_second(first)
        return self.skip(x) + self.first_to_out(first) + self.second_to_out(second)


class Block(nn.Module):
    """Residual block of stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Convolution(inputs, outputs, stride=2)
        self.second = Convolution(outputs, outputs)
        self.skip = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, (N, outputs, H / 2, W / 2)."""
        return self.skip(x) + self.second(self.first(x))


class SizeNetwork(nn.Module):
    """Stem, cell, block, cell, block, cell, classifier.

    Args:
        widths: c0 to c4, the outputs of the stem with the first cell, and of the four that follow.
        classes: how many classes there are.
        free: let all cells but the first skip by a convolution, so that all widths are free.
    """

    def __init__(self, widths: Sequence[int], classes: int, *, free: bool = False) -> None:
        super().__init__()
        c0, c1, c2, c3, c4 = widths
        self.stem = nn.Sequential(nn.Conv2d(3, c0, 3, padding=1, bias=False), nn.BatchNorm2d(c0))
        self.cell1 = Cell(c0, c0, identity=True)
        self.down1 = Block(c0, c1)
        self.cell2 = Cell(c1, c2, identity=c1 == c2 and not free)
        self.down2 = Block(c2, c3)
        self.cell3 = Cell(c3, c4, identity=c3 == c4 and not free)
        self.last = nn.Sequential(nn.BatchNorm2d(c4), nn.ReLU())
        self.head = nn.Linear(c4, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, classes), of images, (N, 3, H, W)."""
        x = self.cell1(self.stem(images))
        x = self.cell2(self.down1(x))
        x = self.last(self.cell3(self.down2(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
