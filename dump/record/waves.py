"""Waves (`dump.format.waves`) of a host tensor by numpy, where the native core does not measure."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from ..format import sketch, waves
from ..format.waves import Floats
from . import reading
from .contents import as_array, working_dtype

_MOST = 1 << 19
"""Elements that are looked at together, if an index of the first dimension has no more."""


def has_waves(tensor: torch.Tensor) -> bool:
    """Does it have dimensions that it may be cut along?"""
    return len(reading.shape_of(tensor)) > 0 and not reading.dtype_of(tensor).is_complex


@np.errstate(all="ignore")
def of(source: torch.Tensor) -> bytes:
    """Those of a real tensor of one element at least, as they are recorded."""
    total = np.zeros(2, np.complex128)
    limit, extents = _limit(source), tuple(reading.shape_of(source))
    for start, part in _parts(source):
        live = part if limit is None else np.where(part <= limit, part.dtype.type(0), part)
        shape = (part.shape[0] // math.prod(extents[1:]), *extents[1:])
        total += waves.shifted(waves.of(live, shape), 0, start, dimensions=len(extents))
    return waves.to_bytes(total)


def _limit(source: torch.Tensor) -> float | None:
    """Up to what elements are sentinels."""
    if not reading.dtype_of(source).is_floating_point:
        return None
    ends = [(float(part.min()), float(part.max())) for _, part in _parts(source)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    return low / 2 if sketch.has_sentinel(low, high) else None


def _parts(source: torch.Tensor) -> Iterator[tuple[int, Floats]]:
    """Some of the first dimension's indices at a time, with the first of them; 0 in place of what is not finite."""
    extent, *others = reading.shape_of(source)
    working = working_dtype(reading.dtype_of(source))
    size = max(1, _MOST // max(1, math.prod(others)))
    for start in range(0, extent, size):
        rows = reading.narrowed(source, 0, start, min(size, extent - start))
        part = as_array(reading.in_order(reading.converted(rows, working))).reshape(-1)
        finite = np.isfinite(part)
        yield start, part if finite.all() else np.where(finite, part, part.dtype.type(0))
