"""What a call reads: an input that differs although no recorded call wrote it is where error enters the record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Literal

from acc_compare.judge.dataflow import Producer
from acc_compare.judge.origins import (
    INPUT_NOISE,
    SIDES,
    SPREAD,
    SUSPICIOUS,
    UNSEEN,
    Context,
    Expected,
    Judged,
    Lone,
    MadeAlone,
    Origin,
    Seen,
)
from acc_compare.judge.since import changed_since, made_before, was_held
from acc_compare.judge.summed import summed
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall, finite
from acc_compare.model import Kind
from dump.format.names import BACKWARD, parse

_DRIFT = 1e-3
_BUFFER_DRIFT = 0.05
_CARRIED = 2.0
_MOST_DRIFT = 0.5

Verdict = tuple[Judged, "Origin | None"]


def judge_input(
    call: MeasuredCall, argument: MeasuredArgument, forward: MeasuredCall | None, context: Context, seen: Seen
) -> Verdict | None:
    """The verdict on one tensor that a call reads, and the origin of error where it is one; None where it could not
    be measured.  `forward` is the call that a backward call belongs to."""
    if argument.rank is not None:
        return None  # another rank gave it: judged there
    if argument.error is None:
        return _judge_shape(call, argument, context, seen)
    if argument.relative <= INPUT_NOISE:
        _note_given(call, argument, context, seen)
        return Judged(argument, "agrees"), None
    floor = context.floor.get((call.full_name, argument.name), 0.0)
    if floor > 0 and argument.relative <= SUSPICIOUS * floor:
        return Judged(argument, "propagated", Expected.at_most(floor, "floor")), None
    order = call.pair.npu.index if call.pair.npu is not None else 0
    producer = context.npu.producer(argument.npu, order)
    noise = max(seen.worst, INPUT_NOISE)
    if producer is None and was_held(argument, context):
        return Judged(argument, "propagated"), None
    if context.other_world and producer is not None:
        # Of what has no counterpart, where the model is cut otherwise, nothing is known; nor outside of the model,
        # where each rank does its own part.
        unseen = producer.call in context.unmeasured and producer.call in context.partner and bool(call.owner)
        return _judge_unseen(call, argument, context, seen) if unseen else (Judged(argument, "propagated"), None)
    lone = lone_producer(call, argument, producer, context) if argument.relative > UNSEEN * noise else None
    if lone is not None:
        judged = Judged(argument, "input", Expected.at_most(noise, "before"))
        return judged, Origin(
            "structure", call, judged, seen.worst, True, seen.last_agreeing, producer=lone[0], lone=lone[1]
        )
    makers = _other_makers(call, argument, producer, context) if argument.relative > UNSEEN * noise else None
    if makers is not None:
        judged = Judged(argument, "input", Expected.at_most(noise, "before"))
        return judged, Origin("structure", call, judged, seen.worst, producer=makers[0], rewired=makers[1])
    given = _given_by_one_side(argument, forward, context) if argument.relative > UNSEEN * noise else None
    if given is not None:
        judged = Judged(argument, "input", Expected.at_most(noise, "before"))
        (maker, side), part = given
        return judged, Origin(
            "structure", call, judged, seen.worst, True, seen.last_agreeing, producer=maker, lone=side, handed=part
        )
    if argument.relative > UNSEEN * noise and (alone := _alone_on_npu(call, argument, producer, context)):
        judged = Judged(argument, "input", Expected.at_most(noise, "before"))
        return judged, Origin("operator", call, judged, seen.worst, True, seen.last_agreeing, summed=((alone,), ()))
    if producer is not None or (not context.npu.exact and call.is_backward):
        return Judged(argument, "propagated"), None
    # A view that nobody recorded may be the parameter itself: the part that a DTensor was made from.
    # What a formula of autograd's reads is a parameter, what forward calls made, or a sum of gradients.
    is_made = context.npu.grad_fn(argument.npu) is not None or call.is_further_pass
    is_result = is_made and context.npu.parameter(argument.npu) is None
    if is_result or call.is_backward or context.npu.is_passed_back(argument.npu):
        if context.parted and seen.worst == 0.0:  # what came before the record, or a fault, may have left it
            return Judged(argument, "propagated"), None
        for side in SIDES if argument.relative > UNSEEN * noise and not context.other_world else ():
            if writers := _lone_writers(call, argument, side, context):  # what is read is a view that no call made
                judged = Judged(argument, "input", Expected.at_most(noise, "before"))
                return judged, Origin("structure", call, judged, seen.worst, True, producer=writers[-1], lone=side)
        return _judge_unseen(call, argument, context, seen, cancelled=_cancelled(argument, forward, context))
    return _judge_given(call, argument, context, seen)


def _note_given(call: MeasuredCall, argument: MeasuredArgument, context: Context, seen: Seen) -> None:
    """Where data and parameters were first read, of those that agree."""
    order = call.pair.npu.index if call.pair.npu is not None else 0
    if context.npu.exact and context.bench.exact and context.npu.producer(argument.npu, order) is None:
        place = f"{call.full_name}.{argument.name}"
        seen.given.setdefault(("npu", context.npu.key(argument.npu)), place)
        seen.given.setdefault(("bench", context.bench.key(argument.bench)), place)


def _judge_shape(call: MeasuredCall, argument: MeasuredArgument, context: Context, seen: Seen) -> Verdict | None:
    """Shapes that differ from the start are other data; later ones follow from it."""
    if argument.npu.shape == argument.bench.shape:
        return None
    order = call.pair.npu.index if call.pair.npu is not None else 0
    judged, producer = Judged(argument, "input"), context.npu.producer(argument.npu, order)
    if seen.reshaped or call.is_backward or context.previous == "suspect":
        return Judged(argument, "propagated"), None
    # Once values differ they may decide on shapes.
    if not context.other_world and seen.worst <= INPUT_NOISE and _has_other_elements(call, argument):
        lone = lone_producer(call, argument, producer, context)
        if lone is not None:
            return judged, Origin("structure", call, judged, 0.0, producer=lone[0], lone=lone[1], reshaped=True)
    if producer is not None:
        return Judged(argument, "propagated"), None
    if before := made_before(argument, context):
        return judged, replace(_carried_over(call, judged, 0.0, *before), reshaped=True)
    parameter = context.npu.parameter(argument.npu) or context.bench.parameter(argument.bench) or ""
    return judged, Origin("input", call, judged, 0.0, parameter=parameter, reshaped=True)


def _has_other_elements(call: MeasuredCall, argument: MeasuredArgument) -> bool:
    """Are there more elements on one side, and in a result too?  What is expanded or viewed otherwise tells nothing."""
    others = [a for a in call.wrote if a.npu.numel != a.bench.numel]
    return argument.npu.numel != argument.bench.numel and bool(others)


def _result_of(argument: MeasuredArgument, forward: MeasuredCall | None) -> MeasuredArgument | None:
    """What the forward call made that a gradient which its backward call reads is of."""
    made = f"output{argument.name.removeprefix('input')}"
    return next((a for a in forward.wrote if a.name == made), None) if forward is not None else None


def _cancelled(argument: MeasuredArgument, forward: MeasuredCall | None, context: Context) -> float:
    """How many times as large as a gradient the largest of those is that autograd added up to it; 1 where nobody knows.
    That of a maximum which is taken away again, as in a stable softmax, cancels to next to nothing."""
    result = _result_of(argument, forward)
    if result is None or not context.npu.exact or argument.norm <= 0:
        return 1.0
    parts = (finite(part.tensor.norm) or 0.0 for part in context.npu.contributions(result.npu))
    return max(1.0, max(parts, default=0.0) / argument.norm)


def _judge_unseen(
    call: MeasuredCall, argument: MeasuredArgument, context: Context, seen: Seen, *, cancelled: float = 1.0
) -> Verdict:
    """It was computed by a call that nobody recorded, perhaps from inputs that differ already; of a sum in which
    `cancelled` times as much stands, that is what errors are relative to."""
    assert argument.error is not None
    known, times = min(seen.worst, seen.around), UNSEEN
    if seen.around < seen.worst and argument.error.source == "bound":
        times /= math.sqrt(min(max(1, argument.count), SPREAD))
    if argument.relative <= times * max(known, INPUT_NOISE) * cancelled:
        return Judged(argument, "propagated", Expected.at_most(known * cancelled, "before")), None
    judged = Judged(argument, "input", Expected.at_most(INPUT_NOISE, "before"))
    kind: Kind = "nan_inf" if argument.error.is_nonfinite else "operator"
    node = (context.npu.grad_fn(argument.npu) or "").removesuffix("0")
    return judged, Origin(kind, call, judged, seen.worst, True, seen.last_agreeing, node)


def _judge_given(call: MeasuredCall, argument: MeasuredArgument, context: Context, seen: Seen) -> Verdict:
    """Data, a parameter or a buffer; or a result whose memory was overwritten."""
    is_unsaid = not context.npu.exact or context.npu.is_gradient(argument.npu) or call.communicates
    if is_unsaid and argument.relative <= UNSEEN * max(seen.worst, INPUT_NOISE):
        # A foreign dump does not say that a call made it: msprobe leaves out flatten, say.  Of gradients nobody does,
        # and ranks give each other gradients of what they were given.
        return Judged(argument, "propagated", Expected.at_most(seen.worst, "before")), None
    if context.other_world and argument.is_floating and argument.relative <= UNSEEN * INPUT_NOISE:
        # Norms and extremes of wholes agree to some roundings; another rank may have computed it.
        return Judged(argument, "propagated", Expected.at_most(INPUT_NOISE, "before")), None
    order = call.pair.npu.index if call.pair.npu is not None else 0
    judged = Judged(argument, "input", Expected.at_most(INPUT_NOISE, "before"))
    if (gradient := summed(call, argument, context)) is not None:
        if gradient.alike:  # of what backward calls gave, which was judged there
            return Judged(argument, "propagated", Expected.at_most(seen.worst, "before")), None
        if argument.relative > UNSEEN * max(seen.worst, INPUT_NOISE):
            return judged, Origin("operator", call, judged, seen.worst, True, seen.last_agreeing, summed=gradient.calls)
    ours = seen.given.get(("npu", context.npu.key(argument.npu)))
    theirs = seen.given.get(("bench", context.bench.key(argument.bench)))
    if ours is not None and theirs is not None and ours != theirs:  # each agreed where it was read before
        return judged, Origin("structure", call, judged, seen.worst, True, producer=ours, rewired=theirs)
    writers = context.npu.writers(argument.npu, order)
    # Buffers that a call writes beside its result (running statistics) are not results that somebody relies on.
    results = [writer for writer in writers if not writer.argument.startswith("written.")]
    if context.other_world or not any(writer.call in context.partner for writer in results):
        results = []  # calls of one side alone write there: gathered parameters, say
    if results and seen.worst <= INPUT_NOISE:
        origin = Origin(
            "operator",
            call,
            judged,
            seen.worst,
            True,
            seen.last_agreeing,
            producer=results[0].call,
            overwritten_by=tuple(writer.call for writer in writers[:3]),
        )
        return judged, origin
    if results or (seen.worst > INPUT_NOISE and _is_written_by_the_bench(call, argument, context)):
        return Judged(argument, "propagated", Expected.at_most(seen.worst, "before")), None
    parameter = context.npu.parameter(argument.npu) or context.bench.parameter(argument.bench) or ""
    if before := made_before(argument, context):
        return judged, _carried_over(call, judged, seen.worst, *before)
    if trained := _trained_on_one_side(argument, context):
        return judged, Origin("input", call, judged, 0.0, parameter=parameter, trained=trained)
    optimizer, side = changed_since(argument, context)
    if side and (alone := _lone_writers(call, argument, side, context)):
        origin = Origin("structure", call, judged, seen.worst, producer=alone[0], lone=side)
        return judged, replace(origin, overwritten_by=tuple(alone[:3]) if len(alone) > 1 else ())
    if side:
        name = context.npu.updated(argument.npu)
        return judged, Origin("operator", call, judged, seen.worst, True, optimizer, parameter=name, since=side)
    if lone := _lone_optimizer(argument, context):
        return judged, Origin(
            "structure", call, judged, seen.worst, True, seen.last_agreeing, producer=lone[0], lone=lone[1]
        )
    if _is_drift(argument, context):
        return Judged(argument, "propagated", Expected.at_most(argument.relative, "before")), None
    if optimizer := context.npu.stepping(argument.npu, order):
        noise = max(seen.worst, INPUT_NOISE)
        if argument.relative <= UNSEEN * noise:  # it was moved by gradients of what differed before
            return Judged(argument, "propagated", Expected.at_most(noise, "before")), None
        return judged, Origin("optimizer", call, judged, seen.worst, maker=optimizer, row=call.full_name)
    if not argument.is_floating and seen.worst > INPUT_NOISE:
        return Judged(argument, "propagated", Expected.at_most(seen.worst, "before")), None
    if lone := lone_producer(call, argument, None, context):
        return judged, Origin(
            "structure", call, judged, seen.worst, True, seen.last_agreeing, producer=lone[0], lone=lone[1]
        )
    is_trained = context.npu.is_trained(argument.npu) and context.previous == "unjudged"
    return judged, Origin("optimizer" if is_trained else "input", call, judged, 0.0, parameter=parameter)


def _lone_writers(
    call: MeasuredCall, argument: MeasuredArgument, side: Literal["npu", "bench"], context: Context
) -> list[str]:
    """The calls of one side alone that were the last in this step to write to the memory of this input, in order, with
    nobody of both sides among them."""
    record, tensor = getattr(call.pair, side), getattr(argument, side)
    flow, answered = (context.npu, context.partner) if side == "npu" else (context.bench, context.answered)
    writers = [] if record is None else flow.writers(tensor, record.index)
    lone = takewhile(lambda writer: writer.call not in answered, writers)
    return list(dict.fromkeys(writer.call for writer in lone))[::-1]


def _carried_over(
    call: MeasuredCall, judged: Judged, inherited: float, made: MadeAlone, side: Literal["npu", "bench"]
) -> Origin:
    return Origin("structure", call, judged, inherited, producer=made.call, lone=side, earlier=made)


def _is_written_by_the_bench(call: MeasuredCall, argument: MeasuredArgument, context: Context) -> bool:
    """Did a call that ran on both sides write it on the bench's alone (running statistics, in training)?"""
    if call.pair.bench is None:
        return False
    theirs = context.bench.producer(argument.bench, call.pair.bench.index)
    return theirs is not None and theirs.call in context.answered


def _trained_on_one_side(argument: MeasuredArgument, context: Context) -> Literal["", "npu", "bench"]:
    """The side whose optimizer has moved this parameter, where the other side's neither does nor asks for a gradient: a
    reference model that is no copy, a layer that is not frozen."""
    known = context.npu.exact and context.bench.exact and not context.other_world
    if not (known and context.step) or context.previous == "suspect" or argument.relative <= UNSEEN * INPUT_NOISE:
        return ""
    if context.npu.is_updated(argument.npu) and not context.bench.is_trained(argument.bench):
        return "npu"
    return "bench" if context.bench.is_updated(argument.bench) and not context.npu.is_trained(argument.npu) else ""


def _lone_optimizer(argument: MeasuredArgument, context: Context) -> Lone | None:
    """The optimizer of one side alone that has moved this parameter further than noise does; None where there is
    none."""
    if not context.step or context.previous == "suspect" or context.other_world or argument.relative <= _DRIFT:
        return None
    ours, theirs = context.npu.optimizer(argument.npu), context.bench.optimizer(argument.bench)
    if ours and ours not in context.partner:
        return ours, "npu"
    return (theirs, "bench") if theirs and theirs not in context.answered else None


def _is_drift(argument: MeasuredArgument, context: Context) -> bool:
    """After the first step parameters and buffers part by the noise of the steps before; where the optimizer of the
    step before was judged, its verdict stands for the parameters."""
    if context.previous == "suspect":
        return True
    if not context.step:
        return False
    # What holds parameters in pieces reads them by other tensors than those that require gradients.
    is_trained = context.npu.is_trained(argument.npu)
    if is_trained and context.previous == "judged":
        return True
    return argument.is_floating and argument.relative <= (
        _DRIFT if is_trained else max(_BUFFER_DRIFT, min(_MOST_DRIFT, _CARRIED * context.drift))
    )


def parted_before(calls: Sequence[MeasuredCall], context: Context) -> float:
    """How far parameters are apart, beyond noise, as the first recorded step begins, which is not the run's first; 0
    where they are not, or where that is not so."""
    if not context.step or context.previous != "none" or context.other_world:
        return 0.0
    leaves = (a for call in calls for a in call.read if a.npu.requires_grad and context.npu.grad_fn(a.npu) is None)
    found = [a.relative for a in leaves]
    apart = max(filter(math.isfinite, found), default=0.0)
    return apart if apart > UNSEEN * INPUT_NOISE else 0.0


def lone_producer(
    call: MeasuredCall, argument: MeasuredArgument, producer: Producer | None, context: Context
) -> Lone | None:
    """A call that made this input on one side and has no partner on the other; None where there is none."""
    if producer is not None and producer.call not in context.partner:
        return producer.call, "npu"
    if call.pair.bench is None:
        return None
    theirs = context.bench.producer(argument.bench, call.pair.bench.index)
    return (theirs.call, "bench") if theirs is not None and theirs.call not in context.answered else None


def _other_makers(
    call: MeasuredCall, argument: MeasuredArgument, producer: Producer | None, context: Context
) -> tuple[str, str] | None:
    """The calls that made this input on either side, where they do not answer to each other: the same operators are
    wired in another way.  None where they do, or where a side does not say."""
    if call.pair.npu is None or call.pair.bench is None or context.other_world or not context.bench.exact:
        return None
    theirs = context.bench.producer(argument.bench, call.pair.bench.index)
    if producer is None and theirs is None:
        return None
    if other := _other_results(producer, theirs, context):
        return other
    if context.npu.exact:
        # Of one that was added to since, as gradients are over micro-batches: who wrote its memory last.
        producer = producer or next(iter(context.npu.writers(argument.npu, call.pair.npu.index)), None)
        theirs = theirs or next(iter(context.bench.writers(argument.bench, call.pair.bench.index)), None)
    if producer is None or theirs is None or theirs.call not in context.answered:
        return None
    answer = context.partner.get(producer.call, theirs.call)
    return (producer.call, theirs.call) if answer != theirs.call else None


def _other_results(producer: Producer | None, theirs: Producer | None, context: Context) -> tuple[str, str] | None:
    """Another result of the same call on either side, as of two halves that were exchanged; None where that is not
    so."""
    if producer is None or theirs is None or context.partner.get(producer.call) != theirs.call:
        return None
    ours = (producer.argument, theirs.argument)
    if ours[0] == ours[1] or not all(place.startswith("output.") for place in ours):
        return None
    return f"{producer.call}.{ours[0]}", f"{theirs.call}.{ours[1]}"


def _alone_on_npu(call: MeasuredCall, argument: MeasuredArgument, producer: Producer | None, context: Context) -> str:
    """The backward call whose result this gradient is on the NPU side, where on the bench's no call gave all of it,
    although that call ran there and gave its own: what it is the sum of has more parts there.  "" where that is not
    so."""
    if producer is None or call.pair.bench is None or not call.is_backward or not argument.is_floating:
        return ""
    if not (context.npu.exact and context.bench.exact and context.one_recorder) or context.other_world:
        return ""
    if parse(producer.call).direction != BACKWARD or call.is_further_pass:
        return ""
    theirs = context.bench.producer(argument.bench, call.pair.bench.index)
    answer = context.partner.get(producer.call, "")
    return producer.call if theirs is None and context.bench.gives(answer, producer.argument) else ""


def _given_by_one_side(
    argument: MeasuredArgument, forward: MeasuredCall | None, context: Context
) -> tuple[Lone, str] | None:
    """A backward call that gave a part of this gradient on one side alone, with the name of that part where it ran on
    both sides and gave nothing on the other (a `detach`); None where there is none."""
    result = _result_of(argument, forward)
    if result is None or not (context.npu.exact and context.bench.exact and context.one_recorder):
        return None
    ours, theirs = context.npu.contributions(result.npu), context.bench.contributions(result.bench)
    for side, parts, partnered in zip(SIDES, (ours, theirs), (context.partner, context.answered), strict=True):
        if lone := next((part.call for part in parts if part.call not in partnered), ""):
            return (lone, side), ""
    answers = {bench: npu for npu, bench in context.partner.items()}
    for part in theirs:
        if not context.npu.gives(answers.get(part.call, part.call), part.argument):
            return (part.call, "bench"), part.argument
    for part in ours:
        if not context.bench.gives(context.partner[part.call], part.argument):
            return (part.call, "npu"), part.argument
    return None
