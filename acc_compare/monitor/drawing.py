"""What is kept of a table to be drawn: its worst series, thinned over the steps."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from acc_compare.monitor.distances import Distances
from acc_compare.monitor.model import Curve, HeatMap
from acc_compare.monitor.noise import Expected
from acc_compare.monitor.origins import Parting
from acc_compare.monitor.rows import Numbers
from acc_compare.monitor.tables import Pair, label

MOST_CURVES = 6
MOST_POINTS = 600
MOST_ROWS = 40
MOST_BINS = 160
MOST_APART = 2.0
ZERO = " (rounding only)"
"""Follows the name of a series that is zero but for rounding: far apart in healthy runs too."""

_CLOSE = 20


def curves_of(
    pair: Pair, distances: Distances, expected: Expected, parting: Parting | None, *, rank: int
) -> tuple[Curve, ...]:
    """Both runs' size of the worst series: those that part first, then those furthest apart."""
    drawn = []
    for row in worst(expected, parting)[:MOST_CURVES]:
        places = _telling_places(distances.apart[row], None if parting is None else parting.place)
        drawn.append(
            Curve(
                name=label(pair.keys[row]),
                table=pair.kind,
                rank=rank,
                statistic=distances.statistic,
                steps=pair.steps[places].astype(np.float64),
                npu=distances.npu_size[row, places],
                bench=distances.size[row, places],
                apart=expected.apart[row, places],
                limit=np.minimum(expected.limit[row, places], MOST_APART),
            )
        )
    return tuple(drawn)


def heat_map_of(pair: Pair, distances: Distances, expected: Expected, parting: Parting | None, *, rank: int) -> HeatMap:
    """The largest distance of each of the worst series in each bin of steps; rows stay in the model's order."""
    rows = sorted(worst(expected, parting)[:MOST_ROWS])
    bins = min(MOST_BINS, len(pair.steps))
    starts = np.linspace(0, len(pair.steps), bins, endpoint=False).astype(np.int64)
    apart = distances.apart[rows].copy()
    apart[distances.bad_npu[rows] ^ distances.bad_bench[rows]] = np.inf
    edges = np.append(pair.steps[starts], pair.steps[-1] + 1).astype(np.float64)
    return HeatMap(
        table=pair.kind,
        rank=rank,
        names=tuple(label(pair.keys[row]) + ZERO * bool(expected.null[row].any()) for row in rows),
        edges=edges,
        apart=np.fmax.reduceat(apart, starts, axis=1),
        hidden=len(pair.keys) - len(rows),
    )


def worst(expected: Expected, parting: Parting | None) -> list[int]:
    """All rows: those that part first, then by the largest distance over what is expected."""
    first = list(parting.members) if parting is not None else []
    excess = np.nan_to_num(expected.excess, nan=0.0).max(axis=1)
    taken = set(first)
    return first + [int(row) for row in np.argsort(-excess, kind="stable") if int(row) not in taken]


def _telling_places(apart: Numbers, parting: int | None) -> npt.NDArray[np.int64]:
    """At most some 600 steps: the largest distance of each bin, the ends, and every step around the parting."""
    count = len(apart)
    if count <= MOST_POINTS:
        return np.arange(count)
    edges = np.linspace(0, count, MOST_POINTS - 2 * _CLOSE + 1).astype(np.int64)
    filled = np.where(np.isnan(apart), np.inf, apart)
    places = [low + int(filled[low:high].argmax()) for low, high in itertools.pairwise(edges.tolist())]
    if parting is not None:
        places += range(max(0, parting - _CLOSE), min(count, parting + _CLOSE))
    return np.unique([0, *places, count - 1])
