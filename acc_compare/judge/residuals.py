"""What many residuals say of one of them: their middle and scatter without it, and how far one may lie.

The scatter is that of the lower half: rounding is as often less than its median as more, what is wrong is only ever
more, and a third of the peers that are wrong leave it as it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache
from statistics import NormalDist, median

_FEW = 40
_ALIKE = 6
"""Decimals to which residuals are told apart."""


class Residuals:
    """The tamed residuals of one operator, their median and the median deviation of the lower half, without any one.

    Of many values, leaving one out moves the median to a neighbour and the median deviation by nothing that counts, so
    that both are known for all calls at the price of a few.
    """

    def __init__(self, values: Iterable[float]) -> None:
        self._values = sorted(values)
        self.count = len(self._values)
        self.distinct = len({round(value, _ALIKE) for value in self._values})
        """How many tell something new: the same call made again has the same error."""
        self.median = median(self._values)
        self._deviations: dict[float, float] = {}

    def without(self, one: float, is_in: bool) -> tuple[int, float, float]:
        """How many others there are, their median, and the median distance from it of those that are not above it;
        `one` is left out if it is in."""
        if not is_in:
            return self.count, self.median, self._deviation(self.median)
        if self.count == 1:
            return 0, 0.0, 0.0
        place = bisect_left(self._values, one)
        if self.count <= _FEW:
            others = self._values[:place] + self._values[place + 1 :]
            middle = median(others)
            return len(others), middle, _scatter(others, middle)
        last = self.count - 2  # of those that are left
        middle = (self._at(last // 2, place) + self._at(last - last // 2, place)) / 2
        return self.count - 1, middle, self._deviation(middle)

    def _at(self, index: int, left_out: int) -> float:
        return self._values[index if index < left_out else index + 1]

    def _deviation(self, middle: float) -> float:
        if middle not in self._deviations:
            self._deviations[middle] = _scatter(self._values, middle)
        return self._deviations[middle]


def _scatter(values: Sequence[float], middle: float) -> float:
    return median(middle - value for value in values if value <= middle)


@cache
def student(probability: float, dof: float) -> float:
    """The quantile of Student's t, by the expansion of R. Fisher and E. Cornish, Technometrics 2 (1960), right to 1 %
    from 20 degrees of freedom on.

    >>> round(student(0.975, 30), 3)
    2.042
    """
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / dof + second / dof**2 + third / dof**3
