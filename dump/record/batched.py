"""Statistics of many tensors on a device by the kernels of one.

A kernel costs the host some microseconds to launch, whatever its size, and the statistics of a tensor take forty.  So a
tensor is copied, which is one launch, into memory that it shares with others of its kind, and all of them are measured
together once that memory is full or results are asked for.  What the run does with a tensor after the copy is nobody's
concern: the copy stands in the device's own order of work.

Memory is a table whose line is one round of the sketch's signs, 16 rows of its width, so that only tensors of one width
share it.  Kernels give results a line; few as they are, they are put together on the host, in float64.  The sums are
elementwise products and plain sums rather than matrix products, so that TF32, HF32 and autocast cannot lower their
precision; the device cannot be asked whether the data is clean without waiting for it, so all is computed the careful
way of `statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from ..environment.device import upload
from ..format import sketch
from ..format import waves as under_waves
from ..format.schema import SKETCH_BUCKETS
from . import reading
from .statistics import Statistics, from_scaled

CAPACITY = 1 << 22
"""Elements of a batch: 16 MB in float32.  A larger tensor is a batch of its own."""

MOST = 256
"""Tensors of a batch."""

_LEAST_INT64, _MOST_INT64 = -(1 << 63), (1 << 63) - 1
_UINT64 = getattr(torch, "uint64", None)  # since torch 2.3

_Table = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """What tensors have in common that share a batch: `span` is the width of a sketch's row, `memory` the type that
    they are copied to; `is_lowered` where that is int64 for uint64, whose elements are less by 2 ** 63."""

    device: torch.device
    memory: torch.dtype
    span: int
    is_lowered: bool

    @classmethod
    def of(cls, flat: torch.Tensor) -> Kind:
        """Of a real tensor (n,)."""
        dtype = reading.dtype_of(flat)
        memory = torch.float64 if dtype is torch.float64 else torch.float32
        if not dtype.is_floating_point:
            memory = torch.int64
        return cls(reading.device_of(flat), memory, sketch.width(reading.count_of(flat)), dtype is _UINT64)

    @property
    def line(self) -> int:
        return SKETCH_BUCKETS * self.span

    def lines(self, elements: int) -> int:
        """How many lines so many elements take."""
        return -(-elements // self.line)

    @property
    def is_integral(self) -> bool:
        return self.memory is torch.int64


@dataclass(frozen=True, slots=True)
class _Constants:
    """What a device is given once: the sketch's tables `columns` (4096,), `rows` and `places` (4096, 16), and numbers
    without dimensions, which a number of Python's would be made into by a launch of its own each time."""

    columns: torch.Tensor
    rows: torch.Tensor
    places: torch.Tensor
    zero: torch.Tensor
    one: torch.Tensor
    top: torch.Tensor
    bottom: torch.Tensor


_constants_on: dict[tuple[torch.device, torch.dtype], _Constants] = {}


class Batch:
    """Tensors of one kind.  Kernels that measure them, with `waves` too, are queued by `measure`; `floats` and `whole`
    are the results then, a line of the table each, still on the device.

    Autocast, gradients and `__torch_function__` must be off around all calls (`recorder` sees to it).
    """

    def __init__(self, kind: Kind, elements: int, *, waves: bool = False) -> None:
        self.kind = kind
        self._waves = waves
        self._shapes: list[Sequence[int]] = []
        lines = kind.lines(elements)
        self._memory: torch.Tensor | None = torch.zeros((lines, kind.line), dtype=kind.memory, device=kind.device)
        self._room = lines
        self._counts: list[int] = []
        self._starts = [0]
        self.floats: torch.Tensor | None = None
        self.whole: torch.Tensor | None = None
        self.failure: RuntimeError | None = None
        self._found: list[Statistics] | None = None

    def takes(self, elements: int) -> bool:
        """Is there room for a tensor of so many?"""
        is_open = self._memory is not None and len(self._counts) < MOST
        return is_open and self._starts[-1] + self.kind.lines(elements) <= self._room

    def add(self, flat: torch.Tensor, shape: Sequence[int] = ()) -> int:
        """Queue the copy of a tensor (n,), n > 0, that the batch `takes`; its number in the batch.  Waves go by its
        `shape`."""
        assert self._memory is not None
        count = reading.count_of(flat)
        start = self._starts[-1]
        values = reading.viewed(flat, torch.int64) ^ _LEAST_INT64 if self.kind.is_lowered else flat
        reading.fill(reading.narrowed(reading.viewed(self._memory, -1), 0, start * self.kind.line, count), values)
        self._counts.append(count)
        self._shapes.append(shape)
        self._starts.append(start + self.kind.lines(count))
        return len(self._counts) - 1

    def measure(self) -> None:
        """Queue the kernels that measure what was added, once, and let the copies go.  What fails is kept."""
        if self._memory is None or not self._counts:  # none where the first copy failed
            return
        table, self._memory = self._memory[: self._starts[-1]], None
        try:
            self._queue(table)
        except RuntimeError as error:
            self.failure = error

    def _queue(self, table: torch.Tensor) -> None:
        kind = self.kind
        known = _constants(kind.device, torch.float32 if kind.is_integral else kind.memory)
        owners, local, lengths = self._lines()
        plan = upload(torch.from_numpy(np.stack([owners, local, lengths])), kind.device)
        numbers = torch.arange(max(len(self._counts), kind.line), device=kind.device)
        valid = numbers[: kind.line] < plan[2].unsqueeze(1)
        owned = numbers[: len(self._counts)].unsqueeze(1) == plan[0]
        if kind.is_integral:
            high = torch.where(valid, table, _LEAST_INT64).amax(1)
            low = torch.where(valid, table, _MOST_INT64).amin(1)
            self.whole = torch.stack([high, low], 1)
            values = table.to(torch.float32)
            if kind.is_lowered:
                values = torch.where(valid, values - float(_LEAST_INT64), known.zero)
            ends = _extremes(values, valid, known)
            scale = _scale(*_of_each(owned, *ends, known), known)[plan[0]]
            scaled = values / scale.unsqueeze(1)
            sums = _line_sums(scaled, scaled, kind.span, known, plan[1], (ends[1], ends[0], scale))
            self.floats = self._with_waves(sums, scaled)
            return
        finite = (table - table) == 0.0  # of an infinity or NaN it is NaN
        self.whole = torch.stack([torch.isnan(table).sum(1), (~finite).sum(1)], 1)
        kept = torch.where(finite, table, known.zero)
        low, high = _of_each(owned, *_extremes(kept, valid, known), known)
        scale = _scale(low, high, known)[plan[0]]
        is_mask = (low <= sketch.SENTINEL_FLOOR) & (-low >= sketch.SENTINEL_RATIO * torch.clamp(high.abs(), min=1.0))
        masks = torch.where(is_mask, low / 2, known.bottom)[plan[0]]
        scaled = kept / scale.unsqueeze(1)
        live = torch.where(kept <= masks.unsqueeze(1), known.zero, scaled)
        least, largest = _extremes(table, valid, known)
        sums = _line_sums(scaled, live, kind.span, known, plan[1], (largest, least, scale))
        self.floats = self._with_waves(sums, live)

    def _with_waves(self, sums: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
        """`sums`, a line of the table each, and where they were asked for the part of each wave."""
        if not self._waves:
            return sums
        counted = np.array(self._starts[:-1])
        owners = np.repeat(np.arange(len(self._counts)), np.diff(self._starts))
        first = (np.arange(self._starts[-1]) - counted[owners]) * self.kind.line
        table = upload(torch.from_numpy(_lie_of(self._shapes)[owners]), self.kind.device)
        begin = upload(torch.from_numpy(first), self.kind.device)
        size = max(1, CAPACITY // self.kind.line)
        found = [
            _wave_sums(live[start : start + size], begin[start : start + size], table[start : start + size])
            for start in range(0, live.shape[0], size)
        ]
        return torch.cat([sums, torch.cat(found)], 1)

    def _lines(self) -> tuple[_Table, _Table, _Table]:
        """Of each line: whose it is, which of that tensor's it is in a period of the sketch, how much of it is filled.
        Each int64 (lines,)."""
        counts, starts = np.array(self._counts), np.array(self._starts)
        owners = np.repeat(np.arange(len(counts)), np.diff(starts))
        within = np.arange(starts[-1]) - starts[owners]
        lengths = np.minimum(counts[owners] - within * self.kind.line, self.kind.line)
        return owners, within % (sketch.ROW_PERIOD // SKETCH_BUCKETS), lengths

    def take(self, floats: _Table, whole: _Table) -> None:
        """What `floats` (lines, 21 or 25) and `whole` (lines, 2) held, on the host.  A line: maximum, minimum, scale,
        sum / scale, squares / scale ** 2, 16 sums of buckets / scale, and may be 4 of waves."""
        first = np.array(self._starts[:-1])
        scales = floats[first, 2].astype(np.float64)
        with np.errstate(all="ignore"):
            sums = np.add.reduceat(floats[:, 3:].astype(np.float64), first)
        highs, lows = np.maximum.reduceat(floats[:, 0], first), np.minimum.reduceat(floats[:, 1], first)
        if self.kind.is_integral:
            exact = np.maximum.reduceat(whole[:, 0], first), np.minimum.reduceat(whole[:, 1], first)
            bad = np.zeros((len(first), 2), np.int64)
        else:
            bad = np.add.reduceat(whole, first)
        found = []
        for number, count in enumerate(self._counts):
            statistics = from_scaled(
                float(highs[number]),
                float(lows[number]),
                nan=int(bad[number, 0]),
                inf=int(bad[number, 1] - bad[number, 0]),
                scale=float(scales[number]),
                mean=float(sums[number, 0]) / count,
                norm=float(np.sqrt(sums[number, 1])),
                buckets=sums[number, 2 : 2 + SKETCH_BUCKETS],
            )
            if self._waves:
                waves = sums[number, 2 + SKETCH_BUCKETS :] * float(scales[number])
                told = under_waves.to_bytes(waves.view(np.complex128))
                statistics = msgspec.structs.replace(statistics, waves=told)
            if self.kind.is_integral:
                lowered = _LEAST_INT64 if self.kind.is_lowered else 0
                ends = [int(each[number]) - lowered for each in exact]
                statistics = msgspec.structs.replace(statistics, max=ends[0], min=ends[1])
            found.append(statistics)
        self._found = found

    def result(self, number: int) -> Statistics | RuntimeError:
        """The statistics of one tensor once they were taken, else why there are none."""
        if self._found is None:
            return self.failure or RuntimeError("not measured")
        return self._found[number]


_Pair = tuple[torch.Tensor, torch.Tensor]


def _extremes(values: torch.Tensor, valid: torch.Tensor, known: _Constants) -> _Pair:
    """The least and the largest element of each line."""
    return torch.where(valid, values, known.top).amin(1), torch.where(valid, values, known.bottom).amax(1)


def _of_each(owned: torch.Tensor, low: torch.Tensor, high: torch.Tensor, known: _Constants) -> _Pair:
    """Those of each tensor, whose lines `owned` (tensors, lines) marks."""
    return torch.where(owned, low, known.top).amin(1), torch.where(owned, high, known.bottom).amax(1)


def _scale(low: torch.Tensor, high: torch.Tensor, known: _Constants) -> torch.Tensor:
    scale = torch.maximum(high.abs(), low.abs())
    return torch.where(scale > 0, scale, known.one)


def _line_sums(
    scaled: torch.Tensor,
    live: torch.Tensor,
    span: int,
    known: _Constants,
    local: torch.Tensor,
    first: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """(lines, 21): what is `first`, the sums of the scaled elements and of their squares, and of the live ones the part
    of each bucket."""
    # Not vector_norm, which adds up 3e-5 of error over 70,000 elements where sum adds none.
    scalars = torch.stack([*first, scaled.sum(1), (scaled * scaled).sum(1)], 1)
    signed = live * known.columns[: scaled.shape[1]]
    rows = signed.view(-1, SKETCH_BUCKETS, span).sum(2) * known.rows[local]
    return torch.cat([scalars, rows.gather(1, known.places[local])], 1)


_TURN = 1 << 32


def _lie_of(shapes: Sequence[Sequence[int]]) -> _Table:
    """(tensors, 2, dimensions): extents and frequencies of waves, the last dimension last; where a tensor has fewer
    than another, one index of no frequency for each before its first."""
    most = max(map(len, shapes))
    found = np.zeros((len(shapes), 2, most), np.int64)
    found[:, 0] = 1
    for number, shape in enumerate(shapes):
        found[number, 0, most - len(shape) :] = shape
        frequencies = under_waves.FREQUENCIES
        found[number, 1, most - len(shape) :] = [frequencies[d % len(frequencies)] for d in range(len(shape))]
    return found


def _wave_sums(live: torch.Tensor, begin: torch.Tensor, lie: torch.Tensor) -> torch.Tensor:
    """(lines, 4): what each line of elements adds to the waves; `begin` (lines,) is which of its tensor's elements its
    first is, `lie` (lines, 2, dimensions) how that lies."""
    number = begin.unsqueeze(1) + torch.arange(live.shape[1], device=live.device)
    turns = torch.zeros_like(number)
    along = turns
    last = lie.shape[2] - 1
    for dimension in range(last, -1, -1):
        extent, frequency = lie[:, 0, dimension].unsqueeze(1), lie[:, 1, dimension].unsqueeze(1)
        turn = (number % extent if dimension else number) * frequency
        if dimension == last:
            along = turn
        else:
            turns = (turns + turn) % _TURN
        number = torch.div(number, extent, rounding_mode="floor")
    sums = []
    for turn in (turns + along, turns - along):
        # In float32 as many of the 32 bits are left as its results have.
        angle = (turn % _TURN).to(live.dtype) * (2 * math.pi / _TURN)
        sums += [(live * torch.cos(angle)).sum(1), (live * torch.sin(angle)).sum(1)]
    return torch.stack(sums, 1)


def _constants(device: torch.device, dtype: torch.dtype) -> _Constants:
    """Those for elements of `dtype` on `device`, copied there once."""
    found = _constants_on.get((device, dtype))
    if found is None:
        tables = (sketch.column_signs(), sketch.row_signs())
        columns, rows = (upload(torch.from_numpy(table.copy()).to(dtype), device) for table in tables)
        places = upload(torch.from_numpy(sketch.bucket_places()), device)
        numbers = torch.tensor([0.0, 1.0, math.inf, -math.inf], dtype=dtype, device="cpu")
        zero, one, top, bottom = upload(numbers, device).unbind()
        found = _Constants(columns, rows.view(-1, SKETCH_BUCKETS), places, zero, one, top, bottom)
        _constants_on[device, dtype] = found
    return found
