"""Number formats: which round, and how far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

# Unit roundoff u = 2^-p for p bits of significand: IEEE 754-2019 (binary16/32/64); bfloat16: Intel, BFLOAT16 Hardware
# Numerics Definition (2018); float8: Micikevicius et al., FP8 Formats for Deep Learning (2022).
UNIT_ROUNDOFF: Mapping[str, float] = {
    "torch.float64": 2.0**-53,
    "torch.complex128": 2.0**-53,
    "torch.float32": 2.0**-24,
    "torch.complex64": 2.0**-24,
    "torch.float16": 2.0**-11,
    "torch.complex32": 2.0**-11,
    "torch.bfloat16": 2.0**-8,
    "torch.float8_e4m3fn": 2.0**-4,
    "torch.float8_e4m3fnuz": 2.0**-4,
    "torch.float8_e5m2": 2.0**-3,
    "torch.float8_e5m2fnuz": 2.0**-3,
    "torch.float8_e8m0fnu": 2.0**-1,
}

# The largest finite number, of the same sources.
LARGEST: Mapping[str, float] = {
    "torch.float64": 1.7976931348623157e308,
    "torch.float32": 3.4028234663852886e38,
    "torch.bfloat16": 3.3895313892515355e38,
    "torch.float16": 65504.0,
    "torch.float8_e4m3fn": 448.0,
    "torch.float8_e5m2": 57344.0,
}

_FLOATING = ("float", "bfloat", "complex")


@cache
def is_floating(dtype: str) -> bool:
    """Does this dtype round: a float or a complex of any width?"""
    return dtype.removeprefix("torch.").startswith(_FLOATING)


def roundoff(dtypes: Iterable[str]) -> float:
    """The largest unit roundoff among floating dtypes; 0 where there is none (integers, bool)."""
    return max((UNIT_ROUNDOFF.get(dtype, 0.0) for dtype in dtypes), default=0.0)
