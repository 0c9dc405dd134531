"""After noise has made two runs incomparable step by step: do their curves still take the same course?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acc_compare.monitor.distances import Distances
from acc_compare.monitor.noise import Expected, has_kin
from acc_compare.monitor.rows import Numbers
from acc_compare.monitor.tables import Pair, label

PARTED = 0.05
"""Where nine of ten series have been this far apart, single steps say nothing any more."""

_WINDOWS = 8
_SHORTEST = 8
_SPREADS = 3.0


@dataclass(frozen=True, slots=True)
class Drift:
    """A series whose curves run apart: from which step, how much larger the NPU's is, and how much it varies from one
    step to the next (both as natural logarithms)."""

    name: str
    step: int
    shift: float
    spread: float


def parted_at(pair: Pair, expected: Expected) -> int | None:
    """The place of the first step at which the level of the kin is above PARTED; None where it never is."""
    late = expected.kin >= PARTED
    return int(late.argmax()) if late.any() else None


def drifts(pair: Pair, distances: Distances, expected: Expected, place: int) -> list[Drift]:
    """Series that differ throughout the second half of the steps from `place` on by more than they vary by themselves.

    The steps after `place` are cut into eight windows (fewer where there are few steps).  A series drifts when in each
    window of the second half the median of log(NPU / bench) has the same sign and is above three times the spread of
    a step: 1.4826 median |x(t) - x(t-1)| / sqrt(2) of x = log of the bench's size.  Worst first.
    One-dimensional parameters add up what noise makes of their gradients, without varying much from step to step, and
    are not asked.
    """
    with np.errstate(all="ignore"):
        bench = np.log(np.abs(distances.size[:, place:]))
        ratio = np.log(np.abs(distances.npu_size[:, place:])) - bench
    windows = min(_WINDOWS, ratio.shape[1] // _SHORTEST)
    if windows < 4:
        return []
    edges = np.linspace(0, ratio.shape[1], windows + 1).astype(int)
    late = range(windows // 2, windows)
    found = []
    for row in np.flatnonzero(~expected.null.any(axis=1) & has_kin(pair)):
        spread = _spread(bench[row])
        medians = np.array([_median(ratio[row, edges[w] : edges[w + 1]]) for w in late])
        if np.isfinite(medians).all() and (np.abs(medians) > _SPREADS * spread).all() and len({*np.sign(medians)}) == 1:
            step = int(pair.steps[place + edges[late[0]]])
            found.append(Drift(label(pair.keys[row]), step, float(np.median(medians)), spread))
    return sorted(found, key=lambda drift: -abs(drift.shift) / drift.spread)


def _median(numbers: Numbers) -> float:
    finite = numbers[np.isfinite(numbers)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _spread(logs: Numbers) -> float:
    changes = np.diff(logs[np.isfinite(logs)])
    return max(1.4826 * _median(np.abs(changes)) / 2**0.5, 0.01) if len(changes) else float("inf")
