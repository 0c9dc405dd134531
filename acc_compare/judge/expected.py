"""How much error a call may show, given what it read: rounding of its own, and what it inherits.

All bounds are absolute L2 distances, divided by the norm of the output at the end, so that a result that is zero but
for rounding is measured against the size of what was summed to make it and not against itself.  With |x| a norm, d_x
its error, e_x = d_x / |x|, n_x its number of elements, u the unit roundoff of the lowest precision involved:

    exact          sum of d_x sqrt(max(1, n_out / n_x)); no rounding
    elementwise    max(1.25 d_x, 6 e_x |out|) per input; 8 u |out|
    contraction    K = sqrt(n_a n_b / n_out) terms of norm |t| = |a| |b| / sqrt(K);
                   4 (e_a + e_b) max(|t|, |out|);  u growth(K) max(|t|, |out|)
    reduction      K = n_x / n_out; 4 e_x |t|; u growth(K) |t|, with |t| = |x|, or |x| / K for means
    normalisation  A = |x| / |x - mean|: 6 A e_x |out|; 16 u A |out|
    exponential    the absolute error of the input is the relative one of the output: 4 e_x max|x|
    general        12 e_x |out|; 4 u growth(K) |out|

The constants are lenient factors for what norms cannot tell (where in a tensor an error sits).  The sqrt(K) growth of
rounding is Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis (2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from acc_compare import operators

from .calls import MeasuredArgument, MeasuredCall
from .errors import RESOLUTION

_TAILS = frozenset("gelu silu mish elu selu celu softplus hardswish npu_gelu npu_fast_gelu npu_swiglu glu".split())
_MEANS = ("mean", "avg_pool", "loss")
_LOGARITHMIC = ("log", "loss", "entropy")
_INDEXED = ("embedding", "index", "gather", "getitem", "scatter", "take")
# Backward adds up what overlapping windows or several copies of an element received.
_OVERLAPPING = ("pool", "pad", "amax", "amin")
_OVERLAPS = 4.0
_CAP = 1e4
_NO_ELEMENT = 1e-3
_BOUND_AGREES = 1e-5


@dataclass(frozen=True, slots=True)
class Expected:
    """The relative error a tensor may show and in words where that comes from."""

    relative: float
    source: str


@dataclass(frozen=True, slots=True)
class _Case:
    """One output of one call, with what its bound is made from."""

    call: MeasuredCall
    forward: MeasuredCall | None
    out: MeasuredArgument
    inputs: tuple[MeasuredArgument, ...]
    unit: float

    @property
    def scale(self) -> float:
        return self.out.norm

    def forward_error(self) -> float:
        """The largest relative error of what the forward call read and wrote: backward uses both."""
        if self.forward is None:
            return 0.0
        return max((a.relative for a in (*self.forward.read, *self.forward.wrote) if a.is_floating), default=0.0)


def expected_error(
    call: MeasuredCall, out: MeasuredArgument, forward: MeasuredCall | None, floor: float | None = None
) -> Expected:
    """The relative L2 error that `out` may show.  `forward` is the call that a backward call belongs to, `floor` the
    distance of two bench runs at this tensor where one was measured.  Infinite where nothing can be said."""
    if call.reads_other_integers() or (forward is not None and forward.reads_other_integers()):
        return Expected(math.inf, "its indices or masks differ")
    read = call.read if forward is None else (*call.read, *forward.read, *forward.wrote)
    if any(math.isinf(a.relative) for a in read):
        return Expected(math.inf, "its inputs differ by nobody knows how much")
    if any(a.error is not None and a.error.source == "bound" and a.relative > _BOUND_AGREES for a in read):
        # A bound says how far apart two tensors are at least; how much there is to inherit it does not say.
        return Expected(math.inf, "its inputs differ, by how much the statistics do not say")
    inputs = tuple(call.floating_inputs())
    dtypes = {record.dtype for a in (*inputs, out) for record in (a.npu, a.bench)}
    case = _Case(call, forward, out, inputs, operators.roundoff(dtypes))
    kind = operators.operator_class(call.operator)
    table = _BACKWARD if call.is_backward else _FORWARD
    absolute = table[kind](case) + _cast(case) + _jump(case)
    resolution = RESOLUTION[out.error.source] if out.error is not None else 0.0
    relative = (absolute / case.scale if case.scale > 0 else (math.inf if absolute > 0 else 0.0)) + resolution
    source = "arithmetic"
    if floor is not None and floor > relative:
        relative, source = floor, "measured floor"
    return Expected(relative, source)


def _cast(case: _Case) -> float:
    """Rounding to a narrower type: by the type of the output where it differs from an input's, or between sides."""
    kinds = {a.npu.dtype for a in case.inputs} | {case.out.npu.dtype, case.out.bench.dtype}
    if len(kinds) <= 1:
        return 0.0
    return operators.roundoff(kinds) * case.scale


def _jump(case: _Case) -> float:
    """Where the result jumps, a share of elements about as large as the input's relative error changes wholly.  Fewer
    than one element in a thousand tensors is none."""
    operator, backward = case.call.operator, case.call.is_backward
    if not operators.jumps(operator, backward=backward):
        return 0.0
    if not backward:
        return 4.0 * math.sqrt(max((a.relative for a in case.inputs), default=0.0)) * case.scale
    error = case.forward_error()
    if operators.jumps_at_thresholds(operator) and error * case.out.count < _NO_ELEMENT:
        return 0.0
    return 4.0 * math.sqrt(error) * max([case.scale, *(a.norm for a in case.inputs)])


def _spread(case: _Case, argument: MeasuredArgument) -> float:
    """How often an element of `argument` stands in the output, as a factor on norms."""
    return math.sqrt(max(1.0, case.out.count / argument.count))


def _exact(case: _Case) -> float:
    return sum(a.distance * _spread(case, a) for a in case.inputs)


def _elementwise(case: _Case) -> float:
    inherited = sum(max(1.25 * a.distance * _spread(case, a), 6.0 * a.relative * case.scale) for a in case.inputs)
    size = case.scale
    if case.call.operator in _TAILS:
        size = max([size, *(a.norm for a in case.inputs)])
    return inherited + 8.0 * case.unit * size


def _operands(case: _Case) -> tuple[MeasuredArgument, MeasuredArgument] | None:
    ranked = sorted(case.inputs, key=lambda a: a.count, reverse=True)
    return (ranked[0], ranked[1]) if len(ranked) >= 2 else None


def _products(case: _Case, a: MeasuredArgument, b: MeasuredArgument, factor: float) -> float:
    terms = max(1.0, math.sqrt(a.count * b.count / case.out.count))
    size = max(a.norm * b.norm / math.sqrt(terms), case.scale)
    return factor * (4.0 * (a.relative + b.relative) + case.unit * operators.growth(terms)) * size


def _contraction(case: _Case) -> float:
    pair = _operands(case)
    if pair is None:
        return _general(case)
    # Three operands or more: attention, recurrent cells; several products and a softmax in one call.
    large = [a for a in case.inputs if len(a.npu.shape) > 1]
    factor = 4.0 if len(large) > 2 else 1.0
    others = sum(a.distance * _spread(case, a) for a in case.inputs if a is not pair[0] and a is not pair[1])
    return _products(case, pair[0], pair[1], factor) + others


def _made_from_nothing(case: _Case) -> float:
    """A call that reads no floating tensor (linspace, a mean of integers): a few roundings of its own."""
    return 8.0 * case.unit * case.scale


def _reduction(case: _Case) -> float:
    if not case.inputs:
        return _made_from_nothing(case)
    largest = max(case.inputs, key=lambda a: a.count)
    terms = max(1.0, largest.count / case.out.count)
    share = 1.0 / terms if any(part in case.call.operator for part in _MEANS) else 1.0
    size = max(case.scale, largest.norm * share)
    error = max(a.relative for a in case.inputs)
    factor = 16.0 if "loss" in case.call.operator else 4.0
    return (factor * error + case.unit * operators.growth(terms)) * size


def _amplification(argument: MeasuredArgument) -> float:
    """|x| / |x - mean|: how much of a normalisation's input is left when its mean is taken away."""
    mean = argument.bench.mean
    if mean is None or argument.norm <= 0 or mean != mean:
        return 1.0
    share = min(1.0, math.sqrt(argument.count) * abs(float(mean)) / argument.norm)  # squares of norms may overflow
    left = 1.0 - share**2
    return min(_CAP, 1.0 / math.sqrt(left)) if left > _CAP**-2 else _CAP


def _normalisation(case: _Case) -> float:
    if not case.inputs:
        return _made_from_nothing(case)
    largest = max(case.inputs, key=lambda a: a.count)
    gain = _amplification(largest)
    if case.out.count < largest.count:  # statistics that the call keeps (running mean and variance)
        return (8.0 * largest.relative + 16.0 * case.unit) * max(case.scale, 1e-6 * largest.norm)
    others = sum(2.0 * a.relative * case.scale for a in case.inputs if a is not largest)
    return (6.0 * gain * largest.relative + 16.0 * case.unit * gain) * case.scale + others


def _reach(argument: MeasuredArgument, deviations: float) -> float:
    """The modulus of a large live logit: so many times the root mean square, and no more than the largest."""
    return max(1.0, min(argument.largest, deviations * argument.norm / math.sqrt(argument.count)))


def _logit_error(argument: MeasuredArgument, deviations: float = 8.0) -> float:
    """The absolute error of a live logit."""
    return argument.relative * _reach(argument, deviations)


def _exponential(case: _Case) -> float:
    if not case.inputs:
        return _made_from_nothing(case)
    largest = max(case.inputs, key=lambda a: a.count)
    if any(part in case.call.operator for part in _LOGARITHMIC):
        # A mean over many rows: their errors average, and the outermost logit does not rule it.
        deviations = 2.0 if case.out.count == 1 else 8.0
        error = 2.0 * _logit_error(largest, deviations) + case.unit * (8.0 + _reach(largest, deviations))
        return error * max(math.sqrt(case.out.count), case.unit * case.scale)
    error = 4.0 * _logit_error(largest) + case.unit * (16.0 + 2.0 * _reach(largest, 8.0))
    return error * case.scale


def _general(case: _Case) -> float:
    if not case.inputs:
        return _made_from_nothing(case)
    largest = max(case.inputs, key=lambda a: a.count)
    terms = max(1.0, largest.count / case.out.count)
    error = max(a.relative for a in case.inputs)
    return (12.0 * error + 4.0 * case.unit * operators.growth(terms)) * case.scale


# ---- backward: inputs are gradients, the forward call's tensors come beside them


def _gradient(case: _Case) -> MeasuredArgument | None:
    return max(case.inputs, key=lambda a: a.count, default=None)


def _exact_backward(case: _Case) -> float:
    gradient = _gradient(case)
    if gradient is None:
        return 0.0
    terms = max(1.0, gradient.count / case.out.count)
    if any(part in case.call.operator for part in _INDEXED) and gradient.npu.shape:
        terms = max(terms, gradient.count / max(1, gradient.npu.shape[-1]))
    if any(part in case.call.operator for part in _OVERLAPPING):
        terms = max(terms, _OVERLAPS)
    rounding = case.unit * operators.growth(terms) * gradient.norm if terms > 1 else 0.0
    inherited = sum(a.distance * max(_spread(case, a), 1.0) for a in case.inputs)
    return inherited * (2.0 if terms > 1 else 1.0) + rounding


def _elementwise_backward(case: _Case) -> float:
    gradient = _gradient(case)
    if gradient is None:
        return 0.0
    terms = max(1.0, gradient.count / case.out.count)
    size = max(case.scale, gradient.norm) if terms > 1 or case.call.operator in _TAILS else case.scale
    inherited = max(1.25 * gradient.distance, 6.0 * gradient.relative * size) * _spread(case, gradient)
    return inherited + (10.0 * case.forward_error() + case.unit * (8.0 + operators.growth(terms))) * size


def _contraction_backward(case: _Case) -> float:
    gradient = _gradient(case)
    if gradient is None:
        return 0.0
    forward = [] if case.forward is None else list(case.forward.floating_inputs())
    place = case.out.name.rpartition(".")[2]
    number = int(place) if place.isdigit() else -1
    others = [a for index, a in enumerate(forward) if index != number and len(a.npu.shape) > 1]
    if len(case.out.npu.shape) <= 1 or not others:  # a bias: a plain sum of gradients
        terms = max(1.0, gradient.count / case.out.count)
        size = max(case.scale, gradient.norm)
        return (4.0 * gradient.relative + case.unit * operators.growth(terms)) * size
    other = max(others, key=lambda a: a.count)
    factor = 4.0 if len([a for a in forward if len(a.npu.shape) > 1]) > 2 else 1.0
    return _products(case, gradient, other, factor) + 4.0 * factor * case.forward_error() * case.scale


def _reduction_backward(case: _Case) -> float:
    gradient = _gradient(case)
    if gradient is None:
        return 0.0
    return (4.0 * gradient.relative + 16.0 * case.forward_error() + 8.0 * case.unit) * case.scale


def _normalisation_backward(case: _Case) -> float:
    gradient = _gradient(case)
    if gradient is None:
        return 0.0
    gain, amplified = 1.0, 0.0
    if case.forward is not None:
        source = max(case.forward.floating_inputs(), key=lambda a: a.count, default=None)
        result = max(case.forward.wrote, key=lambda a: a.count, default=None)
        if source is not None and result is not None and source.norm > 0:
            amplification = _amplification(source)
            gain = result.norm * amplification / source.norm
            amplified = amplification * case.forward_error()
    terms = max(1.0, gradient.count / case.out.count)
    if terms > 1:
        size, growth = max(case.scale, gradient.norm), 2.0 * operators.growth(terms)
    else:
        size, growth = max(case.scale, gradient.norm * gain), 24.0
    return (6.0 * (gradient.relative + amplified) + case.unit * growth) * size


def _exponential_backward(case: _Case) -> float:
    gradient = _gradient(case)
    if gradient is None:
        return 0.0
    error, size = 0.0, case.scale
    if case.forward is not None:
        source = max(case.forward.floating_inputs(), key=lambda a: a.count, default=None)
        result = max(case.forward.wrote, key=lambda a: a.count, default=None)
        error = 4.0 * _logit_error(source) if source is not None else 0.0
        if result is not None and result.count == gradient.count > 1:
            size = max(size, gradient.norm * result.norm / math.sqrt(result.count))
    return (10.0 * gradient.relative + 2.0 * error + 4.0 * case.forward_error() + 24.0 * case.unit) * size


def _general_backward(case: _Case) -> float:
    gradient = _gradient(case)
    if gradient is None:
        return 0.0
    terms = max(1.0, gradient.count / case.out.count)
    error = gradient.relative + case.forward_error()
    return (20.0 * error + 4.0 * case.unit * operators.growth(terms)) * case.scale


_FORWARD: Mapping[operators.OperatorClass, Callable[[_Case], float]] = {
    "exact": _exact,
    "elementwise": _elementwise,
    "contraction": _contraction,
    "reduction": _reduction,
    "normalisation": _normalisation,
    "exponential": _exponential,
    "general": _general,
}
_BACKWARD: Mapping[operators.OperatorClass, Callable[[_Case], float]] = {
    "exact": _exact_backward,
    "elementwise": _elementwise_backward,
    "contraction": _contraction_backward,
    "reduction": _reduction_backward,
    "normalisation": _normalisation_backward,
    "exponential": _exponential_backward,
    "general": _general_backward,
}
