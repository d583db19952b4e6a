"""``lwdna train``: train the baseline or a network found, and write everything worth keeping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import PartialState

from lwdna.architecture import Architecture, save
from lwdna.engine import machine, measure_latency, train, versions
from lwdna.files import write_json, write_text
from lwdna.recipe import Recipe
from lwdna.workflows.setup import baseline_architecture, make_task


def run_training(
    recipe: Recipe,
    run_dir: str | Path,
    *,
    name: str,
    architecture: Architecture | None = None,
    resume: bool = False,
    progress: bool = False,
    trust_code: bool = False,
) -> dict[str, Any]:
    """Train one network with the recipe's protocol and return its results.

    Writes into ``run_dir``: ``recipe.yaml``, ``architecture.lwdna.json``, ``metrics.jsonl``,
    ``tensorboard/``, ``checkpoints/``, ``model.safetensors`` and ``results.json``.

    Args:
        recipe: data, protocol and seed.
        run_dir: must not hold another run, unless ``resume``.
        name: what the results call this network.
        architecture: None trains the baseline, built through the same steps as any other.
        resume: go on where the run in ``run_dir`` was stopped.
        progress: show a progress bar.
        trust_code: allow a baseline whose source imports Python code.
    """
    run_dir = Path(run_dir)
    task = make_task(recipe)
    if architecture is None:
        architecture = baseline_architecture(recipe, task, trust_code)
    model = architecture.build(seed=recipe.seed, trust_code=trust_code)
    trained = train(
        model,
        task,
        recipe.train,
        run_dir,
        seed=recipe.seed,
        resume=resume,
        progress=progress,
    )
    results: dict[str, Any] = {
        "name": name,
        "metric": task.metric,
        **trained.metrics,
        "macs": architecture.cost.macs,
        "params": architecture.cost.params,
    }
    if PartialState().is_main_process:
        weights = run_dir / "model.safetensors"
        save(trained.model, architecture, weights)
        results |= {
            "file_bytes": weights.stat().st_size,
            "latency_ms": measure_latency(trained.model, task.example_inputs()),
            "train_seconds": trained.seconds,
            "epochs": trained.epochs,
            "seed": recipe.seed,
            "versions": versions(),
            "machine": machine(),
        }
        write_text(run_dir / "recipe.yaml", recipe.to_yaml())
        architecture.save(run_dir / "architecture.lwdna.json")
        write_json(run_dir / "results.json", results)
    return results
