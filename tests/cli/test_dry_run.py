"""``--dry-run``: figures that follow from the recipe, and nothing left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lwdna.recipe import load_recipe
from lwdna.workflows.estimate import estimate
from tests.cli.command import done

SMALL = ["data.train_limit=11", "data.val_limit=3", "train.batch_size=13", "train.epochs=2"]


@pytest.mark.parametrize(
    ("verb", "trainings"),
    [("train", "1 training"), ("compare", "6 trainings")],
)
def test_a_dry_run_says_the_cost_and_leaves_nothing(
    verb: str, trainings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["--seeds", "3", "--arms", "baseline,lwdna"] if verb == "compare" else []
    said = done(verb, "digits", *SMALL, *more, "--dry-run", "--out", "run")
    assert list(tmp_path.iterdir()) == []
    assert re.search(rf"time: {trainings} of [\d.]+ min, search [\d.]+ min: [\d.]+ min", said)
    assert re.search(r"speed: [\d.e+]+ images per second in training \(\d+ steps of 13\)", said)
    assert re.search(r"memory: [\d.]+ [MG]B of [\d.]+ GB at batch 13", said)


def test_time_follows_from_epochs_images_and_trials() -> None:
    def hours(*more: str) -> tuple[float, float, float, float]:
        found = estimate(load_recipe("digits", [*SMALL, *more]), "quickstart")
        rate, evaluation = found.images_per_second, found.eval_images_per_second
        return found.training_hours, found.search_hours, rate, evaluation

    training, search, rate, evaluation = hours("train.epochs=7", "train.eval_every=3")
    steps, validated = 110 // 13, 30
    assert training * 3600 == pytest.approx(
        7 * steps * 13 / rate + 3 * validated / evaluation, rel=1e-6
    )
    recipe = load_recipe("digits", SMALL).shrink
    scored = recipe.batches * recipe.batch_size * float(recipe.width_mult) ** 2  # type: ignore[arg-type]
    assert search * 3600 == pytest.approx(scored / rate, rel=1e-6)
