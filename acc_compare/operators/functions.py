"""How functions of one number amplify the error of their argument, and where they are finite.

The condition of y = f(x) is |x f'(x) / y| (N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, 1.6): for
most activations at most 1, but for exp it is |x|, and near a pole or the edge of a domain it has no limit.  Of a tensor
the extremes are on record, so that there |x f'(x)| can be worked out: one such element may rule the error of all.
Derivatives are those of M. Abramowitz and I. Stegun, Handbook of Mathematical Functions (1964), chapters 4, 6, 7 and 9;
where a pole stands between the extremes of x they are written in y, whose extremes show how near it was come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from acc_compare.operators.spelling import plain_name

_Moved: TypeAlias = Callable[[float, float], float]

_LN2, _ROOT_PI = math.log(2.0), math.sqrt(math.pi)
_MOST = 700.0  # exp of more overflows


def _exp(value: float) -> float:
    return math.exp(min(_MOST, value))


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + _exp(-x))


_POLYNOMIALS = (
    *(f"{shifted}chebyshev_polynomial_{kind}" for shifted in ("", "shifted_") for kind in "tuvw"),
    "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p",
)  # fmt: skip
"""Of a degree that the call is given, which is of the size of its arguments."""

# |x f'(x)|, from x and y = f(x).
_MOVED: Mapping[str, _Moved] = {
    "exp": lambda x, y: x * y,
    "exp2": lambda x, y: x * y * _LN2,
    "expm1": lambda x, y: x * (y + 1.0),
    "sinh": lambda x, y: x * math.hypot(1.0, y),
    "cosh": lambda x, y: x * math.sqrt(max(0.0, y * y - 1.0)),
    "sigmoid": lambda x, y: x * y * (1.0 - y),
    "softplus": lambda x, y: x * _logistic(x),
    "logsigmoid": lambda x, y: x * _logistic(-x),
    "ldexp": lambda x, y: x * y,
    "div": lambda x, y: y,
    "reciprocal": lambda x, y: y,
    "pow": lambda x, y: max(1.0, abs(x)) * y * 2.0,
    "float_power": lambda x, y: max(1.0, abs(x)) * y * 2.0,
    "erfc": lambda x, y: x * 2.0 / _ROOT_PI * _exp(-x * x),
    "erfcx": lambda x, y: x * (2.0 * x * y - 2.0 / _ROOT_PI),
    "ndtr": lambda x, y: x * _exp(-x * x / 2.0) / math.sqrt(2.0 * math.pi),
    "log_ndtr": lambda x, y: x * x,
    "sin": lambda x, y: x,
    "cos": lambda x, y: x,
    "sinc": lambda x, y: 1.0 + y,
    "tan": lambda x, y: x * (1.0 + y * y),
    "asin": lambda x, y: x / max(1e-8, math.cos(y)),
    "acos": lambda x, y: x / max(1e-8, math.sin(y)),
    "atanh": lambda x, y: x * math.cosh(min(_MOST, y)) ** 2 if abs(y) < _MOST / 2 else math.inf,
    "acosh": lambda x, y: x / max(1e-8, math.sinh(min(_MOST, y))),
    "erfinv": lambda x, y: x * _ROOT_PI / 2.0 * _exp(y * y),
    "ndtri": lambda x, y: x * math.sqrt(2.0 * math.pi) * _exp(y * y / 2.0),
    "log": lambda x, y: 1.0,
    "log2": lambda x, y: 1.0 / _LN2,
    "log10": lambda x, y: 1.0 / math.log(10.0),
    "log1p": lambda x, y: x * _exp(-y),
    "binary_cross_entropy": lambda x, y: 1.0 / max(1e-8, 1.0 - x),
    "logit": lambda x, y: x * (2.0 + 2.0 * math.cosh(min(_MOST, abs(y)))),
    "digamma": lambda x, y: x * y * y,
    "lgamma": lambda x, y: x * (1.0 + abs(y)),
    "polygamma": lambda x, y: x * abs(y) ** 1.5,
    "mvlgamma": lambda x, y: x * (1.0 + abs(y)),
    "zeta": lambda x, y: max(1.0, abs(x)) * y * 2.0,
    "bessel_j0": lambda x, y: math.sqrt(abs(x)),
    "bessel_j1": lambda x, y: math.sqrt(abs(x)),
    "bessel_y0": lambda x, y: 1.0 + math.sqrt(abs(x)),
    "bessel_y1": lambda x, y: 1.0 + math.sqrt(abs(x)) + abs(y),
    **dict.fromkeys(("i0", "modified_bessel_i0"), lambda x, y: x * y),
    **dict.fromkeys(("i1", "modified_bessel_i1"), lambda x, y: abs(x) * (abs(y) + 0.5)),
    "modified_bessel_k0": lambda x, y: (x + 0.5) * y,
    "modified_bessel_k1": lambda x, y: (x + 1.0) * y,
    "spherical_bessel_j0": lambda x, y: 1.0 + y,
    "airy_ai": lambda x, y: abs(x) ** 1.25,
    "cond": lambda x, y: y * y,
    **dict.fromkeys(_POLYNOMIALS, lambda x, y: max(1.0, abs(x)) * y * 2.0),
}

_BENT: Mapping[str, _Moved] = {
    **dict.fromkeys(("log", "log2", "log10"), lambda x, y: 1.0),
    "log1p": lambda x, y: x * _exp(-y),
    "asin": lambda x, y: (x / max(1e-8, math.cos(y))) ** 2,
    "acos": lambda x, y: (x / max(1e-8, math.sin(y))) ** 2,
    "atanh": lambda x, y: 2.0 * (x * math.cosh(min(_MOST / 2, abs(y)))) ** 2,
    "erfinv": lambda x, y: x * y * _ROOT_PI * _exp(y * y),
    "erfc": lambda x, y: 2.0 * x * x,
    "ndtr": lambda x, y: x * x,
    "log_ndtr": lambda x, y: x * x,
    "binary_cross_entropy": lambda x, y: 1.0 / max(1e-8, 1.0 - x),  # (x - t) / (x (1 - x)), but where it is 0
}
"""|x f''(x) / f'(x)|, the condition of the derivative, where it is no small multiple of the function's own."""

_BENT_MORE = 4.0

_STEEP_AT_ZERO = frozenset(("log", "log2", "log10", "rsqrt", "reciprocal"))


@dataclass(frozen=True, slots=True)
class Range:
    """The open interval on which a function is finite; outside, and at its ends, a NaN or Inf is right."""

    low: float = -math.inf
    high: float = math.inf


_POSITIVE, _UNIT, _PROBABILITY = Range(low=0.0), Range(-1.0, 1.0), Range(0.0, 1.0)

# Of operators with several arguments, of the one that has an edge; "IEEE Standard for Floating-Point Arithmetic" (2019)
# table 9.1, and the poles of Abramowitz and Stegun 6.1, 6.3, 9.1.
_FINITE: Mapping[str, Range] = {
    **dict.fromkeys(("log", "log2", "log10", "rsqrt", "sqrt", "lgamma", "mvlgamma", "digamma", "polygamma"), _POSITIVE),
    **dict.fromkeys(("zeta", "bessel_y0", "bessel_y1", "modified_bessel_k0", "modified_bessel_k1", "xlogy"), _POSITIVE),
    **dict.fromkeys(
        ("scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "entr", "pow", "float_power"), _POSITIVE
    ),
    **dict.fromkeys(("reciprocal", "div", "floor_divide", "remainder", "fmod", "addcdiv", "corrcoef"), _POSITIVE),
    **dict.fromkeys(("asin", "acos", "atanh", "erfinv"), _UNIT),
    **dict.fromkeys(("logit", "ndtri", "binary_cross_entropy"), _PROBABILITY),
    **dict.fromkeys(("log1p", "xlog1py"), Range(low=-1.0)),
    "acosh": Range(low=1.0),
}


def most_moved(api: str, arguments: Iterable[float], values: Iterable[float]) -> float:
    """The largest |x f'(x)| at the extremes of x and of f(x): how far a relative error of 1 in x moves one element.  0
    for a function that is not in the table.

    >>> round(most_moved("exp", [-1.0, 3.0], [0.37, 20.1]), 1)
    60.3
    """
    moved = _MOVED.get(plain_name(api))
    if moved is None:
        return 0.0
    ends = [y for y in values if math.isfinite(y)]
    return max((_at(moved, x, y) for x in arguments if math.isfinite(x) for y in ends), default=0.0)


def is_steep_at_zero(api: str) -> bool:
    """Has its derivative a pole at 0, so that one element near it may rule a gradient?

    >>> is_steep_at_zero("log"), is_steep_at_zero("exp")
    (True, False)
    """
    return plain_name(api) in _STEEP_AT_ZERO


def is_bent(api: str) -> bool:
    """Is the function in the table?"""
    return plain_name(api) in _MOVED


def most_bent(api: str, arguments: Iterable[float], values: Iterable[float]) -> float:
    """The largest condition of the derivative, |x f''(x) / f'(x)|, at the extremes of x and of f(x): how far a relative
    error of 1 in x moves a gradient there.  0 for a function that is not in the table.

    Where a function amplifies by c = |x f' / f|, its derivative does for powers, exponentials and at poles by c or 2 c.
    """
    name = plain_name(api)
    bent, moved = _BENT.get(name), _MOVED.get(name)
    if bent is None and moved is None:
        return 0.0
    places = [(x, y) for x in arguments if math.isfinite(x) for y in values if math.isfinite(y) and y != 0.0]
    if bent is not None:
        return max((_at(bent, x, y) for x, y in places), default=0.0)
    assert moved is not None
    return _BENT_MORE * max((_at(moved, x, y) / abs(y) for x, y in places), default=0.0)


def _at(moved: _Moved, x: float, y: float) -> float:
    try:
        return abs(moved(x, y))
    except OverflowError:
        return math.inf


def may_leave_finite(api: str, low: float, high: float) -> bool:
    """May arguments between `low` and `high` give a NaN or an Inf, because the function has an edge or a pole there?"""
    where = _FINITE.get(plain_name(api))
    return where is not None and (low <= where.low or high >= where.high)
