"""Elements that jump one at a time: what a few of them may come to.

Where a function jumps, or its derivative does, a share of the elements lies so near that the error of what was read
takes them to the other side (`predicted`).  Of few, the number scatters as a Poisson variable does, and each brings its
own size: an error in the mean says little.  And where one of several is chosen, what it loses another has: in a sum of
both, as sketches are, that may leave no trace.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec

from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.operators import has, operator_class

_MANY = 50.0
_FAR = 6.0


def by_few_flips(expected: float, peak: float, count: int, rate: float, *, moved: bool = False) -> float:
    """The relative error that is exceeded with a probability of `rate` where `expected` of `count` elements jump by
    their size; `peak` is the largest element relative to the norm.  0 where none is expected to jump so often.

    One is as large as one in so many can be, for elements that are normal and reach `peak`; the others are as large as
    most are.  What is `moved` is missing in one place and too much in another.

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
    return min(1.0, math.sqrt(2.0 if moved else 1.0) * math.hypot(largest, math.sqrt(others)))


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


class Moved:
    """The gradients whose error a sketch may not show: where another element was chosen, the gradient went to one of
    its neighbours, and what is missing here and too much there cancels under equal signs, in what is computed from it
    element by element too.  They count as off by no less than what is expected of them."""

    def __init__(self) -> None:
        self._expected: dict[int, float] = {}

    def beside(self, call: MeasuredCall) -> MeasuredCall:
        """The call with what may be hidden in what it reads; itself where nothing is."""
        if not self._expected or not call.is_backward:
            return call
        read = tuple(map(self._raised, call.read))
        is_same = all(a is b for a, b in zip(read, call.read, strict=True))
        return call if is_same else msgspec.structs.replace(call, read=read)

    def note(self, call: MeasuredCall, out: MeasuredArgument, expected: float, *, reads_moved: bool) -> None:
        """`out` is expected to be off by `expected`; `reads_moved` says that something was hidden in what `call`
        reads."""
        if not call.is_backward or out.npu.value is None or out.error is None or out.error.source != "sketch":
            return
        if has(call.operator, "chooses") or (reads_moved and operator_class(call.operator) in ("exact", "elementwise")):
            self._expected[out.npu.value] = expected

    def _raised(self, argument: MeasuredArgument) -> MeasuredArgument:
        known = 0.0 if argument.npu.value is None else self._expected.get(argument.npu.value, 0.0)
        if known <= argument.relative:
            return argument
        return msgspec.structs.replace(argument, relative=known, distance=known * argument.norm)
