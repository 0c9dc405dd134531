"""Sums of squares and products, with sentinels kept apart until it is known whether they are any.

A score masked with -1e9, or with the least float, rules every norm and hides the rest.  What makes an element
a sentinel is told in `distance`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from acc_compare.metrics.blocks import AnyArray, Floats

SENTINEL_MODULUS = (5e3, 1e8)
"""Where the two classes of candidates begin: -1e4 is the mask of BERT, -1e9 that of most others."""

SENTINEL_RATIO = 1e3
"""A sentinel's modulus over the RMS of the rest."""

_MASKABLE = {
    np.dtype(kind): (-greatest, greatest)
    for kind, greatest in (
        (np.float64, float(np.finfo(np.float64).max)),
        (np.float32, float(np.finfo(np.float32).max)),
        (np.float16, float(np.finfo(np.float16).max)),
        (ml_dtypes.bfloat16, (2 - 2.0**-7) * 2.0**127),
    )
}
"""Dtypes that scores are masked in, with their least and greatest finite values."""

_SPAN = 1 << 13

Edges: TypeAlias = "tuple[tuple[float, float], ...]"
"""Pairs (NPU, bench) of values that mean the same: the smallest and the largest of either dtype."""


def dtype_edges(npu: np.dtype[Any], bench: np.dtype[Any]) -> Edges:
    """Smallest and largest finite value of either dtype; empty where there are no sentinels."""
    if npu not in _MASKABLE or bench not in _MASKABLE:
        return ()
    (n_least, n_most), (b_least, b_most) = _MASKABLE[npu], _MASKABLE[bench]
    return (n_least, b_least), (n_most, b_most)


def as_real(values: AnyArray) -> AnyArray:
    """float64, complex numbers as pairs: the inner product of pairs is the real part of the complex one."""
    if values.dtype.kind == "c":
        return values.view(np.float64)
    return values.astype(np.float64, copy=False)


def dot(a: Floats, b: Floats) -> float:
    """The inner product of two 1-d arrays of float64.

    In spans that BLAS does not spread over threads (OpenBLAS does beyond 10,000 elements): waking them costs
    more than such a product, and several processes compare at once.
    """
    spans = a.shape[0] // _SPAN
    cut = spans * _SPAN
    total = float(np.dot(a[cut:], b[cut:]))
    if spans:
        rows, columns = a[:cut].reshape(spans, 1, _SPAN), b[:cut].reshape(spans, _SPAN, 1)
        total += float(np.matmul(rows, columns).sum())
    return total


class Squares(NamedTuple):
    """|N|^2 and |B|^2 of a block: needed anyway, and finite only where every element is."""

    npu: float
    bench: float

    @classmethod
    def of(cls, n: AnyArray, b: AnyArray) -> Squares:
        n, b = as_real(n), as_real(b)
        return cls(dot(n, n), dot(b, b))

    @property
    def finite(self) -> bool:
        return math.isfinite(self.npu) and math.isfinite(self.bench)


@dataclass(slots=True)
class Sums:
    """Over some of the elements: their number, |N|^2, |B|^2, N.B, |N-B|^2, and, of those held back, the least
    modulus."""

    count: int = 0
    npu: float = 0.0
    bench: float = 0.0
    product: float = 0.0
    apart: float = 0.0
    least: float = math.inf

    def add(self, other: Sums) -> None:
        self.count += other.count
        self.npu += other.npu
        self.bench += other.bench
        self.product += other.product
        self.apart += other.apart

    def add_block(self, n: Floats, b: Floats, apart: Floats, *, count: int, squares: Squares) -> None:
        """Add a block: `n` and `b` as float64 (see `as_real`), `apart` the moduli of their differences."""
        self.count += count
        self.npu += squares.npu
        self.bench += squares.bench
        self.product += dot(n, b)
        self.apart += dot(apart, apart)

    def rms(self) -> float:
        return math.sqrt(max(self.npu, self.bench) / self.count) if self.count else 0.0

    def rel_l2(self) -> float:
        if not self.bench:
            return math.inf if self.apart else 0.0
        return math.sqrt(self.apart) / math.sqrt(self.bench)

    def cosine(self) -> float:
        if not self.apart:
            return 1.0
        if not self.npu or not self.bench:
            return 0.0
        return max(-1.0, min(1.0, self.product / (math.sqrt(self.npu) * math.sqrt(self.bench))))


@dataclass(slots=True)
class SplitSums:
    """Sums over live elements, and over the candidates for sentinels by class of modulus."""

    live: Sums = field(default_factory=Sums)
    held: tuple[Sums, ...] = field(default_factory=lambda: tuple(Sums() for _ in SENTINEL_MODULUS))

    def add_block(
        self,
        n: Floats,
        b: Floats,
        apart: Floats,
        *,
        count: int,
        squares: Squares,
        edges: Edges,
        scale: float,
    ) -> None:
        """Add a block of finite elements.

        `count` of them are the tensors' own, the others zeros in place of what was left out; `scale` is what
        the values were multiplied by.
        """
        lowest = SENTINEL_MODULUS[0] * scale
        if edges and squares.bench >= lowest * lowest and max(b.max(), -b.min()) >= lowest:
            masks = _candidates(n, b, edges=edges, scale=scale)
            for held, mask in zip(self.held, masks, strict=True):
                if mask.any():
                    _hold(held, n, b, apart, mask=mask)
            rest = ~np.logical_or.reduce(masks)
            if not rest.all():
                n, b, apart = _only(rest, n, b, apart)
                squares = Squares.of(n, b)
                count -= rest.size - int(np.count_nonzero(rest))
        self.live.add_block(n, b, apart, count=count, squares=squares)

    def add(self, later: SplitSums) -> None:
        """Add the sums over other elements."""
        self.live.add(later.live)
        for mine, theirs in zip(self.held, later.held, strict=True):
            mine.least = min(mine.least, theirs.least)
            mine.add(theirs)

    def whole(self) -> Sums:
        """Over every element."""
        total = Sums()
        for part in (self.live, *self.held):
            total.add(part)
        return total

    def unruled(self) -> Sums:
        """Over every element that is no sentinel."""
        rest = Sums()
        rest.add(self.live)
        for held in self.held:
            if held.least < SENTINEL_RATIO * rest.rms():
                rest.add(held)
        return rest


def _hold(held: Sums, n: Floats, b: Floats, apart: Floats, *, mask: npt.NDArray[np.bool_]) -> None:
    modulus = np.minimum(np.abs(n), np.abs(b))
    held.least = min(held.least, float(np.where(mask, modulus, math.inf).min()))
    n, b, apart = _only(mask, n, b, apart)
    held.add_block(n, b, apart, count=int(np.count_nonzero(mask)), squares=Squares.of(n, b))


def _only(mask: npt.NDArray[np.bool_], *arrays: Floats) -> tuple[Floats, ...]:
    """The arrays with zeros outside the mask; ten times faster than to index with it."""
    factor = mask.astype(np.float64)
    return tuple(array * factor for array in arrays)


def _candidates(n: Floats, b: Floats, *, edges: Edges, scale: float) -> tuple[npt.NDArray[np.bool_], ...]:
    """Masks of the elements that may be sentinels, one for each class of modulus."""
    modulus = np.abs(b)
    alike = n == b
    for npu_edge, bench_edge in edges:
        alike |= (n == npu_edge * scale) & (b == bench_edge * scale)
    low, high = (bound * scale for bound in SENTINEL_MODULUS)
    return alike & (modulus >= low) & (modulus < high), alike & (modulus >= high)
