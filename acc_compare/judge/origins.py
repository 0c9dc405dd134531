"""Where error begins: a walk over the matched calls in the order in which the NPU side ran them.

A call introduces error when an output is off by far more than what it read and its arithmetic explain; it propagates
when they explain it; it absorbs when less comes out than went in.  An input that differs although nobody recorded
making it is an origin too: the data, the initial parameters, or a call that went unseen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from dump.format.names import BACKWARD, FORWARD, parse

from ..model import Kind
from . import arithmetic
from .calls import MeasuredArgument, MeasuredCall
from .expected import Expected, expected_error
from .flow import Flow, Producer

SUSPICIOUS = 10.0
"""An output this many times over what is expected is an origin.  The bounds are lenient already; a factor of ten more
keeps healthy runs silent."""

Previous: TypeAlias = Literal["none", "judged", "unjudged", "suspect", "poisoned"]
"""The step before this one: not compared; compared with its optimizer; compared without it; found different, so that
whatever this step starts from may differ; or full of NaN or Inf, so that nothing in this step can begin anew."""

_INPUT_NOISE = 1e-6
_BOUND_TRUSTED = 1e-3
_DRIFT = 1e-3
_BUFFER_DRIFT = 0.05
_OTHER_DRAW = 0.02
_UNSEEN = 20.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One tensor with its verdict: `role` is introduced, propagated, absorbed, agrees, input, random or ""."""

    argument: MeasuredArgument
    role: str
    expected: Expected | None = None

    @property
    def excess(self) -> float | None:
        if self.expected is None or self.argument.error is None:
            return None
        return ratio(self.argument.relative, self.expected.relative)


@dataclass(frozen=True, slots=True)
class Origin:
    """A call where error begins, at one of its tensors.  `before` names the last call that agreed, for an origin that
    was not seen itself; `grad_fn` its autograd node where known; `producer` a call whose result was overwritten."""

    kind: Kind
    call: MeasuredCall
    judged: Judged
    inherited: float
    unseen: bool = False
    before: str = ""
    grad_fn: str = ""
    parameter: str = ""
    producer: str = ""
    overwritten_by: tuple[str, ...] = ()


@dataclass(slots=True)
class Walk:
    """What the walk found: origins in order, and the verdict on every tensor, by call and argument name."""

    origins: list[Origin] = field(default_factory=list)
    judged: dict[tuple[str, str], Judged] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What is known besides the calls: both dumps' dataflow, which call answers to which, the step, whether the step
    before was compared and its optimizer judged, and the measured floor of each tensor."""

    npu: Flow
    bench: Flow
    step: int | None = None
    previous: Previous = "none"
    partner: Mapping[str, str] = field(default_factory=dict)
    answered: frozenset[str] = frozenset()
    floor: Mapping[tuple[str, str], float] = field(default_factory=dict)


def ratio(measured: float, expected: float) -> float:
    """measured / expected; 0 where nothing was measured, inf where anything is too much."""
    if measured == 0:
        return 0.0
    if math.isinf(expected):
        return 0.0
    return math.inf if expected == 0 else measured / expected


def judged_calls(calls: Sequence[MeasuredCall], *, by_module: bool) -> list[MeasuredCall]:
    """The calls that error can begin in: API calls, or modules where no API call was recorded."""
    return [
        call
        for call in calls
        if call.name.prefix != "Optimizer"
        and call.name.direction in (FORWARD, BACKWARD)
        and call.name.is_module == by_module
    ]


def walk(calls: Sequence[MeasuredCall], context: Context) -> Walk:
    """Judge every call in order; `calls` are matched pairs, the optimizer's left out."""
    found = Walk()
    poisoned = (
        context.previous == "poisoned"
    )  # once NaN or Inf have appeared, they reach where no dataflow shows them (indices, masks)
    inside = _Inside()
    by_name = {call.full_name: call for call in calls}
    worst = 0.0  # the largest error of anything seen so far
    last_agreeing = ""
    for call in calls:
        forward = by_name.get(_forward_name(call.full_name)) if call.is_backward else None
        inherited = _largest(call.read)
        for argument in call.read:
            origin = _judge_input(call, argument, context, found, worst, last_agreeing)
            if origin is not None and not poisoned:
                found.origins.append(origin)
        worst = max(worst, inherited)
        best: Origin | None = None
        for argument in call.wrote:
            origin = _judge_output(call, argument, forward, context, found, max(inherited, inside.worst(call)))
            if origin is not None and (best is None or _stronger(origin, best)):
                best = origin
        if best is not None and not poisoned and not (_by_bound(best) and worst > _BOUND_TRUSTED):
            found.origins.append(best)
        poisoned = poisoned or (best is not None and best.kind == "nan_inf")
        worst = max(worst, _largest(call.wrote))
        inside.note(call)
        if best is None and _largest(call.wrote) <= _INPUT_NOISE:
            last_agreeing = call.full_name
    return found


def _by_bound(origin: Origin) -> bool:
    """Was it judged by statistics alone?  They may agree by chance where tensors do not, so once anything differed
    they no longer show who began."""
    error = origin.judged.argument.error
    return error is not None and error.source == "bound" and not origin.unseen


class _Inside:
    """The largest error that calls inside a module showed: at module level, what a container's result inherits."""

    def __init__(self) -> None:
        self._worst: dict[tuple[str, str], float] = {}

    def note(self, call: MeasuredCall) -> None:
        if not call.name.is_module:
            return
        error = max(_largest(call.read), _largest(call.wrote))
        parts = call.name.path.split(".")
        for depth in range(len(parts)):
            key = (".".join(parts[:depth]), call.name.direction)
            self._worst[key] = max(self._worst.get(key, 0.0), error)

    def worst(self, call: MeasuredCall) -> float:
        return self._worst.get((call.name.path, call.name.direction), 0.0) if call.name.is_module else 0.0


def _largest(arguments: Sequence[MeasuredArgument]) -> float:
    return max((argument.relative for argument in arguments), default=0.0)


def _stronger(one: Origin, other: Origin) -> bool:
    return (one.judged.excess or 0.0) > (other.judged.excess or 0.0)


def _forward_name(backward: str) -> str:
    name = parse(backward)
    if name.is_module:
        return backward.replace(".backward.", ".forward.")
    return f"{backward.removesuffix('backward')}forward"


def _judge_input(
    call: MeasuredCall,
    argument: MeasuredArgument,
    context: Context,
    found: Walk,
    worst: float,
    last_agreeing: str,
) -> Origin | None:
    """An input that differs although no recorded call wrote it is where error enters what was recorded."""
    error = argument.error
    if error is None:
        return None
    key = (call.full_name, argument.name)
    order = call.pair.npu.index if call.pair.npu is not None else 0
    producer = context.npu.producer(argument.npu, order)
    lone = _lone_producer(call, argument, producer, context)
    if lone and argument.relative > _UNSEEN * max(worst, _INPUT_NOISE):
        found.judged[key] = judged = Judged(argument, "input", Expected(max(worst, _INPUT_NOISE), "seen before it"))
        return Origin("structure", call, judged, worst, True, last_agreeing, producer=lone)
    if producer is not None or argument.relative <= _INPUT_NOISE:
        found.judged[key] = Judged(argument, "agrees" if argument.relative <= _INPUT_NOISE else "propagated")
        return None
    if not context.npu.exact and call.is_backward:
        found.judged[key] = Judged(argument, "propagated")
        return None
    expected = Expected(_INPUT_NOISE, "nothing recorded made it")
    judged = Judged(argument, "input", expected)
    found.judged[key] = judged
    unseen = argument.npu.grad_fn is not None or call.is_backward
    if unseen:
        # It was computed by a call that nobody recorded, perhaps from inputs that differ already.
        if argument.relative <= _UNSEEN * max(worst, _INPUT_NOISE):
            found.judged[key] = Judged(argument, "propagated", Expected(worst, "what was seen before it"))
            return None
        kind: Kind = "nan_inf" if error.is_nonfinite else "operator"
        return Origin(kind, call, judged, worst, True, last_agreeing, (argument.npu.grad_fn or "").removesuffix("0"))
    writers = context.npu.writers(argument.npu, order)
    overwritten = _overwritten(argument, context, order)
    if overwritten is not None and worst <= _INPUT_NOISE:
        return Origin(
            "operator",
            call,
            judged,
            worst,
            True,
            last_agreeing,
            producer=overwritten,
            overwritten_by=tuple(writer.call for writer in writers[:3]),
        )
    if overwritten is not None:
        found.judged[key] = Judged(argument, "propagated", Expected(worst, "what was written to its memory before"))
        return None
    if _is_drift(argument, context):
        found.judged[key] = Judged(argument, "propagated", Expected(argument.relative, "the step before"))
        return None
    if not argument.is_floating and worst > _INPUT_NOISE:
        found.judged[key] = Judged(argument, "propagated", Expected(worst, "what was seen before it"))
        return None
    parameter = context.npu.parameter(argument.npu) or ""
    trained = bool(argument.npu.requires_grad) and context.previous == "unjudged"
    return Origin("optimizer" if trained else "input", call, judged, 0.0, parameter=parameter)


def _is_drift(argument: MeasuredArgument, context: Context) -> bool:
    """After the first step parameters and buffers part by the noise of the steps before; where the optimizer of the
    step before was judged, its verdict stands for the parameters."""
    if context.previous == "suspect":
        return True
    if not context.step:
        return False
    if argument.npu.requires_grad and context.previous == "judged":
        return True
    return argument.is_floating and argument.relative <= (_DRIFT if argument.npu.requires_grad else _BUFFER_DRIFT)


def _lone_producer(call: MeasuredCall, argument: MeasuredArgument, producer: Producer | None, context: Context) -> str:
    """A call that made this input on one side and has no partner on the other; "" where there is none."""
    if producer is not None and producer.call not in context.partner:
        return producer.call
    if call.pair.bench is None:
        return ""
    theirs = context.bench.producer(argument.bench, call.pair.bench.index)
    if theirs is not None and theirs.call not in context.answered:
        return theirs.call
    return ""


def _overwritten(argument: MeasuredArgument, context: Context, order: int) -> str | None:
    """The call whose result lay in this memory before; None where none did.  Buffers that a call writes beside its
    result (running statistics) are not results that somebody relies on."""
    for writer in context.npu.writers(argument.npu, order):
        if not writer.argument.startswith("written."):
            return writer.call
    return None


def _judge_output(
    call: MeasuredCall,
    argument: MeasuredArgument,
    forward: MeasuredCall | None,
    context: Context,
    found: Walk,
    inherited: float,
) -> Origin | None:
    error = argument.error
    key = (call.full_name, argument.name)
    if error is None:
        return None
    floor = context.floor.get(key)
    expected = expected_error(call, argument, forward, floor)
    if call.name.is_module and _UNSEEN * inherited > expected.relative and inherited > _largest(call.read):
        expected = Expected(_UNSEEN * inherited, "what the modules inside it showed")
    excess = ratio(argument.relative, expected.relative)
    read = call.read if forward is None else (*call.read, *forward.read, *forward.wrote)
    if error.is_nonfinite and not any(a.error is not None and a.error.is_nonfinite for a in read):
        judged = Judged(argument, "introduced", Expected(0.0, "inputs are finite"))
        found.judged[key] = judged
        return Origin("nan_inf", call, judged, inherited)
    if excess <= SUSPICIOUS:
        role = "agrees" if argument.relative <= _INPUT_NOISE else "propagated"
        if role == "propagated" and argument.relative < 0.1 * inherited:
            role = "absorbed"
        found.judged[key] = Judged(argument, role, expected)
        return None
    if (
        arithmetic.draws(call.operator)
        and not call.is_backward
        and argument.relative > _OTHER_DRAW
        and _draws_here(call)
    ):
        found.judged[key] = judged = Judged(argument, "random", expected)
        if arithmetic.is_random_source(call.operator) and call.owner is None:
            return Origin("input", call, judged, inherited)
        return Origin("random", call, judged, inherited)
    found.judged[key] = judged = Judged(argument, "introduced", expected)
    return Origin("operator", call, judged, inherited)


def _draws_here(call: MeasuredCall) -> bool:
    """An operator that can draw does so only with a probability above 0 (and in training)."""
    record = call.pair.npu
    if record is None or arithmetic.is_random_source(call.operator):
        return True
    if arithmetic.operator_class(call.operator) == "contraction":  # attention, recurrent nets: dropout is an option
        for argument in record.inputs:
            if argument.name == "input.dropout_p" and getattr(argument.leaf, "value", 0) not in (0, None):
                return True
        return call.operator in ("lstm", "gru", "rnn_tanh", "rnn_relu") and _recurrent_dropout(call)
    return True


def _recurrent_dropout(call: MeasuredCall) -> bool:
    """torch._VF.lstm(input, hx, weights, bias, layers, dropout, train, ...): dropout above 0 and train."""
    record = call.pair.npu
    assert record is not None
    values = {a.name: getattr(a.leaf, "value", None) for a in record.inputs}
    dropout, train = values.get("input.5"), values.get("input.6")
    return isinstance(dropout, float) and dropout > 0 and train is True
