"""``lwdna shrink``: find widths and write the architecture with the record of the search."""

from __future__ import annotations

import time
from pathlib import Path

from lwdna.engine.device import make_accelerator
from lwdna.engine.order import train_batches
from lwdna.errors import FileError
from lwdna.files import write_json, write_text
from lwdna.methods import Search, search
from lwdna.recipe import Recipe
from lwdna.workflows.files import ARCHITECTURE, RECIPE, SEARCH
from lwdna.workflows.setup import make_baseline, make_source, make_task


def run_search(recipe: Recipe, out: str | Path, *, trust_code: bool = False) -> Search:
    """Search as the recipe says; write ``architecture.lwdna.json`` and ``search.json``.

    The data are the first mini-batches that training with this seed would see. Of several
    processes each does the same work and the first one writes.

    Raises:
        FileError: ``out`` holds an architecture already, or cannot be written.
        BudgetError: no widths meet the budget.
    """
    out = Path(out)
    if (out / ARCHITECTURE).exists():
        raise FileError(f"{out} already holds an architecture; choose another folder or delete it")
    task = make_task(recipe)
    source = make_source(recipe, task)
    accelerator = make_accelerator("no")
    settings = recipe.shrink
    order = train_batches(task.train_size, settings.batch_size, seed=recipe.seed, epoch=0)
    indices = [batch.tolist() for batch in order[: settings.batches]]
    model = make_baseline(recipe, source, trust_code).to(accelerator.device)
    start = time.perf_counter()
    found = search(
        model,
        task.example_inputs().to(accelerator.device),
        task.train_batches(indices, seed=recipe.seed, epoch=0, device=accelerator.device),
        task.loss,
        settings,
        seed=recipe.seed,
        source=source,
        edits=recipe.graph,
    )
    seconds = time.perf_counter() - start
    if accelerator.is_main_process:
        write_text(out / RECIPE, recipe.to_yaml())
        write_json(out / SEARCH, {**found.to_json(), "seconds": round(seconds, 3)})
        found.architecture.save(out / ARCHITECTURE)  # last: it says that the search is finished
    return found
