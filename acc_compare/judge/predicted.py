"""How much error an output shows typically, from what its call read and from rounding of its own.

Not a bound: the size that errors of independent origin come to, which add in squares.  For an output of norm S with
unit roundoff u, and inputs of norm |x_k| whose distances between the two sides are d_k, e_k = d_k / |x_k|:

    predicted^2 = fresh^2 + sum_k inherited_k^2                                    (all as L2 distances)

    copies         d_k, times sqrt(n_out / n_k) where elements are repeated; no rounding.  Where elements are selected,
                   all of the error may be in these
    sums           d_k (add, subtract), times alpha or the weight of lerp
    elementwise    e_k S
    contraction    K terms of norm |t| = |a| |b| / sqrt(K): e_a max(|t|, S), e_b max(|t|, S)
    reduction      over K elements: max(d_k / K, e_k S) for means, max(d_k, e_k S) for sums
    normalisation  A e_x S with A = |x| / |x - mean(x)|, what is left of x once its mean is gone
    exponential    the absolute error of a logit is the relative one of the result: e_x rms(x) S
    logarithmic    and of a log-probability the absolute one: e_x rms(x) sqrt(n_out), averaged over rows in a loss
    likelihood     a loss of r rows of logits x that differ by rms(d): rms(d) / sqrt(r), and for a scale s of all of
                   them |E_p[x] - x_target| s; its gradient rms(d) sqrt(sum p^2) S (`output_case.Logits`)
    factorisation  A e_x S with A = |x| |y| / |b| for what solves x y = b; d_x for singular values and for eigenvalues
                   of symmetric matrices; nothing is said of vectors that are as right with another sign
    steep ends     e_x |x f'(x)| sqrt(4) at the extremes of x and y, where that is more (`operators.functions`)
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
from collections.abc import Iterable
from dataclasses import dataclass, replace

from acc_compare import operators
from acc_compare.judge.one_way import one_way
from acc_compare.judge.output_case import ACCUMULATED, OutputCase, carried, factors, is_compound, jump_of, steepest
from acc_compare.judge.predicted_backward import BACKWARD
from acc_compare.judge.predicted_forward import FORWARD
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall

_FAST = 6.0
_HIDDEN = 2.0
"""So many elements that are off by as much may cancel in a sketch, where no more of them differ."""

_CANCELLED, _IN_STEP = 0.1, 2.0
"""A sum of independent rows is as long as they are together: of less than so much of that they cancel, of more than so
many times they add up."""

_IN_A_LIST = 2
"""Dots in the name of an element of a list, `input.0.3`."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """`fresh` and `inherited` are relative to the norm of the output; `share` is how much of the square of `inherited`
    comes from its largest input, which says how uncertain an estimate of it is; `at_an_end` is how far one element may
    be off where the operator is steepest. `is_ruled_by_jumps` says that the error comes from elements that jump, of
    which there may be none, `flips` how many are expected to, by `flip` of their size; up to `assured` the error of the
    inputs explains it whatever calls of its kind show, and up to `one_way` where these errors go one way, 0 where they
    do not."""

    fresh: float
    inherited: float
    share: float = 1.0
    at_an_end: float = 0.0
    is_ruled_by_jumps: bool = False
    flips: float = 0.0
    flip: float = 1.0
    assured: float = 0.0
    one_way: float = 0.0

    @property
    def relative(self) -> float:
        return math.hypot(self.fresh, self.inherited)


def predict(
    call: MeasuredCall,
    out: MeasuredArgument,
    forward: MeasuredCall | None = None,
    *,
    back: MeasuredCall | None = None,
    autocast: float = 0.0,
    lowered: float = 0.0,
    is_part: bool = False,
    parted: bool = False,
) -> Predicted | None:
    """The typical error of `out`; `forward` is the call that a backward call belongs to, `back` a forward call's own.

    `autocast` is the unit roundoff that products inside a recurrent net or attention run in where both ends of the call
    are wider, `lowered` that which a side's devices round the operands of every product to (TF32, HF32); 0 for none.
    `is_part` says that other calls add to `out` as well, `parted` that parameters were apart before, by which errors go
    one way.

    None where nothing can be said: the output is zero on both sides, an input is off by nobody knows how much or not on
    record, another result would be as right, or the gradient of a factorisation is asked for whose matrix differs.
    """
    if out.norm <= 0 or call.is_further_pass:
        return None
    given = () if forward is None else tuple(a for a in forward.read if a.is_floating)
    made = () if forward is None else tuple(a for a in forward.wrote if a.is_floating)
    inputs = _read_for(call, out)
    if any(math.isinf(a.relative) for a in (*inputs, *given, *made)):
        return None
    kind = operators.operator_class(call.operator)
    if is_one_of_several(call, out) or (kind == "decomposition" and any(a.relative > 0 for a in (*given, *made))):
        return None
    unit = _unit(call, out, inputs, made)
    if autocast > unit and is_compound(call if forward is None else forward):
        unit = autocast
    case = OutputCase(call, out, inputs, given, made, unit, back=back, forward=forward, is_part=is_part)
    if kind == "contraction" and lowered > unit:
        case = replace(case, operands=lowered)
    fresh, inherited = (BACKWARD if call.is_backward else FORWARD)[kind](case)
    jump = jump_of(case)
    inherited = [*inherited, jump]
    fresh = max(fresh, _cast(case))
    total = math.fsum(part * part for part in inherited)
    largest = max(inherited, default=0.0)
    at_an_end = 0.0
    if not call.is_backward:
        at_an_end = max([steepest(case, a) for a in inputs], default=0.0)
        if 2.0 * jump**2 > total:
            at_an_end = max(at_an_end, out.largest_of_both)
    flips, flip = ((jump / case.size) ** 2 * out.count if call.is_backward else 0.0), 1.0
    if not jump and kind == "exact":
        flips, flip = _rounded_otherwise(case)
    return Predicted(
        fresh=fresh / case.size,
        inherited=math.sqrt(total) / case.size,
        share=largest * largest / total if total > 0 else 1.0,
        at_an_end=at_an_end / case.size,
        is_ruled_by_jumps=2.0 * jump**2 > total,
        flips=flips,
        flip=flip,
        assured=_assured(case, fresh) / case.size,
        one_way=one_way(case, inherited) / case.size if parted else 0.0,
    )


def _assured(case: OutputCase, fresh: float) -> float:
    """What no map that keeps distances exceeds; what an operand may carry; and the rounding of fast convolutions in
    float32, several times that of direct ones, which a kernel may take for one shape and not for the next (A. Lavin and
    S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016)."""
    call = case.call
    is_fast = operators.has(call.operator, "conv") and len(case.out.npu.shape) > 1
    fast = _FAST * fresh if is_fast and case.unit <= ACCUMULATED and not case.operands else 0.0
    beside = _multiplied(case)
    if call.is_backward:
        return max(fast, beside, _lost_in_rows(case))
    if operators.has(call.operator, "nonexpansive"):
        return math.hypot(*(a.distance for a in case.inputs))
    return max(fast, carried(case)) if operators.operator_class(call.operator) == "contraction" else beside


def _multiplied(case: OutputCase) -> float:
    """What errors of independent elements come to where each is multiplied by a number of its own: |d| rms(factor).
    That is more than their share of the result where this is large in other places than they are, as a gradient is
    that decay has left nothing of where its factors are large.  0 where the factors are not on record."""
    found = 0.0
    for operand, factor in factors(case):
        found = math.hypot(found, operand.distance * math.sqrt(max(1.0, factor.count / operand.count)) * factor.rms)
    return found


def _lost_in_rows(case: OutputCase) -> float:
    """How far the gradient of a vector that stands in K rows may be off.  Where the rows cancel, by as much as all of
    them alike: |sum d| <= sqrt(K) |d|.  Where they add up, in a type of unit roundoff u, by what K sums of it lose,
    which kernels that do not accumulate in a wider type make: u sqrt(K) of independent rounding, u K / 4 where each
    loses to the same side, as terms do that come near the unit of the sum."""
    kind = operators.operator_class(case.operator)
    if len(case.out.npu.shape) != 1 or not case.inputs or kind not in ("contraction", "normalisation"):
        return 0.0
    rows = case.largest()
    terms = rows.count / case.out.count
    if terms <= 1.0:
        return 0.0
    if case.size < _CANCELLED * rows.norm:
        return math.sqrt(terms) * rows.distance
    adds_up = kind == "normalisation" and case.unit > ACCUMULATED and case.size > _IN_STEP * rows.norm
    return min(1.0, case.unit * max(math.sqrt(terms), terms / 4.0)) * case.size if adds_up else 0.0


def _read_for(call: MeasuredCall, out: MeasuredArgument) -> tuple[MeasuredArgument, ...]:
    """The floating inputs that go into `out`: of an operator on lists those at its place."""
    inputs = tuple(call.floating_inputs())
    if not operators.is_listwise(call.operator):
        return inputs
    place = out.name.rpartition(".")[2]
    mine = tuple(a for a in inputs if a.name.count(".") < _IN_A_LIST or a.name.rpartition(".")[2] == place)
    return mine or inputs


def is_one_of_several(call: MeasuredCall, out: MeasuredArgument) -> bool:
    """Is another result as right: eigenvectors with another sign, eigenvalues in another order?"""
    if operators.has(call.operator, "unordered"):
        return True
    if not operators.has(call.operator, "vectors"):
        return False
    dimensions = max((len(a.npu.shape) for a in call.read), default=0)
    return len(out.npu.shape) >= dimensions or not out.is_floating


def _unit(
    call: MeasuredCall,
    out: MeasuredArgument,
    inputs: Iterable[MeasuredArgument],
    made: Iterable[MeasuredArgument],
) -> float:
    """The unit roundoff of the type that `out` was computed in.  Types promote to the widest, so forward that is the
    output's own; products, and backward, run in the type of what they read or of what forward made, and autocast
    widens their results afterwards."""
    dtypes = {out.npu.dtype, out.bench.dtype, operators.reduced_in(call.options.get("input.hook")) or ""}
    if call.is_backward:
        dtypes |= {side for a in (*inputs, *made) for side in (a.npu.dtype, a.bench.dtype)}
    elif operators.operator_class(call.operator) == "contraction":
        dtypes |= {side for a in inputs for side in (a.npu.dtype, a.bench.dtype)}
    return operators.roundoff(dtypes)


def _cast(case: OutputCase) -> float:
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


def _rounded_otherwise(case: OutputCase) -> tuple[float, float]:
    """How many elements of a cast to a narrower type are expected to round to another neighbour, and how far these are
    apart, relative to the element.  Of few, one large element may be the first.  In a copy of what is narrow as many as
    its sketch shows, and those that it may hide."""
    own = operators.roundoff({case.out.npu.dtype, case.out.bench.dtype})
    given = operators.roundoff({side.dtype for a in case.inputs for side in (a.npu, a.bench)})
    error = max((a.relative for a in case.inputs), default=0.0)
    if not case.inputs or not 0.0 < error < own:
        return 0.0, 1.0
    if given < own:
        return case.out.count * error / (2.0 * own), 2.0 * own
    shown = max(a.count * (a.relative / (2.0 * own)) ** 2 for a in case.inputs)
    return (_HIDDEN + shown if shown < _HIDDEN and own > ACCUMULATED else 0.0), 2.0 * own
