"""DiMP: a tracker that learns a filter for its target, and a head that judges boxes.

Bhat et al., "Learning Discriminative Model Prediction for Tracking", ICCV 2019 (arXiv 1904.07220).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from lwdna.errors import ModelError
from lwdna.models.registry import register_model
from lwdna.models.tracking.backbones import Backbone, TinyBody, channels_of, make_backbone
from lwdna.models.tracking.classifier import Classifier
from lwdna.models.tracking.filter_optimizer import FilterOptimizer
from lwdna.models.tracking.iou_head import IoUHead

BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}


class DiMP(nn.Module):
    """Backbone, classifier and, if there is one, IoU head.

    Args:
        backbone: gives two maps.
        classifier: works on the deep one.
        iou: works on both, or None.
        strides: pixels per cell of the shallow and the deep map.
    """

    def __init__(
        self,
        backbone: Backbone,
        classifier: Classifier,
        iou: IoUHead | None,
        strides: tuple[int, int],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.iou = iou
        self.strides = strides

    @property
    def filter_size(self) -> int:
        """Taps of the filter in each direction."""
        return self.classifier.filter_size

    @property
    def has_iou_head(self) -> bool:
        """Whether it can judge boxes."""
        return self.iou is not None

    def score_size(self, image_size: int) -> int:
        """Return the side of the score map of square images, in cells."""
        return -(-image_size // self.strides[1]) + 1 - self.filter_size % 2

    def forward(
        self,
        train_images: Tensor,
        train_boxes: Tensor,
        test_images: Tensor,
        proposals: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Learn from the training frames of B sequences; answer for their test frames.

        Args:
            train_images: (B, T, 3, S, S), normalised.
            train_boxes: (B, T, 4), the targets x, y, w, h in pixels of the images.
            test_images: (B, N, 3, S, S), normalised.
            proposals: (B, N, P, 4), boxes in pixels of the test images.

        Returns:
            Scores (B, steps + 1, N, h, w), those of the first filter first; with proposals and an
            IoU head also overlaps (B, N, P), trained to 2 IoU - 1 with the target of the first
            training frame.
        """
        sequences = len(train_images)
        reference = [level.unflatten(0, (sequences, -1)) for level in self._maps(train_images)]
        searched = self._maps(test_images)
        train = self.classifier.features(reference[1].flatten(0, 1))
        test = self.classifier.features(searched[1])
        train, test = (x.unflatten(0, (sequences, -1)) for x in (train, test))
        first = self.classifier.initial_filter(train, train_boxes)
        filters, _ = self.classifier.optimize(first, train, train_boxes)
        scores = self.classifier.scores_of_all(test, torch.stack(filters, 1))
        if self.iou is None or proposals is None:
            return (scores,)
        shallow, deep = (level[:, 0] for level in reference)
        modulation = self.iou.modulation(shallow, deep, train_boxes[:, 0])
        frames = test_images.shape[1]
        fine, coarse = (
            vector[:, None].expand(-1, frames, -1).flatten(0, 1) for vector in modulation
        )
        overlaps = self.iou.predict(
            (fine, coarse), self.iou.features(*searched), proposals.flatten(0, 1)
        )
        return scores, overlaps.unflatten(0, (sequences, -1))

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Training and test frames pass one after the other, each with its own statistics."""
        shallow, deep = self.backbone(images.flatten(0, 1))
        return shallow, deep


def _network(
    backbone: Backbone,
    channels: tuple[int, int],
    *,
    strides: tuple[int, int],
    width: int,
    blocks: int,
    block: str,
    filter_size: int,
    steps: int,
    bins: int,
    bin_size: float,
    label_sigma: float,
    iou_head: bool,
    iou_width: int,
    iou_reference_width: int,
) -> DiMP:
    """Put a network together around a backbone whose maps have these channels."""
    if block not in BLOCKS:
        raise ModelError(f"block is {block!r}; choose one of {', '.join(BLOCKS)}")
    if bins < 2 or filter_size < 1 or steps < 0:
        raise ModelError(
            f"bins is {bins}, filter_size {filter_size}, steps {steps}; they must be at least 2, 1 "
            "and 0"
        )
    classifier = Classifier(
        channels[1],
        width,
        blocks=blocks,
        block=BLOCKS[block],
        filter_size=filter_size,
        stride=strides[1],
        optimizer=FilterOptimizer(steps, bins, bin_size, label_sigma),
    )
    head = IoUHead(channels, strides, iou_width, iou_reference_width) if iou_head else None
    return DiMP(backbone, classifier, head, strides)


@register_model
def dimp(
    backbone: str = "timm:resnet18",
    backbone_args: Mapping[str, Any] | None = None,
    strides: tuple[int, int] = (8, 16),
    width: int = 256,
    blocks: int = 1,
    block: Literal["basic", "bottleneck"] = "basic",
    filter_size: int = 4,
    steps: int = 5,
    bins: int = 100,
    bin_size: float = 0.1,
    label_sigma: float = 0.9,
    iou_head: bool = True,
    iou_width: int = 256,
    iou_reference_width: int = 128,
    pretrained_backbone: bool = False,
) -> DiMP:
    """DiMP on any convolutional backbone of timm, torchvision or one's own (Bhat et al. 2019).

    Args:
        backbone: the name of a network, see
            :func:`lwdna.models.tracking.backbones.make_backbone`.
        backbone_args: for that network.
        strides: of the two maps, in pixels.
        width: of the classifier's features and of the filter.
        blocks: residual blocks of the classifier.
        block: their kind.
        filter_size: taps of the filter in each direction.
        steps: of its optimisation.
        bins: knots of label, mask and weight.
        bin_size: their distance, in cells.
        label_sigma: of the label before training, in cells.
        iou_head: whether there is a head that judges boxes.
        iou_width: of its layers.
        iou_reference_width: of its first layer on the reference frame's shallow features.
        pretrained_backbone: load trained weights of the backbone from timm or torchvision.
    """
    two = (int(strides[0]), int(strides[1]))
    made = make_backbone(backbone, two, backbone_args, pretrained=pretrained_backbone)
    return _network(
        made,
        channels_of(made, two, backbone),
        strides=two,
        width=width,
        blocks=blocks,
        block=block,
        filter_size=filter_size,
        steps=steps,
        bins=bins,
        bin_size=bin_size,
        label_sigma=label_sigma,
        iou_head=iou_head,
        iou_width=iou_width,
        iou_reference_width=iou_reference_width,
    )


@register_model
def dimp18(iou_head: bool = True, pretrained_backbone: bool = False) -> DiMP:
    """DiMP-18 (Bhat et al. 2019): success AUC of 66.0 on OTB-100 in pytracking's table."""
    return dimp("timm:resnet18", iou_head=iou_head, pretrained_backbone=pretrained_backbone)


@register_model
def dimp50(
    iou_head: bool = True, pretrained_backbone: bool = False, label_sigma: float = 0.9
) -> DiMP:
    """DiMP-50 (Bhat et al. 2019): success AUC of 68.4 on OTB-100 in pytracking's table."""
    return dimp(
        "timm:resnet50",
        width=512,
        blocks=0,
        block="bottleneck",
        label_sigma=label_sigma,
        iou_head=iou_head,
        pretrained_backbone=pretrained_backbone,
    )


@register_model
def super_dimp(iou_head: bool = True, pretrained_backbone: bool = False) -> DiMP:
    """SuperDiMP: DiMP-50 for crops of 352 pixels, 6 times the target: 70.1 on OTB-100."""
    cells = 352 / 16
    return dimp50(iou_head, pretrained_backbone, label_sigma=0.25 / 6 * cells)


@register_model
def dimp_tiny(
    iou_head: bool = True,
    widths: tuple[int, int] = (16, 32),
    width: int = 32,
    steps: int = 5,
    label_sigma: float = 0.8,
) -> DiMP:
    """A small DiMP for crops of 128 pixels: two stages of one block, maps at strides 4 and 8.

    Args:
        iou_head: whether there is a head that judges boxes.
        widths: of the two stages.
        width: of the classifier's features and of the IoU head.
        steps: of the filter's optimisation.
        label_sigma: of the label before training, in cells.
    """
    first, second = (int(one) for one in widths)
    return _network(
        Backbone(TinyBody((first, second))),
        (first, second),
        strides=(4, 8),
        width=width,
        blocks=0,
        block="basic",
        filter_size=4,
        steps=steps,
        bins=100,
        bin_size=0.1,
        label_sigma=label_sigma,
        iou_head=iou_head,
        iou_width=width,
        iou_reference_width=max(1, width // 2),
    )
