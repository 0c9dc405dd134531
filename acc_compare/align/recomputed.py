"""What a side runs more than once: activations recomputed for backward, and micro-batches of one optimizer step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from acc_compare.align.paths import plain_path
from acc_compare.align.values import reads, value_key, writes
from acc_compare.messages import Message, count, say
from dump.format import names
from dump.format.schema import CallRecord, Dump

_ALIKE = 0.9
_WHOLE = 0.5


def originals(calls: Sequence[CallRecord], owners: Mapping[str, str | None]) -> dict[str, CallRecord]:
    """The call that each recomputation (activation checkpointing) repeats, by the recomputation's name.

    Checkpointed parts are repeated in the order of their calls, the last part first: a recomputation that follows on
    another repeats the call after; one that begins a part repeats the latest call that read the same value, else the
    latest of the same operator, module and shapes.
    """
    recomputed = [call for call in calls if call.is_recompute]
    if not recomputed:
        return {}
    plain = {True: _Originals(calls, owners, modules=True), False: _Originals(calls, owners, modules=False)}
    found = {}
    for call in recomputed:
        answer = plain[names.parse(call.name).is_module].of(call)
        if answer is not None:
            found[call.name] = answer
    return found


class _Originals:
    """The plain forward calls of one kind or another, the latest first that no recomputation has been found for."""

    def __init__(self, calls: Sequence[CallRecord], owners: Mapping[str, str | None], *, modules: bool) -> None:
        self._owners = owners
        self._calls = [
            call
            for call in calls
            if not call.is_recompute and names.parse(call.name).is_module == modules and _is_forward(call)
        ]
        self._kinds = [self._kind(call) for call in self._calls]
        self._places: dict[object, list[int]] = {}
        for place, call in enumerate(self._calls):
            kind = self._kinds[place]
            self._places.setdefault(kind, []).append(place)
            self._places.setdefault((kind, _first_read(call)), []).append(place)
        self._used: set[int] = set()
        self._next = -1

    def of(self, call: CallRecord) -> CallRecord | None:
        kind = self._kind(call)
        chosen: int | None = self._next
        if self._next < 0 or self._next >= len(self._calls) or not self._is_free(self._next, kind, call):
            chosen = self._latest((kind, _first_read(call)), kind, call)
            if chosen is None:
                chosen = self._latest(kind, kind, call)
        if chosen is None:
            return None
        self._used.add(chosen)
        self._next = chosen + 1
        return self._calls[chosen]

    def _is_free(self, place: int, kind: object, call: CallRecord) -> bool:
        return place not in self._used and self._kinds[place] == kind and self._calls[place].index < call.index

    def _latest(self, key: object, kind: object, call: CallRecord) -> int | None:
        places = self._places.get(key, [])
        while places and places[-1] in self._used:
            places.pop()
        return next((place for place in reversed(places) if self._is_free(place, kind, call)), None)

    def _kind(self, call: CallRecord) -> object:
        name = names.parse(call.name)
        if name.is_module:
            return plain_path(name.path)
        owner = self._owners.get(call.name)
        place = plain_path(names.parse(owner).path) if owner else ""
        return (name.prefix, name.api, place, tuple(item.leaf.shape for item in (*reads(call), *writes(call))))


def _first_read(call: CallRecord) -> object:
    first = next(reads(call), None)
    return None if first is None else value_key(first.leaf)


def _is_forward(call: CallRecord) -> bool:
    name = names.parse(call.name)
    return name.direction == names.FORWARD and name.prefix != "Optimizer"


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """Both sides run the model a different number of times for one optimizer step (gradient accumulation).

    `first_npu` and `first_bench` are the indices of the call that ends the first micro-batch of a side; `same_size`
    says that both have micro-batches of one size, so that the first ones answer to each other.
    """

    npu: int
    bench: int
    first_npu: int
    first_bench: int
    same_size: bool

    def reason(self, *, on_npu: bool) -> Message:
        """Why a call of that side was not compared."""
        return say("batches.this_side", difference=self.difference(on_npu=on_npu))

    def difference(self, *, on_npu: bool) -> Message:
        """What one side does, and what follows from it."""
        here, there = (self.npu, self.bench) if on_npu else (self.bench, self.npu)
        side = say("name.bench" if on_npu else "name.npu")
        what = say("batches.runs", here=count(here, "micro-batch"), side=side, there=there)
        return say("batches.first" if self.same_size else "batches.only", what=what)


def micro_batches(npu: Dump, bench: Dump) -> MicroBatches | None:
    """The micro-batches of both sides where their numbers differ; None where they do not, or nothing tells them apart.

    A micro-batch is a run of forward calls with the backward calls that follow it.  Both sides' must consist of the
    same operators, up to a tenth.
    """
    ours, theirs = _segments(npu), _segments(bench)
    if len(ours) == len(theirs) or not ours or not theirs:
        return None
    if not _alike(_operators(ours[0]), _operators(theirs[0])):
        return None
    if not all(_alike(_operators(part), _operators(parts[0])) for parts in (ours, theirs) for part in parts):
        return None
    return MicroBatches(
        npu=len(ours),
        bench=len(theirs),
        first_npu=_end(npu, ours),
        first_bench=_end(bench, theirs),
        same_size=_alike(_shapes(ours[0]), _shapes(theirs[0])),
    )


def _segments(dump: Dump) -> list[list[CallRecord]]:
    """Forward calls of each micro-batch; runs that are small beside the largest (logging, a metric) are left out."""
    found: list[list[CallRecord]] = [[]]
    in_backward = False
    for call in dump.calls:
        name = names.parse(call.name)
        if name.direction == names.BACKWARD:
            in_backward = True
        elif not name.is_module and _is_forward(call) and not call.is_recompute:
            if in_backward:
                found.append([])
            in_backward = False
            found[-1].append(call)
    largest = max(len(part) for part in found)
    return [part for part in found if len(part) >= _WHOLE * largest and part]


def _end(dump: Dump, parts: Sequence[Sequence[CallRecord]]) -> int:
    return parts[1][0].index if len(parts) > 1 else len(dump.calls)


def _operators(part: Sequence[CallRecord]) -> Counter[object]:
    return Counter(names.parse(call.name).api for call in part)


def _shapes(part: Sequence[CallRecord]) -> Counter[object]:
    return Counter(tuple(item.leaf.shape for item in (*reads(call), *writes(call))) for call in part)


def _alike(one: Counter[object], other: Counter[object]) -> bool:
    return (one & other).total() >= _ALIKE * max(one.total(), other.total())
