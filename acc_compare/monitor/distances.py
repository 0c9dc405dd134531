"""How far apart two tables are, cell by cell, from the few numbers that each has of a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acc_compare.monitor.rows import Numbers
from acc_compare.monitor.tables import Pair, Table

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Distances:
    """`apart` (s, t): relative distance, 0 to 2, NaN where a side has no number.  `bad_npu`, `bad_bench` (s, t): the
    side holds NaN or Inf.  `seen` (s, t): both sides have a row.  `size`, `npu_size` (s, t): the bench's and the NPU's
    norm, or their largest element where there is none (`statistic` says which); NaN where unknown."""

    apart: Numbers
    bad_npu: Mask
    bad_bench: Mask
    seen: Mask
    size: Numbers
    npu_size: Numbers
    statistic: str


def measure(pair: Pair) -> Distances:
    """The largest of three lower bounds of the relative distance |N - B| / max(|N|, |B|) of two tensors.

    - norm: | |N| - |B| | / max(|N|, |B|), by the triangle inequality;
    - mean: sqrt(n) |mean N - mean B| / max(|N|, |B|) for n elements, the part of N - B along the vector of ones
      (Cauchy-Schwarz);
    - extremes: the larger change of min and max over the largest element: the same in the maximum norm.
    None sees a change that leaves all of these numbers as they are; each sees some that the others miss.
    """
    npu, bench = pair.npu, pair.bench
    seen = npu.seen & bench.seen
    ops = npu.values.keys() & bench.values.keys()
    apart = np.full(seen.shape, np.nan)
    statistic = "norm" if "norm" in ops else "largest element"
    with np.errstate(all="ignore"):
        if "norm" in ops:
            ours, theirs = npu.values["norm"], bench.values["norm"]
            scale = np.maximum(np.abs(ours), np.abs(theirs))
            apart = _larger(apart, _ratio(np.abs(ours - theirs), scale))
            if "mean" in ops:
                roots = np.sqrt(_counts(pair))[:, None]
                apart = _larger(apart, _ratio(np.abs(npu.values["mean"] - bench.values["mean"]) * roots, scale))
        extremes = [op for op in ("min", "max") if op in ops]
        if extremes:
            sides = [side.values[op] for side in (npu, bench) for op in extremes]
            scale = np.abs(sides[0])
            for side in sides[1:]:
                np.fmax(scale, np.abs(side), out=scale)
            for op in extremes:
                apart = _larger(apart, _ratio(np.abs(npu.values[op] - bench.values[op]), scale))
    apart[~seen] = np.nan
    blank = _blank(pair)[:, None]
    return Distances(
        apart,
        _bad(npu) & seen & ~blank,
        _bad(bench) & seen & ~blank,
        seen,
        _size(bench),
        _size(npu),
        statistic,
    )


def _size(table: Table) -> Numbers:
    if "norm" in table.values:
        return table.values["norm"]
    extremes = [np.abs(table.values[op]) for op in ("min", "max") if op in table.values]
    largest: Numbers = np.fmax.reduce(extremes) if extremes else np.full(table.seen.shape, np.nan)
    return largest


def _ratio(part: Numbers, whole: Numbers) -> Numbers:
    ratio: Numbers = np.minimum(part / whole, 2.0)
    ratio[part == 0] = 0.0
    return ratio


def _larger(first: Numbers, second: Numbers) -> Numbers:
    larger: Numbers = np.fmax(first, second)
    return larger


def _counts(pair: Pair) -> Numbers:
    counts = pair.bench.tensors.counts
    return np.array([counts.get(name) or np.nan for _, name, _ in pair.keys], dtype=np.float64)


def _blank(pair: Pair) -> Mask:
    """Series without a tensor, or with one of no elements: their numbers are NaN, and mean nothing."""
    found = []
    for side in (pair.npu.tensors, pair.bench.tensors):
        tells = any(side.dtypes.values())
        found.append([side.counts.get(name) == 0 or (tells and not side.dtypes.get(name)) for _, name, _ in pair.keys])
    both: Mask = np.asarray(np.array(found, dtype=np.bool_).reshape(2, -1).all(axis=0))
    return both


def _bad(table: Table) -> Mask:
    """Where a side holds NaN or Inf: `nans` counts some, or a statistic is one itself."""
    bad = np.zeros(table.seen.shape, np.bool_)
    for op, numbers in table.values.items():
        bad |= numbers > 0 if op == "nans" else ~np.isfinite(numbers)
    return bad & table.seen
