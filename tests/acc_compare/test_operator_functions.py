"""Amplification and domains of functions, against derivatives by mpmath."""

from __future__ import annotations

import math

import mpmath
import pytest

from acc_compare.operators import may_leave_finite, most_bent, most_moved, variant

FUNCTIONS = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "logsigmoid": lambda x: -mpmath.log(1 + mpmath.exp(-x)),
    "erfc": mpmath.erfc,
    "tan": mpmath.tan,
    "asin": mpmath.asin,
    "acos": mpmath.acos,
    "atanh": mpmath.atanh,
    "erfinv": mpmath.erfinv,
    "log": mpmath.log,
    "log2": lambda x: mpmath.log(x, 2),
    "log1p": mpmath.log1p,
    "logit": lambda x: mpmath.log(x / (1 - x)),
    "reciprocal": lambda x: 1 / x,
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("x", [0.3, 0.75])
def test_how_far_a_relative_error_moves_a_value(name: str, x: float) -> None:
    value = FUNCTIONS[name](x)
    moved = abs(x * mpmath.diff(FUNCTIONS[name], x))
    assert most_moved(name, [x], [float(value)]) == pytest.approx(float(moved), rel=1e-6)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("x", [-0.9, -0.5, 0.3, 0.75, 0.97])
def test_the_derivative_moves_by_no_more_than_is_said(name: str, x: float) -> None:
    function = FUNCTIONS[name]
    if x < 0 and name in ("log", "log2", "logit"):
        pytest.skip("not defined there")
    first, second = mpmath.diff(function, x), mpmath.diff(function, x, 2)
    said = most_bent(name, [x], [float(function(x))])
    assert said > 0.9 * float(abs(x * second / first)) or float(abs(x * second / first)) < 4.0


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("x", [0.9, 0.999, 1 - 1e-6])
def test_the_gradient_of_a_binary_cross_entropy_is_steep_where_a_probability_is_1(x: float, target: float) -> None:
    first = (x - target) / (x * (1 - x))
    moved = 1e-9 * x
    second = ((x + moved - target) / ((x + moved) * (1 - x - moved)) - first) / moved
    assert most_bent("binary_cross_entropy", [x], [0.7]) > 0.9 * abs(x * second / first)


BESSEL = {
    "i0": lambda x: mpmath.besseli(0, x),
    "modified_bessel_i1": lambda x: mpmath.besseli(1, x),
    "modified_bessel_k0": lambda x: mpmath.besselk(0, x),
    "modified_bessel_k1": lambda x: mpmath.besselk(1, x),
}


@pytest.mark.parametrize("name", sorted(BESSEL))
@pytest.mark.parametrize("x", [0.5, 3.0, 9.0])
def test_how_far_bessel_functions_move_is_bounded_from_above(name: str, x: float) -> None:
    moved = abs(x * mpmath.diff(BESSEL[name], x))
    assert moved <= most_moved(name, [x], [float(BESSEL[name](x))]) <= 5 * moved


def test_the_steepest_end_counts_in_any_spelling() -> None:
    assert most_moved("exp_", [-1.0, 3.0], [math.exp(-1.0), math.exp(3.0)]) == pytest.approx(3.0 * math.exp(3.0))


def test_an_overflow_is_told_as_infinite_and_what_is_unknown_as_none() -> None:
    assert most_moved("polygamma", [1.0], [1e300]) == math.inf
    assert most_moved("nobody_knows_this", [1.0], [1.0]) == 0.0
    assert most_moved("exp", [math.inf], [math.nan]) == 0.0


@pytest.mark.parametrize(
    ("api", "low", "high", "expected"),
    [
        ("asin", -0.9, 0.9, False),
        ("asin", -0.9, 1.001, True),
        ("log_", 0.1, 5.0, False),
        ("log_", 0.0, 5.0, True),
        ("log1p", -0.9, 5.0, False),
        ("acosh", 0.99, 5.0, True),
        ("gelu", -1e9, 1e9, False),
    ],
)
def test_where_a_function_is_finite(api: str, low: float, high: float, expected: bool) -> None:
    assert may_leave_finite(api, low, high) is expected


@pytest.mark.parametrize(
    ("api", "options", "operator"),
    [
        ("div", {"input.rounding_mode": "floor"}, "floor_divide"),
        ("divide_", {"input.rounding_mode": "trunc"}, "floor_divide"),
        ("div", {"input.rounding_mode": None}, "div"),
        ("div", {}, "div"),
        ("round", {"input.rounding_mode": "floor"}, "round"),
    ],
)
def test_a_division_that_rounds_is_another_operator(api: str, options: dict[str, object], operator: str) -> None:
    assert variant(api, options) == operator
