"""Our hypernetwork, proximal steps, masks and costs give what the code of DHP gives.

The originals' networks are built from ours and their state is mapped onto our hypernetwork. They
have latents where ours has none, of the image's channels and one number per depthwise layer; these
are added to ours here, as are generators' second axes that read them. Their last layer is an
ordinary one. Their counter is ours and 2 for every element that an affine normalisation gives.

What MobileNet's dropout did to the original's training steps is not in its files. So its gradients
and steps are left out here; its proximal steps, masks, costs and pruned network are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from golden.reference import files, notes, tensors
from lwdna.channels import ChannelGraph, resize, trace, widen
from lwdna.channels.graph.axes import AxisLayout, Part
from lwdna.hypernet import Hypernetwork
from lwdna.methods.limits import Limits
from lwdna.methods.settings import WarmupSettings
from lwdna.methods.sparse.sizes import sizes_of
from lwdna.methods.sparse.stop import Target, masked
from lwdna.methods.sparse.units import Units
from lwdna.methods.warmup import WarmupRun, task_of, warm_up
from lwdna.models import create_model
from lwdna.models.cifar_resnet import BasicBlock, CifarResNet, PreActBottleneck

pytestmark = pytest.mark.golden

RESNETS = files("compression/dhp_resnet[0-9]*.json")
CASES = [*RESNETS, *files("compression/dhp_mobilenet*.json")]
IMAGE = "latent_vector_stage0"
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
"""Of MobileNet's depthwise layers."""


def _mobilenet(widths: list[int], stem_stride: int, classes: int, channels: int = 3) -> nn.Module:
    """Return MobileNet (arXiv 1704.04861) with these widths, of the stem and of every block."""

    def layer(inside: int, out: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())

    features = nn.Sequential(nn.Sequential(layer(channels, widths[0], 3, stem_stride)))
    for inside, out, stride in zip(widths, widths[1:], STRIDES, strict=False):
        depthwise = layer(inside, inside, 3, stride, inside)
        features.append(nn.Sequential(depthwise, layer(inside, out, 1, 1)))
    return nn.Sequential(
        features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)
    )


@dataclass(frozen=True)
class Layer:
    """A layer of the originals."""

    name: str
    conv: str
    """Our module."""
    norm: str
    out: str
    """The name of the latent of what it writes."""
    inside: str
    """Of what it reads."""


class Original:
    """A file of results, and our network with the original's state."""

    def __init__(self, path: Path) -> None:
        self.notes, self.tensors = notes(path), tensors(path)
        self.args = self.notes["args"]
        init = {name: t for name, t in self.tensors.items() if name.startswith("init/")}
        self.init = {name.removeprefix("init/"): tensor for name, tensor in init.items()}
        self.keys: list[str] = self.notes["latent_keys"]
        self.last = "classifier" if self.notes["kind"] == "resnet" else "linear.1"
        classes = len(self.init[f"{self.last}.bias"])
        resnet = self.notes["kind"] == "resnet"
        self.network, layers = self._resnet(classes) if resnet else self._mobilenet(classes)
        self.layers: list[Layer] = list(layers)
        self.fc = "fc" if resnet else "3"
        self.x, self.y = self.tensors["x"], self.tensors["y"]
        self.graph: ChannelGraph = trace(self.network, self.x[:1])
        self.whole = self.keys[3] if resnet and not self.args["prune_classifier"] else None
        self.groups = self._groups()
        self.others = [key for key in self.keys if key not in self.groups]

    def _resnet(self, classes: int) -> tuple[nn.Module, Iterator[Layer]]:
        blocks = (self.args["depth"] - 2) // 6
        stages = [f"latent_vector_stage{stage}" for stage in range(4)]
        widths = tuple(len(self.init[name]) for name in stages[1:])
        network = CifarResNet(
            BasicBlock, blocks, widths, shortcut="B", num_classes=classes, in_chans=3
        )

        def layers() -> Iterator[Layer]:
            yield Layer("features.0", "stem.0", "stem.1", stages[1], stages[0])
            for number in range(3 * blocks):
                stage, block = divmod(number, blocks)
                ours, theirs = f"stages.{stage}.{block}", f"features.{number + 1}"
                inside = stages[max(1, stage if block == 0 else stage + 1)]
                out, own = stages[stage + 1], f"{theirs}.layer1.latent_vector"
                yield Layer(f"{theirs}.layer1", f"{ours}.conv1", f"{ours}.bn1", own, inside)
                yield Layer(f"{theirs}.layer2", f"{ours}.conv2", f"{ours}.bn2", out, own)
                if block == 0 and stage > 0:
                    cut = f"{ours}.shortcut"
                    yield Layer(f"{theirs}.downsample", f"{cut}.0", f"{cut}.1", out, inside)

        return network, layers()

    def _mobilenet(self, classes: int) -> tuple[nn.Module, Iterator[Layer]]:
        outs = [k for k in self.keys if k != IMAGE and ".layer1." not in k]
        stride = 1 if self.args["data_train"].startswith("CIFAR") else 2
        network = _mobilenet([len(self.init[k]) for k in outs], stride, classes)

        def layers() -> Iterator[Layer]:
            yield Layer("features.0", "0.0.0.0", "0.0.0.1", outs[0], IMAGE)
            for i, (inside, out) in enumerate(pairwise(outs), 1):
                name, own = f"features.{i}", f"features.{i}.layer1.latent_vector"
                yield Layer(f"{name}.layer1", f"0.{i}.0.0", f"0.{i}.0.1", inside, own)
                yield Layer(f"{name}.layer2", f"0.{i}.1.0", f"0.{i}.1.1", out, inside)

        return network, layers()

    def _groups(self) -> dict[str, str]:
        """Return the names of our groups by those of the originals' latents."""
        found = {}
        for layer in self.layers:
            (group,) = self.graph.tensors[f"{layer.conv}.weight"][0].groups
            found[layer.out] = self.graph.groups[group].name
        return found

    def hypernetwork(self) -> Hypernetwork:
        """Return ours with the original's state, in training mode."""
        given = self.network, self.graph, self.graph.widths, self.args["embedding_dim"], 0
        whole = Hypernetwork(*given)
        vectors, names = whole.latents.vectors, whole.latents.names
        for key, group in self.groups.items():
            vectors[names.index(group)].data = self.init[key].clone()
        whole.fixed = nn.ParameterList(self.init[key].clone() for key in self.others)
        latents = SimpleNamespace(vectors=[*vectors, *whole.fixed])
        modules = dict(self.network.named_modules())
        parametrize.remove_parametrizations(modules[self.fc], "weight")
        modules[self.fc].load_state_dict(
            {name: self.init[f"{self.last}.{name}"] for name in ("weight", "bias")}
        )
        for layer in self.layers:
            self._fill(layer, modules[layer.conv], latents)
            prefix = f"{layer.name}.bn_main."
            norm = {k.removeprefix(prefix): t for k, t in self.init.items() if k.startswith(prefix)}
            modules[layer.norm].load_state_dict(norm)
        return whole.train()

    def _fill(self, layer: Layer, conv: nn.Module, latents: Any) -> None:
        """Give a layer's generator the original's parameters; theirs have inputs first."""
        names = ("bias0", "weight1", "bias1", "weight2", "bias2")
        b0, w1, b1, w2, b2 = (self.init[f"{layer.name}.{name}"] for name in names)
        ours = (
            b0.T,
            w1.permute(1, 2, 0),
            b1.permute(1, 2, 0),
            w2.permute(1, 3, 2, 0).flatten(1, 2),
            b2.permute(1, 0, 2),
        )
        for i, tensor in enumerate(ours):
            getattr(conv.parametrizations.weight, f"original{i}").data = tensor.contiguous()
        if layer.inside in self.others:
            generator = conv.parametrizations.weight[0]
            index = len(self.graph.groups) + self.others.index(layer.inside)
            generator.axes = generator.axes[0], AxisLayout((Part(1, index, 1),))
            generator._latents = (latents,)

    def least(self) -> dict[str, int]:
        """Return how many units of every latent always stay, by our names."""
        found = {}
        for key, name in self.groups.items():
            size = len(self.init[key])
            least = min(self.args["mc"], size)
            if self.args["remain_percentage"] > 0:
                least = max(1, int(self.args["remain_percentage"] * size))
            if key == self.keys[-1] and self.args["prune_classifier"]:
                least = int(self.args["linear_percentage"] * size)
            found[name] = size if key == self.whole else least
        return found

    def vectors(self, whole: Hypernetwork) -> list[Tensor]:
        """Return our latents in the order of theirs."""
        found = dict(zip(whole.latents.names, whole.latents.vectors, strict=True))
        found |= dict(zip(self.others, whole.fixed, strict=True))
        return [found[self.groups.get(key, key)] for key in self.keys]

    def units(self, whole: Hypernetwork) -> Units:
        """Return our units, whose weights the latents generate."""
        return Units(whole.network, self.graph, self.graph.widths, whole.latents)

    def target(self, threshold: float, whole: Hypernetwork) -> Target:
        """Return the target of a threshold; there is no budget, or the widest network meets it."""
        limits = Limits(self.graph, {"macs": self.graph.cost().macs})
        return Target(threshold, limits, self.least(), sizes_of(self.units(whole)))

    def masks(self, threshold: float, latents: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return which entries of latents count at a threshold; of those not ours, all do."""
        least = self.least()
        return {
            name: masked(vector.abs(), threshold, least.get(name, len(vector)))
            for name, vector in latents.items()
        }

    def pruned_state(self) -> dict[str, Tensor]:
        """Return the state of the original's pruned network by our names."""
        theirs = {
            name.removeprefix("pruned/state/"): tensor
            for name, tensor in self.tensors.items()
            if name.startswith("pruned/state/")
        }
        found = {f"{self.fc}.{n}": theirs[f"{self.last}.{n}"] for n in ("weight", "bias")}
        for layer in self.layers:
            found[f"{layer.conv}.weight"] = theirs[f"{layer.name}.weight"]
            prefix = f"{layer.name}.bn_main."
            for name in [name for name in theirs if name.startswith(prefix)]:
                found[f"{layer.norm}.{name.removeprefix(prefix)}"] = theirs[name]
        return found

    def after(self, step: int, what: str) -> dict[str, Tensor]:
        """Return their latents after a step (``sgd`` or ``prox``) by our names and theirs."""
        return {
            self.groups.get(key, key): self.tensors[f"step{step}/{what}/{i}"]
            for i, key in enumerate(self.keys)
        }


def counted(network: nn.Module, image: Tensor) -> dict[str, int]:
    """Return MACs, and 2 for each element that an affine normalisation gives; and parameters."""
    elements = []

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        elements.append(output[0].numel() if module.affine else 0)

    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [norm.register_forward_hook(note) for norm in norms]
    with torch.no_grad():
        network.eval()(image)
    for handle in handles:
        handle.remove()
    cost = trace(network, image).cost()
    return {"flops": cost.macs + 2 * sum(elements), "params": cost.params}


def close(found: Tensor, wanted: Tensor, relative: float = 1e-5) -> None:
    """Compare with a tolerance relative to the largest value."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= relative * wanted.abs().max().clamp_min(1e-6)


def warmed(
    given: Original, whole: Hypernetwork, loss: Any = None, **options: Any
) -> tuple[float, ...]:
    """Train with the original's penalty on its batch; return the losses."""
    settings = WarmupSettings(
        batch_size=len(given.x),
        lr=given.notes["lr"],
        penalty={"kind": "l1", "weight": given.args["regularization_factor"]},
        **options,
    )
    target = given.target(given.args["prune_threshold"], whole)
    with TemporaryDirectory() as folder:
        run = WarmupRun(task_of([(given.x, given.y)], loss or _loss), Path(folder))
        units = given.units(whole)
        return warm_up(whole, run, settings, seed=0, units=units, target=target).losses


def _loss(network: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def _nothing(network: nn.Module, _: Any) -> Tensor:
    """Return a loss whose gradients are all zero."""
    return sum((parameter * 0).sum() for parameter in network.parameters())


@pytest.mark.parametrize("path", CASES)
def test_generated_weights_logits_and_gradients(path):
    given = Original(path)
    whole = given.hypernetwork()
    modules = dict(given.network.named_modules())
    for layer in given.layers:
        close(modules[layer.conv].weight.detach(), given.tensors[f"weight_init/{layer.name}"])
    with torch.no_grad():
        close(whole.eval()(given.x), given.tensors["logits_init"])
    if given.notes["kind"] == "resnet":
        _loss(whole.train(), (given.x, given.y)).backward()
        for i, vector in enumerate(given.vectors(whole)):
            close(vector.grad, given.tensors[f"grad0/{i}"])


@pytest.mark.parametrize("path", CASES)
def test_a_proximal_step_leaves_what_may_not_be_pruned_or_has_reached_its_floor(path):
    """Every step of the original's once more, from its latents after the gradient's step."""
    given = Original(path)
    whole = given.hypernetwork()
    for step in range(len(given.notes["losses"])):
        start, wanted = given.after(step, "sgd"), given.after(step, "prox")
        for name, vector in zip(whole.latents.names, whole.latents.vectors, strict=True):
            vector.data = start[name].clone()
        warmed(given, whole, _nothing, iterations=1, momentum=0, weight_decay=0)
        for name, vector in zip(whole.latents.names, whole.latents.vectors, strict=True):
            close(vector.detach(), wanted[name])


@pytest.mark.parametrize("path", RESNETS)
def test_losses_and_latents_after_steps_and_the_network_that_is_left(path):
    given = Original(path)
    whole, steps = given.hypernetwork(), len(given.notes["losses"])
    losses = warmed(given, whole, iterations=steps, momentum=0.9, weight_decay=1e-4)
    assert losses == pytest.approx(given.notes["losses"], rel=1e-4)
    for i, vector in enumerate(given.vectors(whole)):
        close(vector.detach(), given.tensors[f"step{steps - 1}/prox/{i}"], 1e-4)
    masks = given.masks(given.notes["prune_threshold_used"], given.after(steps - 1, "prox"))
    with torch.no_grad():
        close(whole.eval()(given.x), given.tensors["pruned/logits_before"], 1e-4)
        kept = {name: vector.clone() for name, vector in whole.latents.named_parameters()}
        for name, vector in zip(whole.latents.names, whole.latents.vectors, strict=True):
            vector *= masks[name]
        close(whole(given.x), given.tensors["pruned/logits_latents_zeroed"], 1e-4)
        whole.latents.load_state_dict(kept)
    units = {group.name: masks[group.name].nonzero()[:, 0] for group in given.graph.groups}
    small = resize(whole.bake(), given.graph, units, init="slice").eval()
    state = given.pruned_state()
    assert state.keys() == small.state_dict().keys()
    for name, tensor in small.state_dict().items():
        close(tensor, state[name], 1e-4)
    with torch.no_grad():
        close(small(given.x), given.tensors["pruned/logits_after"], 1e-4)


@pytest.mark.parametrize("path", CASES)
def test_masks_widths_and_costs_at_thresholds(path):
    given = Original(path)
    last = given.after(len(given.notes["losses"]) - 1, "prox")
    full = counted(given.network, given.x[:1])
    assert full == given.notes["full"]
    whole = Original(path).hypernetwork()  # another network: this one is sliced
    for one in given.notes["prune"]:
        masks = given.masks(one["threshold"], last)
        kept = [int(masks[given.groups.get(key, key)].sum()) for key in given.keys]
        assert kept == one["kept"]
        widths = {group.name: int(masks[group.name].sum()) for group in given.graph.groups}
        for name, vector in zip(whole.latents.names, whole.latents.vectors, strict=True):
            vector.data = last[name]
        assert given.target(one["threshold"], whole).widths() == widths
        small = resize(given.network, given.graph, widths, seed=0)
        assert counted(small, given.x[:1]) == {name: one[name] for name in full}
        for name, most in full.items():
            assert one[name] / most == pytest.approx(one[f"{name}_ratio"], rel=1e-12)
    for i, key in enumerate(given.keys):
        masks = given.masks(given.notes["prune_threshold_used"], last)
        assert torch.equal(masks[given.groups.get(key, key)], given.tensors[f"pruned/mask/{i}"])


@pytest.mark.parametrize("path", CASES)
def test_their_pruned_weights_in_our_pruned_network(path):
    given = Original(path)
    last = given.after(len(given.notes["losses"]) - 1, "prox")
    masks = given.masks(given.notes["prune_threshold_used"], last)
    widths = {group.name: int(masks[group.name].sum()) for group in given.graph.groups}
    small = resize(given.network, given.graph, widths, seed=0)
    small.load_state_dict(given.pruned_state())
    with torch.no_grad():
        close(small.eval()(given.x), given.tensors["pruned/logits_after"])


@pytest.mark.parametrize("path", CASES)
def test_the_operator_alone(path):
    """On the latents of a layer of as many channels, by a step without a gradient."""
    if path is None:
        return
    found = tensors(path)
    start = found["op/in"]
    for name in (name for name in found if name.startswith("op/l1/")):
        network = nn.Sequential(nn.Conv2d(3, len(start), 1), nn.Conv2d(len(start), 2, 1))
        graph = trace(network, torch.zeros(1, 3, 4, 4))
        whole = Hypernetwork(network, graph, graph.widths, 2, seed=0)
        whole.latents.vectors[0].data = start.clone()
        strength = float(name.rpartition("/")[2])
        settings = WarmupSettings(
            iterations=1,
            batch_size=1,
            lr=1,
            momentum=0,
            weight_decay=0,
            penalty=[{"kind": "l1", "weight": strength}] if strength else [],
        )
        with TemporaryDirectory() as folder:
            run = WarmupRun(task_of([(torch.zeros(1, 3, 4, 4),)], _nothing), Path(folder))
            units = Units(network, graph, graph.widths, whole.latents)
            warm_up(whole, run, settings, seed=0, units=units)
        close(whole.latents.vectors[0].detach(), found[name])


@pytest.mark.parametrize("path", files("compression/dhp_counts.json"))
def test_costs_of_full_networks(path):
    """Of those of their ResNets with bottlenecks, a normalisation behind shortcuts is missing here.

    Their MobileNets have stride 2 in the stem, and MobileNetV2 keeps the size in its second stage.
    """
    for label, wanted in notes(path).items():
        assert _full(label) == wanted, label


def _full(label: str) -> dict[str, int]:
    """Return what the counter makes of a network called as ``MobileNet_DHP w1.0 TinyImageNet``."""
    side, classes = (64, 200) if "Tiny" in label else (32, 100 if "100" in label[-3:] else 10)
    image = torch.zeros(1, 3, side, side)
    if depth := re.search(r"L(\d+)", label):
        return _full_resnet(int(depth[1]), classes, image)
    two = "V2" in label
    network = create_model(f"timm:mobilenetv{2 if two else 1}_100", num_classes=classes)
    if two:
        network.get_submodule("blocks.1.0.conv_dw").stride = (1, 1)
    factor = float(re.search(r"w([\d.]+)", label)[1])
    if factor != 1:
        network = widen(network, trace(network, image), factor)
    return counted(network, image)


def _full_resnet(depth: int, classes: int, image: Tensor) -> dict[str, int]:
    deep = depth >= 110
    block, layers = (PreActBottleneck, 3) if deep else (BasicBlock, 2)
    network = CifarResNet(
        block,
        (depth - 2) // (3 * layers),
        (16, 32, 64),
        shortcut="B",
        num_classes=classes,
        in_chans=3,
    )
    for stage in network.stages if deep else ():
        first = stage[0] if isinstance(stage, nn.Sequential) else None
        if first is not None:
            out = first.shortcut.out_channels
            first.shortcut = nn.Sequential(first.shortcut, nn.BatchNorm2d(out))
    return counted(network, image)
