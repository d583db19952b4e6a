import math

import pytest

from lwdna.reports import (
    format_bytes,
    format_change,
    format_count,
    format_gain,
    format_milliseconds,
    format_percent,
    format_seconds,
    format_trials,
)
from lwdna.reports.formats import format_score, format_tick, shorten

from .conftest import TOP1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4_089_184_256, "4.09 G"),
        (25_557_032, "25.6 M"),
        (102_000, "102 k"),
        (999, "999"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (0, "0"),
        (-1500, "−1.50 k"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_counts_have_three_digits_and_a_prefix(value: float | None, text: str) -> None:
    assert format_count(value) == text


def test_counts_take_a_unit() -> None:
    assert format_count(4_089_184_256, "MACs") == "4.09 G MACs"
    assert format_count(12, "params") == "12 params"


@pytest.mark.parametrize(
    ("value", "text"), [(97_800_000, "97.8 MB"), (512, "512 B"), (1000, "1.00 kB"), (None, "–")]
)
def test_file_sizes(value: float | None, text: str) -> None:
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.250 s"),
        (4.2, "4.20 s"),
        (61, "61.0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (18_420, "5 h 07 min"),
        (math.inf, "–"),
    ],
)
def test_durations(value: float, text: str) -> None:
    assert format_seconds(value) == text


def test_latencies_keep_three_digits_however_small() -> None:
    assert format_milliseconds(4.213) == "4.21 ms"
    assert format_milliseconds(0.001412) == "0.00141 ms"
    assert format_milliseconds(0.23) == "0.230 ms"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (100, 92, "−8.0 %"),
        (100, 105.04, "+5.0 %"),
        (100, 100.01, "0.0 %"),
        (0, 0, "0.0 %"),
        (0, 5, "–"),
        (None, 5, "–"),
        (5, math.nan, "–"),
    ],
)
def test_changes_are_relative_to_what_was_before(
    before: float | None, after: float, text: str
) -> None:
    assert format_change(before, after) == text


def test_points_are_differences_of_percentages() -> None:
    assert format_gain(76.15, 76.95, TOP1) == "+0.80 points"
    assert format_gain(76.95, 76.15, TOP1) == "−0.80 points"
    assert format_gain(76.15, 76.151, TOP1) == "0.00 points"
    assert format_percent(76.149) == "76.15 %"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25"), (0.0, "0"), (1e-5, "10⁻⁵"), (0.000679, "6.79×10⁻⁴"), (2e6, "2×10⁶")],
)
def test_scores(value: float, text: str) -> None:
    assert format_score(value) == text


def test_ticks_have_no_trailing_zeros() -> None:
    assert [format_tick(value) for value in (0, 0.5, 2000, 200_000_000, 2_500_000_000)] == [
        "0",
        "0.5",
        "2000",
        "200 M",
        "2.5 G",
    ]


def test_long_names_keep_both_ends() -> None:
    short = shorten("backbone.stage.0.very.long.path.blocks.17.conv_pwl", 24)
    assert len(short) == 24
    assert short.startswith("backbone.")
    assert short.endswith(".conv_pwl")
    assert shorten("layer1.0.conv1") == "layer1.0.conv1"


def test_losses_of_trials() -> None:
    text = "4 short trainings, loss 1.5000 (baseline), 1.2500 (lowest); 1 failed"
    assert format_trials([1.5, None, 1.25, 2.0]) == text
