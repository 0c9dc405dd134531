"""A setting that makes all products coarser is told apart from one product that is wrong."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from acc_compare.judge.lowered import LOWERED, lowered_products
from acc_compare.judge.noise import Noise


def rounded(values: Any, bits: int) -> Any:
    mantissa, exponent = np.frexp(values.astype("f8"))
    return np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent)


def chained(make: Any, lowers: Collection[int], *, apart: int = 0, count: int = 6, wrong: Collection[int] = ()) -> Any:
    """Products of which the first `apart` read the data, the others one another; those in `lowers` round what they
    read to ten bits on the NPU side, and there those in `wrong` have a row of zeros."""
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        x = make.normal(64, 64, seed=1)
        for n in range(count):
            weight = make.normal(64, 64, seed=40 + n) / np.float32(8)
            read = make.normal(64, 64, seed=n) if n < apart else x
            left, right = (rounded(read, 11), rounded(weight, 11)) if is_npu and n in lowers else (read, weight)
            x = (left.astype("f8") @ right.T.astype("f8")).astype("f4")
            if is_npu and n in wrong:
                x[5] = 0.0
            run.call(f"Functional.linear.{n}.forward", [read, weight], [x])
        runs.append(run)
    return [part.call for part in make.measured(*runs)]


@pytest.mark.parametrize(
    ("lowers", "apart", "wrong", "found"),
    [
        pytest.param(range(6), 6, (), "tf32", id="all products"),
        pytest.param([3], 6, (), "", id="one of six"),
        pytest.param([], 6, (), "", id="none"),
        pytest.param([], 6, [2], "", id="none, and one is wrong"),
        pytest.param(range(6), 0, (), "tf32", id="all, hidden by the first"),
        pytest.param([0], 0, (), "", id="the first alone"),
        pytest.param(range(10), 6, (), "tf32", id="all, and four inherit it, so that the operator scatters"),
        pytest.param(range(6), 0, [4], "tf32", id="all, hidden by the first, and one is wrong"),
        pytest.param(range(6), 6, [4], "tf32", id="all, in plain sight, and one is wrong"),
        pytest.param([], 6, range(6), "", id="none, and all are wrong"),
        pytest.param([0], 0, [4], "", id="the first alone, and one is wrong"),
    ],
)
def test_a_setting_is_told_from_one_product(make: Any, lowers: Any, apart: int, wrong: Any, found: str) -> None:
    measured = chained(make, lowers, apart=apart, count=max(6, len(lowers)), wrong=wrong)
    assert lowered_products(measured, Noise(measured)) == found
    if found:
        taken_as_normal = Noise(measured, lowered=LOWERED[found])
        off = {
            key[0]
            for key in taken_as_normal.observed()
            if (expected := taken_as_normal.expectation_of(key)) is not None and expected.is_too_large
        }
        assert off == {f"Functional.linear.{n}.forward" for n in wrong}


@pytest.mark.parametrize(("last", "found"), [(0.3, "tf32"), (0.05, "")])
def test_a_product_whose_operands_are_short_already_is_none_against_a_setting(
    make: Any, last: float, found: str
) -> None:
    """All but the first and the last inherit so much that they do not tell; the last is off by what it read alone, as
    where what it rounds has few digits, or by less, as where it rounds nothing."""
    unit, runs = 2.0**-11, []
    for is_npu in (True, False):
        run = make.Run()
        for n in range(8):
            read, weight = make.normal(64, 64, seed=n), make.normal(64, 64, seed=40 + n)
            inherited = 0.0 if n == 0 else last * unit if n == 7 else 3.0 * unit
            wrote = 0.6 * unit if n == 0 else inherited if n == 7 else np.hypot(inherited, 0.6 * unit)
            x, y = (
                make.off(each, size if is_npu else 0.0, seed=n)
                for each, size in ((read, inherited), (read @ weight, wrote))
            )
            run.call(f"Functional.linear.{n}.forward", [x, weight], [y])
        runs.append(run)
    measured = [part.call for part in make.measured(*runs)]
    assert lowered_products(measured, Noise(measured)) == found


@pytest.mark.parametrize(("in_backward", "found"), [(0.6, "tf32"), (0.0, "")])
def test_kernels_that_round_in_forward_alone_are_no_setting(make: Any, in_backward: float, found: str) -> None:
    """Gradients that come in are off by a tenth of what rounding them would add."""
    unit, runs = 2.0**-11, []
    for is_npu in (True, False):
        run = make.Run()
        size = unit if is_npu else 0.0
        given = [(make.normal(64, 64, seed=n), make.normal(64, 64, seed=40 + n)) for n in range(6)]
        for n, (x, weight) in enumerate(given):
            run.call(f"Functional.linear.{n}.forward", [x, weight], [make.off(x @ weight.T, 0.6 * size, seed=n)])
        for n, (x, weight) in reversed(list(enumerate(given[:3]))):
            gradient = make.normal(64, 64, seed=80 + n)
            back = [
                make.off(each, np.hypot(0.06, in_backward) * size, seed=90 + n)
                for each in (gradient @ weight, gradient.T @ x)
            ]
            run.call(f"Functional.linear.{n}.backward", [make.off(gradient, 0.06 * size, seed=70 + n)], back)
        runs.append(run)
    measured = [part.call for part in make.measured(*runs)]
    assert lowered_products(measured, Noise(measured)) == found
