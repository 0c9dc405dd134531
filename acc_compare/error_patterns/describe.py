"""`describe`: two arrays to a small description of their difference."""

from __future__ import annotations

from acc_compare.error_patterns.footprint import AnyArray, footprint, thinned, wide
from acc_compare.error_patterns.regions import region_of
from acc_compare.error_patterns.relations import Pair, relation_of
from acc_compare.model import ErrorPattern, Region, Relation

LIMIT = 1 << 20
"""Elements whose values are looked at; of larger regions evenly spaced slices (8 MiB an array, some ten at once)."""


def describe(npu: AnyArray, bench: AnyArray, *, noise: float) -> ErrorPattern | None:
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
    relation = _relation(npu, bench, region, noise, found.size)
    return ErrorPattern(
        kind=relation.name if relation is not None else "region" if region is not None else "none",
        place=region,
        size=relation.value if relation is not None else None,
        confidence="measured",
        dtype=relation.name if relation is not None and relation.name in ("bfloat16", "float16") else "",
        relation=relation,
        share=found.off / found.count,
        extents=tuple(npu.shape),
    )


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
