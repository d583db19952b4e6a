"""The original project's RegNets, as checkpoints.

``features.0`` is the stem (a convolution with ``bn_main``), ``features.{1+b}`` block b counted over
all stages with ``layer1``, ``layer2`` (grouped), ``layer3``, in RegNetY ``se.fc.0`` and
``se.fc.2``, and where a stage begins ``skip_proj``; then ``classifier``. The project counts the
groups after widening, so that a network found in one of twice the width has twice as many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from lwdna.errors import CheckpointError

SIZE = (3, 224, 224)

NETWORKS: dict[tuple[bool, tuple[int, ...]], tuple[str, tuple[int, ...]]] = {
    (False, (1, 1, 4, 7)): ("regnetx_002", (3, 7, 19, 46)),
    (False, (1, 2, 7, 12)): ("regnetx_004", (2, 4, 10, 24)),
    (False, (1, 3, 5, 7)): ("regnetx_006", (2, 4, 10, 22)),
    (False, (1, 3, 7, 5)): ("regnetx_008", (4, 8, 18, 42)),
    (False, (2, 5, 14, 2)): ("regnetx_040", (2, 6, 14, 34)),
    (False, (2, 5, 15, 1)): ("regnetx_080", (1, 2, 6, 16)),
    (True, (1, 1, 4, 7)): ("regnety_002", (3, 7, 19, 46)),
    (True, (1, 3, 6, 6)): ("regnety_004", (6, 13, 26, 55)),
    (True, (1, 3, 7, 4)): ("regnety_006", (3, 7, 16, 38)),
    (True, (1, 3, 8, 2)): ("regnety_008", (4, 8, 20, 48)),
}
"""timm's names by squeeze-and-excitation and blocks per stage, and their groups by stage."""

_BLOCK = re.compile(r"features\.([1-9]\d*)\.(layer\d|skip_proj|se\.fc\.\d)\.(bn_main\.)?(\w+)")
_PARTS = {"skip_proj": "downsample", "se.fc.0": "se.fc1", "se.fc.2": "se.fc2"}


def rename(
    tensors: Mapping[str, Tensor], origin: str
) -> tuple[str, dict[str, object], dict[str, Tensor]]:
    """Return the network's name, its arguments and the tensors with its names.

    Raises:
        CheckpointError: the tensors are not those of a RegNet of the original project.
    """
    blocks = sorted({int(match[1]) for name in tensors if (match := _BLOCK.match(name))})
    starts = [n for n in blocks if f"features.{n}.skip_proj.weight" in tensors]
    depths = tuple(b - a for a, b in zip(starts, [*starts[1:], blocks[-1] + 1], strict=True))
    squeezed = f"features.{blocks[0]}.se.fc.0.weight" in tensors
    if (squeezed, depths) not in NETWORKS or starts[0] != 1:
        raise CheckpointError(
            f"{origin} has stages of {list(depths)} blocks; of the original project's RegNets "
            f"{', '.join(name for name, _ in NETWORKS.values())} are known"
        )
    network, groups = NETWORKS[squeezed, depths]
    multiple = _multiple(tensors, starts, blocks, groups, origin)
    places = {
        block: f"s{stage}.b{block - start + 1}"
        for stage, (start, depth) in enumerate(zip(starts, depths, strict=True), 1)
        for block in range(start, start + depth)
    }
    renamed = {_name(name, places, origin): tensor for name, tensor in tensors.items()}
    classes = len(tensors["classifier.weight"]) if "classifier.weight" in tensors else 1000
    if multiple == 1:
        return f"timm:{network}", {"num_classes": classes}, renamed
    regrouped = {"base": f"timm:{network}", "group_mult": multiple, "num_classes": classes}
    return "lwdna:regnet_regrouped", dict(regrouped), renamed


def _multiple(
    tensors: Mapping[str, Tensor],
    starts: Sequence[int],
    blocks: Sequence[int],
    groups: Sequence[int],
    origin: str,
) -> int:
    """Return how many times as many groups as timm's the grouped convolutions have."""
    found = set()
    for block in blocks:
        stage = sum(start <= block for start in starts) - 1
        channels = len(tensors[f"features.{block}.layer1.weight"])
        own, rest = divmod(channels, tensors[f"features.{block}.layer2.weight"].shape[1])
        multiple, odd = divmod(own, groups[stage])
        found.add(multiple if not rest and not odd else 0)
    if len(found) > 1 or 0 in found:
        raise CheckpointError(
            f"{origin} has grouped convolutions whose numbers of groups are no common multiple "
            "of the network's own; the channel graph keeps the number of groups and cannot "
            "describe it"
        )
    return found.pop()


def _name(name: str, places: Mapping[int, str], origin: str) -> str:
    if match := _BLOCK.fullmatch(name):
        part = _PARTS.get(match[2], match[2].replace("layer", "conv"))
        inner = "" if part.startswith("se.") else "bn." if match[3] else "conv."
        return f"{places[int(match[1])]}.{part}.{inner}{match[4]}"
    for old, new in (
        ("features.0.bn_main.", "stem.bn."),
        ("features.0.", "stem.conv."),
        ("classifier.", "head.fc."),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise CheckpointError(f"{origin} has a tensor {name} that a RegNet of this project lacks")
