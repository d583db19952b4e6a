"""Which frames an example shows: causal, near, visible, and by weights of the sets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lwdna.errors import DataError
from lwdna.tasks.tracking.sampling import WeightedSet, choose_frames, choose_sequence, showing

from .targets import in_memory

BOX = (10.0, 8.0, 12.0, 9.0)
NONE = (np.nan,) * 4


def draws(visible, count=400, train=3, test=3, gap=30, seed=0):
    generator = np.random.default_rng(seed)
    return [choose_frames(np.asarray(visible), train, test, gap, generator) for _ in range(count)]


def test_test_frames_come_after_training_frames_and_none_is_farther_than_the_gap():
    middles = set()
    for train, test in draws(np.ones(97, dtype=bool), 3000, train=3, test=2, gap=7):
        assert (len(train), len(test)) == (3, 2)
        last, *earlier = train
        middles.add(last)
        assert all(last - 7 <= frame < last for frame in earlier)
        assert all(last < frame <= last + 7 for frame in test)
    assert middles == set(range(1, 96))


def test_all_frames_within_the_gap_come():
    train, test = Counter(), Counter()
    for (last, *earlier), later in draws(np.ones(97, dtype=bool), 4000, gap=5):
        train.update(last - frame for frame in earlier)
        test.update(frame - last for frame in later)
    assert sorted(train) == sorted(test) == [1, 2, 3, 4, 5]
    assert min(test.values()) > 0.8 * max(test.values())


def test_frames_without_the_target_are_never_shown():
    visible = np.random.default_rng(3).random(89) < 0.3
    for train, test in draws(visible):
        assert visible[train].all()
        assert visible[test].all()


def test_the_gap_grows_by_five_where_no_frame_fits():
    """The only frame before 20 is 17 frames before it: a gap of 4 grows to 19, past frame 39."""
    visible = np.zeros(60, dtype=bool)
    visible[[3, 20, 37, 39, 40, 41]] = True
    found = [(train, test) for train, test in draws(visible, gap=4) if train[0] == 20]
    assert found
    assert {frame for train, _ in found for frame in train[1:]} == {3}
    assert {frame for _, test in found for frame in test} == {37, 39}


@pytest.mark.parametrize(
    ("visible", "frames"),
    [([0, 1, 0], ([1, 1, 1], [1, 1, 1])), ([1, 0, 1], ([0, 0, 0], [2, 2, 2]))],
)
def test_few_frames_are_shown_again(visible, frames):
    assert draws(np.array(visible, dtype=bool), 5) == [frames] * 5


def test_one_training_frame_may_be_the_first():
    found = {train[0] for train, _ in draws(np.ones(5, dtype=bool), 200, train=1, test=1)}
    assert found == {0, 1, 2, 3}


def test_frames_show_what_is_visible_and_has_a_box():
    sequence = in_memory([BOX, NONE, BOX, BOX], [True, False, False, True])
    assert showing(sequence).tolist() == [True, False, False, True]


def test_sets_come_by_their_weights_and_sequences_of_a_set_alike():
    sets = [
        WeightedSet([in_memory([BOX], name=f"{key}{i}") for i in range(size)], weight)
        for key, size, weight in (("a", 2, 0.25), ("b", 3, 1.0))
    ]
    generator = np.random.default_rng(1)
    count = Counter(choose_sequence(sets, generator).name for _ in range(10_000))
    wanted = {"a0": 0.1, "a1": 0.1, "b0": 0.8 / 3, "b1": 0.8 / 3, "b2": 0.8 / 3}
    assert {name: n / 10_000 for name, n in count.items()} == pytest.approx(wanted, abs=0.015)


def test_sequences_that_never_show_their_target_are_passed_over():
    hidden, shown = in_memory([BOX], [False], "hidden"), in_memory([BOX], name="shown")
    generator = np.random.default_rng(1)
    sets = [WeightedSet([hidden, shown], 1.0)]
    assert {choose_sequence(sets, generator).name for _ in range(50)} == {"shown"}
    with pytest.raises(DataError, match="no frame of any shows its target"):
        choose_sequence([WeightedSet([hidden], 1.0)], generator)
