"""``lwdna push``: put a trained network on the Hugging Face hub, with the evidence for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lwdna.architecture import Architecture
from lwdna.files import json_text
from lwdna.interface import read_interface
from lwdna.interop.hub import check_login, push_files
from lwdna.interop.timm_config import as_timm
from lwdna.reports.model_card import model_card
from lwdna.run_folder import ARCHITECTURE, FOUND, WEIGHTS, find_weights


def push(
    run: str | Path,
    repository: str,
    *,
    private: bool = False,
    message: str = "A network of lwdna",
) -> str:
    """Upload weights, architecture and a model card with the evidence; nothing is pickled.

    Args:
        run: the folder of a training or of a job, whose network found is taken; or a
            ``.safetensors`` file.
        repository: ``"user/name"``; it is made if there is none, and its files are replaced.
        private: whether a new repository is for its owner's eyes only.
        message: what the commit says.

    Returns:
        The address of the repository.

    Raises:
        HubError: nobody is logged in or may write there, or the hub cannot be reached.
        CheckpointError: there is no network, or its file is damaged.
        FileError: a file of the run is damaged.
    """
    check_login()
    folder = Path(run)
    weights = find_weights(folder / FOUND if (folder / FOUND / WEIGHTS).is_file() else folder)
    return push_files(
        repository_files(weights, repository), repository, private=private, message=message
    )


def repository_files(weights: Path, repository: str) -> dict[str, Path | bytes]:
    """Return what a repository gets, by name: weights, architecture, card, timm's configuration.

    Raises:
        CheckpointError: the file of weights is damaged.
        FileError: a file of the run is damaged.
    """
    text = Architecture.load(weights).to_json()
    architecture = json.loads(text)
    return {
        WEIGHTS: weights,
        ARCHITECTURE: text.encode(),
        "config.json": _timm_config(weights, architecture).encode(),
        "README.md": model_card(weights, architecture, repository).encode(),
    }


def _timm_config(weights: Path, architecture: dict[str, Any]) -> str:
    """Return the file by which ``timm.create_model("hf-hub:...")`` knows the network."""
    known = as_timm(read_interface(weights))
    config: dict[str, Any] = {"architecture": "lwdna", "model_args": {"architecture": architecture}}
    if names := known.pop("label_names", None):
        config |= {"num_classes": len(names), "label_names": names}
    return json_text({**config, "pretrained_cfg": known}, indent=2) + "\n"
