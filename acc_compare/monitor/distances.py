"""How far apart two tables are, cell by cell, from the few numbers that each has of a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from acc_compare.monitor.rows import Numbers
from acc_compare.monitor.tables import Pair, Table

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Distances:
    """`apart` (s, t): relative distance, 0 to 2, NaN where a side has no number: the largest of `channels`, which are
    the bounds that `measure` takes from "norm", "mean" and "extremes", as far as both sides have them.  `bad_npu`,
    `bad_bench` (s, t): the side holds NaN or Inf.  `seen` (s, t): both sides have a row.  `size`, `npu_size` (s, t):
    the bench's and the NPU's norm, or their largest element where there is none (`statistic` says which); NaN where
    unknown."""

    apart: Numbers
    channels: dict[str, Numbers]
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
    channels = between(npu.values, bench.values, counts_of(pair))
    apart = np.full(seen.shape, np.nan)
    for channel in channels.values():
        channel[~seen] = np.nan
        np.fmax(apart, channel, out=apart)
    blank = _blank(pair)[:, None]
    return Distances(
        apart,
        channels,
        _bad(npu) & seen & ~blank,
        _bad(bench) & seen & ~blank,
        seen,
        _size(bench),
        _size(npu),
        "norm" if "norm" in npu.values.keys() & bench.values.keys() else "largest element",
    )


def between(ours: Mapping[str, Numbers], theirs: Mapping[str, Numbers], counts: Numbers) -> dict[str, Numbers]:
    """The three bounds of `measure` between two sets of statistics (s, t) of tensors of `counts` (s,) elements."""
    ops = ours.keys() & theirs.keys()
    channels: dict[str, Numbers] = {}
    with np.errstate(all="ignore"):
        if "norm" in ops:
            scale = np.maximum(np.abs(ours["norm"]), np.abs(theirs["norm"]))
            channels["norm"] = _ratio(np.abs(ours["norm"] - theirs["norm"]), scale)
            if "mean" in ops:
                roots = np.sqrt(counts)[:, None]
                channels["mean"] = _ratio(np.abs(ours["mean"] - theirs["mean"]) * roots, scale)
        extremes = [op for op in ("min", "max") if op in ops]
        if extremes:
            scale = reduce(np.fmax, [np.abs(side[op]) for side in (ours, theirs) for op in extremes])
            moved = [_ratio(np.abs(ours[op] - theirs[op]), scale) for op in extremes]
            channels["extremes"] = np.fmax.reduce(moved)
    return channels


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


def counts_of(pair: Pair) -> Numbers:
    """(s,): the number of elements of each series, NaN where a file does not say."""
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
