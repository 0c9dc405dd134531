"""Two arrays, element by element, in one pass.

N is the NPU side, B the bench.  The formulas are those users know (results.md):

    cosine          N.B / (|N| |B|)           euc_dist   |N - B|
    max_abs_err     max |N - B|               RE         |N - B| / |B|, element by element
    ratios          the shares of elements with RE below 0.001 and 0.005
    rel_l2          |N - B| / |B|, over live elements

What counts as what, decided here once:

*Types.*  Elements are compared in float64, which is exact for every float, for bool (0 and 1) and for
integers up to 32 bits; 64-bit integers are subtracted as integers; complex ones by the modulus of their
difference, N.B being the real part of the inner product.  The two sides may differ in dtype.  Sums are in
float64; where squares of float64 over- or underflow, they are summed again in another scale.

*NaN and Inf.*  A position is finite where both sides are.  The others are left out of all sums and maxima,
and counted: NaN against NaN and an infinity against the same infinity agree, as elements with RE 0 do;
everything else disagrees, and is in neither ratio.  Complex infinities agree where their moduli do.

*Zeros.*  RE is 0 where both sides are 0 and Inf where only the bench is; rel_l2 likewise.  The cosine is 1
where the sides are equal (also where both are 0), and 0 where one of them alone is 0.

*Nothing to measure.*  Without a single element every number is None; without a finite position, those that
are about finite positions.  A 0-d array is one element.  An index is None where the maximum is 0.

*Sentinels.*  Scores masked with -1e9 or the least float rule every norm and hide the rest (localisation.md).
An element is a candidate where both sides hold the same value of modulus 5000 or more, or each holds its own
dtype's largest (or smallest) finite value; only in float16, bfloat16 and longer floats, for float8 saturates
in good health.  Candidates are sentinels when the smallest of them is at least a thousand times the RMS of
everything else: judged for those below 1e8 first, then for those above.  Sentinels stay in the columns users
know and are left out of `Live`.  This hides no error: candidates are equal, but for the two ends of a range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from acc_compare.metrics import native_distance
from acc_compare.metrics.blocks import BLOCK, PART_BLOCKS, AnyArray, Floats, Part, Spread, paired_blocks, parts
from acc_compare.metrics.nonfinite import NonFinite, without_nonfinite
from acc_compare.metrics.registry import MetricTable
from acc_compare.metrics.sums import SplitSums, Squares, Sums, as_real, dtype_edges

RATIO_LIMITS = (0.001, 0.005)

_STEP = 2.0**300
_HUGE, _TINY = 1e290, 1e-290
_STAND_IN, _NO_SHARE = 2.0**-1000, 1e200
"""What stands in for a bench of 0, and what no share of a dtype shorter than float64 reaches without it: the least
modulus is 2**-149, the largest below 2**129."""
_LONG = frozenset(map(np.dtype, (np.float64, np.complex128)))


@dataclass(frozen=True, slots=True)
class Live:
    """The distance over live elements: finite on both sides, and no sentinel.  `rel_l2` is relative to
    `norm_bench`; `sentinels` counts what was left out."""

    count: int
    sentinels: int
    rel_l2: float
    cosine: float
    euc_dist: float
    norm_npu: float
    norm_bench: float


@dataclass(frozen=True, slots=True)
class TensorDistance:
    """What `measure` finds; the module's docstring defines every number.  Indices are flat, in C order
    (`numpy.unravel_index` gives the position).  Relative errors are shares, not percent."""

    numel: int
    finite: int
    nonfinite: NonFinite
    cosine: float | None = None
    euc_dist: float | None = None
    max_abs_err: float | None = None
    max_abs_index: int | None = None
    max_relative_err: float | None = None
    max_relative_index: int | None = None
    one_thousandth_ratio: float | None = None
    five_thousandths_ratio: float | None = None
    norm_npu: float | None = None
    norm_bench: float | None = None
    live: Live | None = None
    shape: tuple[int, ...] = ()

    def position(self, flat: int | None) -> str | None:
        """A flat index as the tensor's: `(1, 3)`; `()` of a 0-d tensor, None of None."""
        if flat is None:
            return None
        return str(tuple(int(place) for place in np.unravel_index(flat, self.shape)))

    @property
    def rel_l2(self) -> float | None:
        return None if self.live is None else self.live.rel_l2

    @property
    def sentinels(self) -> int:
        return 0 if self.live is None else self.live.sentinels


def measure(npu: AnyArray, bench: AnyArray, *, block: int = BLOCK, spread: Spread = map) -> TensorDistance:
    """The distance of two arrays of one shape and any torch dtype, see the module's docstring.

    One pass in blocks of `block` elements (some 36 bytes of memory for each), whatever the size and layout;
    a second one for float64 whose squares leave the range.  `spread` is `map`, or does the same over several threads:
    what comes out is the same to the last bit.  Raises ValueError where the shapes differ.
    """
    totals = _totals(npu, bench, block=block, spread=spread)
    nonfinite = totals.nonfinite
    finite = npu.size - nonfinite.positions
    if not npu.size:
        return TensorDistance(npu.size, finite, nonfinite, shape=npu.shape)
    shares = [(count - nonfinite.disagreeing) / npu.size for count in totals.within]
    counted = TensorDistance(
        npu.size,
        finite,
        nonfinite,
        one_thousandth_ratio=shares[0],
        five_thousandths_ratio=shares[1],
        shape=npu.shape,
    )
    if not finite:
        return counted
    passes = _Passes(npu, bench, block, spread, {1.0: totals.sums})
    whole, scale = passes.in_range(SplitSums.whole)
    return replace(
        counted,
        cosine=whole.cosine(),
        euc_dist=math.sqrt(whole.apart) / scale,
        max_abs_err=totals.max_abs,
        max_abs_index=totals.max_abs_index,
        max_relative_err=totals.max_relative,
        max_relative_index=totals.max_relative_index,
        norm_npu=math.sqrt(whole.npu) / scale,
        norm_bench=math.sqrt(whole.bench) / scale,
        live=_live(*passes.in_range(SplitSums.unruled), finite=finite),
    )


@dataclass(slots=True)
class _Totals:
    """What one pass gathers.  `within` counts elements under each limit of RE, positions that are not finite
    included."""

    sums: SplitSums = field(default_factory=SplitSums)
    nonfinite: NonFinite = field(default_factory=NonFinite)
    max_abs: float = 0.0
    max_abs_index: int | None = None
    max_relative: float = 0.0
    max_relative_index: int | None = None
    within: list[int] = field(default_factory=lambda: [0] * len(RATIO_LIMITS))

    def move(self, start: int) -> None:
        """Count the places from an element that lies `start` before the first."""
        if self.nonfinite.first_one_sided is not None:
            self.nonfinite = replace(self.nonfinite, first_one_sided=self.nonfinite.first_one_sided + start)
        if self.max_abs_index is not None:
            self.max_abs_index += start
        if self.max_relative_index is not None:
            self.max_relative_index += start

    def add(self, later: _Totals) -> None:
        """Add what was gathered behind these elements; of equal maxima the first counts."""
        self.sums.add(later.sums)
        self.nonfinite = self.nonfinite.joined(later.nonfinite)
        if later.max_abs > self.max_abs:
            self.max_abs, self.max_abs_index = later.max_abs, later.max_abs_index
        if later.max_relative > self.max_relative:
            self.max_relative, self.max_relative_index = later.max_relative, later.max_relative_index
        self.within = [mine + theirs for mine, theirs in zip(self.within, later.within, strict=True)]


def _totals(npu: AnyArray, bench: AnyArray, *, block: int, scale: float = 1.0, spread: Spread = map) -> _Totals:
    """Block totals, added one after the other whoever gathered them: sums round alike however they are spread."""
    gather = partial(_gather, block=block, scale=scale)
    totals = _Totals()
    for part in spread(gather, parts(npu, bench, size=block * PART_BLOCKS)):
        for each in part:
            totals.add(each)
    return totals


def _gather(part: Part, *, block: int, scale: float) -> list[_Totals]:
    """The totals of each block of a part; from the native core of all of it, where that can read it."""
    if scale == 1.0 and part.npu.size and native_distance.takes(part.npu, part.bench):
        whole = _Totals(*native_distance.gather(part))
        whole.move(part.start)
        part.done()
        return [whole]
    edges = dtype_edges(part.npu.dtype, part.bench.dtype)
    buffers = np.empty((2, min(block, part.npu.size)))
    exact_zeros = _LONG.isdisjoint((part.npu.dtype, part.bench.dtype))
    start, found, zeros = part.start, [], False
    # Overflow, 0/0 and x/0 are all expected, and looked at where they happen.
    with np.errstate(all="ignore"):
        for n, b in paired_blocks(part.npu, part.bench, block=block):
            totals = _Totals()
            length = n.shape[0]
            apart, share = buffers[0, :length], buffers[1, :length]
            squares = Squares.of(n, b)
            if not squares.finite:
                n, b, totals.nonfinite = without_nonfinite(n, b, start=start, seen=totals.nonfinite)
                squares = Squares.of(n, b)
            if squares.npu == squares.bench and bool((n == b).all()):
                apart.fill(0.0)
                totals.within = [length] * len(RATIO_LIMITS)
            else:
                _absolute_difference(n, b, out=apart)
                _modulus(b, out=share)
                zeros = _add_extremes(totals, apart, share, start=start, zeros=zeros and exact_zeros)
            if scale != 1.0:
                n, b = n * scale, b * scale
                _absolute_difference(n, b, out=apart)
                squares = Squares.of(n, b)
            count = length - totals.nonfinite.positions
            totals.sums.add_block(as_real(n), as_real(b), apart, count=count, squares=squares, edges=edges, scale=scale)
            start += length
            found.append(totals)
    part.done()
    return found


def _absolute_difference(n: AnyArray, b: AnyArray, *, out: Floats) -> None:
    if n.dtype.kind in "iu":
        # Larger minus smaller, modulo 2**64, is exact however far apart they are.
        out[...] = (np.maximum(n, b) - np.minimum(n, b)).view(np.uint64)
    elif n.dtype.kind == "c":
        np.abs(n - b, out=out)
    else:
        np.subtract(n, b, out=out)
        np.abs(out, out=out)


def _modulus(values: AnyArray, *, out: Floats) -> None:
    # The modulus of the least int64 is no int64: to float64 first.
    np.abs(values if values.dtype.kind == "c" else as_real(values), out=out)


def _add_extremes(totals: _Totals, apart: Floats, share: Floats, *, start: int, zeros: bool) -> bool:
    """Largest absolute and relative error with their indices, and the counts for the ratios.

    `share` comes as the modulus of the bench, and leaves as the relative error.  `zeros` says that 0/0 is likely, and
    that no modulus but 0 is below `_STAND_IN`; returns whether there was one.  A 0 that another number stands in for
    is cheaper than a NaN that has to be taken out.
    """
    where = int(apart.argmax())
    if apart[where] > totals.max_abs:
        totals.max_abs, totals.max_abs_index = float(apart[where]), start + where
    if zeros:
        np.maximum(share, _STAND_IN, out=share)
    np.divide(apart, share, out=share)
    where = int(share.argmax())
    largest = float(share[where])
    if math.isnan(largest):  # argmax stops at a NaN, which here can only be 0/0
        zeros = True
        np.fmax(share, 0.0, out=share)
        where = int(share.argmax())
        largest = float(share[where])
    elif zeros and largest > _NO_SHARE:
        where, largest = int((share > _NO_SHARE).argmax()), math.inf
    if largest > totals.max_relative:
        totals.max_relative, totals.max_relative_index = largest, start + where
    within = share.size
    for position, limit in reversed(list(enumerate(RATIO_LIMITS))):
        if within and largest >= limit:
            within = int(np.count_nonzero(share < limit))
        totals.within[position] += within
    return zeros


@dataclass(frozen=True, slots=True)
class _Passes:
    """The sums of two arrays in each scale that was asked for; an unscaled pass is there from the start."""

    npu: AnyArray
    bench: AnyArray
    block: int
    spread: Spread
    by_scale: dict[float, SplitSums]

    def in_range(self, pick: Callable[[SplitSums], Sums]) -> tuple[Sums, float]:
        """What `pick` takes from the sums, in a scale in which it neither over- nor underflows."""
        sums = pick(self.by_scale[1.0])
        for scale in self._scales_for(sums):
            if scale not in self.by_scale:
                totals = _totals(self.npu, self.bench, block=self.block, scale=scale, spread=self.spread)
                self.by_scale[scale] = totals.sums
            sums = pick(self.by_scale[scale])
            if _largest(sums) <= _HUGE:
                return sums, scale
        return sums, scale

    def _scales_for(self, sums: Sums) -> tuple[float, ...]:
        """Where squares overflow, one step down before two: the further down, the sooner a small side's vanish.  Where
        those of the smaller side do, up as far as the larger allows."""
        if _LONG.isdisjoint((self.npu.dtype, self.bench.dtype)):
            return (1.0,)  # no shorter dtype holds a value whose square leaves the range
        largest = _largest(sums)
        if not largest <= _HUGE:
            return (1.0 / _STEP, 1.0 / _STEP**2)
        if min(sums.npu, sums.bench) >= _TINY:
            return (1.0,)
        steps = next((steps for steps in (2, 1) if largest * _STEP**steps * _STEP**steps <= _HUGE), 0)
        return (_STEP**steps,)


def _largest(sums: Sums) -> float:
    """The largest sum of squares; NaN where there is a NaN, as of an infinite product."""
    return max(sums.npu, sums.bench, sums.apart) if math.isfinite(sums.npu + sums.bench + sums.apart) else math.nan


def _live(sums: Sums, scale: float, *, finite: int) -> Live:
    return Live(
        count=sums.count,
        sentinels=finite - sums.count,
        rel_l2=sums.rel_l2(),
        cosine=sums.cosine(),
        euc_dist=math.sqrt(sums.apart) / scale,
        norm_npu=math.sqrt(sums.npu) / scale,
        norm_bench=math.sqrt(sums.bench) / scale,
    )


REAL_DATA: MetricTable[TensorDistance] = MetricTable()
"""The columns of real data."""

REAL_DATA.register("Cosine")(lambda distance: distance.cosine)
REAL_DATA.register("EucDist")(lambda distance: distance.euc_dist)
REAL_DATA.register("MaxAbsErr")(lambda distance: distance.max_abs_err)
REAL_DATA.register("MaxRelativeErr")(lambda distance: distance.max_relative_err)
REAL_DATA.register("One Thousandth Err Ratio")(lambda distance: distance.one_thousandth_ratio)
REAL_DATA.register("Five Thousandths Err Ratio")(lambda distance: distance.five_thousandths_ratio)
REAL_DATA.register("RelL2")(lambda distance: distance.rel_l2)
REAL_DATA.register("MaxAbsErr Index")(lambda distance: distance.position(distance.max_abs_index))
REAL_DATA.register("MaxRelativeErr Index")(lambda distance: distance.position(distance.max_relative_index))
