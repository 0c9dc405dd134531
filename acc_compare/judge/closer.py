"""A closer look at a suspect's output: the tensor files of both sides, and in words how they differ."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dump.format.layout import TENSOR_FOLDER
from dump.format.schema import Dump
from dump.format.tensors import read_tensor

from ..looks.regions import Region
from ..looks.relations import Relation
from ..looks.shapes import ErrorShape, describe
from ..report.saying import Said, say
from .arithmetic import UNIT_ROUNDOFF
from .calls import MeasuredArgument
from .expected import Expected

_NEARLY_ALL = 0.9
_ROUNDINGS = 4.0
"""Unit roundoffs that two elements may differ by at least: their own last digits on both sides."""


def real_shape(argument: MeasuredArgument, expected: Expected | None, npu: Dump, bench: Dump) -> ErrorShape | None:
    """The shape of the error of one tensor, from its files; None where there are none, or they hold complex numbers.

    Raises TensorFileError where a file that the dump names cannot be read.
    """
    ours, theirs = argument.npu.data_name, argument.bench.data_name
    if ours is None or theirs is None or argument.npu.shape != argument.bench.shape:
        return None
    n = read_tensor(Path(npu.path) / TENSOR_FOLDER, ours)
    b = read_tensor(Path(bench.path) / TENSOR_FOLDER, theirs)
    if n.shape != b.shape or "c" in (n.dtype.kind, b.dtype.kind):
        return None
    return describe(n, b, noise=_noise(argument, expected))


def _noise(argument: MeasuredArgument, expected: Expected | None) -> float:
    """The relative error of an element that is normal here; 0 for integers and flags."""
    if not argument.is_floating:
        return 0.0
    unit = max(UNIT_ROUNDOFF.get(side.dtype, 0.0) for side in (argument.npu, argument.bench))
    normal = expected.relative if expected is not None and math.isfinite(expected.relative) else 0.0
    return max(_ROUNDINGS * unit, normal)


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
