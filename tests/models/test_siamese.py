from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import lwdna
from lwdna.channels import ChannelGraph, resize, trace
from lwdna.cli.app import app
from lwdna.errors import ModelError
from lwdna.interop.onnx import export_parts
from lwdna.models import create_model
from lwdna.models.tracking.siamese import Correlation, Siamese, places
from tests.channels.proof import assert_holds, make_nontrivial

SMALL = {"widths": (5, 7), "width": 11, "head_width": 13, "depth": 2, "cells": 3}
KINDS = {
    "tiny": ("siamese_tiny", SMALL),
    "timm": (
        "siamese",
        {"backbone": "timm:mobilenetv3_small_050", "width": 11, "head_width": 13, "cells": 3},
    ),
    "torchvision": (
        "siamese",
        {
            "backbone": "torchvision:resnet18",
            "stride": 8,
            "width": 11,
            "head_width": 13,
            "cells": 3,
        },
    ),
}


def noise(batch: int, template: int = 65, search: int = 97) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(batch, 3, side, side, generator=generator)
        for name, side in (("template", template), ("search", search))
    }


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest) -> Siamese:
    torch.manual_seed(0)
    name, args = KINDS[request.param]
    made = create_model(name, **args)
    assert isinstance(made, Siamese)
    return made


def free(graph: ChannelGraph, name: str, axis: int) -> bool:
    return any(group is not None for _, group, _ in graph.tensors[name][axis].parts)


def test_every_convolution_is_in_a_free_group_and_slices_are_exact(network: Siamese) -> None:
    inputs = noise(1)
    graph = trace(network, inputs)
    outputs = {network.classify[-1], network.measure[-1]}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module not in outputs:
            assert free(graph, f"{name}.weight", 0), name
    for last in ("classify.6", "measure.6"):
        assert not free(graph, f"{last}.weight", 0)
        assert free(graph, f"{last}.weight", 1)
    assert free(graph, "neck.0.weight", 1)
    assert_holds(network, inputs, graph)


def test_template_and_search_agree_on_the_features_that_they_compare() -> None:
    """The neck's channels are rows of the product and, through the template, its filter, too."""
    network = create_model("siamese_tiny", **SMALL)
    graph = trace(network, noise(1))
    assert graph.widths["neck.0"] == 11
    cost, less = graph.cost(), graph.cost({"neck.0": 10})
    neck = 7 * (9 * 9 + 13 * 13)  # 65 and 97 pixels are maps of 9 and 13 cells
    product = 3 * 3 * 13 * 13
    assert cost.macs - less.macs == neck + product
    assert cost.params - less.params == 7 + 2
    narrow = resize(network, graph, {"neck.0": 10})
    assert narrow.template(noise(2)["template"]).shape == (2, 9, 10)


def test_the_parts_used_in_turn_give_what_the_whole_gives(network: Siamese) -> None:
    make_nontrivial(network)
    network.eval()
    inputs = noise(2)
    with torch.no_grad():
        scores, boxes = network(**inputs)
        features = network.template(inputs["template"])
        again = network.search(features, inputs["search"])
        assert torch.equal(again.scores, scores)
        assert torch.equal(again.boxes, boxes)
        alone = network.search(features[1:], inputs["search"][1:])
    assert features.shape == (2, 9, 11)
    side = -(-97 // network.stride)
    assert scores.shape == (2, side, side)
    assert boxes.shape == (2, 4, side, side)
    assert (boxes > 0).all()
    torch.testing.assert_close(alone.scores, scores[1:], rtol=0, atol=1e-4)


def test_each_part_of_the_target_votes_for_the_centre() -> None:
    """Map k says at (y, x) how part k = (i, j) fits the cell i - 1 below and j - 1 beside it."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(-3, 4, (2, 9, 5), generator=generator).float()
    searched = torch.randint(-3, 4, (2, 5, 4, 6), generator=generator).float()
    correlation = Correlation(3).eval()
    with torch.no_grad():
        found = correlation(target, searched)
    expected = torch.zeros(2, 9, 4, 6)
    for b in range(2):
        for k in range(9):
            for y in range(4):
                for x in range(6):
                    v, u = y + k // 3 - 1, x + k % 3 - 1
                    if 0 <= v < 4 and 0 <= u < 6:
                        expected[b, k, y, x] = target[b, k] @ searched[b, :, v, u]
    torch.testing.assert_close(found, expected / (1 + 1e-5) ** 0.5)


def test_the_template_is_the_middle_of_its_crop() -> None:
    """Nothing in the outer cells matters but what reaches into the middle."""
    network = create_model("siamese_tiny", **{**SMALL, "cells": 1}).eval()
    image = torch.zeros(1, 3, 129, 129)
    with torch.no_grad():
        plain = network.template(image)
        image[..., :8, :] = 9.0
        assert torch.equal(network.template(image), plain)
        image[..., 64, 64] = 9.0
        assert not torch.equal(network.template(image), plain)


def test_cells_lie_about_the_middle() -> None:
    assert places(129, 8, 17).tolist() == [0.5 + 8 * i for i in range(17)]
    assert places(128, 8, 16).tolist() == [4.0 + 8 * i for i in range(16)]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"cells": 4}, "cells is 4; it must be odd"),
        ({"depth": -1}, "depth is -1"),
        ({"width": 0}, "width 0"),
    ],
)
def test_what_no_network_can_have_is_refused(args: dict[str, int], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        create_model("siamese_tiny", **args)


def run(file: Path, **inputs: Tensor) -> dict[str, Tensor]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return dict(zip(names, map(torch.from_numpy, found), strict=True))


@pytest.mark.slow
def test_the_command_exports_the_whole_and_the_parts_used_online(tmp_path: Path) -> None:
    """For batches and images of any size, at widths that were found."""
    pytest.importorskip("onnxscript")
    source = lwdna.ModelSource(name="lwdna:siamese_tiny", args={**SMALL, "widths": [5, 7]})
    graph = trace(source.create(), noise(1))
    widths = {name: width - 2 for name, width in graph.widths.items()}
    size = {"template": (3, 65, 65), "search": (3, 97, 97)}
    arch = lwdna.Architecture.of(graph, size, source, widths)
    network = arch.build(seed=0)
    make_nontrivial(network)
    lwdna.save(network.eval(), arch, tmp_path / "model.safetensors")
    file = tmp_path / "x.onnx"
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--onnx", str(file), "--parts"])
    assert result.exit_code == 0, result.output
    assert "note" not in result.output
    written = {one.name for one in tmp_path.iterdir()}
    assert written == {"model.safetensors", "x.onnx", "x-template.onnx", "x-search.onnx"}
    for inputs in (noise(1), noise(3, 81, 129)):
        with torch.no_grad():
            expected = network(**inputs)._asdict()
        whole = run(file, **inputs)
        features = run(tmp_path / "x-template.onnx", template=inputs["template"])["output"]
        online = run(tmp_path / "x-search.onnx", features=features, search=inputs["search"])
        for found in (whole, online):
            assert list(found) == ["scores", "boxes"]
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-3)


def test_a_network_without_parts_is_told_so(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(ModelError, match="Identity has no parts to export; Siamese"):
        export_parts(nn.Identity(), (3, 8, 8), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
