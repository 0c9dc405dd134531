"""What an error looks like, as messages."""

from __future__ import annotations

import numpy as np

from acc_compare.messages import Message, Value, say
from acc_compare.model import ErrorPattern, Region, Relation

_NEARLY_ALL = 0.9
_TYPES: dict[str, Value] = {"tf32": say("looks.rounding_other")}
"""Names of types that are no single type's."""


def described(pattern: ErrorPattern | None, tensor: str) -> Message | None:
    """A pattern of `tensor`; None where there is nothing to say."""
    if pattern is None:
        return None
    if pattern.kind == "rounding":
        return say("looks.rounding_size", dtype=_TYPES.get(pattern.dtype, pattern.dtype), unit=pattern.size or 0.0)
    if pattern.confidence == "estimated":
        if pattern.kind == "sign":
            return say("looks.sketch_sign")
        return say("looks.sketch_factor", factor=pattern.size or 0.0)
    what = _relation(pattern.relation) if pattern.relation is not None else None
    if pattern.place is not None:
        where = _region(pattern.place, tensor, pattern.extents)
        if what is None:
            return say("looks.region_alone", where=where)
        return say("looks.region_and_relation", where=where, what=what)
    if what is not None:
        return say("looks.relation_alone", tensor=tensor, what=what)
    if pattern.share > _NEARLY_ALL:
        return say("looks.all", tensor=tensor)
    return say("looks.spread", tensor=tensor, share=pattern.share)


def _region(region: Region, tensor: str, extents: tuple[int, ...]) -> Message:
    start, stop, extent = region.start, region.stop, region.extent
    count = stop - start
    if region.name == "scattered":
        first = str([int(i) for i in np.unravel_index(start, extents)])
        if region.count == 1:
            return say("looks.scattered_one", tensor=tensor, extent=extent, first=first)
        return say("looks.scattered", tensor=tensor, extent=extent, first=first, count=region.count)
    if region.name == "flat_tail" or len(extents) == 1:
        return _last("element", tensor, extent, count)
    if region.name == "last_tile":
        return _last("column", tensor, extent, count)
    if region.name == "rows_after":
        return say("looks.rows_after", tensor=tensor, extent=extent, start=start, axis=region.axis)
    if region.name == "head":
        heads = extent // count
        return say("looks.head", tensor=tensor, extent=extent, count=count, start=start, stop=stop - 1, heads=heads)
    if region.name == "row":
        return say("looks.row", tensor=tensor, extent=extent, index=start, axis=region.axis)
    key = "looks.channel" if region.name == "channel" else "looks.column"
    return say(key, tensor=tensor, extent=extent, index=start)


def _last(what: str, tensor: str, extent: int, count: int) -> Message:
    if count == 1:
        return say("looks.last_element" if what == "element" else "looks.last_column", tensor=tensor, extent=extent)
    key = "looks.last_elements" if what == "element" else "looks.last_columns"
    return say(key, tensor=tensor, extent=extent, count=count)


def _relation(relation: Relation) -> Message:
    if relation.name in ("bfloat16", "float16"):
        return say("looks.rounded" if relation.value else "looks.computed", dtype=relation.name)
    if relation.name == "factor":
        return say("looks.factor", factor=relation.value)
    if relation.name == "offset":
        return say("looks.offset", offset=relation.value)
    if relation.name == "transposed":
        return say("looks.transposed", first=relation.axes[0], second=relation.axes[1])
    if relation.name == "shifted":
        return say("looks.shifted", by=int(relation.value), axis=relation.axes[0])
    if relation.name == "permuted":
        return say("looks.permuted", count=int(relation.value), axis=relation.axes[0])
    return say("looks.zero") if relation.name == "zero" else say("looks.sign")
