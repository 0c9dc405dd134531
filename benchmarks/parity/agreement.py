"""What two recorders say of one run, laid side by side: calls that both have, and where their records differ.

Statistics are compared relative to the size of what they were computed from, since a mean near zero is a sum that
cancels and its last digits are the order of summation:

Max, Min    relative to the larger of |Max| and |Min|
Norm        relative to the norm
Mean        relative to the root of the mean square, Norm / sqrt(n)

The limit is 1e-5.  msprobe keeps the mean and the norm of a bfloat16 or float16 tensor in that dtype, so there the
limit for these two is the dtype's spacing (2^-7 and 2^-10).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.parity.records import Calls, Leaf, Leaves, is_tensor

STATISTICS = ("Max", "Min", "Mean", "Norm")
ATTRIBUTES = ("dtype", "shape", "requires_grad")
LIMIT = 1e-5
ROUNDED_LIMITS = {"torch.bfloat16": 2.0**-7, "torch.float16": 2.0**-10}


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one argument on which the two sides differ."""

    call: str
    place: str
    field: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.call}.{self.place}: {self.field} is {self.theirs!r} with msprobe, {self.ours!r} with ours"


@dataclass(frozen=True, slots=True)
class Agreement:
    """`tensors` and `values` (statistics) count what was laid side by side; `worst` is the largest relative
    difference of each statistic among those within the limit."""

    shared: tuple[str, ...]
    only_theirs: tuple[str, ...]
    only_ours: tuple[str, ...]
    tensors: int
    values: int
    worst: Mapping[str, float]
    differences: tuple[Difference, ...]


def compare_dumps(theirs: Calls, ours: Calls) -> Agreement:
    """Lay every call that both sides have side by side."""
    shared = tuple(name for name in theirs if name in ours)
    differences: list[Difference] = []
    worst = dict.fromkeys(STATISTICS, 0.0)
    tensors = values = 0
    for call in shared:
        for place, left, right in pair_places(call, theirs[call], ours[call]):
            differences += compare_leaves(call, place, left, right)
            if left is not None and right is not None and is_tensor(left) and is_tensor(right):
                tensors += 1
                for field, apart, limit in statistics_apart(left, right):
                    values += 1
                    if apart <= limit and limit == LIMIT:
                        worst[field] = max(worst[field], apart)
    return Agreement(
        shared=shared,
        only_theirs=tuple(name for name in theirs if name not in ours),
        only_ours=tuple(name for name in ours if name not in theirs),
        tensors=tensors,
        values=values,
        worst=worst,
        differences=tuple(differences),
    )


def pair_places(call: str, theirs: Leaves, ours: Leaves) -> Iterator[tuple[str, Leaf, Leaf]]:
    """(place, their leaf, our leaf) of every argument.

    Of a backward call, msprobe leaves out gradients that are None and closes the gap, so there the tensors of each
    side are counted through.
    """
    if ".backward" in call:
        theirs, ours = _closed_up(theirs), _closed_up(ours)
    for place in dict.fromkeys((*theirs, *ours)):
        yield place, theirs.get(place), ours.get(place)


def compare_leaves(call: str, place: str, theirs: Leaf, ours: Leaf) -> list[Difference]:
    """Where two records of one argument differ."""
    if theirs is None or ours is None:
        there, here = _presence(theirs), _presence(ours)
        return [] if there == here else [Difference(call, place, "presence", there, here)]
    if theirs.get("type") != ours.get("type"):
        return [Difference(call, place, "type", theirs.get("type"), ours.get("type"))]
    if not is_tensor(theirs):
        same = _same_value(theirs.get("value"), ours.get("value"))
        return [] if same else [Difference(call, place, "value", theirs.get("value"), ours.get("value"))]
    found = [
        Difference(call, place, field, theirs.get(field), ours.get(field))
        for field in ATTRIBUTES
        if theirs.get(field) != ours.get(field)
    ]
    found += [
        Difference(call, place, field, theirs.get(field), ours.get(field))
        for field, apart, limit in statistics_apart(theirs, ours)
        if not apart <= limit
    ]
    return found


def statistics_apart(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """(statistic, relative difference, its limit) for each statistic that either side recorded.

    The difference is infinite where one side alone has the statistic, or a non-finite one.
    """
    count = math.prod(ours.get("shape") or [1])
    for field in STATISTICS:
        left, right = theirs.get(field), ours.get(field)
        if left is None and right is None:
            continue
        rounded = ROUNDED_LIMITS.get(str(ours.get("dtype"))) if field in ("Mean", "Norm") else None
        yield field, _apart(left, right, _scale(field, ours, count)), LIMIT if rounded is None else rounded


def _scale(field: str, record: Mapping[str, Any], count: int) -> float:
    if field in ("Max", "Min"):
        return max(_size(record.get("Max")), _size(record.get("Min")))
    norm = _size(record.get("Norm"))
    return norm / math.sqrt(count) if field == "Mean" and count else norm


def _size(value: Any) -> float:
    return abs(float(value)) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def _apart(theirs: Any, ours: Any, scale: float) -> float:
    if theirs is None or ours is None:
        return math.inf
    left, right = float(theirs), float(ours)
    if left == right or (math.isnan(left) and math.isnan(right)):
        return 0.0
    apart = abs(left - right)
    return apart / scale if scale and math.isfinite(apart) else math.inf


def _presence(leaf: Leaf) -> str:
    return "absent" if leaf is None else str(leaf.get("type"))


def _same_value(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, float) and isinstance(ours, float) and math.isnan(theirs) and math.isnan(ours):
        return True
    return bool(theirs == ours)


def _closed_up(found: Leaves) -> Leaves:
    """The same leaves without the absent ones, numbered anew: output.0, output.3 become output.0, output.1."""
    counts: dict[str, int] = {}
    closed: dict[str, Leaf] = {}
    for place, leaf in found.items():
        if leaf is None:
            continue
        side = place.partition(".")[0]
        number = counts.get(side, 0)
        counts[side] = number + 1
        closed[f"{side}.{number}"] = leaf
    return closed
