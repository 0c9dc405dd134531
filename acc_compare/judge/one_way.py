"""Errors that go one way, which add up as values do.

Rounding is another number in each element, so that of K terms it leaves sqrt(K).  What parameters that were updated
otherwise make wrong is not: they were moved in the directions of the run's own gradients and inputs, and each row of a
batch goes through the same wrong weight.  Then

    products       an error d of the operand a in a b comes to d s, with s how far b stretches what it multiplies.  The
                   largest singular value of b is the most (Golub and Van Loan, Matrix Computations, 4th ed., 2.3); what
                   b did to values shows it from below: |a b| / |a| in forward and in backward, for each product that
                   the call made with b, and |b| |mean| / rms, what it does to a vector of ones
    sums           over K rows (gradients of biases and of the weights of normalisations, means, losses): sqrt(K) times
                   what independent errors come to, which is the most that errors of that size can
    attention      an average of values that are off alike is off as they are
    near a pole    an error d that lies in the elements next to zero, as that of another bound does, moves log x by
                   d / min |x|

and what several inputs bring adds up as it is, not as the root of the squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from acc_compare import operators
from acc_compare.judge.output_case import Logits, OutputCase, is_compound
from acc_compare.measured.calls import MeasuredArgument, finite, place_of_gradient


def one_way(case: OutputCase, inherited: list[float]) -> float:
    """How far the output may be off where the errors of what was read go one way; `inherited` is what they come to
    where they are independent.  0 where nothing is added up: what computes element by element hands on what it reads,
    and its channels with it (`systematic`)."""
    together = math.fsum(inherited)
    kind = operators.operator_class(case.operator)
    rows = _rows(case)
    if rows > 1.0:
        return math.sqrt(rows) * together
    if kind == "contraction":
        return max(together, _averaged(case, inherited) if is_compound(case.call) else _stretched(case))
    if case.call.is_backward or not case.inputs:
        return 0.0
    if kind == "reduction" and not operators.has(case.operator, "nonexpansive"):
        terms = max(1.0, case.largest().count / case.out.count)
        share = 1.0 / terms if operators.is_mean(case.operator) else 1.0
        return max(together, math.sqrt(terms) * share * math.fsum(a.distance for a in case.inputs))
    at_the_pole = _at_the_pole(case)
    return max(together, at_the_pole) if at_the_pole > 0 else 0.0


def _at_the_pole(case: OutputCase) -> float:
    """What the error comes to where all of it lies in the elements that the operator moves most; 0 of one that has no
    pole at zero."""
    if not operators.is_steep_at_zero(case.operator):
        return 0.0
    found = 0.0
    for a in case.inputs:
        nearest = min((end for side in a.extremes for end in side if end != 0.0), key=abs, default=0.0)
        if nearest != 0.0:
            moved = operators.most_moved(case.operator, (nearest,), (case.out.largest_of_both,))
            found += a.distance / abs(nearest) * moved
    return min(found, case.size)


def _rows(case: OutputCase) -> float:
    """How many rows a loss or the gradient of something that stands in each of them adds up; 1 of others."""
    kind = operators.operator_class(case.operator)
    largest = max(case.inputs, key=lambda a: a.count, default=None)
    if largest is None:
        return 1.0
    if not case.call.is_backward:
        is_loss = kind == "exponential" and case.out.count == 1 and operators.has(case.operator, "log")
        return Logits.of(largest, case.out.count).rows if is_loss else 1.0
    is_row = len(case.out.npu.shape) <= 1
    return largest.count / case.out.count if is_row or kind in _REPEATED else 1.0


_REPEATED = ("exact", "elementwise", "normalisation")
"""Classes that repeat what is smaller than their result."""


def _averaged(case: OutputCase, inherited: list[float]) -> float:
    """Attention: what is alike in all values passes through their average as it is."""
    if len(case.inputs) < 3 or not operators.has(case.operator, "attends"):
        return 0.0
    value = case.inputs[2]
    alike = value.distance * math.sqrt(case.out.count / value.count)
    return alike + math.fsum(inherited) - value.relative * case.size


_FROM_BELOW = 1.4
"""Errors are stretched up to so many times as far as values show, in parted runs of the models that are drawn from the
development seeds of benchmarks/localisation."""


def _stretched(case: OutputCase) -> float:
    """What the errors of both operands of a product come to, and of what is added to it."""
    products = _products(case)
    mine = next((each for each in products if each.result.name == case.out.name and each.is_of(case)), None)
    if mine is None:
        return 0.0
    found = 0.0
    for operand, other in ((mine.a, mine.b), (mine.b, mine.a)):
        least = math.sqrt(mine.taps) * _leaning(other)
        stretch = max(least, *(each.stretch_of(other) for each in products))
        found += operand.distance * min(_FROM_BELOW * stretch, math.sqrt(mine.taps) * other.norm)
    return found + math.fsum(x.distance * case.spread(x) for x in case.inputs if x is not mine.a and x is not mine.b)


@dataclass(frozen=True, slots=True)
class _Product:
    """`result` is made of `a` and `b`; a convolution takes each element of its input as often as it has `taps`."""

    a: MeasuredArgument
    b: MeasuredArgument
    result: MeasuredArgument
    is_backward: bool
    taps: int = 1

    def is_of(self, case: OutputCase) -> bool:
        return self.is_backward == case.call.is_backward

    def stretch_of(self, operand: MeasuredArgument) -> float:
        """How far this operand stretched the other; 0 of what is none."""
        if operand is not self.a and operand is not self.b:
            return 0.0
        other = self.b if operand is self.a else self.a
        least = min(finite(side.norm) or 0.0 for side in (self.result.npu, self.result.bench))  # one may be wrong
        return least / other.norm if other.norm > 0 else 0.0


def _products(case: OutputCase) -> list[_Product]:
    """The product that a forward call computes, and those of its backward call, as far as they are on record."""
    forward, back = (case.forward, case.call) if case.call.is_backward else (case.call, case.back)
    given = [] if forward is None else list(forward.floating_inputs())
    large = [a for a in given if len(a.npu.shape) > 1]
    if forward is None or len(large) != 2:
        return []
    x, y = large
    taps = math.prod(y.npu.shape[2:]) if operators.has(forward.operator, "conv") else 1
    made = max((a for a in forward.wrote if a.is_floating), key=lambda a: a.count, default=None)
    found = [] if made is None else [_Product(x, y, made, is_backward=False, taps=taps)]
    gradient = max(back.floating_inputs(), key=lambda a: a.count, default=None) if back is not None else None
    if back is None or gradient is None:
        return found
    shapes = [a.npu.shape for a in given]
    for wrote in back.wrote:
        place = place_of_gradient(wrote.name, wrote.npu.shape, shapes)
        if place is not None and given[place] in large:
            other = y if given[place] is x else x
            found.append(_Product(gradient, other, wrote, is_backward=True, taps=taps))
    return found


def _leaning(argument: MeasuredArgument) -> float:
    """How far it stretches a vector of ones."""
    means = [abs(mean) for side in (argument.npu, argument.bench) if (mean := finite(side.mean)) is not None]
    return min(means, default=0.0) * math.sqrt(argument.count)
