"""Sums of a tensor's elements under two waves, from which those of a whole follow that was cut along any dimension.

An element at (i, ..., j, k) counts as often as exp(2 pi sqrt(-1) (f_0 i + ... + f_m j + s f_n k)), s being 1 in the
first sum and -1 in the second, and f_d the fractional part of the root of a prime, another for each dimension.  A part
that begins at index o of dimension d is off by one factor, exp(2 pi sqrt(-1) f_d o), whatever it holds.  Functions of
which finitely many are enough for all such shifts are made of waves, so that no random signs would do.

The waves of N - B are the difference of those of N and B.  Over all frequencies the square of their length is |N - B|^2
in the mean, and it scatters as widely as that of two numbers: it tells that rows changed places, and not how far apart
two tensors are.  What counts as 0 in the sketch does so here.

Frequencies are 32 bits of a turn, so that the phase of any index is exact in integers.  Changing anything here changes
every record of the kind: the key of dump.json must have another name then.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FREQUENCIES = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
"""Fractional parts of the roots of the first eight primes, in turns of 2**-32; dimension d has number d % 8."""

Waves = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.floating[Any]]


def phases(dimension: int, indices: npt.NDArray[np.int64]) -> Waves:
    """What elements at these indices of a dimension are multiplied by."""
    turns = (indices.astype(np.uint64) * np.uint64(FREQUENCIES[dimension % len(FREQUENCIES)])) & np.uint64(0xFFFFFFFF)
    found: Waves = np.exp(turns.astype(np.float64) * (2j * np.pi / 2**32))
    return found


def of(values: Floats, shape: Sequence[int]) -> Waves:
    """The two sums over float32 or float64 `values`, the elements in their order; `shape` has a dimension at least."""
    *outer, width = shape
    under = values.reshape(-1, width) @ _weights(len(outer), width, values.dtype.char)
    sums: npt.NDArray[Any] = under.astype(np.float64)  # (rows, 2): under cosines and under sines
    for dimension in reversed(range(len(outer))):
        along = _phases(dimension, outer[dimension])
        sums = np.matmul(along, sums.reshape(-1, outer[dimension], 2))
    cosines, sines = sums.reshape(2)
    return np.array([cosines + 1j * sines, cosines - 1j * sines])


def shifted(waves: Waves, dimension: int, offset: int, *, dimensions: int) -> Waves:
    """Those of a part as a whole of so many `dimensions` has it, in which it begins at `offset` along `dimension`."""
    phase = complex(phases(dimension, np.array([offset]))[0])
    second = phase.conjugate() if dimension == dimensions - 1 else phase
    moved: Waves = waves * np.array([phase, second])
    return moved


def to_bytes(waves: Waves) -> bytes:
    """Four little-endian float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        return waves.view(np.float64).astype("<f4").tobytes()


def from_bytes(raw: bytes) -> Waves:
    return np.frombuffer(raw, "<f4").astype(np.float64).view(np.complex128)


@functools.lru_cache(maxsize=256)
def _phases(dimension: int, extent: int) -> Waves:
    return phases(dimension, np.arange(extent))


@functools.lru_cache(maxsize=64)
def _weights(dimension: int, extent: int, char: str) -> Floats:
    """(extent, 2): cosines and sines along a dimension."""
    found: Floats = _phases(dimension, extent).view(np.float64).reshape(extent, 2).astype(char)
    return found
