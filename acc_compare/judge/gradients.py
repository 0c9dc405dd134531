"""What happened to gradients between the backward calls that made them and the optimizer that reads them.

A parameter's gradient is the sum of what the backward calls of its readers wrote, times one factor where the script
unscales or clips.  Sketches are linear, so the sum is known on both sides: with P and Q the sums and G the gradients
that the optimizer reads, the bench says the factor a, G_bench = a Q, and the NPU's gradient must be a P.  What is left
of G_npu - a P was made in between, by a call that ran on one side only or by something that nobody recorded.  Where
the bench's own gradient is no multiple of Q (averaged over ranks, accumulated over steps) this says nothing, and only a
gradient that differs although nothing before it did is an origin.  Digests cannot be added: there the one that wrote
the gradient must have written it alike.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

import numpy as np

from acc_compare.judge.dataflow import Contribution
from acc_compare.judge.inputs import lone_producer
from acc_compare.judge.origins import (
    INPUT_NOISE,
    SIDES,
    SUSPICIOUS,
    UNSEEN,
    Context,
    Expected,
    Judged,
    Lone,
    Origin,
    largest_error,
    ratio,
)
from acc_compare.judge.summed import sketch_of, summed
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.metrics.sketches import SketchVector, scale_between
from acc_compare.model import Kind
from acc_compare.operators import UNIT_ROUNDOFF
from dump.format.names import FORWARD, PARAMETERS_GRAD, parse
from dump.format.schema import Dump

_A_MULTIPLE = 1e-3
"""What may be left of a bench gradient that is a multiple of the sum: roundings of the sum, and of 16 float32."""

_GRADIENT, _PARAMETER = "input.grad.", "input.param."


@dataclass(frozen=True, slots=True)
class _Gradient:
    """One gradient that an optimizer reads, with what went into it on both sides."""

    argument: MeasuredArgument
    ours: Sequence[Contribution]
    theirs: Sequence[Contribution]


@dataclass(frozen=True, slots=True)
class _Before:
    """Of the calls before an optimizer's: the last, and the largest relative error of all."""

    last: str
    largest: float


def judge_gradients(
    optimizers: Iterable[MeasuredCall], calls: Sequence[MeasuredCall], sides: tuple[Dump, Dump], context: Context
) -> list[Origin]:
    """At most one origin for each optimizer step: its gradient that is furthest off what backward calls explain, else a
    parameter that it finds as one side alone has made it."""
    measured: Mapping[tuple[str, str], MeasuredArgument] = {}
    largest: Sequence[float] = ()
    origins = []
    for call in optimizers:
        if all(a.relative <= INPUT_NOISE for a in call.read if a.name.startswith((_GRADIENT, _PARAMETER))):
            continue
        if not measured:
            measured = {(c.full_name, a.name): a for c in calls if c.is_backward for a in c.wrote}
            largest = list(accumulate((max(largest_error(c.read), largest_error(c.wrote)) for c in calls), max))
        count = bisect_left(calls, call.order, key=attrgetter("order"))
        before = _Before(calls[count - 1].full_name, largest[count - 1]) if count else None
        origin = _judge_step(call, list(_gradients(call, context)), measured, before, sides, context)
        origin = origin or _made_by_one_side(call, before, context)
        origins += [origin] if origin is not None else []
    return origins


def _gradients(call: MeasuredCall, context: Context) -> Iterable[_Gradient]:
    read = {argument.name: argument for argument in call.read}
    for argument in call.read:
        if argument.name.startswith(_GRADIENT) and argument.error is not None:
            parameter = read.get(f"input.param.{argument.name.removeprefix(_GRADIENT)}")
            if parameter is not None:
                ours, theirs = context.npu.contributions(parameter.npu), context.bench.contributions(parameter.bench)
                yield _Gradient(argument, ours, theirs)


def _judge_step(
    call: MeasuredCall,
    gradients: Sequence[_Gradient],
    measured: Mapping[tuple[str, str], MeasuredArgument],
    before: _Before | None,
    sides: tuple[Dump, Dump],
    context: Context,
) -> Origin | None:
    contributed = [measured.get((c.call, c.argument)) for g in gradients for c in g.ours]
    inherited = largest_error([a for a in contributed if a is not None])
    overall = _overall(contributed)
    seen = before.largest if before is not None else 0.0
    reduced = _reduced_unseen(sides)
    worst: Origin | None = None
    for gradient in gradients:
        argument = gradient.argument
        if argument.relative <= INPUT_NOISE:
            continue
        lone = _lone(call, gradient, context)
        if not lone and _was_judged(call, argument, context):
            continue
        unseen = max(UNSEEN * max(seen, INPUT_NOISE), SUSPICIOUS * _when_reduced(call, argument, seen, reduced))
        anything = Expected.at_most(unseen / SUSPICIOUS, "before")
        made, share = argument.relative, anything
        if not lone:
            made, share = _made_in_between(gradient, overall) or (made, share)
        excess = ratio(made, share.relative)
        if excess <= SUSPICIOUS or (worst is not None and excess <= (worst.judged.excess or 0.0)):
            continue
        lone = lone or _lone_since_backward(call, sides, context)
        judged = Judged(argument, "input", share)
        last = before.last if before is not None else ""
        kind: Kind = "structure" if lone else "operator"
        producer, side = lone or ("", "")
        parts = None if lone else summed(call, argument, context)
        told = parts.calls if parts is not None and not parts.alike else None
        worst = Origin(kind, call, judged, inherited, True, last, producer=producer, lone=side, summed=told)
    return worst


def _made_by_one_side(call: MeasuredCall, before: _Before | None, context: Context) -> Origin | None:
    """A parameter that one side alone has moved since the step began, as what takes a perturbation back does."""
    if context.other_world or call.pair.npu is None or before is None:
        return None
    seen = before.largest
    found = [a for a in call.read if a.name.startswith(_PARAMETER) and a.relative > UNSEEN * max(seen, INPUT_NOISE)]
    for argument in sorted(found, key=lambda a: a.relative, reverse=True):
        lone = lone_producer(call, argument, context.npu.producer(argument.npu, call.pair.npu.index), context)
        if lone is not None:
            judged = Judged(argument, "input", Expected.at_most(INPUT_NOISE, "before"))
            return Origin("structure", call, judged, seen, True, before.last, producer=lone[0], lone=lone[1])
    return None


def _reduced_unseen(sides: tuple[Dump, Dump]) -> dict[int, float] | None:
    """By value the parameters whose gradients ranks may have reduced, with the largest norm of what a module left as
    such; None where all was recorded, or there is one rank."""
    if any(dump.header.level != "L0" or (dump.header.world_size or 1) < 2 for dump in sides):
        return None
    left: dict[str, float] = {}
    values: dict[int, str] = {}
    for call in sides[0].calls:
        known = parse(call.name)
        for name, leaf in call.tensors():
            if known.direction == PARAMETERS_GRAD:
                own = known.path + name.removeprefix(PARAMETERS_GRAD)
                left[own] = max(left.get(own, 0.0), float(leaf.norm or 0.0))
            elif name.startswith("parameters.") and leaf.value is not None:
                values.setdefault(leaf.value, known.path + name.removeprefix("parameters"))
    return {value: left.get(own, 0.0) for value, own in values.items()}


def _when_reduced(
    call: MeasuredCall, argument: MeasuredArgument, seen: float, reduced: Mapping[int, float] | None
) -> float:
    """How far a gradient may be off that was reduced unseen: it may be sent in a narrower type, and what ranks have may
    cancel."""
    if reduced is None or not argument.norm:
        return 0.0
    error = max(seen, INPUT_NOISE)
    parameter = argument.name.replace(_GRADIENT, "input.param.", 1)
    values = [a.npu.value for a in call.read if a.name == parameter]
    left = max((reduced.get(value, 0.0) for value in values if value is not None), default=0.0)
    return max(math.sqrt(2.0 * UNIT_ROUNDOFF["torch.bfloat16"] * error), error * left / argument.norm)


def _lone(call: MeasuredCall, gradient: _Gradient, context: Context) -> Lone | None:
    """A call that made or changed this gradient on one side and has no partner on the other; None for none."""
    argument = gradient.argument
    assert call.pair.npu is not None
    assert call.pair.bench is not None
    ours = (context.npu, argument.npu, call.pair.npu.index, gradient.ours, context.partner)
    theirs = (context.bench, argument.bench, call.pair.bench.index, gradient.theirs, context.answered)
    for side, (flow, leaf, end, contributions, partnered) in zip(SIDES, (ours, theirs), strict=True):
        producer = flow.producer(leaf, end)
        makers = [producer.call] if producer is not None else []
        for maker in (*makers, *(contribution.call for contribution in contributions)):
            if maker not in partnered:
                return maker, side
    return None


def _lone_since_backward(call: MeasuredCall, sides: tuple[Dump, Dump], context: Context) -> Lone | None:
    """The first call of one side alone between the last backward call and this step, as of clipping; None for none."""
    assert call.pair.npu is not None
    assert call.pair.bench is not None
    ours, theirs = (call.pair.npu.index, context.partner), (call.pair.bench.index, context.answered)
    for side, dump, (step, partnered) in zip(SIDES, sides, (ours, theirs), strict=True):
        found = ""
        for other in reversed(dump.calls[:step]):
            if parse(other.name).direction != FORWARD or other.name.startswith("Optimizer."):
                break
            found = found if other.name in partnered else other.name
        if found:
            return found, side
    return None


def _was_judged(call: MeasuredCall, argument: MeasuredArgument, context: Context) -> bool:
    """Did a recorded call other than a backward one write it?  Then that was judged in its place."""
    assert call.pair.npu is not None
    producer = context.npu.producer(argument.npu, call.pair.npu.index)
    return producer is not None and parse(producer.call).direction == FORWARD


def _overall(contributed: Sequence[MeasuredArgument | None]) -> float:
    """The relative error of all that backward wrote to parameters, taken as one: what a clipping factor inherits."""
    known = [a for a in contributed if a is not None and a.error is not None]
    size = math.hypot(*(a.norm for a in known))
    return math.hypot(*(a.distance for a in known)) / size if 0.0 < size < math.inf else 0.0


def _made_in_between(gradient: _Gradient, overall: float) -> tuple[float, Expected] | None:
    """How much of the gradient was made after backward, as a relative error, and how much there may be; None where the
    bench's own gradient is no multiple of what backward calls wrote."""
    argument = gradient.argument
    ours, theirs = _sum(gradient.ours), _sum(gradient.theirs)
    g_npu, g_bench = sketch_of(argument.npu), sketch_of(argument.bench)
    if ours is None or theirs is None or g_npu is None or g_bench is None or not np.any(theirs):
        return None
    factor, left = scale_between(g_bench, theirs)
    size = float(np.linalg.norm(factor * ours))
    if size == 0 or left > _A_MULTIPLE * float(np.linalg.norm(g_bench)):
        return None
    made = float(np.linalg.norm(g_npu - factor * ours)) / size
    own = left / float(np.linalg.norm(g_bench))
    # What cancels in the sum does not cancel in its error.
    parts = sum(float(np.linalg.norm(sketch)) for c in gradient.theirs if (sketch := sketch_of(c.tensor)) is not None)
    gain = max(1.0, parts / float(np.linalg.norm(theirs)))
    return made, Expected.at_most((INPUT_NOISE + overall) * gain + own, "before")


def _sum(contributions: Sequence[Contribution]) -> SketchVector | None:
    sketches = [sketch_of(contribution.tensor) for contribution in contributions]
    if not sketches or any(sketch is None for sketch in sketches):
        return None
    return np.sum([sketch for sketch in sketches if sketch is not None], axis=0)  # type: ignore[no-any-return]
