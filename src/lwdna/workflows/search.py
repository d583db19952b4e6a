"""``lwdna shrink``: find widths and write the architecture with the record of the search."""

from __future__ import annotations

import time
from pathlib import Path

from lwdna.engine.device import make_accelerator
from lwdna.engine.order import train_batches
from lwdna.files import write_json, write_text
from lwdna.methods import Search, search
from lwdna.recipe import Recipe
from lwdna.workflows.setup import make_baseline, make_source, make_task

SEARCH_FILES = ("architecture.lwdna.json", "search.json", "recipe.yaml")
"""What a search leaves in its folder."""


def run_search(recipe: Recipe, out: str | Path, *, trust_code: bool = False) -> Search:
    """Search as the recipe says; write ``architecture.lwdna.json`` and ``search.json``.

    The data are the first mini-batches that training with this seed would see.
    """
    out = Path(out)
    task = make_task(recipe)
    source = make_source(recipe, task)
    device = make_accelerator("no").device
    settings = recipe.shrink
    order = train_batches(task.train_size, settings.batch_size, seed=recipe.seed, epoch=0)
    indices = [batch.tolist() for batch in order[: settings.batches]]
    model = make_baseline(recipe, source, trust_code).to(device)
    start = time.perf_counter()
    found = search(
        model,
        task.example_inputs().to(device),
        task.train_batches(indices, seed=recipe.seed, epoch=0, device=device),
        task.loss,
        settings,
        seed=recipe.seed,
        source=source,
    )
    seconds = time.perf_counter() - start
    write_text(out / "recipe.yaml", recipe.to_yaml())
    write_json(out / "search.json", {**found.to_json(), "seconds": round(seconds, 3)})
    found.architecture.save(out / "architecture.lwdna.json")
    return found
