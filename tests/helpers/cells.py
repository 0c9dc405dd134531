"""Cells of two tables that say the same."""

from __future__ import annotations

import math


def same(ours: str, theirs: str) -> bool:
    """Equal, to the 16 digits that msprobe 8.3.3 puts into a workbook of statistics that float32 gave."""
    if ours == theirs:
        return True
    try:
        first, second = (float(text.rstrip("%")) for text in (ours, theirs))
    except ValueError:
        return False
    return math.isclose(first, second, rel_tol=1e-6)
