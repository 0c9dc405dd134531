"""How far two tensors are apart by their waves (`dump.format.waves`)."""

from __future__ import annotations

import math

from dump.format import waves


def distance(ours: bytes, theirs: bytes) -> float:
    """An estimate of |N - B| that scatters widely; NaN where a sum overflowed."""
    apart = waves.from_bytes(ours) - waves.from_bytes(theirs)
    return math.sqrt(float((abs(apart) ** 2).mean()))
