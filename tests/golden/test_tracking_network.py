"""DiMP and precise RoI pooling against pytracking's network and the kernel of its authors.

Everything is computed in float64, as theirs was; sizes come from the files.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from lwdna.interop import import_dimp
from lwdna.interop.dimp import own_name
from lwdna.models import create_model
from lwdna.models.tracking.dimp import DiMP
from lwdna.models.tracking.prroi import precise_roi_pool

from ..interop.pytracking_files import save_checkpoint
from .reference import files

pytestmark = pytest.mark.golden

NETWORKS = files("tracking/dimp_*.safetensors")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Golden(NamedTuple):
    """A network of theirs in ours, and what theirs computes; sequences come first."""

    network: DiMP
    tensors: dict[str, Tensor]
    config: dict[str, Any]

    def images(self, name: str) -> Tensor:
        colours = self.tensors[f"in.{name}"].double().transpose(0, 1) / 255
        mean, std = (torch.tensor(one).double().view(3, 1, 1) for one in (MEAN, STD))
        return (colours - mean) / std

    def boxes(self, name: str) -> Tensor:
        return self.tensors[f"in.{name}"].transpose(0, 1)

    def inputs(self) -> dict[str, Tensor]:
        return {
            "train_images": self.images("train_images"),
            "train_boxes": self.boxes("train_boxes"),
            "test_images": self.images("test_images"),
            "proposals": self.boxes("test_proposals"),
        }

    def train_maps(self) -> tuple[Tensor, Tensor]:
        """Return both maps of the training frames, (B, T, C, H, W)."""
        images = self.images("train_images")
        shallow, deep = self.network.backbone(images.flatten(0, 1))
        return tuple(one.unflatten(0, images.shape[:2]) for one in (shallow, deep))

    def train_features(self) -> Tensor:
        deep = self.train_maps()[1]
        return self.network.classifier.features(deep.flatten(0, 1)).unflatten(0, deep.shape[:2])


@cache
def golden(path: Path) -> Golden:
    """Read a file; the network comes through a checkpoint as pytracking would write it."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        config = json.loads(file.metadata()["config"])
    state = {name[4:]: tensor for name, tensor in tensors.items() if name.startswith("net.")}
    with TemporaryDirectory() as folder:
        made = save_checkpoint(
            Path(folder) / "golden.pth",
            state,
            filter_size=config["filter_size"],
            optim_iter=config["optim_iter"],
            bin_displacement=config["bin_displacement"],
        )
        network, _ = import_dimp(made, config["image_size"])
    assert isinstance(network, DiMP)
    return Golden(network.double().eval(), tensors, config)


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> None:
    """Relative to the largest entry."""
    assert ours.dtype == torch.float64
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) < tolerance * float(theirs.abs().max())


@pytest.mark.parametrize("path", files("tracking/prroi_pool*.safetensors"))
def test_precise_roi_pooling(path: Path) -> None:
    tensors = load_file(path)
    cases = sorted({name.partition(".")[0] for name in tensors})
    assert cases
    for case in cases:
        own = {name: tensors[f"{case}.{name}"].clone() for name in ("features", "rois")}
        features, rois = own["features"].requires_grad_(), own["rois"].requires_grad_()
        height, width, scale = tensors[f"{case}.meta"].tolist()
        everywhere = rois[:, 1:].expand(len(features), -1, -1)
        pooled = precise_roi_pool(features, everywhere, (int(height), int(width)), scale)
        output = pooled[rois[:, 0].long(), torch.arange(len(rois))]
        output.backward(tensors[f"{case}.grad_output"])
        assert features.grad is not None
        assert rois.grad is not None
        for found, name in (
            (output.detach(), "output"),
            (features.grad, "grad_features"),
            (rois.grad[:, 1:], "grad_rois"),
        ):
            expected = tensors[f"{case}.{name}"]
            expected = expected[:, -4:] if name == "grad_rois" else expected
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("path", NETWORKS)
def test_scores_and_overlaps(path: Path) -> None:
    given = golden(path)
    with torch.no_grad():
        scores, overlaps = given.network(**given.inputs())
    assert_near(scores, given.tensors["out.scores"].permute(2, 0, 1, 3, 4))
    assert_near(overlaps, given.tensors["out.iou"].transpose(0, 1))
    assert given.network.score_size(given.config["image_size"]) == scores.shape[-1]


@pytest.mark.parametrize("path", NETWORKS)
@torch.no_grad()
def test_features(path: Path) -> None:
    given = golden(path)
    first = given.images("test_images")[0, :1]
    for ours, name in zip(given.network.backbone(first), ("layer2", "layer3"), strict=True):
        assert_near(ours, given.tensors[f"out.test0_{name}"])
    expected = given.tensors["out.train_clf_features"]
    assert_near(given.train_features(), expected.transpose(0, 1))


@pytest.mark.parametrize("path", NETWORKS)
@torch.no_grad()
def test_filters_and_their_losses(path: Path) -> None:
    given = golden(path)
    classifier, boxes = given.network.classifier, given.boxes("train_boxes")
    features = given.train_features()
    first = classifier.initial_filter(features, boxes)
    filters, losses = classifier.optimize(first, features, boxes)
    assert_near(torch.stack(filters), given.tensors["out.filters"])
    assert_near(torch.stack(losses).mean(1), given.tensors["out.train_losses"])


@pytest.mark.parametrize("path", NETWORKS)
@torch.no_grad()
def test_filters_online(path: Path) -> None:
    """Of one sequence, with weights of its frames."""
    given = golden(path)
    classifier, boxes = given.network.classifier, given.boxes("train_boxes")[:1]
    features = given.train_features()[:1]
    first = classifier.initial_filter(features, boxes)
    expected = given.tensors["out.online_filters"]
    filters, losses = classifier.optimize(
        first,
        features,
        boxes,
        given.tensors["in.online_sample_weight"][None],
        steps=len(expected) - 1,
    )
    assert_near(torch.stack(filters), expected)
    assert_near(torch.cat(losses), given.tensors["out.online_losses"])


@pytest.mark.parametrize("path", NETWORKS)
@torch.no_grad()
def test_label_mask_and_weight(path: Path) -> None:
    given = golden(path)
    classifier, boxes = given.network.classifier, given.boxes("train_boxes")
    expected = [
        given.tensors[f"out.{name}"].transpose(0, 1)
        for name in ("label_map", "target_mask", "spatial_weight")
    ]
    height, width = expected[0].shape[-2:]
    found = classifier.optimizer.maps(classifier.distances(boxes, (height, width)))
    for ours, theirs in zip(found, expected, strict=True):
        assert_near(ours, theirs)


@pytest.mark.parametrize("path", NETWORKS)
@torch.no_grad()
def test_modulation(path: Path) -> None:
    given = golden(path)
    shallow, deep = given.train_maps()
    boxes = given.boxes("train_boxes")
    assert given.network.iou is not None
    found = given.network.iou.modulation(shallow[:, 0], deep[:, 0], boxes[:, 0])
    for ours, name in zip(found, ("modulation_3", "modulation_4"), strict=True):
        assert_near(ours, given.tensors[f"out.{name}"].flatten(1))


@pytest.mark.parametrize("path", files("tracking/dimp_*_original_format.pth"))
@torch.no_grad()
def test_a_checkpoint_in_their_format(path: Path) -> None:
    given = golden(path.with_name(path.name.replace("_original_format.pth", ".safetensors")))
    network, architecture = import_dimp(path, given.config["image_size"])
    scores, overlaps = network.double()(**given.inputs())
    assert_near(scores, given.tensors["out.scores"].permute(2, 0, 1, 3, 4))
    assert_near(overlaps, given.tensors["out.iou"].transpose(0, 1))
    assert architecture.cost.params == sum(one.numel() for one in network.parameters())


PUBLISHED = {"dimpnet18": "dimp18", "dimpnet50": "dimp50"}


@pytest.mark.parametrize("path", files("tracking/state_dict_layout.json"))
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_tensor_has_its_place(path: Path, name: str) -> None:
    theirs = json.loads(path.read_text(encoding="utf-8"))[name]
    used = {own: tuple(shape) for key, shape in theirs.items() if (own := own_name(key))}
    with torch.device("meta"):
        network = create_model(PUBLISHED[name])
    assert used == {key: tuple(one.shape) for key, one in network.state_dict().items()}
    unused = {key for key in theirs if own_name(key) is None}
    assert {key.split(".")[1] for key in unused} == {"layer4", "fc"}
    assert len(unused) + len(used) == len(theirs)
