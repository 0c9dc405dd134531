"""Two tensors from the sketches that were recorded of them.

A sketch is a linear map S of the tensor to 16 numbers, each a sum of elements under fixed pseudo-random
signs (`dump.format.sketch`), so S(N) - S(B) = S(N - B).  Its squared length is an unbiased estimate of
|N - B|^2 with a relative standard deviation of about sqrt(2 / 16) = 35 %, and exact for up to 16 elements:
N. Alon, Y. Matias, M. Szegedy, "The space complexity of approximating the frequency moments", STOC 1996; the
spreading over buckets from M. Charikar, K. Chen, M. Farach-Colton, "Finding frequent items in data streams",
ICALP 2002.

Buckets are float32: differences under some 1e-7 of |B| drown in their rounding.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from acc_compare.metrics.registry import Cell, MetricTable, RecordPair
from dump.format.schema import SKETCH_BUCKETS, TensorRecord
from dump.format.sketch import has_sentinel

SketchVector: TypeAlias = "npt.NDArray[np.float64]"

SKETCHED: MetricTable[RecordPair] = MetricTable()
"""The columns that are estimated from sketches."""


def estimate_distance(sketch_n: bytes, sketch_b: bytes) -> float:
    """|N - B| from two sketches of 16 little-endian float32: the length of their difference.

    NaN where a bucket overflowed.  Raises ValueError where a sketch has another length.
    """
    return _length([n - b for n, b in zip(_buckets(sketch_n), _buckets(sketch_b), strict=True)])


def estimate_norm(sketch: bytes) -> float:
    """|N| from a sketch: its length."""
    return _length(_buckets(sketch))


def sketch_vector(sketch: bytes) -> SketchVector:
    """A sketch as float64 (16,), to add and subtract: sketches are linear."""
    return np.frombuffer(sketch, dtype="<f4").astype(np.float64)


def scale_between(ours: SketchVector, theirs: SketchVector) -> tuple[float, float]:
    """The factor r that brings r `theirs` nearest to `ours`, and what distance is left: least squares,
    r = <ours, theirs> / |theirs|^2.  `theirs` must not be 0."""
    factor = float(ours @ theirs) / float(theirs @ theirs)
    return factor, float(np.linalg.norm(ours - factor * theirs))


def estimate_rel_l2(sketch_n: bytes, sketch_b: bytes, *, norm_bench: float | None = None) -> float:
    """|N - B| / |B|: 0 where the sketches are equal, Inf where only the bench is 0.

    `norm_bench` is |B| over the elements that the sketch is made of; without it, or where it is not finite
    (the sketch leaves out what is not finite), the sketch's own estimate stands in.
    """
    distance = estimate_distance(sketch_n, sketch_b)
    norm = _norm(norm_bench, sketch_b)
    if not distance:
        return 0.0
    return distance / norm if norm else math.inf


def estimate_cosine(
    sketch_n: bytes, sketch_b: bytes, *, norm_npu: float | None = None, norm_bench: float | None = None
) -> float:
    """N.B / (|N| |B|), from the three sides of the triangle by the law of cosines, within [-1, 1].

    1 where the sketches are equal, 0 where one norm alone is 0, NaN where a bucket overflowed.  Norms as in
    `estimate_rel_l2`.
    """
    distance = estimate_distance(sketch_n, sketch_b)
    n, b = _norm(norm_npu, sketch_n), _norm(norm_bench, sketch_b)
    if not distance:
        return 1.0
    if not n or not b:
        return 0.0
    if math.isnan(distance + n + b):
        return math.nan
    # (n^2 + b^2 - d^2) / 2nb, arranged so that nothing cancels where the tensors are close.
    return max(-1.0, min(1.0, 1.0 + (n - b) / n * ((n - b) / b) / 2 - distance / n * (distance / b) / 2))


def norm_behind_sketch(record: TensorRecord) -> float | None:
    """The recorded norm, where it is over the same elements as the sketch; else None.

    A sketch leaves out sentinels and what is not finite (`dump.format.sketch`); the norm does not.
    """
    if record.norm is None or not math.isfinite(record.norm):
        return None
    if record.min is None or record.max is None or not _may_be_masked(record.dtype):
        return record.norm
    return None if has_sentinel(record.min, record.max) else record.norm


def _may_be_masked(dtype: str) -> bool:
    # Integers and bool are sketched whole.
    return "float" in dtype or "complex" in dtype


def _norm(recorded: float | None, sketch: bytes) -> float:
    if recorded is None or not math.isfinite(recorded):
        return estimate_norm(sketch)
    return float(recorded)


def _buckets(sketch: bytes) -> tuple[float, ...]:
    if len(sketch) != SKETCH_BUCKETS * 4:
        raise ValueError(f"expected a sketch of {SKETCH_BUCKETS * 4} bytes, found {len(sketch)}")
    return struct.unpack(f"<{SKETCH_BUCKETS}f", sketch)


def _length(buckets: Sequence[float]) -> float:
    return math.hypot(*buckets) if all(map(math.isfinite, buckets)) else math.nan


def _sketches(pair: RecordPair) -> tuple[bytes, bytes] | None:
    # The signs depend on the number of elements: sketches of other sizes have nothing in common.
    if pair.npu.sketch is None or pair.bench.sketch is None or pair.npu.numel != pair.bench.numel:
        return None
    return pair.npu.sketch, pair.bench.sketch


@SKETCHED.register("Est. Cosine")
def _cosine_of(pair: RecordPair) -> Cell:
    sketches = _sketches(pair)
    if sketches is None:
        return None
    norm_npu, norm_bench = norm_behind_sketch(pair.npu), norm_behind_sketch(pair.bench)
    return _known(estimate_cosine(*sketches, norm_npu=norm_npu, norm_bench=norm_bench))


@SKETCHED.register("Est. RelL2")
def _rel_l2_of(pair: RecordPair) -> Cell:
    sketches = _sketches(pair)
    if sketches is None:
        return None
    return _known(estimate_rel_l2(*sketches, norm_bench=norm_behind_sketch(pair.bench)))


def _known(estimate: float) -> Cell:
    return None if math.isnan(estimate) else estimate
