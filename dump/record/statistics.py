"""Max, min, mean, norm, sketch and counts of a host tensor, in one pass over memory.

numpy on the tensor's own memory rather than torch: it is invisible to autograd, autocast, dispatch modes and the
generators, so measuring cannot change the run, and its calls cost a microsecond where torch's cost four.  Big
tensors are read in blocks that stay in cache: 256 KB at a time through max, min, sum, dot and sketch runs at about
6 GB/s on one core, where five passes by torch on two cores took half as long again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..format import sketch

_BLOCK = 1 << 16  # elements: 256 KB of float32


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is recorded of a tensor's contents.  All None for an empty tensor.

    `max`, `min` keep the type of the elements (int for integers and bool), `mean` and `norm` are floats, and a NaN
    makes all four NaN, as in torch.  For complex tensors they are over real and imaginary parts alike, so that the
    norm is the usual one.  `nan` and `inf` count elements.  `sketch` is float32 (16,) or None.
    """

    max: float | int | None = None
    min: float | int | None = None
    mean: float | None = None
    norm: float | None = None
    nan: int = 0
    inf: int = 0
    sketch: npt.NDArray[np.float32] | None = None


EMPTY = Statistics()


def host_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The flattened contents of a CPU tensor as numpy, without a copy where it is contiguous.

    float32 for bfloat16, float16 and float8; float64 stays, complex becomes its real view, integers and bool stay.
    """
    flat = tensor.detach()
    if flat.is_conj() or flat.is_neg():
        flat = flat.resolve_conj().resolve_neg()
    if not flat.is_contiguous():
        flat = flat.contiguous()
    flat = flat.view(-1)
    dtype = flat.dtype
    if dtype is torch.bfloat16:
        bits = flat.view(torch.int16).numpy().astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    if dtype.is_complex:
        if dtype is torch.complex32:
            return flat.view(torch.float16).numpy().astype(np.float32)
        array = flat.numpy()
        return array.view(np.float32 if array.dtype == np.complex64 else np.float64)
    if dtype is torch.float16:
        return flat.numpy().astype(np.float32)
    if dtype.is_floating_point and dtype.itemsize == 1:
        return flat.to(torch.float32).numpy()
    return flat.numpy()


def measure(tensor: torch.Tensor) -> Statistics:
    """Statistics of a CPU tensor of any shape and of any dtype that `host_array` takes."""
    return measure_array(host_array(tensor))


def measure_array(flat: npt.NDArray[Any]) -> Statistics:
    """Statistics of a flat array (n,): float32, float64, any integer, or bool."""
    if flat.shape[0] == 0:
        return EMPTY
    with np.errstate(all="ignore"):
        if flat.dtype.kind == "f":
            return _measure_float(flat)
        return _measure_integer(flat)


def _measure_integer(flat: npt.NDArray[Any]) -> Statistics:
    """Integers and bool: exact extremes; mean, norm and sketch in float64."""
    high, low = int(flat.max()), int(flat.min())
    wide = flat.astype(np.float64)
    summed = _one_pass(wide)
    return Statistics(high, low, summed.total / flat.shape[0], math.sqrt(summed.squares), 0, 0, summed.buckets)


def _measure_float(flat: npt.NDArray[np.floating]) -> Statistics:
    summed = _one_pass(flat)
    count = flat.shape[0]
    high, low = summed.high, summed.low
    if math.isfinite(high) and math.isfinite(low):
        buckets = summed.buckets
        if sketch.has_sentinel(low, high):
            buckets = _one_pass(np.where(flat <= low / 2, flat.dtype.type(0), flat)).buckets
        squares = summed.squares
        if not math.isfinite(squares) or squares == 0.0:  # float32 squares over- or underflow before their root
            squares = float(np.dot(wide := flat.astype(np.float64), wide))
        return Statistics(high, low, summed.total / count, math.sqrt(squares), 0, 0, buckets)
    finite = np.isfinite(flat)
    nan = int(np.isnan(flat).sum())
    clean = np.where(finite, flat, flat.dtype.type(0))
    live = _one_pass(clean)
    if sketch.has_sentinel(live.low, live.high):
        live = _one_pass(np.where(clean <= live.low / 2, flat.dtype.type(0), clean))
    inf = count - int(finite.sum()) - nan
    norm = math.nan if nan else math.inf
    return Statistics(high, low, float(flat.mean(dtype=np.float64)), norm, nan, inf, live.buckets)


@dataclass(frozen=True, slots=True)
class _Summed:
    high: float
    low: float
    total: float
    squares: float
    buckets: npt.NDArray[np.float32]


def _one_pass(flat: npt.NDArray[np.floating]) -> _Summed:
    """Everything that one reading of memory gives; sums of blocks in the array's dtype, their totals in float64."""
    count = flat.shape[0]
    span = sketch.width(count)
    columns = sketch.column_signs()[:span]
    if flat.dtype == np.float64:
        columns = columns.astype(np.float64)
    rows, rest = divmod(count, span)
    heads = np.empty(rows + (rest > 0), dtype=flat.dtype)
    if count <= _BLOCK:
        wide = flat.astype(np.float64)
        heads[:rows] = flat[: rows * span].reshape(rows, span) @ columns if span > 1 else flat[:rows]
        if rest:
            heads[rows] = flat[rows * span :] @ columns[:rest]
        return _Summed(
            float(flat.max()), float(flat.min()), float(wide.sum()), float(wide @ wide), sketch.fold(heads)
        )
    high, low, total, squares = -math.inf, math.inf, 0.0, 0.0
    step = max(1, _BLOCK // span)
    for start in range(0, heads.shape[0], step):
        block = flat[start * span : (start + step) * span]
        full = min(start + step, rows) - start
        if full > 0:
            np.dot(block[: full * span].reshape(full, span), columns, out=heads[start : start + full])
        if block.shape[0] > full * span:
            heads[rows] = np.dot(block[full * span :], columns[:rest])
        # numpy's maximum keeps a NaN that Python's max would drop.
        high = float(np.maximum(high, block.max()))
        low = float(np.minimum(low, block.min()))
        total += float(block.sum())
        squares += float(np.dot(block, block))
    return _Summed(high, low, total, squares, sketch.fold(heads))
