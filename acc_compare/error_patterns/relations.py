"""What is done to the elements that are off: detectors over two arrays, the most specific first.

A relation n = f(b) holds where it leaves at most a tenth of the difference (in L2) and fits nearly every element, so
that no single large element speaks for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from acc_compare.error_patterns.footprint import SLACK
from acc_compare.model import Relation

Floats: TypeAlias = npt.NDArray[np.float64]
_LEFT = 0.1
_IMPROVED = 0.25
_NEARLY_ALL = 0.98
_FEWEST = 16
_FLAT = 1e-3
_ROW = 4
_LONGEST = 1 << 16
# Significand bits that a rounding to nearest may move an element by, relative to it: half a unit in the last place.
_HALF_STEPS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
_NARROW: dict[str, Any] = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arrays of one shape in float64.  `noise` and `size` are those of the footprint; `thin` names the axes along
    which slices were left out, so that neighbours there are not neighbours in the tensor."""

    npu: Floats
    bench: Floats
    noise: float
    size: float
    thin: frozenset[int] = frozenset()

    def fits(self, predicted: Floats) -> bool:
        """Does `predicted` explain what the NPU side holds, and better than the bench itself does?"""
        return _fits(self.npu, self.bench, predicted, self)


Detector: TypeAlias = Callable[[Pair], "Relation | None"]
RELATIONS: dict[str, Detector] = {}
"""By name, in the order in which they are asked."""


def relation_of(pair: Pair) -> Relation | None:
    """The first relation that holds; None where none does or there is too little to see one."""
    finite = np.isfinite(pair.npu) & np.isfinite(pair.bench)
    if not finite.all() or pair.npu.size < _FEWEST or not np.any(pair.npu != pair.bench):
        return None
    return next((found for detect in RELATIONS.values() if (found := detect(pair)) is not None), None)


def _detector(name: str) -> Callable[[Detector], Detector]:
    def register(detect: Detector) -> Detector:
        if name in RELATIONS:
            raise ValueError(f"the relation {name!r} is registered already")
        RELATIONS[name] = detect
        return detect

    return register


def _fits(npu: Floats, bench: Floats, predicted: Floats, pair: Pair) -> bool:
    error, left = np.abs(npu - bench), np.abs(npu - predicted)
    before, after = float(np.sum(error * error)), float(np.sum(left * left))
    if not before or not after <= _LEFT**2 * before:
        return False
    allowed = np.maximum(_IMPROVED * error, SLACK * pair.noise * np.maximum(np.abs(bench), pair.size))
    return float(np.mean(left <= allowed)) >= _NEARLY_ALL


def _varies(values: Floats) -> bool:
    """Are the elements different enough to tell a factor from an offset?"""
    return float(np.std(values)) > _FLAT * float(np.sqrt(np.mean(values * values)))


@_detector("zero")
def zero(pair: Pair) -> Relation | None:
    """Every element is exactly 0 on the NPU side, the bench's are not: nothing was written."""
    return Relation("zero") if not pair.npu.any() and np.mean(pair.bench != 0) > 0.5 else None


@_detector("sign")
def sign(pair: Pair) -> Relation | None:
    """n = -b."""
    return Relation("sign") if pair.fits(-pair.bench) else None


@_detector("transposed")
def transposed(pair: Pair) -> Relation | None:
    """Two neighbouring axes are swapped: n holds, in the order of memory, what b holds with the axes exchanged."""
    shape = pair.bench.shape
    for axis in reversed(range(len(shape) - 1)):
        if pair.thin or min(shape[axis], shape[axis + 1]) < 2:
            continue
        swapped = np.ascontiguousarray(np.swapaxes(pair.bench, axis, axis + 1)).reshape(shape)
        if pair.fits(swapped):
            return Relation("transposed", axes=(axis, axis + 1))
    return None


@_detector("shifted")
def shifted(pair: Pair) -> Relation | None:
    """n[i + 1] = b[i] or n[i] = b[i + 1] along one axis of four indices or more; the end that has no source is left
    out."""
    for axis in reversed(range(pair.bench.ndim)):
        if pair.bench.shape[axis] < 4 or axis in pair.thin:
            continue
        n, b = np.moveaxis(pair.npu, axis, 0), np.moveaxis(pair.bench, axis, 0)
        if _fits(n[1:], b[1:], b[:-1], pair):
            return Relation("shifted", 1, (axis,))
        if _fits(n[:-1], b[:-1], b[1:], pair):
            return Relation("shifted", -1, (axis,))
    return None


@_detector("permuted")
def permuted(pair: Pair) -> Relation | None:
    """The slices along one axis are the bench's in another order.  They are paired by the order of their projections
    on one fixed vector, and then compared element by element."""
    if pair.thin:
        return None
    for axis in range(pair.bench.ndim):
        length = pair.bench.shape[axis]
        if not 2 <= length <= _LONGEST or pair.bench.size < _ROW * length:
            continue
        n = np.moveaxis(pair.npu, axis, 0).reshape(length, -1)
        b = np.moveaxis(pair.bench, axis, 0).reshape(length, -1)
        direction = np.random.default_rng(0).standard_normal(n.shape[1])
        target, source = np.argsort(n @ direction, kind="stable"), np.argsort(b @ direction, kind="stable")
        predicted = np.empty_like(b)
        predicted[target] = b[source]
        moved = int(np.count_nonzero(target != source))
        if moved and _fits(n, b, predicted, pair):
            origin = np.empty(length, np.int64)
            origin[target] = source
            return Relation("permuted", int(np.count_nonzero(origin != np.arange(length))), (axis,))
    return None


def _rounded(pair: Pair, name: Literal["bfloat16", "float16"]) -> Relation | None:
    """Every element of the NPU side is a number of the narrow type, few of the bench's are: of random float32 numbers
    one in 65,536 is a bfloat16."""
    live = (pair.npu != 0) & (pair.bench != 0)
    n, b = pair.npu[live], pair.bench[live]
    if n.size < _FEWEST:
        return None
    with np.errstate(over="ignore"):
        ours, theirs = (np.mean(side.astype(_NARROW[name]).astype(np.float64) == side) for side in (n, b))
    if ours < 1.0 or theirs > 0.5:
        return None
    # The result's own rounding elsewhere may decide which neighbour is the nearest.
    near = np.abs(n - b) <= _HALF_STEPS[name] * np.abs(b) + SLACK * pair.noise * np.maximum(np.abs(b), pair.size)
    return Relation(name, float(np.mean(near) >= _NEARLY_ALL))


@_detector("bfloat16")
def bfloat16(pair: Pair) -> Relation | None:
    """The result was rounded to bfloat16 and widened again."""
    return _rounded(pair, "bfloat16")


@_detector("float16")
def float16(pair: Pair) -> Relation | None:
    """The result was rounded to float16 and widened again.  A bfloat16 is mostly a float16 too: that is asked first."""
    return _rounded(pair, "float16")


@_detector("factor")
def factor(pair: Pair) -> Relation | None:
    """n = r b, with the r of least squares."""
    length = float(np.sum(pair.bench * pair.bench))
    if not length or not _varies(pair.bench):
        return None
    r = float(np.sum(pair.npu * pair.bench)) / length
    return Relation("factor", r) if pair.fits(r * pair.bench) else None


@_detector("offset")
def offset(pair: Pair) -> Relation | None:
    """n = b + c, with the c of least squares."""
    if not _varies(pair.bench):
        return None
    c = float(np.mean(pair.npu - pair.bench))
    return Relation("offset", c) if pair.fits(pair.bench + c) else None
