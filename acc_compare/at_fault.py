"""Which of the parts that a side's ranks and micro-batches hold is at fault, where the other side has other parts.

Parts of both sides lie in one order, if one knows which: then so many of the one are as many rows as so many of the
other, and where all of these blocks agree but one, the fault is in that one.  Within a block, the part is at fault
whose extremes are beyond all that the other side has, or that alone explains norm and sum if it is too large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from acc_compare.combined import ALIKE, concatenated, distance
from dump.format.schema import TensorRecord

Grid: TypeAlias = "tuple[int, int]"
"""How many groups of ranks hold a model each, and of how many micro-batches."""

_NUMBERS = ("max", "min", "mean", "norm")

_OFF, _AGREES = 10 * ALIKE, 1e-3
"""How far off a block must be for a part of it to be at fault, and how near the others, which tell the order of all."""

_FURTHER = 1e-3
"""Share of the largest element that an extreme must be beyond the other side's."""

_EXPLAINS = 0.02
"""Share of the difference of two sums that a part which is too large may leave unexplained."""

_ALONE = 0.1
"""Where another block is off by more than this share of the worst, it is not known which is at fault."""


def parts_at_fault(
    ours: Sequence[TensorRecord], theirs: Sequence[TensorRecord], grids: tuple[Grid, Grid]
) -> tuple[int, ...]:
    """The numbers of those of our parts among which the fault is: one where it is known, all where nothing is.

    Parts are dealt out along one dimension, and stand in the order of groups and within them of micro-batches.
    """
    everything = tuple(range(len(ours)))
    if any(part.norm is None or not part.shape for part in (*ours, *theirs)):
        return everything
    if sum(part.numel for part in ours) != sum(part.numel for part in theirs):
        return everything  # copies, or parts of a sum
    theirs = _alike_in_size(theirs, ours)
    best, among, whole = _ALONE, everything, theirs
    for order in _orders(grids[0]):
        for other in _orders(grids[1]):
            blocks = _blocks(order, other)
            apart = [distance(_together(ours, mine), _together(theirs, their)) for mine, their in blocks]
            worst = max(range(len(blocks)), key=apart.__getitem__)
            if apart[worst] <= _OFF:
                return everything
            second = max((size for place, size in enumerate(apart) if place != worst), default=math.inf)
            share = second / apart[worst] if second <= _AGREES and apart[worst] < math.inf else math.inf
            if share < best:
                best, among, whole = share, blocks[worst][0], [theirs[number] for number in blocks[worst][1]]
    for narrow in (_beyond, _larger) if len(among) > 1 else ():
        found = narrow(ours, whole, among)
        if len(found) == 1:
            return tuple(found)
    return among


def _orders(grid: Grid) -> Iterator[list[int]]:
    """The numbers of parts as data may have been dealt to them: first to groups of ranks, or to micro-batches."""
    groups, batches = grid
    yield list(range(groups * batches))
    if min(grid) > 1:
        yield [group * batches + batch for batch in range(batches) for group in range(groups)]


def _blocks(order: Sequence[int], other: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    count = math.gcd(len(order), len(other))
    mine, their = len(order) // count, len(other) // count
    return [(tuple(order[n * mine : (n + 1) * mine]), tuple(other[n * their : (n + 1) * their])) for n in range(count)]


def _alike_in_size(theirs: Sequence[TensorRecord], ours: Sequence[TensorRecord]) -> list[TensorRecord]:
    """`theirs` as many times as large as `ours` are all in all, such as a number of ranks."""
    sizes = [math.hypot(*(float(part.norm or 0.0) for part in parts)) for parts in (ours, theirs)]
    if not all(sizes) or not all(map(math.isfinite, sizes)):
        return list(theirs)
    ratio = sizes[0] / sizes[1]
    factor = round(ratio) if ratio >= 1 else 1 / round(1 / ratio)
    return [
        msgspec.structs.replace(
            part, **{name: None if (n := getattr(part, name)) is None else factor * n for name in _NUMBERS}
        )
        for part in theirs
    ]


def _together(parts: Sequence[TensorRecord], numbers: Sequence[int]) -> TensorRecord:
    chosen = [parts[number] for number in numbers]
    return msgspec.structs.replace(concatenated(chosen, 0), sketch=None, waves=None, md5=None)


def _beyond(ours: Sequence[TensorRecord], theirs: Sequence[TensorRecord], among: tuple[int, ...]) -> list[int]:
    """Those of the parts `among` which the fault is that hold what the other side has nowhere."""
    ends = [(part.max, part.min) for part in (*theirs, *(ours[number] for number in among))]
    if any(high is None or low is None for high, low in ends):
        return []
    high, low = max(float(part.max or 0.0) for part in theirs), min(float(part.min or 0.0) for part in theirs)
    room = _FURTHER * max(abs(high), abs(low))
    return [
        number
        for number in among
        if float(ours[number].max or 0.0) > high + room or float(ours[number].min or 0.0) < low - room
    ]


def _larger(ours: Sequence[TensorRecord], theirs: Sequence[TensorRecord], among: tuple[int, ...]) -> list[int]:
    """Those of the parts `among` which the fault is that explain norm and sum of the whole if they alone are so many
    times too large; none where another does so nearly."""
    if any(part.norm is None or part.mean is None for part in (*ours, *theirs)):
        return []
    squares = [float(part.norm or 0.0) ** 2 for part in ours]
    sums = [float(part.mean or 0.0) * part.numel for part in ours]
    excess = sum(squares[number] for number in among) - sum(float(part.norm or 0.0) ** 2 for part in theirs)
    more = sum(sums[number] for number in among) - sum(float(part.mean or 0.0) * part.numel for part in theirs)
    left = {}
    for number in among:
        rest = squares[number] - excess
        if rest > 0 and more:
            told = sums[number] * (1 - math.sqrt(rest / squares[number]))
            left[number] = abs(told - more) / abs(more)
    near = sorted(left, key=left.__getitem__)[:2]
    is_one = near and left[near[0]] <= _EXPLAINS and (len(near) < 2 or left[near[1]] > 1 / _ALONE * left[near[0]])
    return near[:1] if is_one else []
