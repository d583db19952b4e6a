"""A resized network is an ordinary network: copied, saved, compiled, exported, used like timm's."""

from __future__ import annotations

import copy
import warnings
from functools import cache

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lwdna.channels import ChannelGraph, resize, trace
from networks import short_mixnet

from .proof import random_widths

TIMM = {
    "resnet18": {},
    "mobilenetv3_small_050": {},
    "efficientnet_lite0": {},
    "convnext_atto": {},
    "regnetx_002": {},
    "densenet121": {"block_config": (3, 3, 2, 2)},  # more layers of a block are all alike
    "ghostnet_100": {},
    "vgg11_bn": {"mlp_ratio": 0.0625},
    "mixnet_s": {},
}
TORCHVISION = ("resnet18", "mobilenet_v2", "shufflenet_v2_x0_5")
QUICK = ("timm:resnet18", "timm:mobilenetv3_small_050")
EXPORTED = [
    pytest.param("timm:resnet18", marks=pytest.mark.long),
    pytest.param("short mixnet", marks=pytest.mark.long),
    "short shufflenet",
]
"""Few, as compilers take seconds: plain, with splits of unequal parts, with shuffled channels."""

IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

FAMILIES = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in (
        *(f"timm:{name}" for name in TIMM),
        *(f"torchvision:{name}" for name in TORCHVISION),
    )
]
TIMM_FAMILIES = [family for family in FAMILIES if str(family.values[0]).startswith("timm:")]


def short_shufflenet() -> nn.Module:
    """Two units of each stage, which are all that differ."""
    return torchvision.models.ShuffleNetV2([2, 2, 2], [24, 48, 96, 192, 256], num_classes=7)


@cache
def traced(name: str) -> tuple[nn.Module, ChannelGraph]:
    library, _, name = name.partition(":")
    torch.manual_seed(0)
    if library.startswith("short"):
        model = short_mixnet(7) if library == "short mixnet" else short_shufflenet()
    elif library == "timm":
        model = timm.create_model(name, num_classes=7, **TIMM[name])
    else:
        model = torchvision.models.get_model(name, weights=None, num_classes=7)
    return model, trace(model, IMAGE[:1])


def mixed(name: str, seed: int = 0) -> nn.Module:
    """Some groups wider, some narrower."""
    model, graph = traced(name)
    widths = random_widths(graph, seed=1)
    assert {width > graph.widths[group] for group, width in widths.items()} == {True, False}
    return resize(model, graph, widths, seed=seed).eval()


def run(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(IMAGE)


def close(one: Tensor, two: Tensor) -> bool:
    return torch.allclose(one, two, rtol=1e-3, atol=1e-4 * float(two.abs().max()))


@pytest.mark.parametrize("name", FAMILIES)
def test_copies_and_files_give_the_same_network(name, tmp_path):
    model = mixed(name)
    expected = run(model)
    twin = copy.deepcopy(model)
    assert torch.equal(run(twin), expected)
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    for weights in (
        torch.load(tmp_path / "weights.pt", weights_only=True),
        load_file(tmp_path / "weights.safetensors"),
    ):
        other = mixed(name, seed=5)
        assert not torch.equal(run(other), expected)
        other.load_state_dict(weights)
        assert torch.equal(run(other), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_compiled_and_exported(name):
    model = mixed(name)
    expected = run(model)
    torch.compiler.reset()
    assert close(run(torch.compile(model, backend="aot_eager", fullgraph=True)), expected)
    assert close(run(torch.export.export(model, (IMAGE,)).module()), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_onnx(name, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = mixed(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (IMAGE,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: IMAGE.numpy()})
    assert close(torch.from_numpy(found), run(model))


@pytest.mark.parametrize("name", TIMM_FAMILIES)
def test_what_timm_networks_say_of_themselves_stays_true(name):
    model = mixed(name)
    with torch.no_grad():
        features = model.forward_features(IMAGE)
        assert torch.equal(model.forward_head(features), run(model))
        pooled = model.forward_head(features, pre_logits=True)
        intermediates = []
        if hasattr(model, "forward_intermediates"):  # not every family has it in older timm
            intermediates = model.forward_intermediates(IMAGE, intermediates_only=True)
    assert model.num_features == features.shape[1]
    assert model.head_hidden_size == pooled.shape[1] == model.get_classifier().in_features
    results = {}
    entries = info_of(model)
    for entry in entries:
        module = model.get_submodule(entry["module"])
        module.register_forward_hook(
            lambda *call, place=entry["module"]: results.update({place: call[2].shape[1]})
        )
    run(model)
    assert [entry["num_chs"] for entry in entries] == [results[e["module"]] for e in entries]
    last = [entry["num_chs"] for entry in entries][len(entries) - len(intermediates) :]
    assert [image.shape[1] for image in intermediates] == last
    assert info_of(traced(name)[0]) != entries, "the original keeps its own"


def info_of(model: nn.Module) -> list[dict]:
    return getattr(model.feature_info, "info", model.feature_info)


@pytest.mark.parametrize("name", TIMM_FAMILIES)
def test_a_new_classifier_fits(name):
    model = mixed(name)
    width = model.get_classifier().in_features
    for classes in (5, 3):
        model.reset_classifier(classes)
        assert model.get_classifier().in_features == model.head_hidden_size == width
        assert run(model).shape == (2, classes)
    model.reset_classifier(0)
    assert run(model).shape == (2, width)


def test_a_graph_of_a_resized_network_notes_the_same():
    _, graph = traced("timm:convnext_atto")
    again = trace(mixed("timm:convnext_atto"), IMAGE[:1])
    assert {note.path for note in graph.metadata} == {note.path for note in again.metadata}
    assert ("head", ("num_features",)) in {(note.module, note.path) for note in graph.metadata}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "resnet18" else [pytest.mark.slow]) for n in TIMM]
)
def test_feature_extractors(name):
    """Their results are the features, so these keep their channels; what is between is free."""
    torch.manual_seed(0)
    arguments = TIMM[name] if name != "vgg11_bn" else {}
    model = timm.create_model(name, features_only=True, **arguments)
    graph = trace(model, IMAGE[:1])
    assert graph.groups
    other = resize(model, graph, random_widths(graph, seed=2), seed=0).eval()
    with torch.no_grad():
        features = other(IMAGE)
    assert [image.shape[1] for image in features] == other.feature_info.channels()
    assert other.feature_info.channels() == model.feature_info.channels()


class Wrapped(nn.Module):
    """A network that holds one of timm's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = timm.create_model("resnet18", num_classes=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).softmax(1)


def test_notes_of_a_network_inside_another():
    model = Wrapped()
    graph = trace(model, IMAGE[:1])
    other = resize(model, graph, {"body.layer4.0.conv2": 100})
    assert other.body.num_features == 100
    other.body.reset_classifier(6)
    assert run(other.eval()).shape == (2, 6)
