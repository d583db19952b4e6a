"""What must hold for a run to be resumed."""

from __future__ import annotations

from pathlib import Path

from lwdna.engine import TrainSettings
from lwdna.errors import CheckpointError
from lwdna.recipe import Recipe, load_recipe
from lwdna.run_folder import RECIPE, WEIGHTS

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


def check_same_recipe(folder: Path, recipe: Recipe, *, longer: bool = False) -> None:
    """Make sure that the run in ``folder`` was started with ``recipe``.

    Args:
        folder: of the run.
        recipe: what it is to go on with.
        longer: whether it may go on to more epochs than it was started with, where its steps so far
            would have been the same.

    Raises:
        CheckpointError: it was not; the settings that differ are named.
        RecipeError: the recipe in the folder is damaged.
    """
    before = load_recipe(folder / RECIPE)
    saved, now = before.flat(), recipe.flat()
    # where training may stop early, when it is looked at matters
    fixed = {"train.eval_every"} if before.train.patience else set()
    changed = {
        key: f"{key} was {saved.get(key)} and is now {now.get(key)}"
        for key in dict.fromkeys([*saved, *now])
        if saved.get(key) != now.get(key) and key not in _MAY_CHANGE - fixed
    }
    if longer and list(changed) == ["train.epochs"]:
        _check_longer(folder, before.train, recipe.train)
        return
    if changed:
        named = list(changed.values())
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        raise CheckpointError(
            f"the run in {folder} was started with another recipe: "
            f"{'; '.join(named[:3])}{more}; name no recipe to resume with its own, or start a "
            "new run in another folder"
        )


def _check_longer(folder: Path, before: TrainSettings, now: TrainSettings) -> None:
    """Make sure that a training can go on to more epochs exactly.

    Raises:
        CheckpointError: it cannot; what to do instead is said.
    """
    why = now.obstacle(before.epochs)
    if why is not None:
        raise CheckpointError(
            f"the run in {folder} cannot go on to {now.epochs} epochs exactly: {why}; start a new "
            f"run from its weights, with a schedule of its own: lwdna train {folder / RECIPE} "
            f"train.epochs={now.epochs} --architecture {folder / WEIGHTS} --out NEW"
        )
