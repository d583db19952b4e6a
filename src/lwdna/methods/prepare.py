"""The network whose units are scored: trained, fresh, or fresh and warmed up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from lwdna.channels import ChannelGraph, resize
from lwdna.errors import RecipeError
from lwdna.hypernet import Hypernetwork, generated_weights
from lwdna.methods.criteria import CRITERIA, Problem, reset_norms
from lwdna.methods.keep.table import Choice, chosen, in_full
from lwdna.methods.settings import ShrinkSettings, WarmupSettings
from lwdna.methods.space import least_widths
from lwdna.methods.sparse.doomed import Narrow, by_rule, doomed_units
from lwdna.methods.sparse.sizes import sizes_of
from lwdna.methods.sparse.stop import Target
from lwdna.methods.sparse.units import Units
from lwdna.methods.trials.runs import TrialSetup, shortened
from lwdna.methods.warmup import WarmedUp, WarmupRun, task_of, warm_up


@dataclass(frozen=True)
class Trained:
    """A network whose weights mean something."""

    network: nn.Module
    widths: Mapping[str, int] | None = None
    """Its widths by group, where they are not those of the baseline."""
    start: str | None = None
    """Which published weights, if the network is the baseline with these: it may be widened by
    copies of its units, and the network found starts from them, too."""


def check(settings: ShrinkSettings, trained: Trained | None, setup: TrialSetup | None) -> None:
    """Make sure that the settings fit each other and what is given for them.

    Raises:
        RecipeError: they do not.
    """
    reads_latents = CRITERIA[settings.criterion].reads_latents
    if trained and trained.start is None and settings.width_mult != 1:
        raise RecipeError(
            f"width_mult is {settings.width_mult}, but trained weights are those of the network "
            "as it is; set shrink.width_mult=1"
        )
    if trained and settings.warmup and settings.width_mult != 1:
        raise RecipeError(
            "shrink.warmup would train the copies of units by which a pretrained network is "
            "widened apart, so that they could not be put together again; set "
            "shrink.width_mult=1, or leave out shrink.warmup"
        )
    if settings.hypernetwork and not reads_latents:
        raise RecipeError(
            f"criterion {settings.criterion} reads no latents, so that shrink.hypernetwork would "
            "do nothing; leave it out or set shrink.criterion=latent-gradient or latent-magnitude"
        )
    penalties = settings.warmup.penalty if settings.warmup else ()
    if reads_latents and any(one.sides != "both" or one.affine for one in penalties):
        raise RecipeError(
            f"criterion {settings.criterion} reads latents, on which penalties then act: they have "
            "no sides; leave out sides and affine of shrink.warmup.penalty"
        )
    if settings.inherit and not (trained or settings.warmup):
        raise RecipeError(
            "shrink.inherit: there are only random weights to inherit; give a shrink.warmup or "
            "trained weights (--weights), or leave it out"
        )
    if settings.trials and (trained or settings.inherit):
        raise RecipeError(
            "shrink.trials train fresh networks and say nothing of inherited weights; leave out "
            "shrink.trials, or shrink.inherit and the trained weights (--weights, --pretrained)"
        )
    if settings.trials and setup is None:
        raise RecipeError(
            "shrink.trials train on the whole training set, which only a recipe names: use "
            "`lwdna shrink` or lwdna.workflows.run_search"
        )
    if settings.trials and setup and bool(settings.trials.proxy) != bool(setup.proxy):
        raise RecipeError(
            "shrink.trials.proxy and the proxy of the trials' setup belong together: give both or "
            "neither"
        )
    if settings.trials and setup:
        # before the criterion takes its time
        shortened(setup.protocol, settings.trials, setup.task.train_size)
    _, rule, _ = chosen(keep_choice(settings, judged_alone(settings, trained)))
    if rule.requires:
        rule.requires(settings.budget)


def judged_alone(settings: ShrinkSettings, trained: Trained | bool | None) -> bool:
    """Return whether each unit's own score says something: not of fresh ones, nor of copies."""
    return bool(trained) and settings.width_mult == 1


def keep_choice(settings: ShrinkSettings, trained: bool) -> Choice:
    """Return the keep rule of a recipe with its options, the usual one where it names none.

    Fresh units of a group differ by chance, so that only the group's sum of scores says something;
    of trained ones each is as important as its score (see :func:`judged_alone`). Places in
    an order cannot be summed at all.
    """
    if settings.keep:
        return settings.keep
    if CRITERIA[settings.criterion].ranks:
        return in_full("threshold")
    return in_full("knapsack" if trained else "proportional")


def fresh(
    model: nn.Module,
    graph: ChannelGraph,
    widened: Mapping[str, int],
    settings: ShrinkSettings,
    seed: int,
) -> nn.Module:
    """Return the widened network with fresh weights, but for those that will be generated."""
    criterion = CRITERIA[settings.criterion]
    generated = criterion.draws_weights or (criterion.reads_latents and settings.warmup)
    undefined = generated_weights(model, graph) if generated else ()
    wide = resize(model, graph, widened, seed=seed, undefined=undefined)
    reset_norms(wide)
    return wide


def warmed(
    problem: Problem,
    settings: WarmupSettings,
    run: WarmupRun | None,
    narrow: Narrow | None = None,
) -> tuple[Problem, Hypernetwork | None, WarmedUp]:
    """Train the widened network of a problem, or a hypernetwork for it, in place.

    Trained weights stay what they are at first: the hypernetwork generates them.

    Args:
        problem: what is to be scored afterwards.
        settings: of the training.
        run: data and checkpoints; default: the problem's batches.
        narrow: how scores become widths, for penalties that grow; default: the settings' keep rule.

    Returns:
        The problem as it is now, the hypernetwork if there is one, and what the warm-up came to.

    Raises:
        BudgetError: the warm-up is to meet a budget that the floors alone exceed.
    """
    criterion = CRITERIA[problem.settings.criterion]
    whole, removed = None, None
    if any(one.kind == "growing" for one in settings.penalty):
        usual = by_rule(problem, keep_choice(problem.settings, problem.trained))
        removed = doomed_units(problem, narrow or usual)
    if criterion.reads_latents:
        given = problem.wide, problem.graph, problem.widths, problem.settings.embedding_dim
        whole = Hypernetwork(*given, problem.seed, keep_weights=problem.trained)
    loss = criterion.objective(problem) if criterion.objective else None
    latents = whole.latents if whole else None
    units = Units(problem.wide, problem.graph, problem.widths, latents)
    with nullcontext(run) if run else _in_memory(problem) as chosen:
        done = warm_up(
            whole or problem.wide,
            chosen,
            settings,
            seed=problem.seed,
            loss=loss,
            units=units,
            removed=removed,
            target=_target(problem, settings, units),
        )
    return replace(problem, trained=True, latents=latents), whole, done


def _target(problem: Problem, settings: WarmupSettings, units: Units) -> Target | None:
    """Return what ends the warm-up of a problem, if the settings say so.

    Of weights the sizes are those of the side that all penalties act on, or of both.
    """
    if settings.until is None:
        return None
    graph, widths, whole = problem.graph, problem.widths, problem.settings
    device = next(problem.wide.parameters()).device
    least = least_widths(graph, widths, whole)
    sizes = sizes_of(units, settings.penalty)
    return Target.of(settings.until, whole.budget, graph, widths, least, sizes, device)


@contextmanager
def _in_memory(problem: Problem) -> Iterator[WarmupRun]:
    with TemporaryDirectory() as folder:
        yield WarmupRun(task_of(problem.batches, problem.loss), Path(folder))
