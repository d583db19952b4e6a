"""Trials of a round: shared by processes, resumed exactly, of the schedule asked for."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from launch import SERVER
from lwdna.engine import Hooks, TrainingInterrupted, TrainSettings, train
from lwdna.errors import CheckpointError, RecipeError, TrainingError
from lwdna.files import sealed, unsealed
from lwdna.locks import locked
from lwdna.methods import TrialSetup
from lwdna.methods.settings import TrialSettings
from lwdna.methods.trials.runs import Protocol, join_trials, run_round, shortened
from lwdna.methods.warmup import task_of
from lwdna.run_options import RunOptions

WANTED = [{"one": 3, "two": 5}, {"one": 5, "two": 3}, {"one": 7, "two": 2}]
SHORT = Protocol(TrainSettings(epochs=3, batch_size=4, lr=0.05), steps=9)
"""Of sixteen examples: four steps an epoch, so that the last epoch ends early."""


def make(widths, seed):
    torch.manual_seed(seed)
    layers = (
        nn.Conv2d(3, widths["one"], 3, padding=1),
        nn.BatchNorm2d(widths["one"]),
        nn.ReLU(),
        nn.Conv2d(widths["one"], widths["two"], 3, stride=2, padding=1),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(widths["two"], 3),
    )
    return nn.Sequential(*layers)


def loss_of(network, batch):
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def setup(folder, loss=loss_of, **options):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, 8, 8, generator=generator)
    labels = torch.randint(3, (16,), generator=generator)
    task = task_of([(images, labels)], loss)
    return TrialSetup(task, SHORT.train, Path(folder), RunOptions(**options))


def go(folder, wanted=WANTED, start=0, loss=loss_of, **more):
    return run_round(make, wanted, start, setup(folder, loss), SHORT, seed=4, **more)


def timeless(trials):
    return [replace(trial, seconds=0) for trial in trials]


def interrupting(call, act):
    """Return a loss that acts before its call of that number."""
    calls = iter(range(1, 1000))

    def loss(network, batch):
        if next(calls) == call:
            act()
        return loss_of(network, batch)

    return loss


def test_a_round(tmp_path):
    said = []
    trials = run_round(make, WANTED, 0, setup(tmp_path, say=said.append), SHORT, seed=4, total=5)
    assert [trial.widths for trial in trials] == WANTED
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.json", "1.json", "2.json"]
    for number, trial in enumerate(trials):
        line = rf"trial {number + 1} of 5: loss {trial.loss:.4f} \(about \d+ s left\)"
        assert re.fullmatch(line, said[number])
        written = unsealed(json.loads((tmp_path / f"{number}.json").read_text()))
        assert written["curve"] == trial.curve
        assert len(trial.curve) == 9  # of nine steps
        assert trial.loss == pytest.approx(sum(trial.curve[-3:]) / 3)  # a quarter, rounded up
    (later,) = go(tmp_path, WANTED[:1], start=3)
    assert later.loss != trials[0].loss  # another number, another seed
    assert timeless(go(tmp_path, WANTED[:1], start=0)) == timeless(trials[:1])


def test_a_curve_has_sixteen_parts(tmp_path):
    protocol = Protocol(TrainSettings(epochs=8, batch_size=4, lr=0.05), steps=32)
    seen = []

    def loss(network, batch):
        seen.append(loss_of(network, batch))
        return seen[-1]

    (trial,) = run_round(make, WANTED[:1], 0, setup(tmp_path, loss), protocol, seed=4)
    losses = torch.stack(seen).tolist()
    means = [(losses[i] + losses[i + 1]) / 2 for i in range(0, 32, 2)]
    assert trial.curve == pytest.approx(means)
    assert trial.loss == pytest.approx(sum(losses[-8:]) / 8)


@pytest.mark.parametrize("call", [6, 13, 27])
def test_a_trial_that_was_stopped_goes_on_exactly(tmp_path, call):
    """In the second epoch of the first trial, the second of the second, the last step of all."""
    whole = go(tmp_path / "whole")
    stopped = tmp_path / "stopped"
    stop = interrupting(call, lambda: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(TrainingInterrupted):
            go(stopped, loss=stop)
    finally:
        signal.signal(signal.SIGINT, before)
    number = (call - 1) // 9
    assert not (stopped / f"{number}.json").exists()
    assert list(stopped.glob("*.lock")) == []
    asked = []

    def counting(network, batch):
        asked.append(1)
        return loss_of(network, batch)

    assert timeless(go(stopped, loss=counting)) == timeless(whole)
    assert len(asked) == 27 - call
    assert sorted(file.name for file in stopped.iterdir()) == ["0.json", "1.json", "2.json"]


def test_the_result_does_not_depend_on_the_number_of_threads(tmp_path):
    before = torch.get_num_threads()
    trials = go(tmp_path / "one")
    seen = []

    def looking(network, batch):
        seen.append(torch.get_num_threads())
        return loss_of(network, batch)

    try:
        torch.set_num_threads(2)
        assert timeless(go(tmp_path / "two", loss=looking)) == timeless(trials)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_a_trial_may_fail_but_not_the_first(tmp_path):
    def wide_ones_fail(network, batch):
        return loss_of(network, batch) * (float("nan") if network[0].out_channels > 6 else 1)

    trials = go(tmp_path / "some", loss=wide_ones_fail)
    assert [trial.loss is None for trial in trials] == [False, False, True]
    assert trials[2].curve == []
    assert not (tmp_path / "some/2").exists()
    assert timeless(go(tmp_path / "some")) == timeless(trials)  # failed once and for all
    with pytest.raises(TrainingError, match="not finite"):
        go(tmp_path / "all", WANTED[2:], loss=wide_ones_fail)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        json.dumps({"widths": WANTED[1], "loss": 1.0, "seconds": 0}),
        json.dumps({"widths": WANTED[2], "loss": 1.0, "seconds": 0, "curve": []}),
        json.dumps({**sealed({"widths": WANTED[1], "loss": 1.0, "seconds": 0}), "curve": []}),
    ],
)
def test_a_damaged_record_or_one_of_other_widths(tmp_path, content):
    asked = []
    (tmp_path / "1.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"1.json is damaged or of other widths; delete it"):
        go(tmp_path, loss=lambda *given: asked.append(given))
    assert not asked


def test_what_a_killed_process_left_is_tidied_up(tmp_path):
    """Killed after the record had got its place, and while it was written."""
    trials = go(tmp_path)
    for name in ("0/.trial.json.abcdefgh.lwdna-part", "0/checkpoints"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("0.lock", "1.lock"):
        (tmp_path / name).write_text("{}")
    assert timeless(go(tmp_path)) == timeless(trials)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.json", "1.json", "2.json"]


def test_faults_elsewhere_end_a_round_between_two_trials(tmp_path):
    def check():
        if (tmp_path / "1.json").exists():
            raise TrainingError("elsewhere")

    chosen = replace(setup(tmp_path), check=check)
    with pytest.raises(TrainingError, match="elsewhere"):
        run_round(make, WANTED, 0, chosen, SHORT, seed=4)
    assert not (tmp_path / "2.json").exists()


def helper(folder):
    """Help until killed; the process of a test."""
    torch.set_num_threads(1)
    join_trials(make, setup(folder), SHORT, 4, lambda: False)


def dies_at_its_sixth_step(folder):
    die = interrupting(6, lambda: os.kill(os.getpid(), signal.SIGKILL))
    join_trials(make, setup(folder, die), SHORT, 4, lambda: False)


def started(target, folder):
    process = SERVER.Process(target=target, args=(folder,))
    process.start()
    return process


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "a process hangs"
        time.sleep(0.05)


def want(folder, wanted):
    content = {"start": 0, "wanted": wanted}
    (folder / "wanted.json").write_text(json.dumps(sealed(content)))


@pytest.mark.slow
def test_processes_share_a_round_and_take_over_what_a_killed_one_held(tmp_path):
    alone = go(tmp_path / "alone")
    folder = tmp_path / "shared"
    folder.mkdir()
    want(folder, WANTED)
    process = started(dies_at_its_sixth_step, folder)
    until(lambda: not process.is_alive())
    assert process.exitcode == -signal.SIGKILL
    assert (folder / "1/checkpoints/last.safetensors").is_file()  # of the first epoch
    assert not (folder / "1.json").exists()
    other = started(helper, folder)
    try:
        until((folder / "2.json").is_file)
        assert not (folder / "0.json").exists()  # left to who searches
        assert timeless(go(folder)) == timeless(alone)
    finally:
        other.terminate()
        other.join()
    assert sorted(file.name for file in folder.iterdir()) == ["0.json", "1.json", "2.json"]


def test_what_another_process_holds_is_waited_for(tmp_path, monkeypatch):
    trials = go(tmp_path)
    (tmp_path / "1.json").rename(tmp_path / "kept")
    naps = []
    with locked(tmp_path / "1.lock"):

        def nap(seconds):
            naps.append(seconds)
            if len(naps) == 3:
                raise InterruptedError

        monkeypatch.setattr(time, "sleep", nap)
        with pytest.raises(InterruptedError):
            go(tmp_path)
        (tmp_path / "kept").rename(tmp_path / "1.json")
    assert timeless(go(tmp_path)) == timeless(trials)


@pytest.mark.parametrize("damage", ["{", "[]", '{"start": 1}'])
def test_a_damaged_list_of_what_is_wanted(tmp_path, damage):
    (tmp_path / "wanted.json").write_text(damage)
    with pytest.raises(CheckpointError, match=r"wanted.json is damaged; delete it"):
        join_trials(make, setup(tmp_path), SHORT, 4, lambda: False)


def rates(protocol, folder, train_size=20):
    """Return the learning rate of every step."""
    seen = []
    images, labels = torch.zeros(train_size, 3, 8, 8), torch.zeros(train_size, dtype=torch.int64)
    train(
        make(WANTED[0], 0),
        task_of([(images, labels)], loss_of),
        protocol.train if isinstance(protocol, Protocol) else protocol,
        folder,
        seed=0,
        steps=protocol.steps if isinstance(protocol, Protocol) else None,
        evaluate=False,
        hooks=Hooks(after_step=seen.append),
    )
    return seen


def test_a_cut_schedule_has_the_learning_rates_of_the_long_one(tmp_path):
    given = TrainSettings(
        epochs=10, batch_size=4, warmup_epochs=1, schedule="multistep", milestones=(2, 6), ema=0.9
    )
    cut = shortened(given, TrialSettings(length=0.27), 20)
    assert cut.steps == 14  # of 50, rounded up: the third epoch ends early
    assert cut.train == given.model_copy(update={"ema": None})
    long = rates(given, tmp_path / "long")
    assert len(long) == 50
    assert rates(cut, tmp_path / "cut") == long[:14]


def test_a_compressed_schedule_ends_where_the_long_one_does(tmp_path):
    given = TrainSettings(
        epochs=10, batch_size=4, warmup_epochs=5, schedule="step", decay_epochs=2, ema=0.9
    )
    chosen = TrialSettings(length=0.4, schedule="compressed")
    short = shortened(given, chosen, 20)
    assert short.steps == 20
    assert TrainSettings.model_validate(short.train.model_dump()) == given.model_copy(
        update={"epochs": 4, "warmup_epochs": 2.0, "schedule": "cosine", "ema": None}
    )
    seen = rates(short, tmp_path)
    assert seen[:10] == pytest.approx([0.01 * step for step in range(10)])
    assert seen[10] == pytest.approx(0.05)  # timm's cosine has gone on during the warm-up
    assert seen[-1] < 0.001
    constant = TrainSettings(epochs=8, schedule="constant", batch_size=4)
    assert shortened(constant, chosen, 20).train.schedule == "constant"
    assert shortened(constant, chosen, 20).train.epochs == 4  # of 3.2
    assert shortened(constant, chosen, 20).steps == 16


@pytest.mark.parametrize(("length", "steps"), [(0.05, 3), (0.061, 4)])
def test_trials_of_hardly_any_steps_are_refused(length, steps):
    given, chosen = TrainSettings(epochs=10, batch_size=4), TrialSettings(length=length)
    if steps == 4:
        assert shortened(given, chosen, 20).steps == 4
        return
    with pytest.raises(RecipeError, match=r"length \(0.05\) makes trials of 3 of the 50 steps"):
        shortened(given, chosen, 20)
