"""Max, min, mean, norm, sketch and counts of a host tensor, in one pass over memory.

By the native core where it is built (`dump/native`), which adds up in another order and is otherwise the same.  Without
it: numpy on the tensor's own memory rather than torch: its calls cost half a microsecond where torch's cost two,
and they are invisible to autograd and autocast, so measuring cannot change the run.  Big tensors are read in
blocks that stay in cache; dtypes that numpy cannot sum are widened a block at a time.

Sums run in float32.  Only where the sum of squares shows that this lost something (NaN, infinities, elements
so large or small that their squares leave float32) is the tensor read again, twice, in float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from .. import native
from ..format import sketch
from ..format.sketch import Floats
from . import reading
from . import waves as in_waves
from .contents import as_array, each_once, is_too_long, on_host, real_contiguous, working_dtype

# Elements read at a time, multiples of every width of the sketch: 2 MB.  Smaller blocks would stay in a nearer cache
# and yet take longer: with 1/8 of this a fifth longer in float32, with 1/32 twice as long in float64, for what each
# call of numpy costs beside its work.  Sharing the blocks with a second thread gains nothing: the two pass the
# interpreter's lock to and fro at every call, and waking up takes as long as a block's sum.  Nor would torch's threads
# do: four passes over 4 MB by them take 0.2 ms on two idle cores and 30 ms where somebody uses one of them.
_BLOCK = {torch.float32: 1 << 19, torch.float64: 1 << 18}
_WIDENED = 1 << 15  # elements that torch converts at a time, on one thread

# Elements that one product adds up in the working dtype; the sums of products are added in float64.  Where all
# elements are alike a product is 3e-7 off at worst, one of eight times as many 2.5e-6.
_PRODUCT = 1 << 11

# A lower mean square has lost digits to the dtype's least normal number, 1.2e-38 or 2.2e-308.
_LEAST_MEAN_SQUARE = {torch.float32: 1e-30, torch.float64: 1e-300}
# With a larger sum a bucket could leave float32.  Sums of float32 squares are smaller, or infinite.
_LARGEST_SQUARES = 1e60
_EXACT_IN_FLOAT64 = 1 << 53

_core = native.core
_CODES = {getattr(torch, name): code for code, name in enumerate(native.DTYPES) if hasattr(torch, name)}

# The functions behind the methods of arrays, which reach them by way of Python.
_largest, _least, _sum = np.maximum.reduce, np.minimum.reduce, np.add.reduce


class Statistics(msgspec.Struct, frozen=True, gc=False):
    """What is recorded of a tensor's contents.  All None for an empty tensor.

    `max`, `min` keep the type of the elements (int for integers and bool), `mean` and `norm` are floats, and
    a NaN makes all four NaN, as in torch.  For complex tensors they are over real and imaginary parts alike,
    so that the norm is the usual one.  `nan` and `inf` count elements.  `buckets` are
    the sketch's bytes as they are recorded, little-endian float32, or None; `waves` those of `format.waves`, where
    they were asked for.
    """

    max: float | int | None = None
    min: float | int | None = None
    mean: float | None = None
    norm: float | None = None
    nan: int = 0
    inf: int = 0
    buckets: bytes | None = None
    waves: bytes | None = None

    @property
    def sketch(self) -> npt.NDArray[np.float32] | None:
        """The sketch, float32 (16,)."""
        return None if self.buckets is None else np.frombuffer(self.buckets, "<f4")


EMPTY = Statistics()


class _Sums(msgspec.Struct, gc=False, eq=False):
    """What one pass over all elements gives; `rows` are the row sums of the sketch."""

    high: float
    low: float
    total: float
    squares: float
    rows: Floats


@dataclass(slots=True)
class _Survey:
    """Extremes and counts; the live ones are over the finite elements, with 0 in place of each other one."""

    high: float = -math.inf
    low: float = math.inf
    live_high: float = -math.inf
    live_low: float = math.inf
    nan: int = 0
    inf: int = 0


def as_it_lies(tensor: torch.Tensor, facts: reading.Facts, *, waves: bool = False) -> Statistics | None:
    """What `measure` gives, where that takes no operator of torch's; else None."""
    _, _, _, _, dtype, _, is_dense, count, _, _ = facts
    if _core is None or waves or not (is_dense and count) or dtype not in _CODES:
        return None
    return Statistics(*_core.measure(reading.address_of(tensor), _CODES[dtype], count))


def measure(tensor: torch.Tensor, facts: reading.Facts | None = None, *, waves: bool = False) -> Statistics:
    """Statistics of a CPU tensor of any shape, with `waves` but for one that is complex or has no dimension; `facts`
    are its, where they were read.

    Takes every dtype that torch converts to `working_dtype`; for others torch raises NotImplementedError.
    """
    if not reading.count_of(tensor):
        return EMPTY
    if is_too_long(tensor):
        return _of_repeated(reading.detached(tensor))
    waves = waves and in_waves.has_waves(tensor)
    if _core is None or (waves and not hasattr(_core, "measure_waves")):  # as one built before it was written
        return _measured_in_python(real_contiguous(tensor), waves=waves)
    source, code = tensor, _CODES.get(reading.dtype_of(tensor))
    if facts is None or code is None or reading.strides_of(tensor)[-1:] != (1,):  # else a copy would take longer
        source = real_contiguous(tensor)
        code = _CODES.get(reading.dtype_of(source))
        if code is None:
            return _measured_in_python(source, waves=waves)
    shape, memory = tuple(reading.shape_of(source)), (reading.address_of(source), code, reading.count_of(source))
    layout = () if reading.is_contiguous(source) else (shape, reading.strides_of(source))
    return Statistics(*(_core.measure_waves(shape, *memory, *layout) if waves else _core.measure(*memory, *layout)))


def _of_repeated(tensor: torch.Tensor) -> Statistics:
    """From what its memory gives, and without a sketch, which follows the order of all elements."""
    once = each_once(tensor)
    found = measure(on_host(once))
    times = reading.count_of(tensor) // reading.count_of(once)
    norm = None if found.norm is None else found.norm * math.sqrt(times)
    return Statistics(found.max, found.min, found.mean, norm, found.nan * times, found.inf * times)


def _measured_in_python(source: torch.Tensor, *, waves: bool) -> Statistics:
    found = _measure_in_python(source)
    return msgspec.structs.replace(found, waves=in_waves.of(source)) if waves else found


@np.errstate(all="ignore")
def _measure_in_python(source: torch.Tensor) -> Statistics:
    """The same of what `real_contiguous` gives, by numpy."""
    count, dtype = reading.count_of(source), reading.dtype_of(source)
    working = working_dtype(dtype)
    if count <= _BLOCK[working]:
        # Without the loop over blocks, which would take longer than a small tensor's sums.
        values = as_array(source if dtype is working else _widened(source, working)).reshape(-1)
        squares = _squares(values)
        if _is_clean(squares, count, working) or not (squares or values.any()):
            high, low = float(values[values.argmax()]), float(values[values.argmin()])
            rows = sketch.row_sums(values, sketch.width(count))
            return _statistics(source, _Sums(high, low, _plain_sum(values), squares, rows))
    flat = _flat(source)
    sums = _one_pass(flat, working) if count > _BLOCK[working] else None
    return _measure_carefully(flat) if sums is None else _statistics(flat, sums)


def is_native() -> bool:
    """Does the native core measure?"""
    return _core is not None


def _flat(source: torch.Tensor) -> torch.Tensor:
    """(n,) where that takes no copy."""
    return reading.viewed(source, -1) if reading.is_contiguous(source) else source


def from_scaled(
    high: float,
    low: float,
    *,
    nan: int,
    inf: int,
    scale: float,
    mean: float,
    norm: float,
    buckets: npt.NDArray[np.float64],
) -> Statistics:
    """Statistics from extremes and counts of all elements, and sums over the finite ones divided by `scale`.

    A mean or norm beyond float64 becomes an infinity, and so does a bucket beyond float32.
    """
    if nan:
        high = low = mean = norm = math.nan
    elif inf:
        # Both infinities give NaN, one gives itself.
        mean, norm = sum(extreme for extreme in (high, low) if math.isinf(extreme)), math.inf
    else:
        mean, norm = mean * scale, norm * scale
    with np.errstate(all="ignore"):
        return Statistics(high, low, mean, norm, nan, inf, (buckets * scale).astype("<f4").tobytes())


def _is_clean(squares: float, count: int, working: torch.dtype) -> bool:
    """Does the sum of squares show that nothing is NaN or infinite, and that no digit was lost?"""
    return _LEAST_MEAN_SQUARE[working] * count <= squares <= _LARGEST_SQUARES


def _statistics(source: torch.Tensor, sums: _Sums) -> Statistics:
    """Clean sums as statistics; `source` gives what they cannot: exact integers, the sketch beside a mask."""
    high: float | int = sums.high
    low: float | int = sums.low
    rows = sums.rows
    if not reading.dtype_of(source).is_floating_point:
        if max(-low, high) < _EXACT_IN_FLOAT64:
            high, low = int(high), int(low)
        else:
            whole = as_array(source)
            high, low = int(whole.max()), int(whole.min())
    elif sketch.has_sentinel(low, high):
        rows = _rows_without_sentinels(_flat(source), low)
    count = reading.count_of(source)
    buckets = sketch.fold(rows).astype("<f4").tobytes()
    return Statistics(high, low, sums.total / count, math.sqrt(sums.squares), 0, 0, buckets)


def _blocks(flat: torch.Tensor, working: torch.dtype) -> Iterator[Floats]:
    """The elements of `flat` (n,), or of an expanded tensor of any shape, in `working`, block by block; the next one
    may overwrite the last."""
    size = _BLOCK[working]
    if not reading.is_contiguous(flat):
        yield from _gathered(flat, working)
        return
    whole = reading.count_of(flat)
    if reading.dtype_of(flat) is working:
        values = as_array(flat)
        for start in range(0, whole, size):
            yield values[start : start + size]
        return
    buffer, widened = _room(min(size, whole), working)
    for start in range(0, whole, size):
        count = min(size, whole - start)
        for at in range(0, count, _WIDENED):
            length = min(_WIDENED, count - at)
            reading.fill(reading.narrowed(buffer, 0, at, length), reading.narrowed(flat, 0, start + at, length))
        yield widened[:count]


def _gathered(source: torch.Tensor, working: torch.dtype) -> Iterator[Floats]:
    """`_blocks` of a tensor whose elements do not lie in order, of which no more than a block is ever copied."""
    size = _BLOCK[working]
    buffer, values = _room(min(size, reading.count_of(source)), working)
    filled = 0
    for piece in _pieces(source, min(_WIDENED, size)):
        flat, count = reading.viewed(reading.in_order(piece), -1), reading.count_of(piece)
        taken = min(count, size - filled)
        reading.fill(reading.narrowed(buffer, 0, filled, taken), reading.narrowed(flat, 0, 0, taken))
        filled += taken
        if filled == size:
            yield values
            filled = count - taken
            reading.fill(reading.narrowed(buffer, 0, 0, filled), reading.narrowed(flat, 0, taken, filled))
    if filled:
        yield values[:filled]


def _room(count: int, working: torch.dtype) -> tuple[torch.Tensor, Floats]:
    """Memory of so many elements, as torch and as numpy see it."""
    buffer = torch.empty(count, dtype=working, device="cpu")
    return buffer, reading.as_numpy(buffer)


def _pieces(source: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """`source` in parts of at most `size` elements, in the order of its elements."""
    count = reading.count_of(source)
    if count <= size:
        yield source
        return
    extent = reading.shape_of(source)[0]
    row = count // extent
    if row > size:
        for index in range(extent):
            yield from _pieces(reading.selected(source, 0, index), size)
        return
    rows = size // row
    for start in range(0, extent, rows):
        yield reading.narrowed(source, 0, start, min(rows, extent - start))


def _widened(source: torch.Tensor, working: torch.dtype) -> torch.Tensor:
    """A copy in `working`, of one block at most."""
    if reading.count_of(source) <= _WIDENED:
        return reading.converted(source, working)
    return torch.from_numpy(next(_blocks(_flat(source), working)))


def _one_pass(flat: torch.Tensor, working: torch.dtype) -> _Sums | None:
    """All that one reading of memory gives; blocks are summed in `working`, their sums in float64.

    None where the data is not clean.
    """
    count = reading.count_of(flat)
    span = sketch.width(count)
    high, low, total, squares = -math.inf, math.inf, 0.0, 0.0
    rows = []
    for block in _blocks(flat, working):
        squares += _squares(block)
        if not squares <= _LARGEST_SQUARES:
            return None
        rows.append(sketch.row_sums(block, span))
        total += _plain_sum(block)
        high = max(high, float(_largest(block)))
        low = min(low, float(_least(block)))
    if _is_clean(squares, count, working) or high == low == 0.0:
        return _Sums(high, low, total, squares, np.concatenate(rows))
    return None


def _squares(block: Floats) -> float:
    return float(block.dot(block)) if block.shape[0] <= _PRODUCT else _sum_of_products(block, block)


def _plain_sum(block: Floats) -> float:
    """By products with ones: they take half the time of numpy's pairwise sum, and are as near."""
    if block.shape[0] <= _PRODUCT:
        return float(block.dot(_ones(block.dtype.char)[: block.shape[0]]))
    return _sum_of_products(block, None)


def _sum_of_products(block: Floats, other: Floats | None) -> float:
    """The sum of a block's (k,) products with `other`, or with ones, `_PRODUCT` of them at a time."""
    ones = _ones(block.dtype.char)
    whole = block.shape[0] // _PRODUCT
    end = whole * _PRODUCT
    second = ones.reshape(_PRODUCT, 1) if other is None else other[:end].reshape(whole, _PRODUCT, 1)
    sums = np.matmul(block[:end].reshape(whole, 1, _PRODUCT), second).reshape(whole).tolist()
    last = block[end:]
    return sum(sums, float(last.dot(ones[: last.shape[0]] if other is None else other[end:])))


@functools.cache
def _ones(char: str) -> Floats:
    return np.ones(_PRODUCT, dtype=char)


def _rows_without_sentinels(flat: torch.Tensor, low: float) -> Floats:
    span, working = sketch.width(reading.count_of(flat)), working_dtype(reading.dtype_of(flat))
    zero = np.float32(0)
    return np.concatenate(
        [sketch.row_sums(np.where(block <= low / 2, zero, block), span) for block in _blocks(flat, working)]
    )


def _measure_carefully(flat: torch.Tensor) -> Statistics:
    """Statistics of floats (n,) whose squares do not tell the truth.

    Sums are over elements divided by the largest finite magnitude, so that no square over- or underflows.
    """
    found = _survey(flat)
    scale = max(found.live_high, -found.live_low) or 1.0
    masked = sketch.has_sentinel(found.live_low, found.live_high)
    count = reading.count_of(flat)
    span = sketch.width(count)
    total, squares = 0.0, 0.0
    rows = []
    for block in _blocks(flat, torch.float64):
        scaled = (np.where(np.isfinite(block), block, 0.0) if found.nan or found.inf else block) / scale
        total += float(np.add.reduce(scaled))
        squares += float(scaled.dot(scaled))
        live = np.where(block <= found.live_low / 2, 0.0, scaled) if masked else scaled
        rows.append(sketch.row_sums(live, span))
    return from_scaled(
        found.high,
        found.low,
        nan=found.nan,
        inf=found.inf,
        scale=scale,
        mean=total / count,
        norm=math.sqrt(squares),
        buckets=sketch.fold(np.concatenate(rows)),
    )


def _survey(flat: torch.Tensor) -> _Survey:
    found = _Survey()
    for block in _blocks(flat, working_dtype(reading.dtype_of(flat))):
        high, low = float(block.max()), float(block.min())
        # numpy's maximum keeps a NaN that Python's max would drop.
        found.high, found.low = float(np.maximum(found.high, high)), float(np.minimum(found.low, low))
        if not math.isfinite(high - low):
            finite = np.isfinite(block)
            nan = int(np.count_nonzero(np.isnan(block)))
            found.nan += nan
            found.inf += block.shape[0] - int(np.count_nonzero(finite)) - nan
            live = np.where(finite, block, np.float32(0))
            high, low = float(live.max()), float(live.min())
        found.live_high, found.live_low = max(found.live_high, high), min(found.live_low, low)
    return found
