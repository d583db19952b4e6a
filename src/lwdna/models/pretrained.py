"""Weights that timm and torchvision publish: which they are, whether they can be had, loading."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from torch import Tensor, nn

from lwdna.errors import ModelError, nearest
from lwdna.weights import load_weights

PATIENCE = 5
"""Seconds to wait for the server that has the weights."""
GIVE = "or give a file: model.pretrained=FILE"


@dataclass(frozen=True)
class Weights:
    """Published weights of a network."""

    name: str
    """As ``timm/resnet18.a1_in1k (Hugging Face hub)`` or an address."""
    place: Path
    """Where the file is looked for."""
    url: str
    """Where it is fetched from, if it is not there."""
    cached: Path | None
    """The file on this machine, if it is there."""
    overlay: Mapping[str, Any] = field(default_factory=dict)
    """What lets timm read the file without asking the hub for a newer one first."""


def published_weights(name: str, args: Mapping[str, Any]) -> Weights:
    """Return what ``pretrained=True`` would load.

    Args:
        name: full name of a network.
        args: its arguments.

    Raises:
        ModelError: the network comes without weights.
    """
    prefix, _, bare = name.partition(":")
    found = None
    if prefix == "timm":
        found = _of_timm(bare, args)
    elif prefix == "torchvision":
        found = _of_torchvision(bare, args)
    if found is None:
        raise ModelError(
            f"{name} comes with no trained weights; leave out model.pretrained (--pretrained) "
            f"{GIVE}"
        )
    return found


def check_reachable(name: str, weights: Weights) -> None:
    """Make sure that weights are on this machine, or that their server answers.

    Raises:
        ModelError: neither; the message says where the file would be found.
    """
    why = out_of_reach(weights)
    if why is not None:
        raise ModelError(
            f"the trained weights of {name}, {weights.name}, are not on this machine and {why}; "
            f"put the file at {weights.place}, {GIVE}"
        )


def out_of_reach(weights: Weights) -> str | None:
    """Say why weights cannot be had: they are not on this machine, nor does their server answer.

    huggingface_hub tries again for half a minute before it says so.
    """
    if weights.cached is not None:
        return None
    if _told_offline(weights.url):
        return "this machine is told to stay offline (HF_HUB_OFFLINE)"
    try:
        request = urllib.request.Request(weights.url, method="HEAD")
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return None  # it answers; what it says will be said when the file is fetched
    except (OSError, ValueError) as error:
        host = urlparse(weights.url).hostname
        return f"{host} does not answer ({getattr(error, 'reason', error)})"
    return None


def load_start(network: nn.Module, tensors: Mapping[str, Tensor], origin: str | Path) -> None:
    """Load a state dict; an output layer for another number of classes stays as it is.

    Raises:
        CheckpointError: the tensors do not fit in any other way.
    """
    own = network.state_dict()
    other = {n: own[n] for n in own if n in tensors and own[n].shape != tensors[n].shape}
    layers = {name.rpartition(".")[0] for name in other}
    if len(layers) == 1 and all(own[n].shape[1:] == tensors[n].shape[1:] for n in other):
        tensors = {**tensors, **other}
    load_weights(network, tensors, origin)


def _of_timm(bare: str, args: Mapping[str, Any]) -> Weights | None:
    from timm.models import resolve_pretrained_cfg

    given = {key: args.get(key) for key in ("pretrained_cfg", "pretrained_cfg_overlay")}
    cfg: Any = resolve_pretrained_cfg(bare, **given)
    if cfg.file:
        file = Path(cfg.file)
        return Weights(str(file), file, file.as_uri() if file.is_absolute() else "", _if_file(file))
    if cfg.hf_hub_id:
        found = on_hub(cfg.hf_hub_id, cfg.hf_hub_filename)
        if found.cached is None or cfg.custom_load == "hf":
            return found
        given = args.get("pretrained_cfg_overlay") or {}
        return replace(found, overlay={**given, "file": str(found.cached), "custom_load": False})
    return _of_torch_hub(cfg.url) if isinstance(cfg.url, str) and cfg.url else None


def on_hub(repository: str, file: str | None) -> Weights:
    """Return weights of a repository of the Hugging Face hub, ``owner/name`` or with ``@``."""
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    bare, _, revision = repository.partition("@")
    usual = constants.SAFETENSORS_SINGLE_FILE, constants.PYTORCH_WEIGHTS_NAME
    files = (file,) if file else usual
    found = (try_to_load_from_cache(bare, one, revision=revision or None) for one in files)
    cached = next((Path(one) for one in found if isinstance(one, str)), None)
    folder = repo_folder_name(repo_id=bare, repo_type="model")
    place = Path(constants.HF_HUB_CACHE) / folder / "snapshots" / (revision or "main") / files[0]
    url = hf_hub_url(bare, files[0], revision=revision or None)
    return Weights(f"{repository} (Hugging Face hub)", place, url, cached)


def _of_torch_hub(url: str) -> Weights:
    import torch

    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    return Weights(url, place, url, _if_file(place))


def _of_torchvision(bare: str, args: Mapping[str, Any]) -> Weights | None:
    from torchvision.models import get_model_weights

    known = get_model_weights(bare).__members__
    wanted = args.get("weights", "DEFAULT")
    if not known:
        return None
    if wanted not in known:
        raise ModelError(
            f"torchvision:{bare} has no weights {wanted}{nearest(str(wanted), known)}; leave out "
            "model.args.weights for the usual ones"
        )
    return _of_torch_hub(known[wanted].url)


def _if_file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _told_offline(url: str) -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE and url.startswith(constants.ENDPOINT)
