"""What must hold for a run to be resumed."""

from __future__ import annotations

from pathlib import Path

from lwdna.errors import CheckpointError
from lwdna.recipe import Recipe, load_recipe
from lwdna.run_folder import RECIPE

_MAY_CHANGE = {
    "data.root",
    "data.workers",
    "data.scan",
    "data.in_memory",
    "data.tile",
    "train.eval_batch_size",
    "train.eval_every",
    "train.checkpoint_every",
    "train.trackers",
}
"""What a resumed run may do in another way: where the data lie now, and what to save when."""


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
