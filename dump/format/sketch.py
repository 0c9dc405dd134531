"""The linear sketch: 16 sums of a tensor's elements under fixed pseudo-random signs.

Write the flattened tensor x of n elements as rows of width T(n).  Element i stands in row r = i // T; its sign
is COLUMN[i % (16 T)] * ROW[r % 65536], its bucket the sum of the hexadecimal digits of r % 65536, modulo 16.
The sketch is the vector of bucket sums.  It is linear, so sketch(N) - sketch(B) is the sketch of N - B, and its
squared length is an unbiased estimate of |N - B|^2 (Alon, Matias, Szegedy 1996; buckets as in Charikar, Chen,
Farach-Colton 2002).

Differences between runs are seldom noise: a bias is off alike in every row, one column is off throughout, or a
few rows are.  Each of these must reach all 16 buckets by sums of their own, or it may drop out of the sketch:
so 16 rows in turn have column signs of their own, the digit sum scatters every power-of-two stride over the
buckets, and rows are short.  (Version 1 had one row of column signs, `r % 16` for a bucket and rows of 4096.)

Width and signs depend on the number of elements and on position alone, and come from an integer hash, so
they are the same on every device and with every version of torch.  Elements that are not finite, and
sentinels, count as 0.  Changing anything here changes every sketch: raise SKETCH_VERSION.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from .schema import SKETCH_BUCKETS

SKETCH_VERSION = 2
MAX_WIDTH = 256
COLUMN_PERIOD = SKETCH_BUCKETS * MAX_WIDTH
ROW_PERIOD = 1 << 16
_ROWS_PER_BUCKET = 16
_NARROW = 64  # below this width one product of all elements beats a product a row
_FEW_ROWS = 2 * SKETCH_BUCKETS * _ROWS_PER_BUCKET  # as many as any tensor below 2**17 elements has

SENTINEL_FLOOR = -5e3
SENTINEL_RATIO = 100.0

Floats = npt.NDArray[np.floating[Any]]


def width(count: int) -> int:
    """T(n): the largest power of two that leaves 16 rows for every bucket, between 1 and 256."""
    share = count // (SKETCH_BUCKETS * _ROWS_PER_BUCKET)
    return min(MAX_WIDTH, 1 << max(0, share.bit_length() - 1))


def column_signs() -> npt.NDArray[np.float32]:
    """COLUMN: 4,096 signs, float32."""
    return _signs(1, COLUMN_PERIOD)


def row_signs() -> npt.NDArray[np.float32]:
    """ROW: 65,536 signs, float32."""
    return _signs(1 << 32, ROW_PERIOD)


def row_sums(block: Floats, span: int) -> Floats:
    """Each row's sum under COLUMN, in the block's dtype, float32 or float64.

    `block` (k,) begins at a multiple of 4,096 elements, and its last row may be short; gives (ceil(k / span),).
    """
    columns = _columns(block.dtype.char)
    count = block.shape[0]
    full, rest = divmod(count, span)
    sums = np.empty(full + (1 if rest else 0), dtype=block.dtype)
    if span < _NARROW:
        signed = block * _pattern(span, block.dtype.char)[:count]
        signed[: full * span].reshape(full, span).dot(_ones(span, block.dtype.char), out=sums[:full])
        if rest:
            sums[full] = np.add.reduce(signed[full * span :])
        return sums
    groups = full // SKETCH_BUCKETS
    turns = groups * SKETCH_BUCKETS
    table = block[: turns * span].reshape(groups, SKETCH_BUCKETS, 1, span)
    signs = columns[: SKETCH_BUCKETS * span].reshape(SKETCH_BUCKETS, span, 1)
    np.matmul(table, signs, out=sums[:turns].reshape(groups, SKETCH_BUCKETS, 1, 1))
    for row in range(turns, sums.shape[0]):
        last = block[row * span : (row + 1) * span]
        sums[row] = last.dot(signs[row - turns, : last.shape[0], 0])
    return sums


def fold(sums: Floats) -> npt.NDArray[np.float64]:
    """The sums of all rows (m,), not under ROW yet, to the 16 bucket sums, in float64."""
    rows = sums.shape[0]
    if rows <= _FEW_ROWS:
        # One small matrix product takes a third of the time of the general way.
        buckets: npt.NDArray[np.float64] = sums.astype(np.float64).dot(_fold_matrix()[:rows])
        return buckets
    groups = -(-rows // SKETCH_BUCKETS)
    padded = np.zeros(groups * SKETCH_BUCKETS, dtype=np.float64)
    padded[:rows] = sums
    for start in range(0, rows, ROW_PERIOD):
        part = padded[start : start + ROW_PERIOD]
        part *= row_signs()[: part.shape[0]]
    places = bucket_places()
    places = places[:groups] if groups <= places.shape[0] else np.resize(places, (groups, SKETCH_BUCKETS))
    table = np.take_along_axis(padded.reshape(groups, SKETCH_BUCKETS), places, axis=1)
    return np.asarray(table.sum(axis=0), dtype=np.float64)


@functools.cache
def bucket_places() -> npt.NDArray[np.int64]:
    """(4096, 16): at (k, b) which of the 16 rows from 16 k on goes to bucket b; later groups repeat it."""
    group = np.arange(ROW_PERIOD // SKETCH_BUCKETS)
    rotation = group + (group >> 4) + (group >> 8)
    places: npt.NDArray[np.int64] = (np.arange(SKETCH_BUCKETS) - rotation[:, None]) % SKETCH_BUCKETS
    return places


def has_sentinel(minimum: float, maximum: float) -> bool:
    """Does the minimum stand for "masked" rather than for a value?

    A mask is a large negative number far outside everything else (-1e9, -1e4, the least float).  It is one
    when min <= -5000 and |min| is at least 100 times both 1 and |max|; then all elements at or below min / 2
    are sentinels.  The extremes are those of the finite elements, with 0 in place of each other one.
    """
    return minimum <= SENTINEL_FLOOR and -minimum >= SENTINEL_RATIO * max(1.0, abs(maximum))


def _splitmix64(index: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014), the finalizer."""
    z = index * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


@functools.cache
def _signs(seed: int, count: int) -> npt.NDArray[np.float32]:
    index = np.arange(count, dtype=np.uint64) + np.uint64(seed)
    signs: npt.NDArray[np.float32] = 1 - 2 * (_splitmix64(index) >> np.uint64(63)).astype(np.float32)
    signs.flags.writeable = False
    return signs


@functools.cache
def _columns(char: str) -> Floats:
    """COLUMN in numpy's dtype of that character, so that no product converts it again."""
    signs: Floats = column_signs().astype(char)
    return signs


@functools.cache
def _pattern(span: int, char: str) -> Floats:
    """The signs of all elements of the largest tensor with rows of width `span`."""
    signs: Floats = np.resize(_columns(char)[: SKETCH_BUCKETS * span], 2 * span * SKETCH_BUCKETS * _ROWS_PER_BUCKET)
    return signs


@functools.cache
def _ones(span: int, char: str) -> Floats:
    return np.ones(span, dtype=char)


@functools.cache
def _fold_matrix() -> npt.NDArray[np.float64]:
    """(512, 16): ROW[r] at (r, its bucket)."""
    rows = np.arange(_FEW_ROWS)
    matrix = np.zeros((_FEW_ROWS, SKETCH_BUCKETS))
    matrix[rows, (rows + (rows >> 4) + (rows >> 8)) % SKETCH_BUCKETS] = row_signs()[:_FEW_ROWS]
    return matrix
