"""What a call writes: error begins where an output is off by more than what was read and the run's noise explain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from acc_compare import operators
from acc_compare.judge.alike import has_other_settings
from acc_compare.judge.origins import (
    INPUT_NOISE,
    SPREAD,
    SUSPICIOUS,
    UNSEEN,
    Context,
    Expected,
    Judged,
    Origin,
    Seen,
    largest_error,
)
from acc_compare.judge.predicted import is_one_of_several
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.measured.errors import RESOLUTION
from acc_compare.model import Basis
from dump.format.names import parse
from dump.format.schema import LayoutRecord, ScalarRecord, TensorRecord, tensor_records

_OTHER_DRAW = 0.02
_ABSORBED = 0.1
_FLIPS = 4.0
_FAR_OUT = 5.0
"""Standard deviations that the error of one element may reach."""

_UNDER_A_BOUND = 1e-4
"""Error that may stand behind a bound which shows none: in float32 an optimizer's steps carry noise so far."""

_GENTLE = 2.0
"""The slope that the mark `gentle` stands for."""

_UNKNOWN = Expected(math.inf, math.inf, "unknown")

Verdict = tuple[Judged, "Origin | None"]


def judge_output(
    call: MeasuredCall, argument: MeasuredArgument, forward: MeasuredCall | None, context: Context, seen: Seen
) -> Verdict | None:
    """The verdict on one tensor that a call writes, and the origin of error where it is one; None where it could not
    be measured.  `forward` is the call that a backward call belongs to, `seen` what was met before and inside it."""
    if call.is_backward and not call.name.is_module and not context.one_recorder:
        # msprobe lists what a call's last autograd node hands on, which need not be the gradients of its arguments.
        return Judged(argument, "", None), None
    error = argument.error
    read = call.read if forward is None else (*call.read, *forward.read, *_known(forward.wrote))
    if context.previous == "suspect" and operators.is_random_source(call.operator) and not _draws_alike(argument):
        return Judged(argument, "propagated"), None  # where the step before drew more numbers, or others, so does this
    if error is None:
        return _judge_shape(call, argument, read, seen)
    if any(a.error is None and a.npu.shape != a.bench.shape for a in read):
        return Judged(
            argument, "propagated"
        ), None  # made of other rows: of how many, was judged where they were chosen
    inherited = max(largest_error(call.read), seen.inside)
    if error.is_nonfinite and not any(a.error is not None and a.error.is_nonfinite for a in read):
        if _leaves_finite(call, argument):
            return Judged(argument, "propagated"), None
        judged = Judged(argument, "introduced", Expected(0.0, 0.0, "finite"))
        return judged, Origin("nan_inf", call, judged, inherited)
    if context.noise is not None and (call.full_name, argument.name) in context.noise.shared:
        return Judged(argument, "propagated"), None
    expected = _expected(call, argument, forward, context, seen)
    if call.full_name in context.told_otherwise and 0 < argument.relative <= expected.limit:
        expected = Expected(0.0, 0.0, "exact")
    if argument.relative <= expected.limit and expected.shift is None:
        return Judged(argument, _explained(argument, inherited), expected), None
    if argument.relative > _OTHER_DRAW and not call.is_backward and _draws_here(call):
        judged = Judged(argument, "random", expected)
        given = operators.is_random_source(call.operator) and call.owner is None
        return judged, Origin("input" if given else "random", call, judged, inherited)
    if _passed_on(call, argument, context) or _was_kept(argument, forward, seen):
        return Judged(argument, "propagated", expected), None
    if _is_view(call, argument):
        if not _chosen_otherwise(call):
            return Judged(argument, "propagated", expected), None
        given = call.owner is None and not any(read.npu.requires_grad for read in call.read)  # a part of the data
        judged = Judged(argument, "introduced", expected)
        return judged, Origin("input" if given else "operator", call, judged, inherited)
    judged = Judged(argument, "introduced", expected)
    return judged, Origin("operator", call, judged, inherited)


def _draws_alike(argument: MeasuredArgument) -> bool:
    return argument.error is not None and argument.relative <= _OTHER_DRAW


def _known(wrote: Sequence[MeasuredArgument]) -> list[MeasuredArgument]:
    """Results but for those whose parts nobody could put together: what is wrong in one shows in the gradient of it."""
    return [a for a in wrote if a.error is not None or not (a.npu.unrecorded or "").startswith("parts.")]


def _leaves_finite(call: MeasuredCall, argument: MeasuredArgument) -> bool:
    """Is a NaN or Inf on one side the right answer to inputs that differ: other elements were chosen, one of them lies
    where the function has an edge or a pole, or a result that is as large as its type can hold overflows?"""
    if call.reads_other_integers():
        return True
    error = argument.error
    assert error is not None
    on_npu = error.bad_npu > error.bad_bench
    other = argument.bench if on_npu else argument.npu
    ends = [abs(float(end)) for end in (other.max, other.min) if end is not None]
    error_read = max((read.relative for read in call.floating_inputs()), default=0.0)
    if ends and error_read > 0 and max(ends) == math.inf:  # some do on this side, others on that
        return True
    if ends and error_read > 0:
        moved = max(
            operators.most_moved(call.operator, side, ends) for a in call.floating_inputs() for side in a.extremes
        )
        if max(ends) + _FAR_OUT * error_read * max(moved, *ends) >= operators.LARGEST.get(other.dtype, math.inf):
            return True
    return any(_may_leave_finite(call, read, read.npu if on_npu else read.bench) for read in call.floating_inputs())


def _may_leave_finite(call: MeasuredCall, read: MeasuredArgument, record: TensorRecord) -> bool:
    if read.relative == 0.0 or record.min is None or record.max is None:
        return False
    return operators.may_leave_finite(call.operator, float(record.min), float(record.max))


def _explained(argument: MeasuredArgument, inherited: float) -> Literal["agrees", "absorbed", "propagated"]:
    if argument.relative <= INPUT_NOISE:
        return "agrees"
    return "absorbed" if argument.relative < _ABSORBED * inherited else "propagated"


def _expected(
    call: MeasuredCall, argument: MeasuredArgument, forward: MeasuredCall | None, context: Context, seen: Seen
) -> Expected:
    """From the best source there is: two runs of the bench, what this run shows of the operator, the prior; or else
    equality, and what was seen before."""
    expected = _from_noise(call, argument, context)
    if context.other_world and argument.is_floating:
        # Whole tensors are told apart by bounds, which do not scatter as errors do.
        read = call.read if forward is None else (*call.read, *forward.read, *_known(forward.wrote))
        measured = argument.error is not None and argument.error.source != "bound"
        # What a bound hides a sketch shows; beside another bound, what shows there counts.
        least = -1.0 if measured else INPUT_NOISE
        by_bounds = any(a.error is None or (a.error.source == "bound" and a.relative > least) for a in read)
        hidden = behind_bounds(read)
        known = hidden if measured and by_bounds else min(seen.worst, hidden)
        times = UNSEEN if measured else UNSEEN / math.sqrt(min(max(1, argument.count), SPREAD))
        times = times if measured else min(times, _steepest(call, argument))
        bounded = Expected.at_most(max(times * known, UNSEEN * INPUT_NOISE) / SUSPICIOUS, "before")
        if expected is None or (by_bounds and bounded.limit > expected.limit):
            expected = bounded
    if expected is None:
        expected = _from_equality(call, argument, forward, decided=_reads_decided(call, context, seen))
    floor = context.floor.get((call.full_name, argument.name), 0.0)
    if floor > 0 and (floor > expected.relative or argument.relative <= SUSPICIOUS * floor):
        return Expected.at_most(floor, "floor")
    if call.name.is_module and seen.inside > largest_error(call.read) and UNSEEN * seen.inside > expected.relative:
        return Expected.at_most(UNSEEN * seen.inside, "inside")
    before = UNSEEN * max(seen.worst, context.unheld, INPUT_NOISE)
    parted = context.unheld > 0 and _has_weights_unseen(call)
    is_unseen = _inputs_unrecorded(call) or parted or (bool(context.step) and _holds_a_part(forward or call))
    return Expected.at_most(before, "before") if is_unseen and before > expected.relative else expected


def _has_weights_unseen(call: MeasuredCall) -> bool:
    """Is it a module of a kind that has weights, of which none were recorded, as a wrapper may take them away?"""
    record = call.pair.npu
    has_weights = operators.operator_class(call.operator) in ("contraction", "normalisation", "general")
    return call.name.is_module and has_weights and record is not None and not record.parameters


def _holds_a_part(call: MeasuredCall) -> bool:
    """Is it a module with parts of weights?  Other ranks' parts, which steps have moved too, go into what it makes."""
    record = call.pair.npu
    parts = () if record is None or not call.name.is_module else tensor_records(record.parameters)
    return any(part.partition is not None or _is_cut(part.layout) for part in parts)


def _is_cut(layout: LayoutRecord | None) -> bool:
    return layout is not None and len(layout.mesh) > 1 and any(placement != "R" for placement in layout.placements)


def _steepest(call: MeasuredCall, argument: MeasuredArgument) -> float:
    """How many times as far off as what it was made of a result may be, by its size; Inf where nobody knows."""
    read = list(call.floating_inputs())
    is_known = operators.has(call.operator, "gentle") and not call.is_backward and len(read) == 1 and argument.norm > 0
    return _GENTLE * read[0].norm / argument.norm if is_known else math.inf


def behind_bounds(read: Sequence[MeasuredArgument]) -> float:
    """The largest error that may stand behind what is known of these: one that is spread over n elements shows in their
    norm, mean and extremes as little as its sqrt(n)th part; where nothing shows, no more than noise makes."""
    found = 0.0
    for argument in read:
        if argument.error is None:
            return math.inf
        hidden = argument.relative
        if argument.error.source == "bound":
            hidden = max(hidden, INPUT_NOISE) * math.sqrt(argument.count)
            hidden = hidden if argument.relative > INPUT_NOISE else min(hidden, _UNDER_A_BOUND)
        found = max(found, hidden)
    return found


def _from_noise(call: MeasuredCall, argument: MeasuredArgument, context: Context) -> Expected | None:
    found = context.noise.expectation(call.full_name, argument.name) if context.noise is not None else None
    if found is None:
        return None
    basis: Basis = "peers" if found.calls else "prior"
    return Expected(found.typical, found.limit, basis, found.shift if found.is_shifted else None)


def _reads_decided(call: MeasuredCall, context: Context, seen: Seen) -> bool:
    """Does it read indices or masks that values which differ decided on?  Two that were exchanged may leave no trace in
    the numbers of a mask."""
    return any(
        a.error is not None and a.error.source in ("sketch", "bound") and context.npu.key(a.npu) in seen.decided
        for a in call.read
    )


def _from_equality(
    call: MeasuredCall, argument: MeasuredArgument, forward: MeasuredCall | None, *, decided: bool
) -> Expected:
    """Where no error can be predicted: from equal inputs equal results, and of indices and masks as many flips as the
    error of what they were made from brings near a tie."""
    read = call.read if forward is None else (*call.read, *forward.read, *forward.wrote)
    error = largest_error(read)
    if is_one_of_several(call, argument) or decided:
        return _UNKNOWN
    if error == 0.0:
        assert argument.error is not None
        # Equal sums over other integers than floats can hold, taken in another order.
        return Expected(0.0, RESOLUTION[argument.error.source], "exact")
    if argument.is_floating or math.isinf(error) or call.reads_other_integers():
        return _UNKNOWN
    # Rounded to few digits, neighbours are often equal: then one that moves at all passes another.
    unit = operators.roundoff({record.dtype for a in call.floating_inputs() for record in (a.npu, a.bench)})
    return Expected.at_most(_FLIPS * math.sqrt(max(error, unit)), "prior")


def _passed_on(call: MeasuredCall, argument: MeasuredArgument, context: Context) -> bool:
    """Did an earlier call make this very value, and its counterpart the bench's?  A custom autograd Function returns
    what the calls in it made."""
    if call.name.is_module or not context.npu.exact or call.pair.npu is None:
        return False
    producer = context.npu.producer(argument.npu, call.pair.npu.index)
    # A module around the call may have been recorded before it.
    if producer is None or producer.index >= call.pair.npu.index or parse(producer.call).is_module:
        return False
    if call.pair.bench is None or not context.bench.exact:
        return True
    theirs = context.bench.producer(argument.bench, call.pair.bench.index)
    return theirs is None or context.partner.get(producer.call, theirs.call) == theirs.call


def _was_kept(argument: MeasuredArgument, forward: MeasuredCall | None, seen: Seen) -> bool:
    """Did error begin in its forward call?  What that kept for backward, as the gates of a recurrent net or the
    probabilities of a loss, is wrong with its result, and is in no record.  Where it was told to do something else, its
    gradient is that of something else."""
    if forward is None or forward.full_name not in seen.began_in:
        return False
    return has_other_settings(forward) or argument.relative <= UNSEEN * largest_error(forward.wrote)


def _is_view(call: MeasuredCall, argument: MeasuredArgument) -> bool:
    """Is it the memory of what was read, on both sides?  Then nothing was computed."""
    if not operators.moves_layout_only(call.operator) or argument.npu.storage is None or argument.bench.storage is None:
        return False
    memories = (argument.npu.storage, argument.bench.storage)
    return any((read.npu.storage, read.bench.storage) == memories for read in call.read)


def _chosen_otherwise(call: MeasuredCall) -> bool:
    """Was another part chosen on the one side than on the other: other bounds, another index?"""
    return any(
        isinstance(pair.npu, ScalarRecord)
        and isinstance(pair.bench, ScalarRecord)
        and pair.npu.value != pair.bench.value
        for pair in call.pair.arguments
    )


def _inputs_unrecorded(call: MeasuredCall) -> bool:
    """Nothing was recorded of what it read (data_mode `output`); a source without arguments is exact in good health."""
    record = call.pair.npu
    return call.is_further_pass or (record is not None and not record.inputs and not record.parameters)


def _judge_shape(
    call: MeasuredCall, argument: MeasuredArgument, read: tuple[MeasuredArgument, ...], seen: Seen
) -> Verdict | None:
    """A result of another shape from inputs of one shape; where values decide on the shape, from equal inputs."""
    if argument.npu.shape == argument.bench.shape:
        return None
    inherited = largest_error(read)
    explained = operators.is_shaped_by_values(call.operator) and inherited > 0
    if seen.reshaped or explained or call.is_backward or any(a.npu.shape != a.bench.shape for a in read):
        return Judged(argument, "propagated"), None
    judged = Judged(argument, "introduced")
    return judged, Origin("operator", call, judged, inherited, reshaped=True)


def _draws_here(call: MeasuredCall) -> bool:
    """May this very call have drawn?  Of a call that was not recorded, and of a module, nobody knows the options."""
    record = call.pair.npu
    if record is None or call.name.is_module:
        return operators.draws(call.operator)
    return operators.draws_with(call.operator, call.options)
