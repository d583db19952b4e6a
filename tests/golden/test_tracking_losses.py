"""Losses and gradients of DiMP's training are those of the published code."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest
import torch
from safetensors import safe_open

from golden.reference import files
from lwdna.data.data_format import Defaults
from lwdna.interop.dimp import import_dimp, own_name
from lwdna.tasks.tracking import TrackingSettings
from lwdna.tasks.tracking.kinds.dimp import DimpKind
from lwdna.tasks.tracking.labels import ScoreGrid, gaussian_labels
from lwdna.tasks.tracking.losses import hinge_loss, overlap_loss, score_loss
from lwdna.tasks.tracking.settings import LossWeights

pytestmark = pytest.mark.golden

NETWORKS = files("tracking/dimp_*.safetensors")
PIECES = files("tracking/tracker_pieces.json")
PARTS = {"iou": "box", "target_clf": "last", "test_init_clf": "initial", "test_iter_clf": "steps"}
"""What our settings call the parts of the loss."""
THRESHOLD = 0.05
PUBLISHED = {"iou": 1.0, "target_clf": 100.0, "test_init_clf": 100.0, "test_iter_clf": 400.0}


class Case:
    """A file of golden results: its settings, its tensors by name, and its network in float64."""

    def __init__(self, path, folder, monkeypatch):
        with safe_open(path, "pt") as file:
            notes = file.metadata()
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.config = json.loads(notes["config"])
        self.loss_names = [
            n.removeprefix("Loss/") for n in json.loads(notes["train_mode_loss_names"])
        ]
        self.grad_names = json.loads(notes["grad_norm_names"])
        made = ModuleType("ltr.admin.model_constructor")
        made.NetConstructor = type("NetConstructor", (), {"__module__": made.__name__})
        for module in (ModuleType("ltr"), ModuleType("ltr.admin"), made):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        constructor = made.NetConstructor()
        constructor.kwds = {
            "filter_size": self.config["filter_size"],
            "optim_iter": self.config["optim_iter"],
            "bin_displacement": self.config["bin_displacement"],
        }
        net = {n.removeprefix("net."): t for n, t in self.tensors.items() if n.startswith("net.")}
        torch.save({"net": net, "constructor": constructor}, folder / "net.pth")
        self.network = import_dimp(folder / "net.pth", self.config["image_size"])[0].double()
        self.network.train()

    def given(self, name, kind="in"):
        """Return a tensor with the sequences on its first axis; the published code has frames."""
        return self.tensors[f"{kind}.{name}"].transpose(0, 1).contiguous()

    def outputs(self):
        """Return what the network gives in training; the published constants are rounded."""
        mean, std = (
            torch.tensor(values).double()[:, None, None] for values in (Defaults.mean, Defaults.std)
        )
        images = {
            name: (self.given(name).double() / 255 - mean) / std
            for name in ("train_images", "test_images")
        }
        return self.network(
            **images, train_boxes=self.given("train_boxes"), proposals=self.given("test_proposals")
        )

    @property
    def overlaps(self):
        return (self.given("proposal_iou") + 1) / 2

    @property
    def labels(self):
        """Of the test frames, which the published code computes in single precision."""
        return self.given("test_label", "out").double()


@pytest.fixture(params=NETWORKS)
def case(request, tmp_path, monkeypatch):
    return Case(request.param, tmp_path, monkeypatch)


def test_every_part_of_the_loss_and_all_gradients_are_those_of_the_published_code(case):
    scores, judged = case.outputs()
    wanted = dict(zip(case.loss_names, case.tensors["out.train_mode_losses"].tolist(), strict=True))
    none = dict.fromkeys(PARTS.values(), 0.0)
    losses = {"iou": overlap_loss(judged, case.overlaps)}
    for name, part in list(PARTS.items())[1:]:
        weights = LossWeights(**none | {part: PUBLISHED[name]})
        losses[name] = score_loss(scores, case.labels, weights, THRESHOLD)
    losses["total"] = losses["iou"] + score_loss(scores, case.labels, LossWeights(), THRESHOLD)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(wanted, rel=1e-10)

    losses["total"].backward()
    ours = dict(case.network.named_parameters())
    norms = dict(zip(case.grad_names, case.tensors["out.grad_norms"].tolist(), strict=True))
    assert {own_name(name) for name in norms} == {n for n, p in ours.items() if p.grad is not None}
    for name, norm in norms.items():
        assert ours[own_name(name)].grad.norm().item() == pytest.approx(norm, rel=1e-8), name
    stored = [name for name in case.tensors if name.startswith("grad.")]
    assert stored
    for name in stored:
        gradient, golden = ours[own_name(name.removeprefix("grad."))].grad, case.tensors[name]
        assert (gradient - golden).abs().max() < 1e-10 * golden.abs().max(), name


def test_a_batch_of_the_tracker_has_the_published_loss(case):
    """Our labels are in double precision, and cells are measured by the stride of the map."""
    batch = {"test_boxes": case.given("test_boxes"), "overlaps": case.overlaps}
    settings = TrackingSettings(
        image_size=case.config["image_size"],
        area=5.0,
        label_sigma=5 * case.config["label_sigma"],
        hinge=THRESHOLD,
    )
    loss = DimpKind(settings).loss(case.outputs(), batch)
    golden = case.tensors["out.train_mode_losses"][case.loss_names.index("total")]
    assert loss.item() == pytest.approx(golden.item(), rel=1e-6)


def test_labels_of_test_frames_are_those_of_the_published_code(case):
    grid = ScoreGrid.of(case.labels.shape[-1], case.config["image_size"])
    assert grid.even == (case.config["filter_size"] % 2 == 0)
    sigma = case.config["label_sigma"] * case.config["image_size"] / grid.stride
    ours = gaussian_labels(case.given("test_boxes"), grid, sigma)
    assert (ours - case.labels).abs().max() < 1e-6


@pytest.mark.parametrize("path", PIECES)
def test_labels_are_those_of_the_published_code(path):
    piece = json.loads(path.read_text())["label"]
    golden = torch.tensor(piece["labels"], dtype=torch.float64)
    grid = ScoreGrid.of(golden.shape[-1], piece["image_size"])
    assert grid.even == (piece["kernel"] % 2 == 0)
    boxes = torch.tensor(piece["boxes"], dtype=torch.float64)
    ours = gaussian_labels(boxes, grid, piece["sigma_factor"] * piece["feature_size"])
    assert ours.shape == golden.shape
    assert (ours - golden).abs().max() < 1e-6


@pytest.mark.parametrize("path", PIECES)
def test_the_loss_of_scores_is_that_of_the_published_code(path):
    piece = json.loads(path.read_text())["lb_hinge"]
    scores, labels = (torch.tensor(piece[n], dtype=torch.float64) for n in ("prediction", "label"))
    loss = hinge_loss(scores, labels, piece["threshold"])
    assert loss.item() == pytest.approx(piece["loss"], rel=1e-6)
