"""How far a result is from its reference: relative L2 error, and the largest error of an element.

Elements that are not finite are left out of both; they are counted as errors where the reference, rounded to the
result's dtype, is something else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from acc_compare.operators import UNIT_ROUNDOFF

_BLOCK = 1 << 16
"""Elements that are looked at together."""

_LARGE = 1e140
"""Magnitudes between this and its inverse have squares that are numbers, as many as there are."""


@dataclass(frozen=True, slots=True)
class Distance:
    """`relative` is |x - r| / |r| over finite elements (inf where r is zero and x is not), `largest` the largest
    |x_i - r_i| over max(|r_i|, rms of r).  Of integers and bools both are the share of elements that differ."""

    relative: float
    largest: float
    nonfinite: bool
    is_floating: bool

    def times(self, factor: float) -> Distance:
        return replace(self, relative=self.relative * factor, largest=self.largest * factor)


def distance(found: torch.Tensor, reference: torch.Tensor) -> Distance:
    """`found` against `reference`, of one shape, both on the CPU; the reference in a dtype at least as wide.

    No element counts as off where none is by more than the least number that every device has in the result's dtype.
    """
    if not (found.is_floating_point() or found.is_complex()):
        share = float((found != reference.to(found.dtype)).double().mean()) if found.numel() else 0.0
        return Distance(share, share, False, False)
    if found.numel() > _BLOCK and not found.is_complex():
        in_blocks = _in_blocks(found.reshape(-1), reference.reshape(-1))
        if in_blocks is not None:
            return in_blocks
    ours, exact = _real(found), _real(reference)
    nonfinite = False
    if not bool(torch.isfinite(ours.sum() + exact.sum())):  # a sum of finite numbers may overflow: then look closer
        live = torch.isfinite(ours) & torch.isfinite(exact)
        rounded = _real(reference.to(found.dtype))
        agree = (ours == rounded) | (torch.isnan(ours) & torch.isnan(rounded))
        nonfinite = bool((~live & ~agree).any())
        ours, exact = ours[live], exact[live]
    if not exact.numel():
        return Distance(0.0, 0.0, nonfinite, True)
    scale = float(exact.abs().max())
    off = (ours - exact).abs()
    worst = float(off.max())
    if scale == 0.0 or worst <= _least(found.dtype):
        size = 0.0 if worst <= _least(found.dtype) else float("inf")
        return Distance(size, size, nonfinite, True)
    magnitude = exact.abs() / scale
    norm = float(torch.linalg.vector_norm(magnitude))
    root_mean_square = norm / exact.numel() ** 0.5
    off = off / scale
    relative = float(torch.linalg.vector_norm(off)) / norm
    largest = float((off / magnitude.clamp_min(root_mean_square)).max())
    return Distance(relative, largest, nonfinite, True)


def _in_blocks(found: torch.Tensor, reference: torch.Tensor) -> Distance | None:
    """The same of many elements, by blocks that stay in cache; None where they are not all finite, or so large or small
    that their squares are not."""
    scale = worst = squares = apart = 0.0
    blocks: list[tuple[float, int]] = []
    for start in range(0, found.numel(), _BLOCK):
        exact = reference[start : start + _BLOCK].to(torch.float64)
        off = exact - found[start : start + _BLOCK]
        most, furthest = _largest(exact), _largest(off)
        scale, worst = max(scale, most), max(worst, furthest)
        if not (math.isfinite(most) and math.isfinite(furthest) and max(scale, worst) < _LARGE):
            return None
        squares += float(torch.dot(exact, exact))
        if furthest > 0.0:
            apart += float(torch.dot(off, off))
            blocks.append((furthest, start))
    if scale == 0.0 or worst <= _least(found.dtype):
        size = 0.0 if worst <= _least(found.dtype) else math.inf
        return Distance(size, size, False, True)
    if min(scale, worst) < 1.0 / _LARGE:
        return None
    least_size = math.sqrt(squares / found.numel())
    largest = 0.0
    for furthest, start in sorted(blocks, reverse=True):
        if furthest <= largest * least_size:  # no element of this block or of those after it can be further off
            break
        exact = reference[start : start + _BLOCK].to(torch.float64)
        off = (exact - found[start : start + _BLOCK]).abs_()
        largest = max(largest, float(off.div_(exact.abs().clamp_min_(least_size)).max()))
    return Distance(math.sqrt(apart / squares), largest, False, True)


def _least(dtype: torch.dtype) -> float:
    """float16 is computed with its denormal numbers, of the wider types a device may take them for 0."""
    info = torch.finfo(dtype)
    return info.tiny * info.eps if dtype is torch.float16 else info.tiny


def _largest(values: torch.Tensor) -> float:
    """The largest magnitude, or what is not finite."""
    low, high = (float(end) for end in torch.aminmax(values))
    return max(-low, high) if low == low else math.nan


def in_last_place(largest: float, dtype: str) -> float | None:
    """A relative error of an element in units in the last place of `dtype`, which are two roundoffs apart."""
    unit = UNIT_ROUNDOFF.get(dtype)
    return None if unit is None else largest / (2 * unit)


def equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Do both hold the same bits, but for the payload of NaN?"""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if torch.equal(one, other):
        return True
    if one.is_floating_point() or one.is_complex():
        a, b = _real(one), _real(other)
        return bool(((a == b) | (torch.isnan(a) & torch.isnan(b))).all())
    return bool(torch.equal(one, other))


def _real(tensor: torch.Tensor) -> torch.Tensor:
    """As float64, complex numbers as pairs."""
    wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
    return torch.view_as_real(wide) if wide.is_complex() else wide
