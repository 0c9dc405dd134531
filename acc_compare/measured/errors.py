"""How far apart one pair of tensors is: the best answer that what was recorded allows.

tensor files      exact: relative L2 error over live elements
sketches          an estimate, within about 35 % for one tensor (16 buckets)
statistics alone  a proven lower bound
digests           equal or not
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

from acc_compare.metrics import waves
from acc_compare.metrics.distance import TensorDistance
from acc_compare.metrics.sketches import estimate_distance, estimate_norm, norm_behind_sketch
from acc_compare.metrics.statistics import distance_lower_bound
from acc_compare.operators import UNIT_ROUNDOFF
from dump.format.schema import TensorRecord

Source: TypeAlias = Literal["exact", "sketch", "bound", "digest"]

# What each way of measuring cannot see: sums of a sketch round in float32 in another order on another device; norms
# and means of a foreign dump are float32 sums themselves.
RESOLUTION: dict[Source, float] = {"exact": 0.0, "sketch": 2e-7, "bound": 2e-6, "digest": 0.0}

_ROUNDING = 1e-6
_BEYOND = 5.0
_CANCELLED = 3.0
"""Where the means say that two tensors are so many times further apart than their sketches do, what differs has
cancelled in the sketch: an element that is off and stands there twice, as a row of positions does in a batch of two.
Such are few: from two to all n of them would make it sum(d) / sqrt(2) or sum(d) / sqrt(n), and the geometric mean of
these is taken."""

_MOVED = 0.01
"""Relative difference by waves from which on elements have changed places, and none moved by noise."""


class TensorError(msgspec.Struct, frozen=True, gc=False):
    """`distance` is |N - B| in L2, `scale` the larger norm of the two sides' live elements, `relative` the distance
    over the bench's norm (over the NPU's where the bench is 0): 0 where both are 0, inf where non-finite values stand
    on one side only.  `bad_npu` and `bad_bench` count non-finite elements; `nan` says that there are NaN among those of
    the side that has more of them."""

    distance: float
    scale: float
    relative: float
    source: Source
    bad_npu: int = 0
    bad_bench: int = 0
    nan: bool = False

    @property
    def is_nonfinite(self) -> bool:
        """Non-finite values where the other side has fewer or none."""
        return self.bad_npu != self.bad_bench or (self.source == "exact" and math.isinf(self.relative))


def tensor_error(npu: TensorRecord, bench: TensorRecord, exact: TensorDistance | None = None) -> TensorError | None:
    """The error of a pair; None where shapes differ or neither side recorded anything comparable.

    `exact` is the elementwise comparison where both sides have tensor files.
    """
    if npu.shape != bench.shape:
        return None
    if npu.md5 is not None and bench.md5 is not None and len(npu.md5) == len(bench.md5):
        same = npu.md5 == bench.md5
        return TensorError(0.0 if same else math.nan, math.nan, 0.0 if same else math.inf, "digest")
    if npu.numel == 0:
        return TensorError(0.0, 0.0, 0.0, "exact")
    if exact is not None:
        return _exact(exact)
    bad_npu, bad_bench = _nonfinite(npu, bench)
    if bad_npu != bad_bench:
        more = npu if bad_npu > bad_bench else bench
        nan = bool(more.nan) or _is_nan(more.max) or _is_nan(more.norm)
        return TensorError(math.inf, math.nan, math.inf, "sketch", bad_npu, bad_bench, nan)
    if npu.sketch is not None and bench.sketch is not None:
        found = _from_sketches(npu, bench, npu.sketch, bench.sketch)
        if found is not None:
            return msgspec.structs.replace(found, bad_npu=bad_npu, bad_bench=bad_bench) if bad_npu else found
    bound = distance_lower_bound(npu, bench, rounding=max(map(_rounding_of_sums, (npu, bench))))
    if bound is None or bad_npu:
        return None
    bound = max(bound, _out_of_place(npu, bench))
    return _ratio(bound, float(npu.norm or 0.0), float(bench.norm or 0.0), "bound")


def _rounding_of_sums(record: TensorRecord) -> float:
    """How true mean and norm are: who writes no sketch lets torch sum, and that rounds to the tensor's own dtype."""
    return 1e-6 if record.sketch is not None else max(1e-6, UNIT_ROUNDOFF.get(record.dtype, 0.0))


def _out_of_place(npu: TensorRecord, bench: TensorRecord) -> float:
    """What |N - B| is at least by the waves, in all but a few cases of a thousand, and so large that it is no noise: 0
    otherwise."""
    norms = norm_behind_sketch(npu), norm_behind_sketch(bench)
    if npu.waves is None or bench.waves is None or norms[0] is None or norms[1] is None:
        return 0.0
    found = waves.distance(npu.waves, bench.waves) / 2
    return found if found > _MOVED * max(float(norms[0]), float(norms[1])) else 0.0


def _exact(measured: TensorDistance) -> TensorError:
    counts = measured.nonfinite
    bad_npu, bad_bench = counts.npu_nan + counts.npu_inf, counts.bench_nan + counts.bench_inf
    if counts.disagreeing:
        nan = counts.npu_nan if bad_npu >= bad_bench else counts.bench_nan
        return TensorError(math.inf, math.nan, math.inf, "exact", bad_npu, bad_bench, nan > 0)
    live = measured.live
    if live is None:
        return TensorError(0.0, 0.0, 0.0, "exact", bad_npu, bad_bench)
    return msgspec.structs.replace(
        _ratio(live.euc_dist, live.norm_npu, live.norm_bench, "exact"), bad_npu=bad_npu, bad_bench=bad_bench
    )


def _from_sketches(npu: TensorRecord, bench: TensorRecord, ours: bytes, theirs: bytes) -> TensorError | None:
    """None where a bucket overflowed."""
    distance = 0.0 if ours == theirs else estimate_distance(ours, theirs)
    if math.isnan(distance):
        return None
    norm_npu, norm_bench = norm_behind_sketch(npu), norm_behind_sketch(bench)
    if norm_npu is None or norm_bench is None:
        # Norm and extremes are ruled by a mask or by what is not finite; the sketch leaves both out.
        return _ratio(distance, estimate_norm(ours), estimate_norm(theirs), "sketch")
    if (shifted := _shifted(npu, bench)) > _CANCELLED * distance:
        distance = shifted * math.sqrt(math.sqrt(npu.numel / 2.0))
    elif ours == theirs and (norm_npu, npu.mean) != (norm_bench, bench.mean):
        distance = distance_lower_bound(npu, bench, rounding=_ROUNDING) or 0.0
    # The difference of the norms bounds the distance from below, and an extreme element's own, exactly.
    apart = abs(float(norm_npu) - float(norm_bench)) - RESOLUTION["sketch"] * (float(norm_npu) + float(norm_bench))
    distance = max(distance, apart)
    for high, low in ((npu.max, bench.max), (npu.min, bench.min)):
        if high is not None and low is not None and high != low:
            distance = max(distance, abs(float(high) - float(low)))
    return _ratio(distance, float(norm_npu), float(norm_bench), "sketch")


def _shifted(npu: TensorRecord, bench: TensorRecord) -> float:
    """What |N - B| is at least by the means, and so far beyond their rounding that it says how large it is."""
    if npu.mean is None or bench.mean is None or npu.norm is None or bench.norm is None:
        return 0.0
    found = abs(npu.mean - bench.mean) * math.sqrt(npu.numel)
    return found if found > _BEYOND * _ROUNDING * (npu.norm + bench.norm) else 0.0


def _ratio(distance: float, npu: float, bench: float, source: Source) -> TensorError:
    against = bench if bench > 0 else npu
    relative = 0.0 if distance == 0 else distance / against if against > 0 else math.inf
    return TensorError(distance, max(npu, bench), relative, source)


def _nonfinite(npu: TensorRecord, bench: TensorRecord) -> tuple[int, int]:
    """Non-finite elements of both sides; where a side is foreign and does not count them, whether there are any."""
    if _counts(npu) and _counts(bench):
        return _number_of_nonfinite(npu), _number_of_nonfinite(bench)
    return int(_has_nonfinite(npu)), int(_has_nonfinite(bench))


def _counts(record: TensorRecord) -> bool:
    """Does the recorder of this side count non-finite elements?  Ours writes the counts where there are any, and a
    sketch everywhere."""
    return record.nan is not None or record.inf is not None or record.sketch is not None


def _number_of_nonfinite(record: TensorRecord) -> int:
    """As many as were counted; one where nothing was and an extreme or the norm says that there is one."""
    return (record.nan or 0) + (record.inf or 0) or int(_has_nonfinite(record))


def _has_nonfinite(record: TensorRecord) -> bool:
    if record.nan or record.inf or _is_nan(record.norm):
        return True
    return any(value is not None and not math.isfinite(value) for value in (record.max, record.min))


def _is_nan(value: float | int | None) -> bool:
    return value is not None and math.isnan(value)
