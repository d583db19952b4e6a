"""Choose the networks of the zoo benchmark, say of what kind each is, and build them.

    python benchmarks/zoo_models.py        # writes benchmarks/zoo_models.json

Of every module of timm: the two smallest networks by parameters, the family's classic one, and
(convolutional networks only, up to 60 million parameters) the smallest of every name that differs
in more than its size. Of torchvision: the same by module, all of segmentation and video, and
detection backbones with their feature pyramids. Nothing else decides.

A network is *convolutional* if nothing but convolutions and pooling moves information between
positions. The evidence is gathered by running it on tensors without data: a matrix product of two
activations (attention in any form), an attention kernel or a recurrent layer makes it a *hybrid
or transformer*. :data:`RULINGS` holds the cases that evidence cannot decide.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from rich.progress import track
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone

from lwdna.files import read_json, write_json

LIST = Path(__file__).parent / "zoo_models.json"
CONVOLUTIONAL, OTHER = KINDS = ("convolutional", "hybrid or transformer")
SIDE = 224
"""Images are no larger than this where the network does not insist on its own size."""
LARGEST_EXTRA = 60_000_000

RULINGS = {
    "timm.mlp_mixer:*": (OTHER, "linear layers mix the positions"),
    "timm.sequencer:*": (OTHER, "recurrent layers mix the positions"),
    "timm.swiftformer:*": (OTHER, "additive attention, which needs no matrix product"),
    "timm.mobilevit:mobilevitv2*": (OTHER, "separable attention, which needs no matrix product"),
    "timm.byobnet:gc*": (CONVOLUTIONAL, "the product is a weighted pooling to one position"),
    "timm.efficientnet:gc_*": (CONVOLUTIONAL, "the product is a weighted pooling to one position"),
}
"""Kind and reason by pattern of library.module:name, before any evidence."""

CLASSIC = (
    "convnext_tiny densenet121 efficientnet_b0 mobilenetv2_100 mobilenetv3_large_100 "
    "mnasnet_100 resnet50 resnet18 resnext50_32x4d seresnet50 resnetv2_50 regnetx_032 "
    "regnety_032 vgg16 ghostnet_100 hrnet_w18 dla34 dpn68 res2net50_26w_4s resnest50d "
    "skresnet50 rexnet_100 xception41 cspdarknet53 cspresnet50 repvgg_b0 nfnet_f0 inception_v3 "
    "legacy_seresnet50 hgnet_small ese_vovnet39b mixnet_s tresnet_m selecsls60 fastvit_t8 "
    "repvit_m1 darknet53 mixer_b16_224 vit_small_patch16_224 deit_tiny_patch16_224 "
    "swin_tiny_patch4_window7_224 mobilevit_s levit_256 poolformer_s12 coatnet_0_224 "
    "maxvit_tiny_tf_224 pvt_v2_b1 efficientformer_l1 googlenet alexnet mobilenet_v2 "
    "mobilenet_v3_large mnasnet1_0 shufflenet_v2_x1_0 squeezenet1_0 vit_b_16 swin_t"
)

SIZES = (
    "xxs xs s m l xl xxl t b h f p n tiny small base large huge giant atto femto pico nano mini "
    "zepto xsmall xlarge xxlarge medium rw a c d e g el em es tv pruned"
)


@dataclass(frozen=True)
class Entry:
    """A network of the zoo; ``shape`` is that of its input, a batch of one included."""

    name: str
    module: str
    params: int
    shape: tuple[int, ...]
    kind: str = ""
    evidence: str = ""
    extra: bool = False
    """Neither among the smallest two of its module nor its classic; measured after those."""


def zoo() -> list[Entry]:
    """Return the networks chosen: extras last, convolutional ones first, small ones first."""
    return [Entry(**{**row, "shape": tuple(row["shape"])}) for row in read_json(LIST)]


def build(entry: Entry, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Return the network with random weights, in evaluation mode, and an input."""
    torch.manual_seed(seed)
    return create(entry.name).eval(), torch.randn(entry.shape)


def create(name: str) -> nn.Module:
    """Build a network from its name with prefix."""
    library, _, short = name.partition(":")
    if library == "timm":
        return timm.create_model(short, pretrained=False)
    if library == "fpn":  # all layers trained: frozen ones keep their channels
        if short.startswith("mobilenet"):
            return mobilenet_backbone(
                backbone_name=short, weights=None, fpn=True, trainable_layers=6
            )
        return resnet_fpn_backbone(backbone_name=short, weights=None, trainable_layers=5)
    arguments: dict[str, Any] = {"weights": None}
    if short in ("googlenet", "inception_v3"):
        arguments["init_weights"] = False
    if short.startswith(("fcn", "deeplab", "lraspp")):
        arguments["weights_backbone"] = None
    return torchvision.models.get_model(short, **arguments)


def weightless(name: str) -> nn.Module:
    """Build a network whose tensors have no data."""
    try:
        with torch.device("meta"):
            return create(name)
    except NotImplementedError:  # computes its widths with tensors
        return create(name).to("meta")


def _timm() -> Iterable[Entry]:
    """Yield every network of timm but those made for its own unit tests."""
    names = [
        (module, name)
        for module in timm.list_modules()
        for name in timm.list_models(module=module)
        if not name.startswith("test_")
    ]
    for module, name in track(names, "counting parameters"):
        model = weightless(f"timm:{name}")
        size = model.default_cfg["input_size"]
        if not model.default_cfg.get("fixed_input_size"):
            size = (size[0], *(min(side, SIDE) for side in size[1:]))
        params = sum(parameter.numel() for parameter in model.parameters())
        yield Entry(f"timm:{name}", f"timm.{module}", params, (1, *size))


def _torchvision() -> Iterable[Entry]:
    """Yield the networks of torchvision, with the numbers of parameters that it publishes."""
    models = torchvision.models

    def entry(name: str, module: str, shape: tuple[int, ...]) -> Entry:
        weights = next(iter(models.get_model_weights(name)))
        return Entry(f"torchvision:{name}", module, weights.meta["num_params"], shape)

    for name in models.list_models(module=models):
        module = models.get_model_builder(name).__module__.rpartition(".")[2]
        side = 299 if name == "inception_v3" else SIDE
        yield entry(name, f"torchvision.{module}", (1, 3, side, side))
    for name in models.list_models(module=models.segmentation):
        yield entry(name, f"torchvision.segmentation.{name}", (1, 3, SIDE, SIDE))
    for name in models.list_models(module=models.video):
        side = 224 if name.startswith(("s3d", "mvit", "swin")) else 112
        yield entry(name, f"torchvision.video.{name}", (1, 3, 16, side, side))
    for name in ("resnet18", "resnet50", "resnext50_32x4d", "mobilenet_v2", "mobilenet_v3_large"):
        params = sum(p.numel() for p in weightless(f"fpn:{name}").parameters())
        yield Entry(f"fpn:{name}", f"torchvision.detection.{name}", params, (1, 3, SIDE, SIDE))


def _candidates() -> dict[str, list[Entry]]:
    """Return every network of both libraries by module, smallest first."""
    found: dict[str, list[Entry]] = {}
    for entry in (*_timm(), *_torchvision()):
        found.setdefault(entry.module, []).append(entry)
    return {
        module: sorted(entries, key=lambda e: (e.params, e.name))
        for module, entries in found.items()
    }


def variant(name: str) -> str:
    """Return the name without what only tells sizes apart: resnet50d and resnet101d are one."""
    short = re.sub(r"(?<!v)\d+(x\d+)?[a-z]?(?=_|$|\d)|(?<!v)\d+", "", name.partition(":")[2])
    return "_".join(token for token in short.split("_") if token and token not in SIZES.split())


def _chosen(entries: list[Entry]) -> list[Entry]:
    """Choose among the networks of one module, given smallest first."""
    classified: dict[str, Entry] = {}

    def look(entry: Entry) -> Entry:
        return classified.setdefault(entry.name, classify(entry))

    for entry in [
        *entries[:2],
        *(e for e in entries if e.name.partition(":")[2] in CLASSIC.split()),
    ]:
        look(entry)
    seen = {variant(name) for name in classified}
    for entry in entries:
        if variant(entry.name) not in seen and entry.params <= LARGEST_EXTRA:
            seen.add(variant(entry.name))
            found = classify(entry)
            if found.kind == CONVOLUTIONAL:
                classified[entry.name] = replace(found, extra=True)
    return list(classified.values())


def classify(entry: Entry) -> Entry:
    """Return the entry with its kind and the evidence for it, its input size where 224 fails."""
    shape, seen = entry.shape, ""
    for pattern, (kind, reason) in RULINGS.items():
        if fnmatch.fnmatch(f"{entry.module}:{entry.name.partition(':')[2]}", pattern):
            return replace(entry, kind=kind, evidence=reason)
    model = weightless(entry.name).eval()
    sizes = [shape]
    if entry.name.startswith("timm:"):
        sizes.append((1, *model.default_cfg["input_size"]))
    for position, shape in enumerate(sizes):
        try:
            seen = ", ".join(attention_ops(model, shape))
            break
        except Exception:  # many a network takes its own image size only
            if position == len(sizes) - 1:
                raise
    kind = OTHER if seen else CONVOLUTIONAL
    return replace(entry, shape=shape, kind=kind, evidence=seen)


def attention_ops(model: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """Return the operators that let activations attend to each other; all is without data."""
    image = torch.empty(shape, device="meta")
    watch = _Watch(image)
    with torch.no_grad(), torch.device("meta"), watch:
        model(image)
    return sorted(watch.found)


class _Watch(TorchDispatchMode):
    """Follows what depends on the input; notes products of two such tensors."""

    PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "dot", "mv")

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.kept = {id(image): image}
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        active = [id(leaf) in self.kept for leaf in tree_leaves((args, kwargs))]
        if any(active):
            if (name in self.PRODUCTS and sum(active[-4:]) > 1) or re.search(
                r"scaled_dot_product|lstm|gru|rnn", name
            ):
                self.found.add(name)
            tree_map(self._keep, result)
        return result

    def _keep(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self.kept[id(value)] = value


def main() -> None:
    """Write the list."""
    entries = [
        entry
        for candidates in track(list(_candidates().values()), "classifying")
        for entry in _chosen(candidates)
    ]
    entries.sort(key=lambda e: (e.extra, e.kind != CONVOLUTIONAL, e.params, e.name))
    write_json(LIST, [asdict(entry) for entry in entries])
    for kind in KINDS:
        print(f"{kind}: {sum(entry.kind == kind for entry in entries)}")


if __name__ == "__main__":
    main()
