"""Elements that no sum can hold: found, counted, and left out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from acc_compare.metrics.blocks import AnyArray


@dataclass(frozen=True, slots=True)
class NonFinite:
    """Elements that are NaN or Inf, counted.  A complex number is NaN where a part is, else Inf where one is.

    `positions` counts the places where a side is not finite; `npu_only` and `bench_only` those where that
    side alone is not, `conflicting` those where neither is and they differ.  `first_one_sided` is the flat
    (C order) index of the first place where one side alone is not finite.
    """

    positions: int = 0
    npu_nan: int = 0
    npu_inf: int = 0
    bench_nan: int = 0
    bench_inf: int = 0
    npu_only: int = 0
    bench_only: int = 0
    conflicting: int = 0
    first_one_sided: int | None = None

    @property
    def disagreeing(self) -> int:
        return self.npu_only + self.bench_only + self.conflicting

    def joined(self, later: NonFinite) -> NonFinite:
        """The counts of both, `later` being of elements behind these."""
        if not later.positions:
            return self
        first = later.first_one_sided if self.first_one_sided is None else self.first_one_sided
        counts = {name: getattr(self, name) + getattr(later, name) for name in _COUNTS}
        return replace(later, first_one_sided=first, **counts)


_COUNTS = tuple(each.name for each in fields(NonFinite) if each.name != "first_one_sided")


def without_nonfinite(n: AnyArray, b: AnyArray, *, start: int, seen: NonFinite) -> tuple[AnyArray, AnyArray, NonFinite]:
    """The block with 0 against 0 wherever a side is not finite, and `seen` with those places counted in.

    `n` and `b` are 1-d, float64 or complex128; `start` is the flat index of their first element.
    """
    n_finite, b_finite = np.isfinite(n), np.isfinite(b)
    keep = n_finite & b_finite
    if keep.all():  # squares of float64 overflow before the elements do
        return n, b, seen
    n_nan, b_nan = np.isnan(n), np.isnan(b)
    both = ~n_finite & ~b_finite
    # Complex infinity has no sign that arithmetic would keep.
    equal = np.abs(n) == np.abs(b) if n.dtype.kind == "c" else n == b
    agreeing = both & ((n_nan & b_nan) | (~n_nan & ~b_nan & equal))
    one_sided = n_finite != b_finite
    first = seen.first_one_sided
    if first is None and one_sided.any():
        first = start + int(one_sided.argmax())
    counted = NonFinite(
        positions=seen.positions + _count(~keep),
        npu_nan=seen.npu_nan + _count(n_nan),
        npu_inf=seen.npu_inf + _count(~n_finite & ~n_nan),
        bench_nan=seen.bench_nan + _count(b_nan),
        bench_inf=seen.bench_inf + _count(~b_finite & ~b_nan),
        npu_only=seen.npu_only + _count(one_sided & b_finite),
        bench_only=seen.bench_only + _count(one_sided & n_finite),
        conflicting=seen.conflicting + _count(both & ~agreeing),
        first_one_sided=first,
    )
    return np.where(keep, n, 0), np.where(keep, b, 0), counted


def _count(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))
