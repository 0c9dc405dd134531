"""Two tensors looked at element by element: how their values spread, where they differ, and which bits they have set.

Everything is counted block by block, in two passes: the second knows the ranges that the first found.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from acc_compare.metrics.blocks import AnyArray, Floats, paired_blocks, release
from acc_compare.model import Element, HeatMap, Histogram, TensorPanel
from dump.format.tensors import NUMPY_DTYPES

BINS = 48
WORST = 12
ROWS, COLUMNS = 40, 64
"""Boxes of a map at most."""

_SPAN = 100.0
"""Of the colours of a map at least, so that an error that is alike everywhere is hot everywhere."""

NO_DIFFERENCE, HOTTEST, NONFINITE = 0, 254, 255
"""Levels of a map."""


@dataclass(frozen=True, slots=True)
class Side:
    """The elements of one side, and torch's name of the dtype that was recorded (a file may hold a wider one)."""

    array: AnyArray
    dtype: str


def panel_of(name: str, npu: Side, bench: Side | None = None) -> TensorPanel | None:
    """What there is to see in the tensor `name`, of one side alone where there is no `bench`.

    None for complex numbers, which have no order, and for a tensor without elements.  Raises ValueError where the
    shapes differ.
    """
    other = bench if bench is not None else npu
    if not npu.array.size or "c" in (npu.array.dtype.kind, other.array.dtype.kind):
        return None
    seen = _Seen.of(npu.array, other.array, is_pair=bench is not None)
    values, difference = _histograms(npu.array, other.array, seen, is_pair=bench is not None)
    panel = TensorPanel(
        name=name,
        dtype=npu.dtype,
        bench_dtype=bench.dtype if bench is not None else "",
        shape=tuple(map(int, npu.array.shape)),
        elements=int(npu.array.size),
        different=seen.different,
        nonfinite=seen.nonfinite[0],
        bench_nonfinite=seen.nonfinite[1] if bench is not None else 0,
        values=values,
        difference=difference,
        map=seen.boxes.map(npu.array.shape),
        worst=tuple(_element(flat, npu, bench) for flat in seen.worst_places()),
        bits=_bit_shares(npu),
        bench_bits=_bit_shares(bench) if bench is not None else (),
    )
    for side in (npu, other):
        release(side.array)
    return panel


@dataclass
class _Boxes:
    """Sums over the boxes of a map; `steps` are for each of its axes (elements from one index to the next, extent,
    boxes)."""

    axes: tuple[int, ...]
    steps: tuple[tuple[int, int, int], ...]
    total: Floats
    count: Floats
    broken: Floats

    @classmethod
    def of(cls, shape: Sequence[int]) -> _Boxes:
        largest = sorted(sorted(range(len(shape)), key=lambda axis: (-shape[axis], axis))[:2])
        most = (ROWS, COLUMNS)[-len(largest) :] if largest else ()
        steps = tuple(
            (math.prod(shape[axis + 1 :]), shape[axis], min(shape[axis], boxes))
            for axis, boxes in zip(largest, most, strict=True)
        )
        size = math.prod(boxes for _, _, boxes in steps)
        return cls(tuple(largest), steps, np.zeros(size), np.zeros(size), np.zeros(size))

    def add(self, start: int, apart: Floats, broken: AnyArray) -> None:
        """Take in the differences of the elements from the flat index `start` on; those that are `broken` count as
        such."""
        flat = np.arange(start, start + len(apart), dtype=np.int64)
        box = np.zeros(len(apart), dtype=np.int64)
        for step, extent, boxes in self.steps:
            box = box * boxes + flat // step % extent * boxes // extent
        size = len(self.total)
        self.total += np.bincount(box, weights=apart, minlength=size)
        self.count += np.bincount(box, minlength=size)
        if broken.any():
            self.broken += np.bincount(box[broken], minlength=size)

    def map(self, shape: Sequence[int]) -> HeatMap | None:
        if not self.axes:
            return None
        mean = self.total / np.maximum(self.count, 1)
        finite = mean[(mean > 0) & np.isfinite(mean)]
        low, high = (
            (min(float(finite.min()), float(finite.max()) / _SPAN), float(finite.max())) if finite.size else (0.0, 0.0)
        )
        levels = np.zeros(len(mean), dtype=np.uint8)
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.log(mean / low) / np.log(high / low) if high > low > 0 else np.ones(len(mean))
        shown = mean > 0
        levels[shown] = np.clip(np.round(1 + (HOTTEST - 1) * place[shown]), 1, HOTTEST).astype(np.uint8)
        levels[self.broken > 0] = NONFINITE
        grid = [boxes for _, _, boxes in self.steps]
        return HeatMap(
            axes=self.axes,
            extents=tuple(int(shape[axis]) for axis in self.axes),
            rows=grid[0] if len(grid) == 2 else 1,
            columns=grid[-1],
            low=low,
            high=high,
            levels=levels.tobytes(),
        )


@dataclass
class _Seen:
    """What the first pass comes to: ranges, counts, the worst elements, and the sums of the map."""

    boxes: _Boxes
    low: float = math.inf
    high: float = -math.inf
    least: float = math.inf
    most: float = -math.inf
    different: int = 0
    nonfinite: list[int] = field(default_factory=lambda: [0, 0])
    worst: list[tuple[float, int]] = field(default_factory=list)

    @classmethod
    def of(cls, npu: AnyArray, bench: AnyArray, *, is_pair: bool) -> _Seen:
        seen, start = cls(_Boxes.of(npu.shape)), 0
        for ours, theirs in paired_blocks(npu, bench):
            seen._take(start, ours, theirs, is_pair=is_pair)
            start += len(ours)
        return seen

    def _take(self, start: int, npu: AnyArray, bench: AnyArray, *, is_pair: bool) -> None:
        finite = np.isfinite(npu), np.isfinite(bench)
        for side, (values, good) in enumerate(zip((npu, bench), finite, strict=True)):
            self.nonfinite[side] += int(len(good) - np.count_nonzero(good))
            live = values[good]
            if live.size:
                self.low, self.high = min(self.low, float(live.min())), max(self.high, float(live.max()))
        if is_pair:
            signed = _difference(npu, bench)
            alike = (npu == bench) | ((npu != npu) & (bench != bench))
            broken = ~alike & ~(finite[0] & finite[1])
            self.different += int(len(alike) - np.count_nonzero(alike))
        else:
            signed = npu.astype(np.float64)
            broken = ~finite[0]
        live = signed[np.isfinite(signed)]
        if live.size:
            self.least, self.most = min(self.least, float(live.min())), max(self.most, float(live.max()))
        apart = np.where(np.isfinite(signed), np.abs(signed), 0.0)
        self.boxes.add(start, apart, broken)
        ranked = np.where(broken, np.inf, apart)
        least = self.worst[-1][0] if len(self.worst) == WORST else 0.0
        if not (ranked > least).any():  # of equals the first is kept, as in every other index
            return
        chosen = np.argpartition(ranked, -WORST)[-WORST:] if len(ranked) > WORST else np.arange(len(ranked))
        found = [(float(ranked[at]), -(start + int(at))) for at in chosen if ranked[at] > 0]
        self.worst = heapq.nlargest(WORST, [*self.worst, *found])

    def worst_places(self) -> list[int]:
        return [-place for _, place in self.worst]


def _difference(npu: AnyArray, bench: AnyArray) -> Floats:
    """N - B as float64; what overflows or is not finite is not finite."""
    with np.errstate(all="ignore"):
        found: Floats = npu.astype(np.float64) - bench.astype(np.float64)
    return found


def _histograms(
    npu: AnyArray, bench: AnyArray, seen: _Seen, *, is_pair: bool
) -> tuple[Histogram | None, Histogram | None]:
    """Of the values of both sides, and of their difference."""
    if not math.isfinite(seen.low):
        return None, None
    values, apart = _Bins.over(seen.low, seen.high), None
    sides = [np.zeros(values.number, np.int64) for _ in range(2)]
    if is_pair and seen.different and math.isfinite(seen.least):
        apart = _Bins.over(seen.least, seen.most)
    differences = np.zeros(apart.number if apart is not None else 0, np.int64)
    for ours, theirs in paired_blocks(npu, bench):
        for counts, block in zip(sides, (ours, theirs), strict=True):
            counts += values.counts(block)
        if apart is not None:
            differences += apart.counts(_difference(ours, theirs))
    found = Histogram(values.low, values.high, _plain(sides[0]), _plain(sides[1]) if is_pair else ())
    return found, Histogram(apart.low, apart.high, _plain(differences)) if apart is not None else None


def _plain(counts: AnyArray) -> tuple[int, ...]:
    return tuple(map(int, counts))


@dataclass(frozen=True)
class _Bins:
    """Equal bins from `low` to `high`; a single one where there is no room for more."""

    low: float
    high: float
    number: int

    @classmethod
    def over(cls, low: float, high: float) -> _Bins:
        width = high / BINS - low / BINS
        return cls(low, high, BINS if math.isfinite(width) and low + width > low else 1)

    def counts(self, block: AnyArray) -> AnyArray:
        live = block[np.isfinite(block)].astype(np.float64)
        if self.number == 1:
            return np.array([live.size])
        scale = self.number / (self.high / 2 - self.low / 2)  # half of each: the whole range may overflow
        place = ((live / 2 - self.low / 2) * scale).astype(np.int64)
        return np.bincount(np.clip(place, 0, self.number - 1), minlength=self.number)


def _element(flat: int, npu: Side, bench: Side | None) -> Element:
    index = np.unravel_index(flat, npu.array.shape)
    shown = [(float(side.array[index]), _bits_of(side, index)) for side in (npu, bench) if side is not None]
    (ours, bits), (theirs, their_bits) = shown[0], shown[1] if len(shown) > 1 else (None, "")
    return Element(tuple(map(int, index)), ours, theirs, bits, their_bits)


def _bits_of(side: Side, index: tuple[AnyArray, ...] | tuple[np.intp, ...]) -> str:
    element = _as_recorded(side, side.array[index].reshape(1))
    return element.tobytes()[::-1].hex()


def _as_recorded(side: Side, block: AnyArray) -> AnyArray:
    """Elements in the dtype that was recorded, little-endian: .npy files widen bfloat16 and float8."""
    dtype = NUMPY_DTYPES.get(side.dtype, side.array.dtype)
    with np.errstate(all="ignore"):
        return block.astype(dtype.newbyteorder("<") if dtype.isbuiltin == 1 else dtype)


def _bit_shares(side: Side) -> tuple[float, ...]:
    """For each bit, the highest first, the share of elements that have it set; empty for bools.  Of a large tensor
    blocks are looked at that lie evenly over it."""
    dtype = NUMPY_DTYPES.get(side.dtype, side.array.dtype)
    if dtype.kind == "b":
        return ()
    counts, flat, seen = np.zeros(8 * dtype.itemsize, np.int64), side.array.flat, 0
    blocks = range(0, side.array.size, _BIT_BLOCK)
    for start in blocks[:: -(-len(blocks) // _BIT_BLOCKS)]:
        block = _as_recorded(side, flat[start : start + _BIT_BLOCK])
        octets = np.frombuffer(block.tobytes(), np.uint8).reshape(len(block), dtype.itemsize)[:, ::-1]
        counts += np.unpackbits(octets, axis=1).sum(axis=0, dtype=np.int64)
        seen += len(block)
    return tuple(round(count / seen, 4) for count in counts.tolist())


_BIT_BLOCK, _BIT_BLOCKS = 1 << 14, 32
"""Elements whose bits are counted at a time (eight bytes for each byte of them), and how many times."""
