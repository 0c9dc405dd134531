"""`describe`: two arrays to a small description of their difference."""

from __future__ import annotations

from dataclasses import dataclass

from .footprint import AnyArray, footprint, thinned, wide
from .regions import Region, region_of
from .relations import Pair, Relation, relation_of

LIMIT = 1 << 20
"""Elements whose values are looked at; of larger regions evenly spaced slices (8 MiB an array, some ten at once)."""


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """Where the error sits (None: everywhere) and what is done to the elements there (None: nothing that has a name).
    `off` is the number of elements that are off, of `count`."""

    region: Region | None
    relation: Relation | None
    off: int
    count: int

    @property
    def name(self) -> str:
        """For programs: `last_tile: zero`, `factor`, `scattered`, "" where nothing has a name."""
        return ": ".join(part.name for part in (self.region, self.relation) if part is not None)


def describe(npu: AnyArray, bench: AnyArray, *, noise: float) -> ErrorShape | None:
    """The shape of the difference of two real tensors of one shape; None where no element is off.

    `noise` is the relative error that is normal, by rounding or by what the call read.  Where the error sits is counted
    over all elements, block by block; what is done to them is seen in at most `LIMIT` of them.  Raises ValueError
    where shapes differ or elements are complex.
    """
    if "c" in (npu.dtype.kind, bench.dtype.kind):
        raise ValueError("expected real tensors, found complex ones")
    found = footprint(npu, bench, noise=noise)
    if not found.off:
        return None
    region = region_of(found)
    return ErrorShape(region, _relation(npu, bench, region, noise, found.size), found.off, found.count)


def _relation(npu: AnyArray, bench: AnyArray, region: Region | None, noise: float, size: float) -> Relation | None:
    if region is not None:
        box = region.box(npu.ndim)
        if region.name == "flat_tail":
            npu, bench = npu.reshape(-1)[region.start :], bench.reshape(-1)[region.start :]
        elif box is None:
            return None
        else:
            npu, bench = npu[box], bench[box]
    ours, theirs = (wide(thinned(side, limit=LIMIT)) for side in (npu, bench))
    thin = frozenset(axis for axis, extent in enumerate(npu.shape) if ours.shape[axis] != extent)
    return relation_of(Pair(ours, theirs, noise, size, thin))
