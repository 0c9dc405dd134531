"""Where two tensors are off by more than rounding, counted along every axis in one pass and bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]
Counts: TypeAlias = npt.NDArray[np.int64]

BLOCK = 1 << 18
"""Elements that are compared at a time: some 10 MiB with all temporaries."""

SLACK = 8.0
"""An element is off beyond this many times the relative error that is normal for the tensor: of a million normally
distributed errors none is beyond 8 standard deviations."""

_SAMPLE = 1 << 16
_SENTINEL = 1e4


@dataclass(frozen=True, slots=True)
class Footprint:
    """Which elements of a tensor are off: `along[axis][index]` counts those of one index of one axis, `off` all of
    them; `first` and `last` are flat (C order) indices, -1 where none is off.  `size` is the typical modulus of an
    element, its root mean square without sentinels (masks of -1e9)."""

    shape: tuple[int, ...]
    off: int
    along: tuple[Counts, ...]
    first: int
    last: int
    size: float

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def footprint(npu: AnyArray, bench: AnyArray, *, noise: float) -> Footprint:
    """Count the elements with |n - b| > 8 noise max(|b|, size); `noise` is the relative error that is normal.

    Both arrays are real and of one shape, in any dtype that widens to float64.  Elements that are not finite count
    as off unless both sides hold the same.  Raises ValueError where the shapes differ.
    """
    if npu.shape != bench.shape:
        raise ValueError(f"expected two tensors of one shape, found {npu.shape} and {bench.shape}")
    size = typical_size(bench)
    along: list[Counts] = [np.zeros(extent, np.int64) for extent in npu.shape]
    first = last = -1
    for index in _blocks(npu.shape):
        off = is_off(npu[index], bench[index], noise=noise, size=size)
        if not off.any():
            continue
        for axis, counts in enumerate(along):
            counts[index[axis]] += np.count_nonzero(off, axis=tuple(a for a in range(off.ndim) if a != axis))
        places = np.flatnonzero(off)
        ends = [_flat(npu.shape, index, off.shape, int(place)) for place in (places[0], places[-1])]
        first = ends[0] if first < 0 else first
        last = ends[1]
    total = int(along[0].sum()) if along else int(is_off(npu, bench, noise=noise, size=size).sum())
    return Footprint(npu.shape, total, tuple(along), first, last, size)


def is_off(npu: AnyArray, bench: AnyArray, *, noise: float, size: float) -> npt.NDArray[np.bool_]:
    """Elementwise: is the difference larger than `SLACK` times what is normal?"""
    n, b = wide(npu), wide(bench)
    with np.errstate(invalid="ignore", over="ignore"):
        within = np.abs(n - b) <= SLACK * noise * np.maximum(np.abs(b), size)
    same = (n == b) | (np.isnan(n) & np.isnan(b))
    off: npt.NDArray[np.bool_] = ~np.where(np.isfinite(n) & np.isfinite(b), within, same)
    return off


def wide(array: AnyArray) -> npt.NDArray[np.float64]:
    """As float64.  A file may hold signalling NaN, of which numpy would warn."""
    with np.errstate(invalid="ignore"):
        return np.asarray(array, np.float64)


def typical_size(array: AnyArray) -> float:
    """The root mean square of the elements that are not zero, not infinite and no sentinels, from evenly spaced
    slices of at most 65,536 elements; 0 where there are none."""
    sample = np.abs(wide(thinned(array, limit=_SAMPLE))).ravel()
    live = sample[np.isfinite(sample) & (sample > 0)]
    # Of attention scores more than half may be masked, hardly nine tenths.
    live = live[live <= _SENTINEL * np.quantile(live, 0.1)] if live.size else live
    return float(np.sqrt(np.mean(np.square(live)))) if live.size else 0.0


def thinned(array: AnyArray, *, limit: int) -> AnyArray:
    """Every k-th slice, first of the first axis, then of the next, so that at most `limit` elements remain: a view."""
    for axis in range(array.ndim):
        if array.size <= limit:
            break
        extent = array.shape[axis]
        kept = max(1, limit // (array.size // extent))
        step = math.ceil(extent / kept)
        every = (slice(None),) * axis + (slice(None, None, step),)
        array = array[every]
    return array


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Boxes of at most BLOCK elements that cover a tensor in C order: whole along the last axes, one index wide along
    the first, cut along the one between."""
    if not shape or not math.prod(shape):
        return
    cut = len(shape) - 1
    while cut > 0 and math.prod(shape[cut:]) <= BLOCK:
        cut -= 1
    inner = math.prod(shape[cut + 1 :])
    step = max(1, BLOCK // inner)
    whole = tuple(slice(0, extent) for extent in shape[cut + 1 :])
    for outer in product(*(range(extent) for extent in shape[:cut])):
        for start in range(0, shape[cut], step):
            stop = min(start + step, shape[cut])
            yield (*(slice(i, i + 1) for i in outer), slice(start, stop), *whole)


def _flat(shape: tuple[int, ...], box: tuple[slice, ...], inside: tuple[int, ...], place: int) -> int:
    """The flat index in the tensor of an element of a box."""
    local = np.unravel_index(place, inside)
    return int(np.ravel_multi_index(tuple(int(i) + s.start for i, s in zip(local, box, strict=True)), shape))
