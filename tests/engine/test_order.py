from __future__ import annotations

import numpy as np
import pytest
import torch

from lwdna.engine import order


def test_an_epoch_visits_examples_once_in_an_order_of_its_own() -> None:
    batches = order.train_batches(23, 5, seed=3, epoch=0)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5]
    visited = np.concatenate(batches).tolist()
    assert len(set(visited)) == 20
    assert set(visited) <= set(range(23))
    again = np.concatenate(order.train_batches(23, 5, seed=3, epoch=0)).tolist()
    assert visited == again
    for seed, epoch in [(3, 1), (4, 0)]:
        other = np.concatenate(order.train_batches(23, 5, seed=seed, epoch=epoch)).tolist()
        assert visited != other


def test_a_partial_batch_is_used_only_when_it_is_the_only_one() -> None:
    (batch,) = order.train_batches(3, 5, seed=0, epoch=0)
    assert sorted(batch.tolist()) == [0, 1, 2]
    assert order.steps_per_epoch(3, 5) == 1
    assert order.steps_per_epoch(9, 5) == 1
    assert order.steps_per_epoch(10, 5) == 2


@pytest.mark.parametrize(("processes", "parts"), [(1, 1), (2, 1), (3, 2), (7, 4)])
def test_shares_make_up_the_batch(processes: int, parts: int) -> None:
    batch = np.arange(100, 111)
    shares = [
        order.share(batch, rank=rank, processes=processes, parts=parts) for rank in range(processes)
    ]
    assert [i for share in shares for part in share for i in part] == batch.tolist()
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert all(part for share in shares for part in share)


@pytest.mark.parametrize(("size", "processes"), [(17, 1), (17, 2), (17, 4), (1, 3)])
def test_evaluation_visits_every_example_once(size: int, processes: int) -> None:
    visited = [
        index
        for rank in range(processes)
        for batch in order.eval_batches(size, 4, rank=rank, processes=processes)
        for index in batch
    ]
    assert sorted(visited) == list(range(size))


def test_steps_and_processes_draw_different_random_numbers() -> None:
    def draw(seed: int, step: int, rank: int) -> float:
        order.seed_step(seed, step, rank)
        return float(torch.rand(()))

    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({draw(*place) for place in places}) == 4
    assert draw(1, 2, 3) == draw(1, 2, 3)
