"""What one run alone shows of its tensors: how coarsely they are rounded, and how far parameters have come."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from acc_compare.monitor.distances import Mask, between, counts_of
from acc_compare.monitor.rows import Numbers
from acc_compare.monitor.tables import Pair, Table
from acc_compare.operators import UNIT_ROUNDOFF

ROUNDOFF = {name.removeprefix("torch."): unit for name, unit in UNIT_ROUNDOFF.items()}
"""Unit roundoff by the names that a file has for dtypes."""

_SHARE = 1 / 3
"""Of the matrices whose gradients autocast makes in a narrow type: norms and embeddings stay wide."""

STILL = 4
"""Steps without any change in a row that a frozen parameter shows."""

_FIRST_STEPS = 4


def roundoffs(pair: Pair) -> Numbers:
    """(s, 1): the coarser side's unit roundoff by series; float32's where a file does not say."""
    sides = [
        [ROUNDOFF.get(side.tensors.dtypes.get(name, ""), ROUNDOFF["float32"]) for _, name, _ in pair.keys]
        for side in (pair.npu, pair.bench)
    ]
    units: Numbers = np.maximum(np.array(sides[0], np.float64), np.array(sides[1], np.float64))
    return units[:, None]


def sides_of(pair: Pair) -> Numbers:
    """(s,): the number of dimensions, 2 where a file does not say."""
    return np.array([pair.bench.tensors.sides.get(name, 2) for _, name, _ in pair.keys], np.float64)


def narrowed(pair: Pair) -> float:
    """The unit roundoff of a type that both sides' gradients were computed in, where that is narrower than the one
    they are stored in, as under autocast: their extremes are numbers of that type.  0 where they are not."""
    return min(_narrow(side, sides_of(pair)) for side in (pair.npu, pair.bench))


def _narrow(table: Table, sides: Numbers) -> float:
    if not {"min", "max"} <= table.values.keys():
        return 0.0
    extremes = np.concatenate([table.values["min"], table.values["max"]], axis=1)
    with np.errstate(all="ignore"):
        stored = extremes.astype(np.float32)
    telling = (sides > 1) & np.isfinite(extremes).any(axis=1) & (extremes != 0).any(axis=1)
    if not telling.any():
        return 0.0
    bits = np.where(np.isfinite(extremes), stored.view(np.uint32), np.uint32(0))
    used = np.bitwise_or.reduce(bits, axis=1)
    exact = np.where(np.isfinite(extremes), stored.astype(np.float64) == extremes, True).all(axis=1)
    for unit, left in ((ROUNDOFF["bfloat16"], 16), (ROUNDOFF["float16"], 13)):
        narrow = exact & (used & np.uint32((1 << left) - 1) == 0) & telling
        if narrow.sum() >= _SHARE * telling.sum():
            return unit
    return 0.0


def stands_still(pair: Pair) -> Mask:
    """(s, t): from here on, for STILL steps, one side's parameter keeps all its numbers while the other's moves."""
    sides = [_moved(side, pair) for side in (pair.npu, pair.bench)]
    still: Mask = (sides[0] == 0) ^ (sides[1] == 0)
    still &= (roundoffs(pair) <= ROUNDOFF["float32"]) & pair.npu.seen & pair.bench.seen
    still[:, 0] = False
    return for_steps(still, STILL)


def for_steps(cells: Mask, steps: int) -> Mask:
    """(s, t): the cells from which on so many steps in a row hold."""
    lasting: Mask = cells.copy()
    for shift in range(1, steps):
        lasting[:, :-shift] &= cells[:, shift:]
        lasting[:, -shift:] = False
    return lasting


def travelled(pair: Pair) -> Numbers:
    """(s, t): the length of the way that a parameter has come, as part of its size, on the side where that is more:
    the sum of the distances that `measure` takes, from each step to the next.  What is there after the first update
    has come a step further than is seen: a first step is up to twice as long as those that follow."""
    ways = [_way(side, pair) for side in (pair.npu, pair.bench)]
    way: Numbers = np.maximum(*ways)
    return way


def _way(table: Table, pair: Pair) -> Numbers:
    moved = _moved(table, pair)
    if pair.kind != "param_origin":
        moved[:, 0] = 2 * moved[:, 1 : 1 + _FIRST_STEPS].max(axis=1, initial=0.0) if moved.shape[1] > 1 else 1.0
    way: Numbers = np.cumsum(moved, axis=1)
    return way


def _moved(table: Table, pair: Pair) -> Numbers:
    """(s, t): the distance from the step before; 0 in the first, and where there is no number."""
    later: Mapping[str, Numbers] = {op: values[:, 1:] for op, values in table.values.items()}
    earlier: Mapping[str, Numbers] = {op: values[:, :-1] for op, values in table.values.items()}
    moved: Numbers = np.zeros(table.seen.shape)
    for channel in between(later, earlier, counts_of(pair)).values():
        moved[:, 1:] = np.fmax(moved[:, 1:], channel)
    return moved
