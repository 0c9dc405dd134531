"""One recorded call made again on a device and in float64, and its record judged by both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from acc_compare import operators
from acc_compare.messages import Message, say
from acc_compare.replay import expected
from acc_compare.replay.accuracy import Distance, distance, equal, in_last_place
from acc_compare.replay.arguments import Builder, Load, Setting, may_be_huge
from acc_compare.replay.calls import FAILED, Made, Recorded, asks_for_too_much, failure, make
from acc_compare.replay.names import CannotReplay, Target, target_of
from acc_compare.replay.parts import is_made_alone
from acc_compare.replay.results import Accuracy, ReplayedCall, ReplayedTensor
from dump.format.names import parse
from dump.format.schema import NestedCall, TensorRecord

_MOST_ELEMENTS = 1 << 31
_DRAWS = (2, 8)
"""How often the reference is made with other roundings of its inputs before a result is called wrong: twice, and where
that would be enough, more often, as the move of few elements is small by chance in two draws of a hundred."""
_FAR = 100.0
"""Beyond so many times the limit no further draw is waited for."""
_CPU = torch.device("cpu")

Moves = Callable[[float], "Iterator[Made]"]


@dataclass(frozen=True, slots=True)
class Counterpart:
    """The other side's record of a call, and where its tensors come from."""

    recorded: Recorded
    load: Load


@dataclass(frozen=True, slots=True)
class Sight:
    """How the calls of one run are judged.

    `load` gives recorded tensors; `recorded_on` is the run's device, `tells_tuples` whether its records do.  The
    reference is computed in `wide` on the CPU, or without it in the types of the record, and then rounds as well.
    `device` is where calls are made again, None for not at all; `lowered` and `device_lowered` are the roundoff of the
    operands of products, on the side of the record and here.  With `counterpart` the other side's record, carried over
    to the inputs of this one, is the reference.  A `guest` shares the process with the run.
    """

    load: Load
    recorded_on: str = "cpu"
    tells_tuples: bool = True
    wide: torch.dtype | None = torch.float64
    device: torch.device | None = None
    lowered: float = 0.0
    device_lowered: float = 0.0
    step: int | None = None
    rank: int | None = None
    counterpart: Callable[[str], Counterpart | None] | None = None
    guest: bool = False

    @property
    def on_its_device(self) -> bool:
        return self.device is None or self.recorded_on == self.device.type

    @property
    def roundings(self) -> float:
        """How many results round, of the one that is judged and its reference."""
        return 2.0 if self.wide is None or self.counterpart is not None else 1.0


def judged(sight: Sight, recorded: Recorded) -> Iterator[ReplayedCall]:
    """The forward call, and its backward where it was recorded."""
    try:
        yield from list(Case(sight, recorded).results())
    except CannotReplay as refused:
        yield from unjudged(sight, recorded, refused.reason)
    except FAILED as error:  # a dtype that has no such arithmetic
        yield from unjudged(sight, recorded, failure(error))


def unjudged(sight: Sight, recorded: Recorded, reason: Message) -> Iterator[ReplayedCall]:
    """Both calls, for a reason."""
    for call in (recorded.forward, recorded.backward):
        if call is not None:
            yield ReplayedCall(call.name, _operator(call.name), sight.step, sight.rank, reason=reason)


def _operator(name: str) -> str:
    parts = parse(name)
    return f"{parts.prefix}.{parts.api}"


def wanted_target(recorded: Recorded) -> Target:
    """The function of a call that can be made again.  Raises CannotReplay."""
    forward = recorded.forward
    target = target_of(parse(forward.name))
    if operators.is_uninitialised(parse(forward.name).api):
        raise CannotReplay(say("replay.reason.uninitialised"))
    if not expected.read_by(forward):
        raise CannotReplay(say("replay.reason.reads_nothing"))
    if not is_made_alone(forward, is_backward=False):
        raise CannotReplay(say("replay.reason.parts"))
    return target


class Case:
    """One call.  Raises CannotReplay, and what torch raises, throughout where it cannot be made again.

    With `waits` the backward call is still to come: `backward` takes it.
    """

    def __init__(self, sight: Sight, recorded: Recorded, *, waits: bool = False) -> None:
        self.sight = sight
        self.recorded = recorded
        self.target = wanted_target(recorded)
        self._make(waits=waits)

    def _make(self, *, waits: bool = False) -> None:
        sight, recorded = self.sight, self.recorded
        self.builder = recorded.builder(sight.load, tells_tuples=sight.tells_tuples)
        if may_be_huge(recorded.forward, _MOST_ELEMENTS) and asks_for_too_much(self.target, recorded, self.builder):
            raise CannotReplay(say("replay.reason.huge"))
        setting = Setting(_CPU, sight.wide, recorded.follows, guest=sight.guest, keeps_graph=waits)
        self.setting = replace(setting, keeps_graph=False)
        self.reference = make(self.target, recorded, self.builder, setting)
        self.again: Made | None = None
        if sight.device is not None:
            here = Setting(sight.device, None, recorded.follows, guest=sight.guest)
            self.again = make(self.target, recorded, self.builder, here)
        if self.reference.drew or (self.again is not None and self.again.drew):
            raise CannotReplay(say("replay.reason.random"))
        self._moved: dict[tuple[float, int], Made] = {}
        if sight.counterpart is not None:
            self._carry(sight.counterpart)

    def _carry(self, counterpart: Callable[[str], Counterpart | None]) -> None:
        """Put the other side's results in place of the reference, moved by what the inputs differ."""
        other = counterpart(self.recorded.forward.name)
        if other is None:
            raise CannotReplay(say("replay.reason.no_counterpart"))
        builder = other.recorded.builder(other.load)
        theirs = make(self.target, other.recorded, builder, self.setting)
        backward = other.recorded.backward
        carried(self.reference.outputs, theirs.outputs, other.recorded.forward, builder)
        if backward is not None:
            carried(self.reference.gradients, theirs.gradients, backward, builder)

    def results(self) -> Iterator[ReplayedCall]:
        """What forward, and backward where it was recorded, come to."""
        forward = self.forward()
        yield forward
        if self.recorded.backward is not None:
            yield self._backward(self.recorded.backward, forward)

    def forward(self) -> ReplayedCall:
        """What the forward call comes to."""
        again = self.again.outputs if self.again is not None else None
        return self._result(self.recorded.forward, None, self.reference.outputs, again, "outputs")

    def backward(self, call: NestedCall, forward: ReplayedCall) -> ReplayedCall:
        """What the backward call comes to, which has run since; `forward` is what the forward call came to."""
        self.recorded = Recorded(self.recorded.forward, call)
        self._moved.clear()
        followed = {number for number, gradient in enumerate(call.outputs) if gradient is not None}
        if self.sight.counterpart is not None or not followed <= self.reference.leaves:
            self._make()  # the same tensor stands under two of autograd's edges
        else:
            self.reference.follow(self.builder.gradients(self.recorded.gradients, self.setting))
        return self._backward(call, forward)

    def _backward(self, call: NestedCall, forward: ReplayedCall) -> ReplayedCall:
        again = self.again.gradients if self.again is not None else None
        found = self._result(call, self.recorded.forward, self.reference.gradients, again, "gradients")
        return replace(found, after_wrong=any(tensor.recorded.wrong for tensor in forward.tensors))

    def _result(
        self,
        call: NestedCall,
        forward: NestedCall | None,
        reference: Mapping[str, torch.Tensor],
        again: Mapping[str, torch.Tensor] | None,
        part: str,
    ) -> ReplayedCall:
        sight = self.sight
        common = call.name, _operator(call.name), sight.step, sight.rank
        written = expected.written_by(call)
        unique = [each for each in written if not expected.is_one_of_several(call, forward, *each)]
        if written and not unique:
            return ReplayedCall(*common, reason=say("replay.reason.not_unique"))
        if forward is not None and not is_made_alone(call, is_backward=True):
            return ReplayedCall(*common, reason=say("replay.reason.parts"))
        try:
            tensors = tuple(
                self._tensor(call, forward, place, record, reference, again, part) for place, record in unique
            )
        except CannotReplay as refused:
            return ReplayedCall(*common, reason=refused.reason)
        if not tensors:
            return ReplayedCall(*common, reason=say("replay.reason.writes_nothing"))
        return ReplayedCall(*common, tensors=tensors, on_its_device=sight.on_its_device)

    def _tensor(
        self,
        call: NestedCall,
        forward: NestedCall | None,
        place: str,
        record: TensorRecord,
        reference: Mapping[str, torch.Tensor],
        again: Mapping[str, torch.Tensor] | None,
        part: str,
    ) -> ReplayedTensor:
        found = self.builder.loaded(record)
        exact = reference.get(place)
        if exact is None or exact.shape != found.shape:
            raise CannotReplay(say("replay.reason.shapes", place=place))
        norm = float(torch.linalg.vector_norm(exact.to(torch.complex128 if exact.is_complex() else torch.float64)))
        sides = self.sight.lowered, self.sight.device_lowered
        typical, far = [
            self.sight.roundings
            * expected.fresh(call, forward, place, record, norm if norm < float("inf") else 0.0, lowered=lowered)
            for lowered in sides
        ]
        explain = _Explain(self, call, record, place, part, exact)
        recorded = explain.accuracy(found, typical, sides[0])
        replayed = None
        made = None if again is None else again.get(place)
        is_equal = None if made is None else equal(found, made)
        if is_equal and typical == far:
            replayed = recorded
        elif made is not None and made.shape == exact.shape:
            replayed = explain.accuracy(made, far, sides[1])
        return ReplayedTensor(
            name=place,
            dtype=record.dtype,
            shape=record.shape,
            recorded=recorded,
            replayed=replayed,
            expected=typical if explain.is_floating else 0.0,
            limit=explain.limit(typical) if explain.is_floating else 0.0,
            peak=explain.peak(typical) if explain.is_floating else 0.0,
            equal=is_equal,
        )

    @property
    def finest(self) -> float:
        """The unit roundoff of the reference's type."""
        wide = self.sight.wide
        wrote = [record.dtype for _, record in expected.written_by(self.recorded.forward)]
        return operators.roundoff(wrote if wide is None else [str(wide)])

    def moved(self, unit: float, draw: int) -> Made:
        """The reference with its inputs, and for a backward call what forward keeps, moved by a rounding."""
        if (unit, draw) not in self._moved:
            wrote = [record.dtype for _, record in expected.written_by(self.recorded.forward)]
            saved = unit if unit == self.finest else operators.roundoff(wrote)
            setting = replace(
                self.setting, jitter=unit, saved=saved if self.recorded.backward is not None else 0.0, seed=draw + 1
            )
            self._moved[unit, draw] = make(self.target, self.recorded, self.builder, setting)
        return self._moved[unit, draw]


def carried(
    ours: dict[str, torch.Tensor], theirs: Mapping[str, torch.Tensor], call: NestedCall, builder: Builder
) -> None:
    """In place of each reference of ours the recorded result of `call`, moved by what the two references differ."""
    records = dict(expected.written_by(call))
    for place in list(ours):
        exact, other, record = ours[place], theirs.get(place), records.get(place)
        if other is None or record is None or other.shape != exact.shape or record.shape != exact.shape:
            del ours[place]
            continue
        found = builder.loaded(record)
        if found.is_floating_point() or found.is_complex():
            moves = torch.where(exact == other, torch.zeros_like(exact), exact - other)
            ours[place] = found.to(exact.dtype) + moves
        else:
            ours[place] = torch.where(exact == other, found.to(exact.dtype), exact)


class _Explain:
    """Is the error of one tensor explained?  What has to be measured for that is, where it is asked for, and once."""

    def __init__(
        self, case: Case, call: NestedCall, record: TensorRecord, place: str, part: str, exact: torch.Tensor
    ) -> None:
        self._case, self._call, self._record = case, call, record
        self._place, self._part, self._exact = place, part, exact
        self._response: Distance | None = None
        self._drawn = 0
        self.is_floating = False

    def accuracy(self, found: torch.Tensor, typical: float, lowered: float) -> Accuracy:
        off = distance(found, self._exact)
        self.is_floating = off.is_floating
        wrong = self._is_beyond(off, typical, self._response)
        for draws in _DRAWS:
            if wrong and self._drawn < draws and not (self._drawn and self._is_far(off, typical)):
                wrong = self._is_beyond(off, typical, self._moved(lowered, draws))
        ulp = in_last_place(off.largest, str(found.dtype)) if off.is_floating else None
        return Accuracy(off.relative, ulp, off.nonfinite, wrong)

    def limit(self, typical: float) -> float:
        """Infinite where a rounding of the inputs makes NaN or Inf come and go."""
        if self._response is not None and self._response.nonfinite:
            return float("inf")
        moved = self._response.relative if self._response is not None else 0.0
        return expected.limit(typical) + expected.MOVED * moved

    def peak(self, typical: float) -> float:
        if self._response is not None and self._response.nonfinite:
            return float("inf")
        moved = self._response.largest if self._response is not None else 0.0
        return expected.PEAK * expected.limit(typical) + expected.MOVED_PEAK * moved

    def _is_beyond(self, off: Distance, typical: float, moved: Distance | None) -> bool:
        if off.nonfinite:
            return moved is None or not moved.nonfinite
        if not off.is_floating:
            return off.relative > (expected.MOVED * moved.relative if moved is not None else 0.0)
        return off.relative > self.limit(typical) or off.largest > self.peak(typical)

    def _is_far(self, off: Distance, typical: float) -> bool:
        return off.relative > _FAR * self.limit(typical) or off.largest > _FAR * self.peak(typical)

    def _moved(self, lowered: float, draws: int) -> Distance:
        """The furthest that the reference moved in so many draws.

        What moves by more than itself may be nothing but what is left of the reference's own roundings, where all has
        cancelled: then what moves it is a rounding of the reference's type, and one of the record's is as much larger.
        """
        unit = expected.moved_by(
            self._case.recorded.forward,
            self._place,
            self._record.dtype,
            lowered=lowered,
            is_backward=self._part == "gradients",
        )
        found = [self._response] if self._response is not None else []
        found += [move for draw in range(self._drawn, draws) for move in self._draw(unit, draw)]
        finest = self._case.finest
        if (
            self.is_floating
            and finest
            and not self._drawn
            and any(max(each.relative, each.largest) > 1.0 for each in found)
        ):
            times = operators.roundoff([self._record.dtype]) / finest
            found += [each.times(times) for each in self._draw(finest, 0)]
        self._drawn = draws
        self._response = Distance(
            max((each.relative for each in found), default=0.0),
            max((each.largest for each in found), default=0.0),
            any(each.nonfinite for each in found),
            self.is_floating,
        )
        return self._response

    def _draw(self, unit: float, draw: int) -> Iterator[Distance]:
        """How far the reference moves in one draw, if it can be told."""
        other = getattr(self._case.moved(unit, draw), self._part).get(self._place)
        if other is not None and other.shape == self._exact.shape:
            yield distance(other, self._exact)
