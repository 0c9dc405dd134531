"""Where an error sits: detectors over a footprint, the most specific first.

A region holds every element that is off, and at least a quarter of its elements are: what rounds, clips or multiplies
by zero leaves some of them alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from acc_compare.error_patterns.footprint import Footprint
from acc_compare.model import Region, RegionName

_FILLED = 0.25
_FLAT_FILLED = 0.5
_FEW = 1e-3
_FEWEST = 8
_CLEAN = 1 / 8


Detector: TypeAlias = Callable[[Footprint], "Region | None"]
REGIONS: dict[str, Detector] = {}
"""By name, in the order in which they are asked."""


def region_of(found: Footprint) -> Region | None:
    """The first region that fits; None where nothing is off or the error is everywhere."""
    if not found.off or found.off == found.count:
        return None
    return next((region for detect in REGIONS.values() if (region := detect(found)) is not None), None)


def _detector(name: str) -> Callable[[Detector], Detector]:
    def register(detect: Detector) -> Detector:
        if name in REGIONS:
            raise ValueError(f"the region {name!r} is registered already")
        REGIONS[name] = detect
        return detect

    return register


def _range(found: Footprint, axis: int) -> tuple[int, int]:
    """First index along `axis` that has anything off, and the one after the last."""
    hit = np.flatnonzero(found.along[axis])
    return int(hit[0]), int(hit[-1]) + 1


def _filled(found: Footprint, axis: int, width: int) -> bool:
    return found.off >= max(2.0, _FILLED * found.count * width / found.shape[axis])


def _along(found: Footprint, name: RegionName, axis: int) -> Region:
    start, stop = _range(found, axis)
    return Region(name, axis, start, stop, found.shape[axis], found.off)


@_detector("flat_tail")
def flat_tail(found: Footprint) -> Region | None:
    """The last elements in the order of memory, from the middle of a row on, at most half of all: a kernel that walks
    the flat tensor."""
    width = found.count - found.first
    in_row = len(found.shape) > 1 and found.first % found.shape[-1] > 0
    whole = found.last == found.count - 1 and found.off >= _FLAT_FILLED * width
    if not in_row or not whole or not 2 <= width <= found.count / 2:
        return None
    return Region("flat_tail", -1, found.first, found.count, found.count, found.off)


@_detector("last_tile")
def last_tile(found: Footprint) -> Region | None:
    """The trailing part of the last axis, at most half of it: a kernel that loses the ragged end of k."""
    if not found.shape:
        return None
    axis = len(found.shape) - 1
    start, stop = _range(found, axis)
    extent = found.shape[axis]
    if stop < extent or start < extent / 2 or not _filled(found, axis, stop - start):
        return None
    return _along(found, "last_tile", axis)


@_detector("rows_after")
def rows_after(found: Footprint) -> Region | None:
    """All from one index on along another axis than the last, while an eighth of the axis at least is right: a wrong
    length, a mask, a partial write."""
    for axis in reversed(range(len(found.shape) - 1)):
        start, stop = _range(found, axis)
        extent = found.shape[axis]
        if (
            stop - start > 1
            and stop == extent
            and start >= max(1, _CLEAN * extent)
            and _filled(found, axis, stop - start)
        ):
            return _along(found, "rows_after", axis)
    return None


@_detector("single")
def single_index(found: Footprint) -> Region | None:
    """One index of one axis: a column of the last axis, a channel of axis 1 where there are three or more, else a
    row."""
    dimensions = len(found.shape)
    for axis in reversed(range(dimensions)):
        start, stop = _range(found, axis)
        if stop - start != 1 or found.shape[axis] < 2 or not _filled(found, axis, 1):
            continue
        name: RegionName = "column" if axis == dimensions - 1 else "channel" if axis == 1 else "row"
        return _along(found, name, axis) if dimensions > 1 else None
    return None


@_detector("head")
def head(found: Footprint) -> Region | None:
    """One of equal blocks that the last axis divides into: a head of attention whose heads lie side by side."""
    if len(found.shape) < 2:
        return None
    axis = len(found.shape) - 1
    start, stop = _range(found, axis)
    width, extent = stop - start, found.shape[axis]
    if width < 2 or width > extent / 2 or extent % width or start % width or not _filled(found, axis, width):
        return None
    return _along(found, "head", axis)


@_detector("scattered")
def scattered(found: Footprint) -> Region | None:
    """A few elements, at most eight or one in a thousand, and of small tensors at most one in eight."""
    if found.off > min(max(_FEWEST, _FEW * found.count), found.count / 8):
        return None
    return Region("scattered", -1, found.first, found.last + 1, math.prod(found.shape), found.off)
