"""Random numbers as a function of (seed, epoch, example, stream)."""

from __future__ import annotations

import torch

from lwdna.data.draws import Stream, draw_seed, uniforms


def test_numbers_never_change() -> None:
    """Stored values: another release must augment the same run alike."""
    numbers = uniforms(3, 5, torch.tensor([0, 7]), 2, Stream.CROP)
    stored = torch.tensor(
        [[0.3906581401824951, 0.13548189401626587], [0.4831826090812683, 0.4787410497665405]]
    )
    assert torch.equal(numbers, stored)
    assert draw_seed(3, 5, 7, Stream.MIX) == 5725486929985844620


def test_tensor_hash_is_splitmix64() -> None:
    """The published generator: the second output of seed 0 is 0x6E789E6AA1B965F4."""
    from lwdna.data import draws

    assert draws._mix(0) == 0xE220A8397B1DCDAF
    assert draws._mix(draws._GOLDEN) == 0x6E789E6AA1B965F4
    values = torch.tensor([0, draws._signed(draws._GOLDEN)])
    expected = [draws._signed(0xE220A8397B1DCDAF), draws._signed(0x6E789E6AA1B965F4)]
    assert draws._mix_tensor(values).tolist() == expected


def test_an_example_gets_the_same_numbers_in_any_company() -> None:
    together = uniforms(1, 2, torch.arange(100), 5, Stream.FLIP)
    alone = uniforms(1, 2, torch.tensor([42]), 5, Stream.FLIP)
    assert torch.equal(together[42:43], alone)
    assert torch.equal(together[:, :3], uniforms(1, 2, torch.arange(100), 3, Stream.FLIP))


def test_numbers_are_uniform_and_differ_by_all_arguments() -> None:
    base = uniforms(0, 0, torch.arange(20_000), 4, Stream.CROP)
    assert base.min() >= 0
    assert base.max() < 1
    histogram = torch.histc(base, bins=20, min=0, max=1)
    assert (histogram - 4000).abs().max() < 5 * 4000**0.5
    others = [
        uniforms(1, 0, torch.arange(20_000), 4, Stream.CROP),
        uniforms(0, 1, torch.arange(20_000), 4, Stream.CROP),
        uniforms(0, 0, torch.arange(1, 20_001), 4, Stream.CROP),
        uniforms(0, 0, torch.arange(20_000), 4, Stream.FLIP),
    ]
    pairs = [*((base[:, 0], other[:, 0]) for other in others), (base[:, 0], base[:, 1])]
    for first, second in pairs:
        correlation = torch.corrcoef(torch.stack([first, second]))[0, 1]
        assert abs(float(correlation)) < 0.04
