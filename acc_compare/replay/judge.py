"""One recorded call made again on a device and in float64, and its record judged by both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from acc_compare import operators
from acc_compare.messages import Message, say
from acc_compare.replay import expected
from acc_compare.replay.accuracy import Distance, distance, equal, in_last_place
from acc_compare.replay.arguments import Setting, may_be_huge
from acc_compare.replay.calls import FAILED, Made, Recorded, asks_for_too_much, failure, make, recorded_call
from acc_compare.replay.names import CannotReplay, Target, target_of
from acc_compare.replay.results import Accuracy, ReplayedCall, ReplayedTensor
from dump.format.names import parse
from dump.format.nested import NestedDump
from dump.format.schema import NestedCall, TensorRecord

_MOST_ELEMENTS = 1 << 31
_SEEDS = (1, 2)
_CPU = torch.device("cpu")

Moves = Callable[[float], "Iterator[Made]"]


@dataclass(frozen=True, slots=True)
class Sight:
    """A dump to be judged: `device` is where calls are made again, None for not at all (the reference alone);
    `lowered` and `device_lowered` the roundoff of the operands of products, on the side of the record and here."""

    dump: NestedDump
    wide: torch.dtype = torch.float64
    device: torch.device | None = None
    lowered: float = 0.0
    device_lowered: float = 0.0
    step: int | None = None
    rank: int | None = None

    @property
    def on_its_device(self) -> bool:
        return self.device is None or (self.dump.header.device or "cpu") == self.device.type


def judged(sight: Sight, forward: str) -> Iterator[ReplayedCall]:
    """The forward call of that name, and its backward where it was recorded.  Raises DumpCorrupt."""
    recorded = recorded_call(sight.dump, forward)
    if recorded is None:
        return
    try:
        yield from list(_Case(sight, recorded).results())
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


class _Case:
    """One call.  Raises CannotReplay throughout where it cannot be made again."""

    def __init__(self, sight: Sight, recorded: Recorded) -> None:
        self.sight = sight
        self.recorded = recorded
        self.target = self._target()
        self.builder = recorded.builder(sight.dump)
        if may_be_huge(recorded.forward, _MOST_ELEMENTS) and asks_for_too_much(self.target, recorded, self.builder):
            raise CannotReplay(say("replay.reason.huge"))
        self.follows = recorded.follows
        self.reference = make(self.target, recorded, self.builder, Setting(_CPU, sight.wide, self.follows))
        self.again: Made | None = None
        if sight.device is not None:
            self.again = make(self.target, recorded, self.builder, Setting(sight.device, None, self.follows))
        if self.reference.drew or (self.again is not None and self.again.drew):
            raise CannotReplay(say("replay.reason.random"))
        self._moved: dict[float, list[Made]] = {}

    def _target(self) -> Target:
        forward = self.recorded.forward
        target = target_of(parse(forward.name))
        api = parse(forward.name).api
        if operators.is_uninitialised(api):
            raise CannotReplay(say("replay.reason.uninitialised"))
        if not expected.read_by(forward):
            raise CannotReplay(say("replay.reason.reads_nothing"))
        return target

    def results(self) -> Iterator[ReplayedCall]:
        again = self.again
        forward = self._result(
            self.recorded.forward, None, self.reference.outputs, again.outputs if again is not None else None, "outputs"
        )
        yield forward
        if self.recorded.backward is not None:
            backward = self._result(
                self.recorded.backward,
                self.recorded.forward,
                self.reference.gradients,
                again.gradients if again is not None else None,
                "gradients",
            )
            yield replace(backward, after_wrong=any(tensor.recorded.wrong for tensor in forward.tensors))

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
        try:
            tensors = tuple(
                self._tensor(call, forward, place, record, reference, again, part)
                for place, record in expected.written_by(call)
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
            expected.fresh(call, forward, place, record, norm if norm < float("inf") else 0.0, lowered=lowered)
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

    def moved(self, unit: float) -> list[Made]:
        """The reference with its inputs moved by a rounding, a few times."""
        if unit not in self._moved:
            wrote = [record.dtype for _, record in expected.written_by(self.recorded.forward)]
            saved = operators.roundoff(wrote) if self.recorded.backward is not None else 0.0
            settings = [Setting(_CPU, self.sight.wide, self.follows, unit, saved, seed) for seed in _SEEDS]
            self._moved[unit] = [make(self.target, self.recorded, self.builder, setting) for setting in settings]
        return self._moved[unit]


class _Explain:
    """Is the error of one tensor explained?  What has to be measured for that is, where it is asked for, and once."""

    def __init__(
        self, case: _Case, call: NestedCall, record: TensorRecord, place: str, part: str, exact: torch.Tensor
    ) -> None:
        self._case, self._call, self._record = case, call, record
        self._place, self._part, self._exact = place, part, exact
        self._response: Distance | None = None
        self.is_floating = False

    def accuracy(self, found: torch.Tensor, typical: float, lowered: float) -> Accuracy:
        off = distance(found, self._exact)
        self.is_floating = off.is_floating
        wrong = self._is_beyond(off, typical, self._response)
        if wrong and self._response is None:
            wrong = self._is_beyond(off, typical, self._moved(lowered))
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
        return expected.PEAK * expected.limit(typical) + expected.MOVED * moved

    def _is_beyond(self, off: Distance, typical: float, moved: Distance | None) -> bool:
        if off.nonfinite:
            return moved is None or not moved.nonfinite
        if not off.is_floating:
            return off.relative > (expected.MOVED * moved.relative if moved is not None else 0.0)
        return off.relative > self.limit(typical) or off.largest > self.peak(typical)

    def _moved(self, lowered: float) -> Distance:
        if self._response is None:
            unit = expected.moved_by(self._case.recorded.forward, self._record.dtype, lowered=lowered)
            found = []
            for made in self._case.moved(unit):
                other = getattr(made, self._part).get(self._place)
                if other is not None and other.shape == self._exact.shape:
                    found.append(distance(other, self._exact))
            self._response = Distance(
                max((each.relative for each in found), default=0.0),
                max((each.largest for each in found), default=0.0),
                any(each.nonfinite for each in found),
                self.is_floating,
            )
        return self._response
