from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.judge.patterns import constant_factor, shape_of_error


def rounded(values: Any, bits: int) -> Any:
    """To `bits` bits of significand, nearest even."""
    mantissa, exponent = np.frexp(values.astype("f8"))
    return np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent).astype("f4")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x * np.float32(1.001), "a constant factor of 1.001 (estimated from the sketch)"),
        (lambda x: x / np.float32(8), "a constant factor of 0.125 (estimated from the sketch)"),
        (lambda x: -x, "the sign of every element is flipped (estimated from the sketch)"),
        (lambda x: rounded(x, 8), "the size of rounding to bfloat16 (about 2e-3 of each element)"),
        (lambda x: rounded(x, 11), "the size of rounding to float16, TF32 or HF32 (about 2.4e-4 of each element)"),
        (lambda x: x + np.float32(0.3) * np.roll(x, 1), ""),
        (lambda x: x, ""),
    ],
)
def test_what_an_error_looks_like(make: Any, change: Any, expected: str) -> None:
    x = make.normal(64, 64)
    assert shape_of_error(make.argument("output.0", change(x), x)) == expected


def test_a_narrower_type_is_no_shape(make: Any) -> None:
    x = make.normal(64, 64)
    half = make.argument("output.0", x.astype("f2"), x.astype("f2"))
    assert shape_of_error(half) == ""


def test_a_factor_needs_sketches_of_one_shape_and_some_elements(make: Any) -> None:
    x = make.normal(8)
    assert constant_factor(make.tensor(2 * x), make.tensor(x)) == pytest.approx(2)
    assert constant_factor(make.tensor(2 * x, sketch=None), make.tensor(x)) is None
    assert constant_factor(make.tensor(2 * x), make.tensor(make.normal(4))) is None
    assert constant_factor(make.tensor(2 * x[:3]), make.tensor(x[:3])) is None
    assert constant_factor(make.tensor(x), make.tensor(x)) is None
    assert constant_factor(make.tensor(x), make.tensor(np.zeros(8, "f4"))) is None
