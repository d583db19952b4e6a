"""Results of the originals' code: files of tensors and counts in a folder outside the project."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(os.environ.get("LWDNA_REFERENCE", Path(__file__).parents[3] / "shared" / "reference"))
"""Where they are: ``LWDNA_REFERENCE``, or ``../shared/reference`` beside the project."""


def files(pattern: str) -> list[Any]:
    """Return the files of a pattern such as ``compression/lfb_conv_*.json`` as test parameters.

    Tests read sizes and settings from them, so that other files of the same structure are tested
    in the same way. Without any, one parameter skips and says why.
    """
    found = sorted(FOLDER.glob(pattern))
    if not found:
        reason = f"no golden results: {FOLDER} holds no {pattern} (set LWDNA_REFERENCE)"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(path, id=path.stem) for path in found]


def notes(path: Path) -> Any:
    """Return what a JSON file says."""
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors beside a JSON file."""
    return load_file(path.with_suffix(".safetensors"))
