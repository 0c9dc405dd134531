from __future__ import annotations

import math
from typing import Any

import pytest

from acc_compare.judge.origins import SUSPICIOUS, Expected, Judged, largest_error, ratio


@pytest.mark.parametrize(
    ("measured", "expected", "result"),
    [
        (0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (1.0, 0.0, math.inf),
        (3.0, 2.0, 1.5),
        (math.inf, 1.0, math.inf),
        (1.0, math.inf, 0.0),
        (math.inf, math.inf, 0.0),
    ],
)
def test_ratio(measured: float, expected: float, result: float) -> None:
    assert ratio(measured, expected) == result


def test_excess_needs_an_expectation_and_a_measurement(make: Any) -> None:
    bench = make.normal(200)
    one = make.argument("output.0", make.off(bench, 1e-3), bench)
    assert Judged(one, "agrees").excess is None
    assert Judged(one, "introduced", Expected.at_most(1e-6, "prior")).excess == pytest.approx(one.relative / 1e-6)
    unmeasured = make.argument("output.0", make.normal(3), make.normal(4))
    assert Judged(unmeasured, "agrees", Expected.at_most(1e-6, "prior")).excess is None


def test_what_is_beyond_counts_from_the_limit(make: Any) -> None:
    bench = make.normal(200)
    one = make.argument("output.0", make.off(bench, 1e-3), bench)
    expected = Expected.at_most(1e-6, "floor")
    assert expected.limit == SUSPICIOUS * expected.relative
    assert Judged(one, "introduced", expected).beyond == pytest.approx(one.relative / expected.limit)
    assert Judged(one, "introduced").beyond == 0.0


def test_largest_error(make: Any) -> None:
    bench = make.normal(200)
    some = [make.argument("input.0", make.off(bench, size), bench) for size in (1e-5, 1e-2, 1e-3)]
    assert largest_error(some) == some[1].relative
    assert largest_error([]) == 0.0
