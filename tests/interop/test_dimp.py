"""Checkpoints of DiMP in pytracking's layout, made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lwdna
from lwdna.errors import CheckpointError
from lwdna.interop import import_dimp
from lwdna.interop.dimp import OUR_NAMES
from lwdna.models import create_model

from ..models.trackers import inputs
from .pytracking_files import instance, packages, save_checkpoint

SMALL = {
    "bins": 31,
    "iou_width": 8,
    "iou_reference_width": 6,
    "width": 10,
}


def their_name(name: str) -> str:
    """Return pytracking's name; of beginnings that fit, the longest counts."""
    pairs = sorted(OUR_NAMES.items(), key=lambda pair: len(pair[1]), reverse=True)
    for theirs, ours in pairs:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(name)


def network(block: str, layers: tuple[int, ...], blocks: int, **args: object) -> torch.nn.Module:
    """A network with other widths in every group, and statistics that are not the initial ones."""
    made = create_model(
        "dimp",
        backbone="timm:resnet50" if block == "bottleneck" else "timm:resnet18",
        backbone_args={"layers": layers},
        block=block,
        blocks=blocks,
        **{**SMALL, **args},
    )
    graph = lwdna.trace(made, inputs(64, head=made.has_iou_head))
    widths = {name: 5 + number % 7 for number, name in enumerate(graph.widths)}
    narrow = lwdna.resize(made, graph, widths, init="fresh", seed=1)
    for name, buffer in narrow.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return narrow.eval()


def state_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Return the tensors under pytracking's names, and those that nothing uses."""
    found = {their_name(name): tensor for name, tensor in model.state_dict().items()}
    extra = {
        "feature_extractor.layer4.0.conv1.weight": torch.rand(3, 3, 3, 3),
        "feature_extractor.fc.bias": torch.rand(7),
    }
    return found | extra


CASES = [
    ("basic", (2, 1, 3, 1), 2, {"filter_size": 5, "steps": 3, "bin_size": 0.25}, {}),
    ("basic", (1, 1, 1, 1), 0, {"iou_head": False}, {"legacy": True}),
    ("bottleneck", (1, 2, 1, 1), 0, {}, {"root": "dlframework.common.utils"}),
    ("bottleneck", (1, 1, 1, 1), 1, {"filter_size": 2}, {}),
]


@pytest.mark.parametrize(("block", "layers", "blocks", "args", "form"), CASES)
@torch.no_grad()
def test_a_checkpoint_becomes_the_network(
    block: str,
    layers: tuple[int, ...],
    blocks: int,
    args: dict[str, object],
    form: dict[str, object],
    tmp_path: Path,
) -> None:
    model = network(block, layers, blocks, **args)
    path = save_checkpoint(
        tmp_path / "dimp.pth",
        state_of(model),
        filter_size=args.get("filter_size", 4),
        optim_iter=args.get("steps", 5),
        bin_displacement=args.get("bin_size", 0.1),
        detach_length=float("inf"),
        **form,
    )
    imported, architecture = import_dimp(path, 64)
    x = inputs(64, head=model.has_iou_head)
    torch.testing.assert_close(imported(**x), model(**x), rtol=0, atol=0)
    again = architecture.build()
    assert {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }
    assert imported.classifier.optimizer.bin_size == args.get("bin_size", 0.1)


def test_the_published_network_where_the_file_says_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"net": state_of(network("basic", (1, 1, 1, 1), 0))}, path)
    imported, _ = import_dimp(path, 64)
    assert (imported.filter_size, imported.classifier.optimizer.steps) == (4, 5)
    assert imported.classifier.optimizer.bin_size == 0.1


def test_what_is_no_checkpoint_of_dimp(tmp_path: Path) -> None:
    state = state_of(network("basic", (1, 1, 1, 1), 0))

    def refused(content: object, match: str) -> None:
        path = tmp_path / "x.pth"
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=match) as caught:
            import_dimp(path, 64)
        assert "\n" not in str(caught.value)

    refused({"state_dict": state}, "holds no tensors under 'net'")
    refused([1, 2], "holds no tensors under 'net'")
    refused({"net": {**state, "neck.weight": torch.rand(2)}}, "no layer .* is called neck.weight")
    label = "classifier.filter_optimizer.label_map_predictor.weight"
    refused({"net": {k: v for k, v in state.items() if k != label}}, "lacks the label")
    gone = "bb_regressor.fc3_rt.bn.bias"
    refused({"net": {k: v for k, v in state.items() if k != gone}}, "iou.box_shallow.1.bias")
    more = {**state, "feature_extractor.conv1.weight": torch.rand(4, 3, 7, 7)}
    refused({"net": more}, "no widths explain|is of another network")
    with pytest.raises(CheckpointError, match="cannot read weights"):
        import_dimp(tmp_path / "missing.pth")
    (tmp_path / "x.pth").write_bytes(b"no pickle at all")
    with pytest.raises(CheckpointError, match="was not read: it is damaged"):
        import_dimp(tmp_path / "x.pth")


def test_no_code_of_a_file_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {mark}",)

    path = tmp_path / "evil.pth"
    for content in ({"net": {}, "constructor": Evil()}, {"net": Evil()}):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match="holds more than a checkpoint of DiMP"):
            import_dimp(path)
    with packages("ltr.admin.loading") as module:
        torch.save({"net": {}, "stats": instance(module, "Hook", count=1)}, path)
    with pytest.raises(CheckpointError, match="holds more than a checkpoint of DiMP"):
        import_dimp(path)
    assert not mark.exists()
