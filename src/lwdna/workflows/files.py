"""Files of a run, and the checks that protect them."""

from __future__ import annotations

from pathlib import Path

from lwdna.errors import CheckpointError
from lwdna.recipe import Recipe, load_recipe

ARCHITECTURE = "architecture.lwdna.json"
EXAMPLES = "examples"
"""Pictures of what the network makes of a few validation examples."""
OUTCOMES = "outcomes.safetensors"
"""The outcome of every validation example, as one tensor under the primary metric's name."""
RECIPE = "recipe.yaml"
RESULTS = "results.json"
SEARCH = "search.json"
TRIALS = "trials"
WARMUP = "warmup"
WEIGHTS = "model.safetensors"

_MAY_CHANGE = {
    "data.root",
    "data.workers",
    "data.in_memory",
    "data.tile",
    "train.eval_batch_size",
    "train.eval_every",
    "train.checkpoint_every",
}
"""What a resumed run may do in another way: where the data lie now, and what to save when."""


def find_weights(path: str | Path) -> Path:
    """Return the weights file of a training run, or ``path`` if it is a file.

    Raises:
        CheckpointError: there is none; the runs inside the folder are named.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(
            f"there is no run or file {path}; give the folder of a training run or a "
            ".safetensors file"
        )
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    inside = sorted(str(file.parent) for file in path.glob(f"*/{WEIGHTS}"))
    hint = f"did you mean {' or '.join(inside)}?" if inside else "finish its training first"
    raise CheckpointError(f"{path} holds no trained network ({WEIGHTS}); {hint}")


def check_same_recipe(folder: Path, recipe: Recipe) -> None:
    """Make sure that the run in ``folder`` was started with ``recipe``.

    Raises:
        CheckpointError: it was not; the settings that differ are named.
        RecipeError: the recipe in the folder is damaged.
    """
    saved = load_recipe(folder / RECIPE).flat()
    now = recipe.flat()
    changed = [
        f"{key} was {saved.get(key)} and is now {now.get(key)}"
        for key in dict.fromkeys([*saved, *now])
        if saved.get(key) != now.get(key) and key not in _MAY_CHANGE
    ]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise CheckpointError(
            f"the run in {folder} was started with another recipe: "
            f"{'; '.join(changed[:3])}{more}; name no recipe to resume with its own, or start a "
            "new run in another folder"
        )
