"""One output of one call, with what is asked of it for a prediction: sizes, rounding, and how error is amplified."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from acc_compare import operators
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall, finite, place_of_gradient

ACCUMULATED = 2.0**-24
"""Unit roundoff of float32, in which devices add up the products and sums of narrower types (NVIDIA and Huawei document
float32 accumulators for the matrix units that bfloat16 and float16 run on)."""

_DENSITY = 0.8
_MOST_GAIN = 1e4
_LARGE_GAIN = 10.0
_AT_AN_END = 4


@dataclass(frozen=True, slots=True)
class OutputCase:
    """One output of one call.  `given` and `made` are what the forward call of a backward call read and wrote."""

    call: MeasuredCall
    out: MeasuredArgument
    inputs: tuple[MeasuredArgument, ...]
    given: tuple[MeasuredArgument, ...]
    made: tuple[MeasuredArgument, ...]
    unit: float
    operands: float = 0.0
    """Unit roundoff of the type that a product's operands are rounded to, where that is narrower than theirs."""
    back: MeasuredCall | None = None
    """The backward call of this one."""
    forward: MeasuredCall | None = None
    """The forward call of this one."""
    is_part: bool = False
    """Is the output a sum that other calls add to? What is rounded is this call's part, which may have cancelled."""

    @property
    def options(self) -> Mapping[str, object] | None:
        """The arguments of the forward call that are no tensors; of a module nobody knows them."""
        call = self.forward if self.call.is_backward else self.call
        return None if call is None or call.name.is_module else call.options

    @property
    def size(self) -> float:
        return self.out.norm

    @property
    def operator(self) -> str:
        return self.call.operator

    @property
    def is_mean_loss(self) -> bool:
        """Is it the mean of what it computes for each element?"""
        options = self.options or {}
        return self.out.count == 1 and operators.has(self.operator, "log") and options.get("input.reduction") != "sum"

    def spread(self, argument: MeasuredArgument) -> float:
        """How often an element of `argument` stands in the output, as a factor on norms."""
        return math.sqrt(max(1.0, self.out.count / argument.count))

    def factor(self, argument: MeasuredArgument) -> float:
        """What a sum multiplies `argument` by."""
        place = argument.name.removeprefix("input.").partition(".")[0]
        place = "1" if place == "other" else place
        return operators.factor(self.operator, self.options or {}, int(place)) if place.isdecimal() else 1.0

    def largest(self) -> MeasuredArgument:
        return max(self.inputs, key=lambda a: a.count)

    def growth(self, terms: float, size: float) -> float:
        """Rounding of the output, of sums of `terms` terms of norm `size` in the type that accumulates them, and of a
        product's operands."""
        summed = min(self.unit, ACCUMULATED) * math.sqrt(terms) * size
        result = max(size, self.size) if self.is_part else self.size
        return math.hypot(self.unit * result, summed, self.rounded * max(size, self.size))

    def running(self, argument: MeasuredArgument) -> float:
        """Rounding of running sums of `argument`, each made of the last, along what may be its longest dimension."""
        return self.growth(max(argument.npu.shape, default=1), self.size)

    @property
    def rounded(self) -> float:
        """The relative error of a product by rounding both operands to unit roundoff u: 0.42 u each in L2, for errors
        that are uniform over a binade (Higham 2002, 2.1), and sqrt(2) for the two."""
        return 0.6 * self.operands


Terms: TypeAlias = tuple[float, list[float]]
"""Fresh and inherited distances."""


def is_compound(call: MeasuredCall) -> bool:
    """Attention and recurrent nets: several products in one call."""
    kind = operators.operator_class(call.operator)
    return kind == "contraction" and sum(len(a.npu.shape) > 1 for a in call.floating_inputs()) > 2


def jump_of(case: OutputCase) -> float:
    backward = case.call.is_backward
    if not operators.jumps(case.operator, case.options, backward=backward):
        return 0.0
    read = case.given if backward else case.inputs
    error = max((a.relative for a in read), default=0.0)
    if not backward and operators.operator_class(case.operator) == "elementwise":
        error = max(error, case.unit)  # it rounds before it jumps: a quotient, a scaled value
    if backward and operators.has(case.operator, "orders"):
        error = min(1.0, error * _longest(case.made))
    size = max([case.size, *(a.norm for a in case.inputs)]) if backward else case.size
    return math.sqrt(_DENSITY * error) * size


def _longest(made: Sequence[MeasuredArgument]) -> int:
    """How many elements a row of what was put in order has at most.  Of n that are normal each lies n times nearer to
    the next than one does to a fixed value, and so often they change places."""
    return max((length for a in made for length in a.npu.shape), default=1)


def steepest(case: OutputCase, argument: MeasuredArgument) -> float:
    """How far the error of an input moves the results at its extremes, where the function is steepest, and _AT_AN_END
    more like them: they may rule the error of all."""
    if not 0.0 < argument.relative < math.inf:
        return 0.0
    error = max(argument.relative, operators.roundoff({argument.npu.dtype, argument.bench.dtype}))
    if operators.is_steep_at_zero(case.operator):
        error *= from_zero(argument)
    # On the side where it is less: a wrong result may itself come near an edge.  Where NaN hides the extremes, no
    # element is larger than the norm of those that are left.
    sides = zip(argument.extremes, case.out.extremes, strict=True)
    root = math.sqrt(from_a_root(case, argument))
    norm = case.out.norm
    moved = error * min(operators.most_moved(case.operator, x, y or (norm, -norm)) for x, y in sides)
    if case.is_mean_loss:
        moved /= argument.count
    return min(max(moved, root), case.out.norm) * math.sqrt(min(_AT_AN_END, case.out.count))


def from_zero(argument: MeasuredArgument) -> float:
    """How many times as large as usual the relative error of the smallest element is: errors of one size in all
    elements are the larger the nearer to zero one stands."""
    least = min((abs(end) for side in argument.extremes for end in side), default=0.0)
    return max(1.0, argument.rms / least) if least > 0 else 1.0


def from_a_root(case: OutputCase, argument: MeasuredArgument) -> float:
    """How far elements beside zero may be off where the operator is a root, whose slope there has no bound: a distance
    that cancels to nothing is off by the error of what cancelled.  0 where no element comes so near."""
    if not operators.has(case.operator, "root") or not 0.0 < argument.relative < math.inf:
        return 0.0
    off = argument.relative * argument.rms
    least = [min(side) for side in argument.extremes if side]
    return off if least and min(least) < off else 0.0


def factors(case: OutputCase) -> list[tuple[MeasuredArgument, MeasuredArgument]]:
    """Each operand that goes into the output with what multiplies it element by element; none where that is not on
    record."""
    given = case.inputs
    if case.call.is_backward:
        gradient = max(case.inputs, key=lambda a: a.count, default=None)
        if gradient is None:
            return []
        if operators.has(case.operator, "own_slope"):
            return [(gradient, made) for made in case.made[:1]]
        place = place_of_gradient(case.out.name, case.out.npu.shape, [a.npu.shape for a in case.given])
        given = (gradient, *(a for number, a in enumerate(case.given) if number != place))
    if not operators.has(case.operator, "product") or len(given) != 2:
        return []
    return [(given[0], given[1]), (given[1], given[0])]


def product(case: OutputCase, a: MeasuredArgument, b: MeasuredArgument) -> tuple[float, float]:
    """The number of terms that each element sums, and the norm that the result has where they are independent."""
    terms = max(1.0, math.sqrt(a.count * b.count / case.out.count))
    return terms, a.norm * b.norm / math.sqrt(terms)


_ALIGNED = 2.0


def carried(case: OutputCase) -> float:
    """How far the error of one operand of a product may go where it lies in the direction of the other's rows: these
    may be alike, as those of a sequence are, and so is what an optimizer does to a weight that they alone move.

    The gradient g of the product and that of the operand a tell: |da| = |g b| <= |g| s, with s the largest singular
    value of b, which bounds |d b| / |d| for any error d of a (Golub and Van Loan, Matrix Computations, 4th ed., 2.3).
    0 where b is as independent of g as usual, or there is no backward call.
    """
    large = [a for a in case.inputs if len(a.npu.shape) > 1]
    gradient = max(case.back.floating_inputs(), key=lambda a: a.count, default=None) if case.back is not None else None
    if case.back is None or gradient is None or gradient.norm <= 0 or len(large) != 2:
        return 0.0
    shapes = [a.npu.shape for a in case.inputs]
    found = 0.0
    for a, b in (large, reversed(large)):
        place = case.inputs.index(a)
        moved = (w.norm for w in case.back.wrote if place_of_gradient(w.name, w.npu.shape, shapes) == place)
        stretch = max(moved, default=0.0) / gradient.norm
        terms, _ = product(case, a, b)
        if stretch > _ALIGNED * b.norm / math.sqrt(terms):
            found = max(found, a.distance * min(b.norm, math.sqrt(2.0) * stretch))
    return found


def logit_gains(case: OutputCase, given: Sequence[MeasuredArgument]) -> list[float]:
    """What the error of each input of attention is multiplied by.  The products of queries and keys are logits, whose
    absolute error is the relative one of the weights: their size is rms(q) rms(k) sqrt(d) under the usual scale."""
    if len(given) < 3 or not operators.has(case.operator, "attends"):
        return [1.0] * len(given)
    query, key = given[:2]
    depth = query.npu.shape[-1] if query.npu.shape else 1
    logits = query.norm * key.norm / math.sqrt(query.count * key.count) * math.sqrt(depth)
    return [max(1.0, logits)] * 2 + [1.0] * (len(given) - 2)


def normalisation_gain(argument: MeasuredArgument) -> float:
    """|x| / |x - mean|: how much of a normalisation's input is left when its mean is taken away."""
    mean = argument.bench.mean
    if mean is None or argument.norm <= 0 or mean != mean:
        return 1.0
    share = min(1.0, math.sqrt(argument.count) * abs(float(mean)) / argument.norm)  # squares of norms may overflow
    left = 1.0 - share**2
    return min(_MOST_GAIN, 1.0 / math.sqrt(left)) if left > _MOST_GAIN**-2 else _MOST_GAIN


def gain_by_rows(back: MeasuredCall | None, source: MeasuredArgument) -> float:
    """Rows with means of their own hide in the mean of all, but not in the gradient, which is divided by what is left
    of a row: rms(x) |dx| / |dy|, for weights about 1; that of ordinary rows is no more than 1.  `back` is the backward
    call; without one nothing tells."""
    if back is None:
        return 1.0
    gradient = max(back.floating_inputs(), key=lambda a: a.count, default=None)
    moved = next((a for a in back.wrote if a.npu.shape == source.npu.shape), None)
    if gradient is None or moved is None or gradient.norm <= 0:
        return 1.0
    found = source.rms * moved.norm / gradient.norm
    return min(found, _MOST_GAIN) if found > _LARGE_GAIN else 1.0


def logit_error(argument: MeasuredArgument) -> float:
    """The absolute error of a live logit."""
    return argument.distance / math.sqrt(argument.count)


_SHARE_OF_THE_TOP = 0.1


@dataclass(frozen=True, slots=True)
class Logits:
    """What a cross entropy reads: `rows` rows of `classes` logits with an absolute `error` each, taken as normal with
    the standard deviation `spread`; `shift` is how far log |x| is apart on both sides, `likeliest` the largest
    probability that any class has in any row."""

    rows: float
    classes: int
    error: float
    spread: float
    shift: float
    likeliest: float

    @classmethod
    def of(cls, argument: MeasuredArgument, results: int) -> Logits:
        """Of the largest input of a call that writes `results` numbers: with fewer than it reads, classes stand in the
        second dimension (torch.nn.functional.cross_entropy), else in the last."""
        shape = argument.npu.shape or (1,)
        classes = max(1, shape[1] if results < argument.count and len(shape) > 1 else shape[-1])
        mean = finite(argument.bench.mean) or 0.0
        spread = math.sqrt(max(0.0, argument.rms**2 - mean**2))
        ours, theirs = (finite(side.norm) or 0.0 for side in (argument.npu, argument.bench))
        shift = abs(math.log(ours / theirs)) if ours > 0 and theirs > 0 else 0.0
        likeliest = math.exp(min(0.0, argument.largest - mean - math.log(classes) - spread**2 / 2))
        return cls(argument.count / classes, classes, logit_error(argument), spread, shift, likeliest)

    def slope(self, loss: float) -> float:
        """The derivative of the mean loss by the logarithm of the scale of the logits: E_p[x] - x_target, which for
        normal logits is loss - log C + spread^2 / 2."""
        return abs(loss - math.log(self.classes) + self.spread**2 / 2)

    def concentration(self, squares: float) -> float:
        """The sum of the squared probabilities of a row, exp(spread^2) / C for normal logits.  `squares` is what the
        squares of p - onehot(target) add up to in the mean row, 1 - 2 p_target + sum p^2: where others than the target
        are likely it exceeds 1, where the target is, it falls below."""
        normal = math.exp(min(self.spread**2, 50.0)) / self.classes
        beyond = squares - 1.0 if squares > 1.0 else (1.0 - math.sqrt(max(0.0, squares))) ** 2
        return min(1.0, max(normal, beyond, _SHARE_OF_THE_TOP * self.likeliest**2))
