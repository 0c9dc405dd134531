"""Axes and colours that html and PNG share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from acc_compare.monitor.rows import Numbers

COLOURS = (
    (1e-7, "#f7fbff"),
    (1e-6, "#deebf7"),
    (1e-5, "#c6dbef"),
    (1e-4, "#9ecae1"),
    (1e-3, "#6baed6"),
    (1e-2, "#3182bd"),
    (1e-1, "#08519c"),
    (2.0, "#08204a"),
)
"""A distance has the first colour whose number it does not exceed (ColorBrewer's Blues, one step darker at the end)."""

NAN_COLOUR = "#d62728"
NOTHING_COLOUR = "#e4e4e4"
_MOST_DECADES = 12


def shade(value: float) -> str:
    """The colour of a distance: inf stands for NaN or Inf on one side, NaN for no number."""
    if math.isnan(value):
        return NOTHING_COLOUR
    if math.isinf(value):
        return NAN_COLOUR
    return next((colour for limit, colour in COLOURS if value <= limit), COLOURS[-1][1])


def decades(lines: Sequence[Numbers]) -> tuple[int, int]:
    """The powers of ten that hold all positive finite numbers of `lines`: at least one decade, at most twelve."""
    positive = np.concatenate([numbers[np.isfinite(numbers) & (numbers > 0)] for numbers in lines])
    if not len(positive):
        return -1, 0
    high = math.ceil(math.log10(float(positive.max())) - 1e-9)
    low = math.floor(math.log10(float(positive.min())) + 1e-9)
    return max(min(low, high - 1), high - _MOST_DECADES), high


def logs_of(numbers: Numbers, low: int, high: int) -> Numbers:
    """log10, kept between `low` and `high`: 0 lies on the lower edge; NaN where there is no finite number."""
    with np.errstate(all="ignore"):
        logs: Numbers = np.clip(np.log10(np.abs(numbers)), low, high)
    logs[~np.isfinite(numbers)] = np.nan
    return logs


def thin_ticks(first: float, last: float, most: int = 8) -> list[float]:
    """At most `most` + 1 round steps between two, the first included."""
    span = max(last - first, 1.0)
    stride = next(width * 10**power for power in range(16) for width in (1, 2, 5) if span / (width * 10**power) <= most)
    inner = np.arange(math.ceil(first / stride) * stride, last + 1e-9, stride)
    return [float(tick) for tick in inner] or [first]
