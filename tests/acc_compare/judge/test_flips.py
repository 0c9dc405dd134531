"""What a few elements that jump come to is no finding, however few were expected."""

from __future__ import annotations

import numpy as np
import pytest

from acc_compare.judge.flips import by_few_flips

RATE = 1e-3


@pytest.mark.parametrize("expected", [0.01, 0.5, 5.0, 200.0])
def test_healthy_jumps_exceed_it_about_as_rarely_as_asked(expected: float) -> None:
    random, runs, count = np.random.default_rng(1), 20_000, 4096
    values = random.standard_normal((16, count))
    exceeded = 0
    for values_of_run, number in zip(
        values[random.integers(0, 16, runs)], np.minimum(random.poisson(expected, runs), count), strict=True
    ):
        jumped = values_of_run[random.integers(0, count, number)]
        norm = float(np.linalg.norm(values_of_run))
        limit = by_few_flips(expected, float(abs(values_of_run).max()) / norm, count, RATE)
        exceeded += float(np.linalg.norm(jumped)) / norm > limit
    assert exceeded / runs <= 3 * RATE


def test_it_is_not_much_more_than_they_come_to() -> None:
    count = 10_000
    one = by_few_flips(0.01, 5 / np.sqrt(count), count, 1e-6)
    assert 3 / np.sqrt(count) < one < 5 / np.sqrt(count)
    many = by_few_flips(400.0, 5 / np.sqrt(count), count, 1e-6)
    assert np.sqrt(400 / count) < many < 1.5 * np.sqrt(400 / count)


@pytest.mark.parametrize(("expected", "count"), [(0.0, 100), (1e-7, 100), (1.0, 1)])
def test_what_is_rarer_than_asked_or_alone_is_left_to_the_size(expected: float, count: int) -> None:
    assert by_few_flips(expected, 0.5, count, 1e-6) == 0.0


def test_no_more_jumps_than_there_is() -> None:
    assert by_few_flips(1e6, 1.0, 100, 1e-6) == 1.0
