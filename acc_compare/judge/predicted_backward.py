"""Predictions for what backward calls write: inputs are gradients, the forward call's tensors come beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from acc_compare import operators
from acc_compare.judge.output_case import (
    ACCUMULATED,
    Logits,
    OutputCase,
    Terms,
    from_a_root,
    from_zero,
    gain_by_rows,
    logit_error,
    logit_gains,
    normalisation_gain,
    product,
)
from acc_compare.measured.calls import MeasuredArgument, finite, place_of_gradient
from acc_compare.operators import OperatorClass


def _gradient(case: OutputCase) -> MeasuredArgument | None:
    return max(case.inputs, key=lambda a: a.count, default=None)


def _errors(arguments: Iterable[MeasuredArgument], size: float) -> list[float]:
    return [a.relative * size for a in arguments]


def _summed(case: OutputCase, gradient: MeasuredArgument) -> tuple[float, float]:
    """How many gradients each element of the output adds up, and the size that its error is measured against: what
    cancels in the sum does not cancel in its error."""
    terms = max(1.0, gradient.count / case.out.count)
    return terms, max(case.size, gradient.norm) if terms > 1 else case.size


def _of_part(case: OutputCase, gradient: MeasuredArgument) -> float:
    """The norm of the sum of a gradient over its rows, where its elements are independent; where only a part of the
    output comes from it, no less than what its mean says."""
    means = [abs(mean) for side in (gradient.npu, gradient.bench) if (mean := finite(side.mean)) is not None]
    total = min(means, default=0.0) * gradient.count / math.sqrt(case.out.count)
    return max(gradient.norm, total) if case.is_part else gradient.norm


def _exact_backward(case: OutputCase) -> Terms:
    gradient = _gradient(case)
    if gradient is None:
        return 0.0, []
    terms, size = _summed(case, gradient)
    if operators.has(case.operator, "indexed") and gradient.npu.shape:
        terms = max(terms, gradient.count / max(1, gradient.npu.shape[-1]))
    if operators.has(case.operator, "overlaps"):
        terms = max(terms, 2.0)
    fresh = case.growth(terms, gradient.norm) if terms > 1 else 0.0
    return fresh, [max(a.distance * case.spread(a), a.relative * (size if terms > 1 else 0.0)) for a in case.inputs]


def _elementwise_backward(case: OutputCase) -> Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    terms, size = _summed(case, gradient)
    fresh = case.growth(terms, size)
    if operators.is_additive(case.operator):
        return fresh, [gradient.relative * size]
    return fresh, [gradient.relative * size, *(max(a.relative * size, _bent(case, a)) for a in case.given)]


def _bent(case: OutputCase, argument: MeasuredArgument) -> float:
    """How far the error of an input of the forward call moves the derivative at its extremes."""
    if argument.relative == 0.0 or math.isinf(argument.relative):
        return 0.0
    is_at_a_pole = operators.is_bent(case.operator) and any(made.is_at_a_pole for made in case.made)
    if is_at_a_pole or from_a_root(case, argument) > 0:  # how near to a pole others come, the extremes do not tell
        return case.out.norm
    if operators.has(case.operator, "phase"):
        return _turned(case, argument)
    error = max(argument.relative, operators.roundoff({argument.npu.dtype, argument.bench.dtype}))
    amplified = min(
        operators.most_bent(
            case.operator,
            argument.extremes[side],
            [end for made in case.made for end in made.extremes[side] or (made.norm, -made.norm)],
        )
        for side in (0, 1)
    )
    if operators.is_steep_at_zero(case.operator):
        error *= from_zero(argument)
    return min(1.0, error * amplified) * (case.out.largest_of_both or case.out.norm)


def _turned(case: OutputCase, argument: MeasuredArgument) -> float:
    """The gradient of an angle, i g z / |z|^2, is largest at the smallest z, which its size tells: |g| / |dz|."""
    gradient = _gradient(case)
    largest = case.out.largest_of_both or case.out.norm
    if gradient is None or gradient.rms == 0.0:
        return case.out.norm
    return min(1.0, argument.distance / math.sqrt(argument.count) * largest / gradient.rms) * largest


def _contraction_backward(case: OutputCase) -> Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    number = place_of_gradient(case.out.name, case.out.npu.shape, [a.npu.shape for a in case.given])
    large = [a for a in case.given if len(a.npu.shape) > 1]
    others = [a for index, a in enumerate(case.given) if index != number and len(a.npu.shape) > 1]
    if len(large) > 2:
        gains = logit_gains(case, case.given)
        inherited = [gain * a.relative * case.size for gain, a in zip(gains, case.given, strict=True)]
        return max(case.unit, case.rounded) * case.size, [gradient.relative * case.size, *inherited]
    if len(case.out.npu.shape) <= 1 or not others:  # a bias: a sum of gradients, which some kernels round as operands
        terms, size = _summed(case, gradient)
        return case.growth(terms, _of_part(case, gradient)), [gradient.relative * size]
    other = max(others, key=lambda a: a.count)
    terms, size = product(case, gradient, other)
    return case.growth(terms, size), _errors((gradient, other), max(size, case.size))


def _reduction_backward(case: OutputCase) -> Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    fresh = case.unit * case.size
    if operators.has(case.operator, "runs"):
        fresh = case.running(gradient)
    weight = _of_a_difference(case, gradient)
    size = max(case.size, _of_an_angle(case, gradient))
    given = [max(a.relative * size, weight * a.distance, _of_a_direction(case, a)) for a in case.given]
    return max(fresh, case.unit * size), [gradient.relative * size, *given]


def _of_a_difference(case: OutputCase, gradient: MeasuredArgument) -> float:
    """What multiplies a - b in the gradient of its square, and so the error of either, which does not cancel where the
    two nearly agree: at most 2 g, over the number of elements for their mean.  0 for other operators."""
    if not operators.has(case.operator, "squared"):
        return 0.0
    is_mean = gradient.count == 1 and (case.options or {}).get("input.reduction") != "sum"
    return 2.0 * gradient.rms / (case.out.count if is_mean else 1)


def _of_an_angle(case: OutputCase, gradient: MeasuredArgument) -> float:
    """The norm that the gradient of an angle's cosine has where two vectors x lie across each other: that of |g| / |x|
    over all pairs.  Of two that lie along each other next to nothing is left of it, but not of its error."""
    if not operators.has(case.operator, "angle"):
        return 0.0
    number = place_of_gradient(case.out.name, case.out.npu.shape, [a.npu.shape for a in case.given])
    if number is None or case.given[number].norm <= 0:
        return 0.0
    return gradient.norm * math.sqrt(gradient.count) / case.given[number].norm


_TURNED = math.sqrt(2.0)
"""How far two unit vectors are apart that have nothing to do with each other."""


def _of_a_direction(case: OutputCase, argument: MeasuredArgument) -> float:
    """The gradient of a distance is the direction from one to the other, which turns by the error of either over the
    distance, at most to any other.  0 for other operators."""
    apart = max((a.norm for a in case.made), default=0.0) if operators.has(case.operator, "apart") else 0.0
    return min(_TURNED, argument.distance / apart) * case.size if apart > 0 else 0.0


def _normalisation_backward(case: OutputCase) -> Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    source = max(case.given, key=lambda a: a.count, default=None)
    gain = max(normalisation_gain(source), gain_by_rows(case.call, source)) if source is not None else 1.0
    terms, size = _summed(case, gradient)
    if source is not None:
        size = max(size, _before_projection(case, source, gradient))
    inherited = [gradient.relative * size, *(a.relative * size for a in case.given if a is not source)]
    if source is not None:
        inherited.append(gain * source.relative * size)
    return math.hypot(case.unit * size, min(case.unit, ACCUMULATED) * gain * math.sqrt(terms) * size), inherited


def _before_projection(case: OutputCase, source: MeasuredArgument, gradient: MeasuredArgument) -> float:
    """The norm that the gradient of what is normalised has before what lies along the result is taken out of it, which
    may be nearly all: |g| |y| / |x|.  0 for the gradients of weights."""
    made = max(case.made, key=lambda a: a.count, default=None)
    if made is None or source.norm <= 0 or not case.out.count == source.count == made.count == gradient.count:
        return 0.0
    return gradient.norm * (made.norm / source.norm)


def _exponential_backward(case: OutputCase) -> Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    source = max(case.given, key=lambda a: a.count, default=None)
    inherited = [gradient.relative * case.size, *_errors((a for a in case.given if a is not source), case.size)]
    fresh = case.size
    if source is not None and operators.has(case.operator, "likelihood"):
        logits = Logits.of(source, max((a.count for a in case.made), default=gradient.count))
        soft = _of_soft_targets(case, logits, source, gradient)
        fresh = max(fresh, soft)
        if soft > case.size and gradient.count == case.out.count:  # what comes in cancels, its error does not
            inherited[0] = max(inherited[0], gradient.distance)
        inherited.append(max(_likelihood_backward(case, source, gradient) * case.size, logits.error * soft))
    elif source is not None:
        steps = _steps(case, source)
        error = max(math.sqrt(steps) * logit_error(source), source.relative)
        inherited.append(max(error * case.size, _bent(case, source)))
        fresh *= max(1.0, steps * source.rms * math.sqrt(steps / 3.0)) if steps > 1 else 1.0
    return case.unit * fresh, inherited


def _steps(case: OutputCase, source: MeasuredArgument) -> int:
    """How many logarithms a path adds up, 1 where there are none.  Its gradient is exp(before + after - all): it is off
    by the errors of as many steps, and by the rounding of running sums that grow to the size of all steps together,
    whose errors add in squares (A. Graves et al., "Connectionist Temporal Classification", ICML 2006, 4.1)."""
    return max(1, source.npu.shape[0]) if operators.has(case.operator, "paths") and source.npu.shape else 1


_MOST_SQUARES = 2.0
_SOFT = 1.2


def _of_soft_targets(case: OutputCase, logits: Logits, source: MeasuredArgument, gradient: MeasuredArgument) -> float:
    """The norm of p sum(g), of which an error d of the logits moves p d sum(g), where targets are spread over classes
    as another model's probabilities are: from it g is taken, and little is left.  0 where each row has one target."""
    if gradient.count == source.count:  # log_softmax: what comes in is as spread as the targets
        means = [abs(mean) for side in (gradient.npu, gradient.bench) if (mean := finite(side.mean)) is not None]
        total = min(means, default=0.0) * logits.classes * math.sqrt(logits.rows)
        is_soft = total > _SOFT * gradient.norm
    else:
        total = gradient.norm / math.sqrt(logits.rows)
        is_soft = any(a is not source and a.is_floating and a.count == source.count for a in case.given)
    return total * math.sqrt(logits.concentration(1.0)) if is_soft else 0.0


def _likelihood_backward(case: OutputCase, source: MeasuredArgument, gradient: MeasuredArgument) -> float:
    """The gradient of a row is p - onehot(target) times what comes in, and an error d of its logits moves it by about
    p d: relative to its size, rms(d) times the root of the sum of p^2."""
    results = max((a.count for a in case.made), default=gradient.count)
    logits = Logits.of(source, results)
    given = gradient.norm / math.sqrt(logits.rows) if results == 1 else gradient.norm  # the mean over rows
    squares = (case.size / given) ** 2 if given > 0 else 1.0
    if squares > _MOST_SQUARES:  # no mean, then, but a sum
        squares /= logits.rows**2
    return logits.error * math.sqrt(logits.concentration(squares))


def _general_backward(case: OutputCase) -> Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    terms, size = _summed(case, gradient)
    return case.growth(terms, size), [gradient.relative * size, *_errors(case.given, size)]


BACKWARD: Mapping[OperatorClass, Callable[[OutputCase], Terms]] = {
    "exact": _exact_backward,
    "elementwise": _elementwise_backward,
    "contraction": _contraction_backward,
    "reduction": _reduction_backward,
    "normalisation": _normalisation_backward,
    "exponential": _exponential_backward,
    "decomposition": _general_backward,
    "general": _general_backward,
}
