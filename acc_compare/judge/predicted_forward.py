"""Predictions for what forward calls write, by class of operator (`predicted` has the formulae)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from acc_compare import operators
from acc_compare.judge.output_case import (
    ACCUMULATED,
    Logits,
    OutputCase,
    Terms,
    gain_by_rows,
    is_compound,
    logit_error,
    logit_gains,
    normalisation_gain,
    product,
    steepest,
)
from acc_compare.measured.calls import MeasuredArgument, finite
from acc_compare.measured.errors import RESOLUTION
from acc_compare.operators import OperatorClass

_LEAST_ROUNDOFF = 2.0**-53


def _exact(case: OutputCase) -> Terms:
    read = sum(a.count for a in case.inputs)  # what is joined stands there once, what is repeated more often
    spread = math.sqrt(max(1.0, case.out.count / read)) if read else 1.0
    return 0.0, [a.distance * spread for a in case.inputs]


def _elementwise(case: OutputCase) -> Terms:
    if operators.is_additive(case.operator):
        distances = [max(a.distance, _below_a_sketch(case, a)) for a in case.inputs]
        inherited = [d * case.spread(a) * case.factor(a) for d, a in zip(distances, case.inputs, strict=True)]
        return case.unit * case.size, inherited
    if operators.has(case.operator, "places") and len(case.inputs) > 1:
        return _interpolated(case)
    return case.unit * case.size, [max(a.relative * case.size, steepest(case, a)) for a in case.inputs]


_CANCELLED = 0.1
"""Of a sum that is less than so much of what it adds up, what no sketch of that shows may be the error."""


def _below_a_sketch(case: OutputCase, argument: MeasuredArgument) -> float:
    """How far an input may be off whose sketches agree, in a difference that next to nothing is left of, as that of the
    weights of two steps; 0 of others, and of what is known exactly."""
    error = argument.error
    if error is None or error.source == "bound" or case.size >= _CANCELLED * argument.norm:
        return 0.0
    return RESOLUTION[error.source] * argument.norm


def _interpolated(case: OutputCase) -> Terms:
    """Places are given between -1 and 1 over a width of w elements, so that an error d of one is d w / 2 elements; what
    lies at neighbouring elements differs by sqrt(2) of its size where they are independent."""
    values, places, *others = case.inputs
    width = max(values.npu.shape[2:], default=1)
    elements = width * places.norm / math.sqrt(2.0 * places.count)
    unit = max(case.unit, operators.roundoff({places.npu.dtype, places.bench.dtype}))
    inherited = [values.relative, places.relative * max(1.0, elements), *(a.relative for a in others)]
    return max(unit, unit * elements) * case.size, [error * case.size for error in inherited]


def _contraction(case: OutputCase) -> Terms:
    ranked = sorted(case.inputs, key=lambda a: a.count, reverse=True)
    if len(ranked) < 2 or is_compound(case.call):
        gains = logit_gains(case, case.inputs)
        inherited = [gain * a.relative * case.size for gain, a in zip(gains, case.inputs, strict=True)]
        return max(case.unit, case.rounded) * case.size, inherited
    terms, size = product(case, ranked[0], ranked[1])
    inherited = [a.relative * max(size, case.size) for a in ranked[:2]]
    return case.growth(terms, size), [*inherited, *(a.distance * case.spread(a) for a in ranked[2:])]


def _reduction(case: OutputCase) -> Terms:
    if not case.inputs:
        return case.unit * case.size, []
    largest = case.largest()
    terms = max(1.0, largest.count / case.out.count)
    if operators.has(case.operator, "factors"):
        factors = math.sqrt(max(terms, *largest.npu.shape, 1.0))
        return case.unit * factors * case.size, [a.relative * factors * case.size for a in case.inputs]
    share = 1.0 / terms if operators.is_mean(case.operator) else 1.0
    inherited = [max(a.distance * share, a.relative * case.size, _folded(case, a)) for a in case.inputs]
    if operators.has(case.operator, "runs"):
        return case.running(largest), inherited
    return case.growth(terms, largest.norm * share), inherited


def _folded(case: OutputCase, argument: MeasuredArgument) -> float:
    """A sum of |a - b| or of its square is the larger for errors d of either, whatever their sign, where the two nearly
    agree: by |d| where they do, by d^2 / |a - b| where they do not, and by d^2.  0 for other operators."""
    terms = argument.count / case.out.count
    if operators.has(case.operator, "squared"):
        if terms == 1.0:
            return math.sqrt(3.0 / argument.count) * argument.distance**2
        is_sum = (case.options or {}).get("input.reduction") == "sum"
        return argument.distance**2 / (1.0 if is_sum else terms)
    if not operators.has(case.operator, "kinks") or not operators.is_mean(case.operator) or case.size <= 0:
        return 0.0
    moved = argument.distance / math.sqrt(terms)
    return moved * min(1.0, moved / case.size)


def _normalisation(case: OutputCase) -> Terms:
    if not case.inputs:
        return case.unit * case.size, []
    largest = case.largest()
    gain = max(normalisation_gain(largest), gain_by_rows(case.back, largest))
    fresh = math.hypot(case.unit, min(case.unit, ACCUMULATED) * gain) * case.size
    others = [a.relative * case.size for a in case.inputs if a is not largest]
    if case.out.count < largest.count:  # statistics that the call keeps (running mean and variance)
        means = largest.norm * case.out.count / largest.count
        return case.unit * case.size, [largest.relative * max(case.size, means), *others]
    return fresh, [gain * largest.relative * case.size, *others]


def _exponential(case: OutputCase) -> Terms:
    if not case.inputs:
        return case.unit * case.size, []
    largest = case.largest()
    error, at_an_end = logit_error(largest), steepest(case, largest)
    if not operators.has(case.operator, "log"):
        rounding = case.unit * (1.0 + largest.norm / math.sqrt(largest.count)) * case.size
        return rounding, [max(error * case.size, at_an_end)]
    others = [a.relative * case.size for a in case.inputs if a is not largest]  # weights of classes, targets
    if case.out.count == 1:
        if operators.has(case.operator, "likelihood"):
            return case.unit * case.size, [*_likelihood(case, largest), *others]
        classes = largest.npu.shape[-1] if len(largest.npu.shape) > 1 else 1
        rows = max(1.0, largest.count / max(1, classes))
        usual = max(error, largest.relative * case.size) / math.sqrt(rows)
        return case.unit * case.size, [max(usual, at_an_end), *others]
    return case.unit * case.size, [max(error * math.sqrt(case.out.count), at_an_end), *others]


def _likelihood(case: OutputCase, read: MeasuredArgument) -> list[float]:
    """What random errors of the logits do to a loss, and what one scale for all of them does.  A mean over rows is no
    larger than the largest row can be; what is larger on both sides is their sum, where the call does not say."""
    logits = Logits.of(read, case.out.count)
    ends = [end for side in read.extremes for end in side]
    most = (max(ends) - min(ends) if ends else math.inf) + math.log(logits.classes)
    least = min(finite(side.norm) or 0.0 for side in (case.out.npu, case.out.bench))  # a wrong mean may exceed it
    reduction = case.call.options.get("input.reduction")
    is_sum = least > most if reduction is None else reduction == "sum"
    rows = logits.rows if is_sum else 1.0
    slope = logits.slope(case.size / rows)
    return [rows * logits.error / math.sqrt(logits.rows), rows * slope * logits.shift]


def _decomposition(case: OutputCase) -> Terms:
    """Singular values and eigenvalues of symmetric matrices move by no more than the matrix (Weyl, Mirsky).  What
    solves a system A X = B moves by the condition of A, of which |A| |X| / |B| is what the norms show; of an inverse B
    is the identity."""
    if not case.inputs:
        return case.unit * case.size, []
    largest = case.largest()
    shape = largest.npu.shape
    if len(case.out.npu.shape) == len(shape) - 1 and len(case.inputs) == 1:
        return case.unit * max(case.size, largest.norm), [largest.distance]
    identity = math.sqrt(largest.count / max(1, shape[-1] if shape else 1))
    other = max((a.norm for a in case.inputs if a is not largest), default=identity)
    gain = max(1.0, largest.norm * case.size / (identity * other)) if other > 0 else 1.0
    gain = min(gain, 1.0 / max(case.unit, _LEAST_ROUNDOFF))
    return case.unit * gain * case.size, [max(gain * a.relative * case.size, steepest(case, a)) for a in case.inputs]


def _general(case: OutputCase) -> Terms:
    return case.unit * case.size, [a.relative * case.size for a in case.inputs]


FORWARD: Mapping[OperatorClass, Callable[[OutputCase], Terms]] = {
    "exact": _exact,
    "elementwise": _elementwise,
    "contraction": _contraction,
    "reduction": _reduction,
    "normalisation": _normalisation,
    "exponential": _exponential,
    "decomposition": _decomposition,
    "general": _general,
}
