"""Elements that jump one at a time: what a few of them may come to.

Where a function jumps, or its derivative does, a share of the elements lies so near that the error of what was read
takes them to the other side (`predicted`).  Of few, the number scatters as a Poisson variable does, and each brings its
own size: an error in the mean says little.
"""

from __future__ import annotations

import math
from statistics import NormalDist

_MANY = 50.0
_FAR = 6.0


def by_few_flips(expected: float, peak: float, count: int, rate: float) -> float:
    """The relative error that is exceeded with a probability of `rate` where `expected` of `count` elements jump by
    their size; `peak` is the largest element relative to the norm.  0 where none is expected to jump so often.

    One is as large as one in so many can be, for elements that are normal and reach `peak`; the others are as large as
    most are.

    >>> by_few_flips(0.0, 0.1, 1000, 1e-6)
    0.0
    >>> round(by_few_flips(0.01, 0.1, 1000, 1e-6), 3)
    0.105
    """
    if expected <= rate or count < 2:
        return 0.0
    scale = max(1.0 / math.sqrt(count), peak / math.sqrt(2.0 * math.log(count)))
    largest = min(peak, scale * NormalDist().inv_cdf(1.0 - rate / (2.0 * expected)))
    others = (_most(expected, rate) - 1) / count
    return min(1.0, math.hypot(largest, math.sqrt(others)))


def _most(expected: float, rate: float) -> float:
    """The least k >= 1 that a Poisson variable exceeds with a probability of at most `rate`."""
    if expected > _MANY:
        return expected + _FAR * math.sqrt(expected)
    number, term = 0, math.exp(-expected)
    left = 1.0 - term
    while left > rate:
        number += 1
        term *= expected / number
        left -= term
    return max(1, number)
