"""``lwdna train``: train the baseline or a network found, and write everything worth keeping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import nn

from lwdna.architecture import Architecture, load, save
from lwdna.engine import (
    Task,
    TrainResult,
    machine,
    measure_latency,
    train,
    versions,
)
from lwdna.engine.device import make_accelerator
from lwdna.engine.fingerprint import Fingerprint
from lwdna.engine.task import RecordsItself, describe
from lwdna.engine.trackers import Tracking
from lwdna.errors import ArchitectureError, CheckpointError
from lwdna.files import write_json, write_text
from lwdna.methods import distilled
from lwdna.recipe import Recipe, load_recipe
from lwdna.reports import not_finite
from lwdna.run_folder import (
    ARCHITECTURE,
    EXAMPLES,
    OUTCOMES,
    RECIPE,
    RESULTS,
    WEIGHTS,
    check_no_comparison,
    last_checkpoint,
)
from lwdna.run_options import RunOptions
from lwdna.weights import load_weights, save_weights
from lwdna.workflows.interface_of import interface_of
from lwdna.workflows.one_writer import one_writer
from lwdna.workflows.pretrained import check_start, start_of
from lwdna.workflows.resume import check_same_recipe
from lwdna.workflows.same_data import check_same_data, write_data
from lwdna.workflows.setup import (
    baseline_architecture,
    check_for_recipe,
    make_baseline,
    make_source,
    make_task,
    make_teacher,
)
from lwdna.workflows.told_classes import told_classes


def run_training(
    recipe: Recipe,
    run_dir: str | Path,
    *,
    architecture: Architecture | None = None,
    weights: Path | None = None,
    teacher: Path | None = None,
    resume: bool = False,
    part_of: Path | None = None,
    trust_code: bool = False,
    options: RunOptions = RunOptions(),
) -> dict[str, Any]:
    """Train one network with the recipe's protocol and return its results.

    Writes into ``run_dir``: ``recipe.yaml``, ``data.json``, ``architecture.lwdna.json``,
    ``metrics.jsonl``, ``tensorboard/``, ``checkpoints/``, ``model.safetensors``,
    ``outcomes.safetensors``, ``results.json`` and, from some tasks, ``predictions.safetensors`` and
    pictures in ``examples/``.

    Args:
        recipe: data, protocol and seed.
        run_dir: must not hold another run, unless ``resume``.
        architecture: None trains the baseline, built through the same steps as any other; with
            ``resume``, whatever the run in ``run_dir`` trains.
        weights: a file with a network of this architecture, whose weights training starts from;
            None starts from fresh ones; with ``model.pretrained`` the baseline starts from these,
            and a network found needs ``weights`` that the search made of them.
        teacher: the trained baseline, where the recipe distils from it.
        resume: go on where the run in ``run_dir`` was stopped; one that is finished goes on to more
            epochs, where the recipe's schedule is the same up to there.
        part_of: the folder of a job or comparison, whose data it must have.
        trust_code: allow a network whose source imports Python code; so may ``options``.
        options: a progress bar, what is being done, trust.

    Raises:
        CheckpointError: ``run_dir`` holds another run, or none to resume, or a damaged one.
        LockedError: another process writes ``run_dir``.
        DataError: the run to resume, or the job, was started with other data.
        ArchitectureError: the architecture is not of this recipe's network or data set, or only
            one of baseline and network found would start from trained weights.
        ModelError: the weights that the recipe asks for cannot be had.
    """
    run_dir, options = Path(run_dir), options.trusting(trust_code)
    if not resume:
        check_start(recipe)
    with one_writer(run_dir, options):
        return _train(recipe, run_dir, architecture, weights, teacher, resume, part_of, options)


def _train(
    recipe: Recipe,
    run_dir: Path,
    architecture: Architecture | None,
    weights: Path | None,
    teacher: Path | None,
    resume: bool,
    part_of: Path | None,
    options: RunOptions,
) -> dict[str, Any]:
    if resume and (run_dir / ARCHITECTURE).is_file():
        architecture = _same(architecture, run_dir / ARCHITECTURE)
    name = "baseline" if architecture is None else architecture.found.get("method", "baseline")
    options.say(f"training {'the baseline' if name == 'baseline' else 'the network found'}")
    _check_start(recipe, run_dir, resume)
    task = make_task(recipe, None if part_of else options.say)
    data = check_same_data(task, run_dir if resume else None, part_of, options)
    if architecture is None:
        architecture = baseline_architecture(recipe, task, options.trust_code)
    check_for_recipe(architecture, recipe, task)
    model = architecture.build(seed=recipe.seed, trust_code=options.trust_code)
    if not resume:
        _fill(model, recipe, architecture, weights, task, options.trust_code)
    learnt = _learnt(recipe, task, model, name, teacher, options)
    _write_start(recipe, architecture, data, run_dir, resume)
    trained = train(
        model,
        learnt,
        recipe.train,
        run_dir,
        seed=recipe.seed,
        resume=resume,
        progress=options.progress,
        tracking=Tracking(recipe.train.trackers, recipe.flat()),
    )
    results = {"name": name, **figures(task, trained, architecture, weights, options)}
    if start := architecture.found.get("pretrained") if weights else start_of(recipe):
        results["pretrained"] = start
    if learnt is not task and recipe.distill:
        results["distill"] = recipe.distill.model_dump(mode="json")
    if PartialState().is_main_process:
        results |= write_trained(recipe, architecture, task, trained, run_dir)
        write_json(run_dir / RESULTS, results)
    return results


def _fill(
    model: nn.Module,
    recipe: Recipe,
    architecture: Architecture,
    weights: Path | None,
    task: Task,
    trust_code: bool,
) -> None:
    """Give ``model`` the weights that training starts from, where they are not fresh ones."""
    pretrained = recipe.model.pretrained
    if weights is not None:
        if "pretrained" in architecture.found and not pretrained:
            raise ArchitectureError(
                f"the network in {weights} starts from pretrained weights "
                f"({architecture.found['pretrained']}), the recipe's baseline from fresh ones; "
                "train with --pretrained, or give the .lwdna.json of a search without it"
            )
        given, its_own = load(weights, trust_code=trust_code)
        if its_own.widths != architecture.widths:
            raise ArchitectureError(
                f"the weights in {weights} are of other widths than the architecture; use those "
                "that were written with it"
            )
        load_weights(model, given.state_dict(), weights)
    elif pretrained and architecture.cost != architecture.baseline:
        raise ArchitectureError(
            "the network found would start from fresh weights and the baseline from pretrained "
            f"ones; give the {WEIGHTS} that a search with --pretrained wrote (--architecture), or "
            "leave out --pretrained"
        )
    elif pretrained:
        source = make_source(recipe, task)
        given = make_baseline(recipe, source, trust_code, trained=True)
        load_weights(model, given.state_dict(), source.name)


def _learnt(
    recipe: Recipe,
    task: Task,
    model: nn.Module,
    name: str,
    teacher: Path | None,
    options: RunOptions,
) -> Task:
    """Return what is trained on: the task, or a teacher's answers to it where the recipe says so.

    A baseline that is to be the teacher learns from the data alone.
    """
    if not recipe.distill or name == recipe.distill.teacher == "baseline":
        return task
    master = make_teacher(recipe.distill.teacher, task, teacher, options)
    return distilled(task, model, master, recipe.distill)


def _same(architecture: Architecture | None, own: Path) -> Architecture:
    """Return the architecture of a run to resume, which must be the one given, if one is."""
    trained = Architecture.load(own)
    if architecture is not None and architecture != trained:
        raise ArchitectureError(
            f"the run in {own.parent} trains another architecture than the one given; resume "
            "without --architecture, or start a new run in another folder"
        )
    return trained


def _check_start(recipe: Recipe, run_dir: Path, resume: bool) -> None:
    check_no_comparison(run_dir)
    used = [f for f in (last_checkpoint(run_dir), run_dir / RESULTS) if f.exists()]
    if used and not resume:
        raise CheckpointError(
            f"{run_dir} already holds a run; go on with it (--resume), choose another folder "
            "(--out) or delete it"
        )
    if resume and not last_checkpoint(run_dir).exists():
        raise CheckpointError(
            f"nothing to resume in {run_dir}: it holds no checkpoint; name the folder of an "
            "interrupted run or start without --resume"
        )
    if resume and (run_dir / RECIPE).is_file():
        check_same_recipe(run_dir, recipe, longer=True)


def _write_start(
    recipe: Recipe,
    architecture: Architecture,
    data: Fingerprint | None,
    run_dir: Path,
    resume: bool,
) -> None:
    """Write down what is being trained, so that a run that is stopped can say how to go on."""
    processes = make_accelerator("no")
    processes.wait_for_everyone()  # all have looked at the folder before it changes
    if not processes.is_main_process:
        return
    if not resume:
        write_text(run_dir / RECIPE, recipe.to_yaml())
        write_data(run_dir, data)
        architecture.save(run_dir / ARCHITECTURE)
    elif (run_dir / RECIPE).is_file():
        started = load_recipe(run_dir / RECIPE)
        if started.train.epochs != recipe.train.epochs:  # the run is made longer
            write_text(run_dir / RECIPE, recipe.to_yaml())


def figures(
    task: Task,
    trained: TrainResult,
    architecture: Architecture,
    weights: Path | None,
    options: RunOptions,
) -> dict[str, Any]:
    """Return what all processes know of a network that has been trained.

    Args:
        task: what it was trained for.
        trained: the network.
        architecture: what it is.
        weights: where its weights came from, if they were not fresh.
        options: told of outputs that are not finite.
    """
    given = {} if weights is None else {"initial_weights": str(weights)}
    known: dict[str, Any] = {
        **describe(task.metric, *task.other_metrics),
        **trained.metrics,
        "examples": task.eval_size,
        **architecture.cost.model_dump(),
        **given,
        **(task.record() if isinstance(task, RecordsItself) else {}),
        **_padded(trained),
    }
    if remark := _stopped(task, trained):
        known |= {"best_epoch": trained.best_epoch, "remarks": [remark]}
        options.say(f"note: {remark}")
    if warning := not_finite(known):
        options.say(f"warning: {warning}")
    return known


def _padded(trained: TrainResult) -> dict[str, Any]:
    """Return which groups were wider in memory, and why others with odd widths were not."""
    padding = trained.padding
    return {"padding": {"padded": padding.padded, "left": padding.left}} if padding else {}


def _stopped(task: Task, trained: TrainResult) -> str:
    """Return what to know of a training that was free to stop early, ``""`` of any other."""
    if trained.best_epoch is None:
        return ""
    ended = "stopped early, after" if trained.ended else "went on to its end,"
    return (
        f"training {ended} epoch {trained.epochs}; its weights and figures are those of epoch "
        f"{trained.best_epoch}, the best {task.metric.title} of all that were measured on these "
        "images"
    )


def write_trained(
    recipe: Recipe, architecture: Architecture, task: Task, trained: TrainResult, run_dir: Path
) -> dict[str, Any]:
    """Write weights, outcomes, choices and pictures; return what else is worth knowing."""
    weights = run_dir / WEIGHTS
    interface = interface_of(recipe, task)
    save(trained.model, architecture, weights, interface)
    device = next(trained.model.parameters()).device
    task.show(trained.model, run_dir / EXAMPLES, device)
    save_weights(run_dir / OUTCOMES, {task.metric.name: trained.outcomes}, {})
    return {
        **told_classes(task, trained.choices, run_dir),
        "interface": interface.model_dump(mode="json"),
        "file_bytes": weights.stat().st_size,
        "latency_ms": measure_latency(trained.model, task.example_inputs()),
        "train_seconds": trained.seconds,
        "epochs": trained.epochs,
        "seed": recipe.seed,
        "versions": versions(),
        "machine": machine(),
    }
