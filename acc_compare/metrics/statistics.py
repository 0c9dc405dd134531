"""Two tensors from the max, min, mean and L2 norm that were recorded of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

from acc_compare.metrics.registry import Cell, MetricTable, RecordPair
from dump.format.schema import Number, TensorRecord

Statistic: TypeAlias = Literal["max", "min", "mean", "norm"]

STATISTICS: MetricTable[RecordPair] = MetricTable()
"""The columns of statistics."""


def difference(npu: Number | None, bench: Number | None) -> Number | None:
    """X(N) - X(B); None where either was not recorded.

    Equal values differ by 0, infinities included.  A NaN on either side, or both, gives NaN.  Two integers
    give an integer.
    """
    if npu is None or bench is None:
        return None
    return 0 if npu == bench else npu - bench


def relative_percent(npu: Number | None, bench: Number | None) -> float | None:
    """|X(N) - X(B)| / |X(B)| in percent; None where either was not recorded.

    0 where the two are equal (also where both are 0), Inf where only the bench is 0, NaN where either is NaN
    or the bench alone is infinite.
    """
    apart = difference(npu, bench)
    if apart is None or bench is None:
        return None
    if not bench:
        return math.nan if math.isnan(apart) else math.inf if apart else 0.0
    return abs(apart) / abs(bench) * 100.0


def distance_lower_bound(npu: TensorRecord, bench: TensorRecord, *, rounding: float = 0.0) -> float | None:
    """What |N - B| (the Euclidean distance over all n elements) is at least; None where nothing is known.

    The largest of four, each of which is no more than |N - B|:

    - | |N| - |B| |, by the reverse triangle inequality;
    - |max N - max B|: say max N is the larger, and N's at element i; then max N - max B <= N_i - B_i, and no
      difference of one element exceeds the length of all differences.  The other way round, by symmetry;
    - |min N - min B|, the same for -N and -B;
    - |mean N - mean B| sqrt(n): the sum of all differences is their inner product with n ones, which is at
      most |N - B| sqrt(n) (Cauchy-Schwarz); divided by n that is the difference of the means.

    A complex tensor's max, min and mean are recorded over its 2n real and imaginary parts, for which all four
    hold as they stand.  The two sums are only as true as they were recorded: `rounding` is their relative
    error (2e-7, say, where they were summed in float32 by different kernels), and `rounding * (|N| + |B|)` is
    taken off both bounds that come from sums (a mean's error is at most that of the mean modulus, and the
    mean modulus is at most |x| / sqrt(n)).  Statistics that are not finite on both sides say nothing.
    """
    if npu.numel != bench.numel:
        return None
    bounds = []
    for extremes in (_finite(npu.max, bench.max), _finite(npu.min, bench.min)):
        if extremes:
            bounds.append(abs(extremes[0] - extremes[1]))
    norms, means = _finite(npu.norm, bench.norm), _finite(npu.mean, bench.mean)
    allowance = rounding * sum(norms) if norms else 0.0
    if norms:
        bounds.append(max(0.0, abs(norms[0] - norms[1]) - allowance))
    # Without norms nobody can say how far rounding has moved the means.
    if means and (norms or not rounding):
        bounds.append(max(0.0, abs(means[0] - means[1]) * math.sqrt(npu.numel) - allowance))
    return max(bounds, default=None)


def _finite(npu: Number | None, bench: Number | None) -> tuple[float, float] | None:
    if npu is None or bench is None or not (math.isfinite(npu) and math.isfinite(bench)):
        return None
    return float(npu), float(bench)


def _recorded(record: TensorRecord, statistic: Statistic) -> Number | None:
    value: Number | None = getattr(record, statistic)
    return value


def _difference_of(statistic: Statistic) -> Callable[[RecordPair], Cell]:
    return lambda pair: difference(_recorded(pair.npu, statistic), _recorded(pair.bench, statistic))


def _relative_of(statistic: Statistic) -> Callable[[RecordPair], Cell]:
    return lambda pair: relative_percent(_recorded(pair.npu, statistic), _recorded(pair.bench, statistic))


STATISTICS.register("Max diff")(_difference_of("max"))
STATISTICS.register("Min diff")(_difference_of("min"))
STATISTICS.register("Mean diff")(_difference_of("mean"))
STATISTICS.register("L2norm diff")(_difference_of("norm"))
STATISTICS.register("MaxRelativeErr")(_relative_of("max"))
STATISTICS.register("MinRelativeErr")(_relative_of("min"))
STATISTICS.register("MeanRelativeErr")(_relative_of("mean"))
STATISTICS.register("NormRelativeErr")(_relative_of("norm"))
