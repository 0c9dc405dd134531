"""The shape of an error in words."""

from __future__ import annotations

import numpy as np

from ..report.saying import Said, say
from .regions import Region
from .relations import Relation
from .shapes import ErrorShape

_NEARLY_ALL = 0.9


def told(shape: ErrorShape, tensor: str, extents: tuple[int, ...]) -> Said:
    """A shape in words; `extents` is the tensor's shape."""
    what = _relation(shape.relation) if shape.relation is not None else None
    if shape.region is not None:
        where = _region(shape.region, tensor, extents)
        if what is None:
            return say("looks.region_alone", where=where)
        return say("looks.region_and_relation", where=where, what=what)
    if what is not None:
        return say("looks.relation_alone", tensor=tensor, what=what)
    share = shape.off / shape.count
    if share > _NEARLY_ALL:
        return say("looks.all", tensor=tensor)
    return say("looks.spread", tensor=tensor, share=f"{100 * share:.2g} %")


def _region(region: Region, tensor: str, extents: tuple[int, ...]) -> Said:
    start, stop, extent = region.start, region.stop, f"{region.extent:,}"
    count = f"{stop - start:,}"
    if region.name == "scattered":
        first = str([int(i) for i in np.unravel_index(start, extents)])
        if region.count == 1:
            return say("looks.scattered_one", tensor=tensor, extent=extent, first=first)
        return say("looks.scattered", tensor=tensor, extent=extent, first=first, count=f"{region.count:,}")
    if region.name == "flat_tail" or len(extents) == 1:
        one = stop - start == 1
        key = "looks.last_element" if one else "looks.last_elements"
        return say(key, tensor=tensor, extent=extent, **({} if one else {"count": count}))
    if region.name == "last_tile":
        one = stop - start == 1
        key = "looks.last_column" if one else "looks.last_columns"
        return say(key, tensor=tensor, extent=extent, **({} if one else {"count": count}))
    if region.name == "rows_after":
        return say("looks.rows_after", tensor=tensor, extent=extent, start=f"{start:,}", axis=region.axis)
    if region.name == "head":
        heads = region.extent // (stop - start)
        return say("looks.head", tensor=tensor, extent=extent, count=count, start=start, stop=stop - 1, heads=heads)
    if region.name == "row":
        return say("looks.row", tensor=tensor, extent=extent, index=f"{start:,}", axis=region.axis)
    return say(f"looks.{region.name}", tensor=tensor, extent=extent, index=f"{start:,}")


def _relation(relation: Relation) -> Said:
    if relation.name in ("bfloat16", "float16"):
        return say("looks.rounded" if relation.value else "looks.computed", dtype=relation.name)
    if relation.name == "factor":
        return say("looks.factor", factor=f"{relation.value:.6g}")
    if relation.name == "offset":
        return say("looks.offset", offset=f"{relation.value:.4g}")
    if relation.name == "transposed":
        return say("looks.transposed", first=relation.axes[0], second=relation.axes[1])
    if relation.name == "shifted":
        return say("looks.shifted", by=f"{int(relation.value):+d}", axis=relation.axes[0])
    if relation.name == "permuted":
        return say("looks.permuted", count=f"{int(relation.value):,}", axis=relation.axes[0])
    return say(f"looks.{relation.name}")
