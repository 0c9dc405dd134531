"""Statistics of parts put together: what of a concatenation and of a sum follows from what is known of each.

Extrema, means weighted by numbers of elements, roots of summed squares of norms combine, whatever the order in which
parts interleave.  Of a sum the sketches add up, and the means.  Waves add up in both, those of parts that lie in order
by where each begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from acc_compare.assembled import Cut, Total, planned, plans_of
from acc_compare.metrics.sketches import estimate_distance, estimate_norm, sketch_vector
from dump.format import waves
from dump.format.schema import TensorRecord

ALIKE = 1e-5
"""Relative difference that replicas of one tensor may show in norm, max and min."""

_OTHER_ORDER = 1e-2
"""Relative difference by their sketches from which on two tensors are no replicas."""


def distance(one: TensorRecord, two: TensorRecord) -> float:
    """How far apart two tensors of one shape are by what is known of both, relative to their size; Inf where nothing
    is."""
    if one.md5 is not None and two.md5 is not None:
        return 0.0 if one.md5 == two.md5 else math.inf
    norms = [_norm(record) for record in (one, two)]
    size = max((norm for norm in norms if norm is not None), default=0.0)
    if any(norm is not None and not math.isfinite(norm) for norm in norms):
        return math.inf
    found = []
    if one.norm is not None and two.norm is not None:
        found.append((float(one.norm), float(two.norm), size))
    if one.mean is not None and two.mean is not None:
        found.append((float(one.mean), float(two.mean), size / math.sqrt(max(1, one.numel))))
    for name in ("max", "min"):
        ours, theirs = getattr(one, name), getattr(two, name)
        if ours is not None and theirs is not None:
            found.append((float(ours), float(theirs), max(abs(float(ours)), abs(float(theirs)))))
    if one.sketch is not None and two.sketch is not None:
        found.append((estimate_distance(one.sketch, two.sketch), 0.0, size))
    return max((abs(a - b) / scale if scale else 0.0 for a, b, scale in found), default=math.inf)


def _norm(record: TensorRecord) -> float | None:
    if record.norm is not None:
        return float(record.norm)
    return None if record.sketch is None else estimate_norm(record.sketch)


def concatenated(parts: Sequence[TensorRecord], dimension: int, *, groups: int = 1) -> TensorRecord:
    """The statistics of parts put together along `dimension`, each with so many `groups` of rows: the largest, the
    smallest, the mean weighted by numbers of elements, the root of the summed squares of norms."""
    first = parts[0]
    extent = sum(part.shape[dimension] for part in parts)
    shape = (*first.shape[:dimension], extent, *first.shape[dimension + 1 :])
    held = [part for part in parts if part.numel]
    number = sum(part.numel for part in held)
    means = _all([part.mean for part in held])
    norms = _all([part.norm for part in held])
    whole = msgspec.structs.replace(
        first,
        shape=shape,
        max=_over(max, [part.max for part in held]),
        min=_over(min, [part.min for part in held]),
        mean=sum(m * p.numel for m, p in zip(means, held, strict=True)) / number if means and number else None,
        norm=math.hypot(*norms) if norms else None,
        nan=sum(part.nan or 0 for part in parts) or None,
        inf=sum(part.inf or 0 for part in parts) or None,
        sketch=None,
        waves=_in_line(parts, dimension) if groups == 1 else None,
        md5=None,
        data_name=None,
        layout=None,
    )
    plans = plans_of(parts)
    return planned(whole, Cut(dimension, plans, groups) if plans is not None else None)


def _in_line(parts: Sequence[TensorRecord], dimension: int) -> bytes | None:
    """The waves of parts one behind the other; None where those of some are not known."""
    total, begin = np.zeros(2, np.complex128), 0
    for part in parts:
        if part.numel and part.waves is None:
            return None
        if part.waves is not None:
            own = waves.from_bytes(part.waves)
            total += waves.shifted(own, dimension, begin, dimensions=len(part.shape))
        begin += part.shape[dimension]
    return waves.to_bytes(total)


def summed(parts: Sequence[TensorRecord]) -> TensorRecord | None:
    """The sum of parts of one shape, as far as it follows: mean and sketch; None where neither is known of all.
    NaN and Inf are counted at least."""
    first = parts[0]
    if any(part.shape != first.shape for part in parts):
        return None
    means = _all([part.mean for part in parts])
    known = [sketch_vector(part.sketch) for part in parts if part.sketch is not None]
    if len(known) < len(parts) or not means:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # of memory that holds nothing
        sketch = np.sum(known, axis=0).astype("<f4")
    under = [waves.from_bytes(part.waves) for part in parts if part.waves is not None]
    total = msgspec.structs.replace(
        first,
        max=None,
        min=None,
        mean=sum(means),
        norm=None,
        nan=max(part.nan or 0 for part in parts) or None,
        inf=max(part.inf or 0 for part in parts) or None,
        sketch=sketch.tobytes(),
        waves=waves.to_bytes(np.sum(under, axis=0)) if len(under) == len(parts) else None,
        md5=None,
        data_name=None,
        layout=None,
    )
    plans = plans_of(parts)
    return planned(total, Total(plans) if plans is not None else None)


def divided(record: TensorRecord, by: int) -> TensorRecord:
    """A tensor divided by a number of ranks, as far as it follows."""
    numbers = {name: getattr(record, name) for name in ("max", "min", "mean", "norm")}
    told = {name: None if number is None else number / by for name, number in numbers.items()}
    sketch = None if record.sketch is None else (sketch_vector(record.sketch) / by).astype("<f4").tobytes()
    under = None if record.waves is None else waves.to_bytes(waves.from_bytes(record.waves) / by)
    found = msgspec.structs.replace(record, **told, sketch=sketch, waves=under, md5=None, data_name=None)
    plans = plans_of([record])
    return planned(found, Total(plans, by) if plans is not None else None)


def are_alike(parts: Sequence[TensorRecord]) -> bool:
    """Are these replicas of one tensor, as far as the numbers say?"""
    first = parts[0]
    return all(
        part.shape == first.shape
        and part.dtype == first.dtype
        and part.md5 == first.md5
        and all(_near(getattr(part, name), getattr(first, name)) for name in ("norm", "max", "min"))
        and _in_one_order(part, first)
        for part in parts[1:]
    )


def _in_one_order(one: TensorRecord, two: TensorRecord) -> bool:
    """The same elements in another order have another sketch."""
    if one.sketch is None or two.sketch is None or one.sketch == two.sketch:
        return True
    size = _norm(two)
    return size is None or not math.isfinite(size) or estimate_distance(one.sketch, two.sketch) <= _OTHER_ORDER * size


def _near(one: float | None, two: float | None) -> bool:
    if one is None or two is None:
        return one is two
    both_nan = math.isnan(one) and math.isnan(two)
    return both_nan or one == two or abs(one - two) <= ALIKE * max(abs(one), abs(two))


def _all(numbers: Sequence[int | float | None]) -> list[float]:
    """The numbers, if all are known."""
    known = [float(number) for number in numbers if number is not None]
    return known if len(known) == len(numbers) else []


def _over(choose: Callable[[list[float]], float], numbers: Sequence[int | float | None]) -> float | None:
    known = _all(numbers)
    return math.nan if any(map(math.isnan, known)) else choose(known) if known else None
