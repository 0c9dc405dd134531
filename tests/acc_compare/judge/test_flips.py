"""What a few elements that jump come to is no finding, however few were expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.judge.flips import by_few_flips
from acc_compare.judge.noise import Noise

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


def test_what_moves_is_missing_here_and_too_much_there() -> None:
    stay, moved = (by_few_flips(0.01, 0.02, 10_000, 1e-6, moved=moved) for moved in (False, True))
    assert moved == pytest.approx(2**0.5 * stay)


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


def pooled(make: Any, api: str, *, moved: float) -> Noise:
    """A product and a pooling, forward and backward, whose gradient went on the NPU side in part to a neighbour, where
    the sketch does not show it."""
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        data, weight, made = make.normal(64, 64, seed=1), make.normal(64, 64, seed=2), make.normal(64, 64, seed=3)
        logits = make.off(made, 1e-3, seed=9) if is_npu else made
        run.call("Functional.linear.0.forward", [data, weight], [logits])
        run.call(f"Functional.{api}.0.forward", [logits], [make.normal(32, 32, seed=4)])
        gradient = exchanged(make, make.normal(64, 64, seed=5), moved) if is_npu else make.normal(64, 64, seed=5)
        run.call(f"Functional.{api}.0.backward", [make.normal(32, 32, seed=6)], [gradient])
        run.call("Functional.linear.0.backward", [gradient], [None, gradient.T @ data])
        runs.append(run)
    return Noise([part.call for part in make.measured(*runs)])


def exchanged(make: Any, values: Any, by: float) -> Any:
    """`values` with as much added to an element as is taken from its neighbour, where both stand under one sign and are
    so nearly equal that the norm tells little."""
    most = 0.1 * np.sqrt(2.0) * by / np.linalg.norm(values)
    for row, column in np.ndindex(values.shape[0], values.shape[1] - 1):
        found = values.copy()
        found[row, column : column + 2] += np.float32([by, -by])
        if make.argument("output.0", found, values).relative < most:
            return found
    raise AssertionError("no neighbours under one sign")


@pytest.mark.parametrize(("api", "is_exceeded"), [("max_pool2d", False), ("avg_pool2d", True)])
def test_what_another_choice_hides_from_sketches_is_nobodys_fault(make: Any, api: str, is_exceeded: bool) -> None:
    noise = pooled(make, api, moved=2.0)
    product = noise.expectation("Functional.linear.0.backward", "output.1")
    assert product is not None
    assert product.is_exceeded == is_exceeded
