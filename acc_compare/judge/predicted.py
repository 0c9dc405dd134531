"""How much error an output shows typically, from what its call read and from rounding of its own.

Not a bound: the size that errors of independent origin come to, which add in squares.  For an output of norm S with
unit roundoff u, and inputs of norm |x_k| whose distances between the two sides are d_k, e_k = d_k / |x_k|:

    predicted^2 = fresh^2 + sum_k inherited_k^2                                    (all as L2 distances)

    copies         d_k, times sqrt(n_out / n_k) where elements are repeated; no rounding.  Where elements are selected,
                   all of the error may be in these
    sums           d_k (add, subtract)
    elementwise    e_k S
    contraction    K terms of norm |t| = |a| |b| / sqrt(K): e_a max(|t|, S), e_b max(|t|, S)
    reduction      over K elements: max(d_k / K, e_k S) for means, max(d_k, e_k S) for sums
    normalisation  A e_x S with A = |x| / |x - mean(x)|, what is left of x once its mean is gone
    exponential    the absolute error of a logit is the relative one of the result: e_x rms(x) S
    logarithmic    and of a log-probability the absolute one: e_x rms(x) sqrt(n_out), averaged over rows in a loss
    jumps          sqrt(0.8 e_x) S: of elements spread like a normal distribution a share of 0.4 e_x lies within e_x of
                   the place where the result (or the derivative) jumps, and each of them is off by its whole size

    fresh          u S, and for what is summed in a wider type the sqrt(K) growth of that type's roundoff on |t|

The sizes of products and sums of independent terms are those of N. Higham and T. Mary, "A New Approach to Probabilistic
Rounding Error Analysis", SIAM J. Sci. Comput. 41 (2019); amplification by a mean and by logits is the condition number
of the operator (N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, 1.6 and 1.9).  What such a formula
leaves open for an operator (a derivative that is smaller than 1, a kernel that rounds several times) is a factor that
`noise_prior` holds, measured, and that the run itself corrects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from acc_compare import operators
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.operators import OperatorClass

ACCUMULATED = 2.0**-24
"""Unit roundoff of float32, in which devices add up the products and sums of narrower types (NVIDIA and Huawei document
float32 accumulators for the matrix units that bfloat16 and float16 run on)."""

_DENSITY = 0.8
_MOST_GAIN = 1e4


@dataclass(frozen=True, slots=True)
class Predicted:
    """`fresh` and `inherited` are relative to the norm of the output; `share` is how much of the square of `inherited`
    comes from its largest input, which says how uncertain an estimate of it is."""

    fresh: float
    inherited: float
    share: float = 1.0

    @property
    def relative(self) -> float:
        return math.hypot(self.fresh, self.inherited)


@dataclass(frozen=True, slots=True)
class _Case:
    """One output of one call.  `given` and `made` are what the forward call of a backward call read and wrote."""

    call: MeasuredCall
    out: MeasuredArgument
    inputs: tuple[MeasuredArgument, ...]
    given: tuple[MeasuredArgument, ...]
    made: tuple[MeasuredArgument, ...]
    unit: float
    operands: float = 0.0
    """Unit roundoff of the type that a product's operands are rounded to, where that is narrower than theirs."""

    @property
    def size(self) -> float:
        return self.out.norm

    @property
    def operator(self) -> str:
        return self.call.operator

    def spread(self, argument: MeasuredArgument) -> float:
        """How often an element of `argument` stands in the output, as a factor on norms."""
        return math.sqrt(max(1.0, self.out.count / argument.count))

    def largest(self) -> MeasuredArgument:
        return max(self.inputs, key=lambda a: a.count)

    def growth(self, terms: float, size: float) -> float:
        """Rounding of the output, of sums of `terms` terms of norm `size` in the type that accumulates them, and of a
        product's operands."""
        summed = min(self.unit, ACCUMULATED) * math.sqrt(terms) * size
        return math.hypot(self.unit * self.size, summed, self.rounded * max(size, self.size))

    @property
    def rounded(self) -> float:
        """The relative error of a product by rounding both operands to unit roundoff u: 0.42 u each in L2, for errors
        that are uniform over a binade (Higham 2002, 2.1), and sqrt(2) for the two."""
        return 0.6 * self.operands


_Terms = tuple[float, list[float]]
"""Fresh and inherited distances."""


def autocast_roundoff(calls: Iterable[MeasuredCall]) -> float:
    """The unit roundoff of the type that autocast runs products in, 0 without it: of a product's result that is
    narrower than all that went into it."""
    found = 0.0
    for call in calls:
        if call.is_backward or operators.operator_class(call.operator) != "contraction":
            continue
        read = operators.roundoff({a.npu.dtype for a in call.floating_inputs()})
        made = operators.roundoff({a.npu.dtype for a in call.wrote})
        found = max(found, made if made > read else 0.0)
    return found


def predict(
    call: MeasuredCall,
    out: MeasuredArgument,
    forward: MeasuredCall | None = None,
    *,
    autocast: float = 0.0,
    lowered: float = 0.0,
) -> Predicted | None:
    """The typical error of `out`; `forward` is the call that a backward call belongs to.

    `autocast` is the unit roundoff that products inside a recurrent net or attention run in where both ends of the call
    are wider, `lowered` that which a side's devices round the operands of every product to (TF32, HF32); 0 for none.

    None where nothing can be said: the output is zero on both sides, or an input is off by nobody knows how much.
    """
    if out.norm <= 0:
        return None
    given = () if forward is None else tuple(a for a in forward.read if a.is_floating)
    made = () if forward is None else tuple(a for a in forward.wrote if a.is_floating)
    inputs = tuple(call.floating_inputs())
    if any(math.isinf(a.relative) for a in (*inputs, *given, *made)):
        return None
    unit = _unit(call, out, inputs, made)
    if autocast > unit and _is_compound(call if forward is None else forward):
        unit = autocast
    case = _Case(call, out, inputs, given, made, unit)
    kind = operators.operator_class(call.operator)
    if kind == "contraction" and lowered > unit:
        case = replace(case, operands=lowered)
    fresh, inherited = (_BACKWARD if call.is_backward else _FORWARD)[kind](case)
    inherited = [*inherited, _jump(case)]
    fresh = max(fresh, _cast(case))
    total = math.fsum(part * part for part in inherited)
    largest = max(inherited, default=0.0)
    return Predicted(fresh / case.size, math.sqrt(total) / case.size, largest * largest / total if total > 0 else 1.0)


def _unit(
    call: MeasuredCall,
    out: MeasuredArgument,
    inputs: Iterable[MeasuredArgument],
    made: Iterable[MeasuredArgument],
) -> float:
    """The unit roundoff of the type that `out` was computed in.  Types promote to the widest, so forward that is the
    output's own; products, and backward, run in the type of what they read or of what forward made, and autocast
    widens their results afterwards."""
    dtypes = {out.npu.dtype, out.bench.dtype}
    if call.is_backward:
        dtypes |= {side for a in (*inputs, *made) for side in (a.npu.dtype, a.bench.dtype)}
    elif operators.operator_class(call.operator) == "contraction":
        dtypes |= {side for a in inputs for side in (a.npu.dtype, a.bench.dtype)}
    return operators.roundoff(dtypes)


def _is_compound(call: MeasuredCall) -> bool:
    """Attention and recurrent nets: several products in one call."""
    kind = operators.operator_class(call.operator)
    return kind == "contraction" and sum(len(a.npu.shape) > 1 for a in call.floating_inputs()) > 2


def _cast(case: _Case) -> float:
    """Rounding to a narrower type than what was read, on one side alone or on both: values that differ by a relative e
    round to other neighbours in a share e / u of elements, which are then off by u."""
    sides = [
        max((operators.roundoff({getattr(a, side).dtype}) for a in case.inputs), default=0.0)
        for side in ("npu", "bench")
    ]
    ours, theirs = operators.roundoff({case.out.npu.dtype}), operators.roundoff({case.out.bench.dtype})
    if ours != theirs:
        return max(ours, theirs) * case.size
    if not case.inputs or max(sides) >= ours:
        return max((abs(sides[0] - sides[1]) * case.size), 0.0)
    error = max(a.relative for a in case.inputs)
    return min(ours, math.sqrt(2.0 * ours * error)) * case.size


def _jump(case: _Case) -> float:
    backward = case.call.is_backward
    if not operators.jumps(case.operator, backward=backward):
        return 0.0
    read = case.given if backward else case.inputs
    error = max((a.relative for a in read), default=0.0)
    size = max([case.size, *(a.norm for a in case.inputs)]) if backward else case.size
    return math.sqrt(_DENSITY * error) * size


# ---- forward


def _exact(case: _Case) -> _Terms:
    return 0.0, [a.distance * case.spread(a) for a in case.inputs]


def _elementwise(case: _Case) -> _Terms:
    if operators.is_additive(case.operator):
        return case.unit * case.size, [a.distance * case.spread(a) for a in case.inputs]
    return case.unit * case.size, [a.relative * case.size for a in case.inputs]


def _product(case: _Case, a: MeasuredArgument, b: MeasuredArgument) -> tuple[float, float]:
    """The number of terms that each element sums, and the norm that the result has where they are independent."""
    terms = max(1.0, math.sqrt(a.count * b.count / case.out.count))
    return terms, a.norm * b.norm / math.sqrt(terms)


def _contraction(case: _Case) -> _Terms:
    ranked = sorted(case.inputs, key=lambda a: a.count, reverse=True)
    if len(ranked) < 2 or _is_compound(case.call):
        return max(case.unit, case.rounded) * case.size, [a.relative * case.size for a in case.inputs]
    terms, size = _product(case, ranked[0], ranked[1])
    inherited = [a.relative * max(size, case.size) for a in ranked[:2]]
    return case.growth(terms, size), [*inherited, *(a.distance * case.spread(a) for a in ranked[2:])]


def _reduction(case: _Case) -> _Terms:
    if not case.inputs:
        return case.unit * case.size, []
    largest = case.largest()
    terms = max(1.0, largest.count / case.out.count)
    share = 1.0 / terms if operators.is_mean(case.operator) else 1.0
    inherited = [max(a.distance * share, a.relative * case.size) for a in case.inputs]
    return case.growth(terms, largest.norm * share), inherited


def _gain(argument: MeasuredArgument) -> float:
    """|x| / |x - mean|: how much of a normalisation's input is left when its mean is taken away."""
    mean = argument.bench.mean
    if mean is None or argument.norm <= 0 or mean != mean:
        return 1.0
    share = min(1.0, math.sqrt(argument.count) * abs(float(mean)) / argument.norm)  # squares of norms may overflow
    left = 1.0 - share**2
    return min(_MOST_GAIN, 1.0 / math.sqrt(left)) if left > _MOST_GAIN**-2 else _MOST_GAIN


def _normalisation(case: _Case) -> _Terms:
    if not case.inputs:
        return case.unit * case.size, []
    largest = case.largest()
    gain = _gain(largest)
    fresh = math.hypot(case.unit, min(case.unit, ACCUMULATED) * gain) * case.size
    others = [a.relative * case.size for a in case.inputs if a is not largest]
    if case.out.count < largest.count:  # statistics that the call keeps (running mean and variance)
        means = largest.norm * case.out.count / largest.count
        return case.unit * case.size, [largest.relative * max(case.size, means), *others]
    return fresh, [gain * largest.relative * case.size, *others]


def _logit_error(argument: MeasuredArgument) -> float:
    """The absolute error of a live logit."""
    return argument.distance / math.sqrt(argument.count)


def _exponential(case: _Case) -> _Terms:
    if not case.inputs:
        return case.unit * case.size, []
    largest = case.largest()
    error = _logit_error(largest)
    if not operators.has(case.operator, "log"):
        return case.unit * (1.0 + largest.norm / math.sqrt(largest.count)) * case.size, [error * case.size]
    if case.out.count == 1:
        classes = largest.npu.shape[-1] if len(largest.npu.shape) > 1 else 1
        rows = max(1.0, largest.count / max(1, classes))
        return case.unit * case.size, [max(error / math.sqrt(rows), largest.relative * case.size / math.sqrt(rows))]
    return case.unit * case.size, [error * math.sqrt(case.out.count)]


def _general(case: _Case) -> _Terms:
    return case.unit * case.size, [a.relative * case.size for a in case.inputs]


# ---- backward: inputs are gradients, the forward call's tensors come beside them


def _gradient(case: _Case) -> MeasuredArgument | None:
    return max(case.inputs, key=lambda a: a.count, default=None)


def _errors(arguments: Iterable[MeasuredArgument], size: float) -> list[float]:
    return [a.relative * size for a in arguments]


def _summed(case: _Case, gradient: MeasuredArgument) -> tuple[float, float]:
    """How many gradients each element of the output adds up, and the size that its error is measured against: what
    cancels in the sum does not cancel in its error."""
    terms = max(1.0, gradient.count / case.out.count)
    return terms, max(case.size, gradient.norm) if terms > 1 else case.size


def _exact_backward(case: _Case) -> _Terms:
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


def _elementwise_backward(case: _Case) -> _Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    terms, size = _summed(case, gradient)
    fresh = case.growth(terms, size)
    if operators.is_additive(case.operator):
        return fresh, [gradient.relative * size]
    return fresh, [gradient.relative * size, *_errors(case.given, size)]


def _contraction_backward(case: _Case) -> _Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    place = case.out.name.rpartition(".")[2]
    number = int(place) if place.isdigit() else -1
    large = [a for a in case.given if len(a.npu.shape) > 1]
    others = [a for index, a in enumerate(case.given) if index != number and len(a.npu.shape) > 1]
    if len(large) > 2:
        return max(case.unit, case.rounded) * case.size, [
            gradient.relative * case.size,
            *_errors(case.given, case.size),
        ]
    if len(case.out.npu.shape) <= 1 or not others:  # a bias: a plain sum of gradients
        terms, size = _summed(case, gradient)
        return replace(case, operands=0.0).growth(terms, gradient.norm), [gradient.relative * size]
    other = max(others, key=lambda a: a.count)
    terms, size = _product(case, gradient, other)
    return case.growth(terms, size), _errors((gradient, other), max(size, case.size))


def _reduction_backward(case: _Case) -> _Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    return case.unit * case.size, [gradient.relative * case.size, *_errors(case.given, case.size)]


def _normalisation_backward(case: _Case) -> _Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    source = max(case.given, key=lambda a: a.count, default=None)
    gain = _gain(source) if source is not None else 1.0
    terms, size = _summed(case, gradient)
    inherited = [gradient.relative * size, *(a.relative * size for a in case.given if a is not source)]
    if source is not None:
        inherited.append(gain * source.relative * size)
    return math.hypot(case.unit * size, min(case.unit, ACCUMULATED) * gain * math.sqrt(terms) * size), inherited


def _exponential_backward(case: _Case) -> _Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    source = max(case.given, key=lambda a: a.count, default=None)
    inherited = [gradient.relative * case.size]
    if source is not None:
        inherited.append(max(_logit_error(source), source.relative) * case.size)
    return case.unit * case.size, inherited


def _general_backward(case: _Case) -> _Terms:
    gradient = _gradient(case)
    if gradient is None:
        return case.unit * case.size, []
    terms, size = _summed(case, gradient)
    return case.growth(terms, size), [gradient.relative * size, *_errors(case.given, size)]


_FORWARD: Mapping[OperatorClass, Callable[[_Case], _Terms]] = {
    "exact": _exact,
    "elementwise": _elementwise,
    "contraction": _contraction,
    "reduction": _reduction,
    "normalisation": _normalisation,
    "exponential": _exponential,
    "decomposition": _general,
    "general": _general,
}
_BACKWARD: Mapping[OperatorClass, Callable[[_Case], _Terms]] = {
    "exact": _exact_backward,
    "elementwise": _elementwise_backward,
    "contraction": _contraction_backward,
    "reduction": _reduction_backward,
    "normalisation": _normalisation_backward,
    "exponential": _exponential_backward,
    "decomposition": _general_backward,
    "general": _general_backward,
}
