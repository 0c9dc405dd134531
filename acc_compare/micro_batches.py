"""The calls of one rank by micro-batch and by chunk of the model, told by the modules that they ran in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from acc_compare.collectives import MESSAGES
from dump.format.names import BACKWARD, FORWARD, PARAMETERS_GRAD, forward_name, parse
from dump.format.schema import CallRecord, Dump, values_of

_Place: TypeAlias = "tuple[int, int]"
"""A chunk and a micro-batch."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The calls of one micro-batch, those before all and those after all."""

    before: tuple[CallRecord, ...]
    forward: tuple[CallRecord, ...]
    backward: tuple[CallRecord, ...]
    after: tuple[CallRecord, ...]


def parted(dump: Dump, begins: Collection[str] = ()) -> list[list[MicroBatch]] | None:
    """The calls of one rank by chunk of the model and by micro-batch; None where they are not so many for each.

    A chunk is what runs between two messages, told by its modules; a rank has several where a pipeline is interleaved.
    Where modules alone were recorded, each call is its own module's, and a chunk `begins` with these.
    """
    alone = dump.header.level == "L0"
    forward = [call.name for call in dump.calls if _is_forward(call)]
    owned = {name: owner for name in forward if (owner := _of_module(name) if alone else dump.owners.get(name))}
    turns = _turns(owned.values())
    if turns is None:
        return None
    count, per = turns
    chunks = _chunks(dump, owned, begins)
    place_of = {
        name: (chunks[_module(owner)], parse(owner).number // per[_module(owner)]) for name, owner in owned.items()
    }
    work = _Work(1 + max(chunks.values()), count)
    within = _within_backward(dump, owned)
    for call in dump.calls:
        if _is_message(call):
            continue
        of = call.name if is_backward(call) else within.get(call.name)
        if of is not None:
            work.backward(call, forward_name(of))
        elif call.name in place_of:
            work.forward(call, place_of[call.name])
        else:
            work.waiting.append(call)
    return work.batches()


def _of_module(name: str) -> str | None:
    return name if parse(name).is_module else None


def _turns(owners: Iterable[str]) -> tuple[int, dict[str, int]] | None:
    """How many micro-batches there are, and how often each module ran for one; None where no number fits all."""
    numbers: dict[str, set[int]] = {}
    for owner in owners:
        numbers.setdefault(_module(owner), set()).add(parse(owner).number)
    count = min(map(len, numbers.values()), default=0)
    if not count or any(found != set(range(len(found))) or len(found) % count for found in numbers.values()):
        return None
    return count, {module: len(found) // count for module, found in numbers.items()}


class _Work:
    """Which chunk and micro-batch each call is of, gathered in the order of execution.

    Calls outside of modules wait until it is known what comes next: between the backward of one micro-batch and the
    next one those are of the first that read what it made or make what such calls read, and the others make the second
    one's input ready.
    """

    def __init__(self, chunks: int, count: int) -> None:
        self.waiting: list[CallRecord] = []
        self._before: tuple[CallRecord, ...] | None = None
        self._now: _Place = (0, 0)
        self._was_backward = False
        self._places: dict[str, _Place] = {}
        self._makers: dict[int, _Place] = {}
        self._parts: dict[_Place, tuple[list[CallRecord], list[CallRecord]]] = {
            (chunk, batch): ([], []) for chunk in range(chunks) for batch in range(count)
        }
        self._readying: dict[_Place, list[CallRecord]] = {}

    def forward(self, call: CallRecord, place: _Place) -> None:
        if self._before is None:
            self._before, self.waiting, self._now = tuple(self.waiting), [], place
        readying = self._go_on(after_backward=self._was_backward and place != self._now)
        for each in (*readying, call):
            self._add(each, place)
        if readying:
            self._readying[place] = readying
        self._now, self._was_backward = place, False

    def backward(self, call: CallRecord, forward: str) -> None:
        if self._before is not None:
            self._go_on(after_backward=False)
        self._was_backward = True
        place = self._places.get(forward)
        if place is not None:
            self._parts[place][1].append(call)
            self._makers.update(dict.fromkeys(values_of(call.outputs), place))

    def batches(self) -> list[list[MicroBatch]]:
        """All of them, by chunk."""
        before = self._first_readied()
        after = tuple(self.waiting)
        chunks = 1 + max(chunk for chunk, _ in self._parts)
        return [
            [
                MicroBatch(before, tuple(there), tuple(back), after)
                for (other, _), (there, back) in self._parts.items()
                if other == chunk
            ]
            for chunk in range(chunks)
        ]

    def _add(self, call: CallRecord, place: _Place) -> None:
        self._places[call.name] = place
        self._parts[place][0].append(call)
        self._makers.update(dict.fromkeys(values_of(call.outputs), place))

    def _go_on(self, *, after_backward: bool) -> list[CallRecord]:
        """Give the calls that wait to the micro-batch that ran; after its backward, those that have nothing to do with
        it are left."""
        homes: list[_Place | None] = []
        made = dict(self._makers)
        for call in self.waiting:
            home = next((made[value] for value in values_of(call.inputs) if value in made), None)
            homes.append(home)
            if home is not None:
                made.update(dict.fromkeys(values_of(call.outputs), home))
        read: dict[int, _Place] = {}
        for number in reversed(range(len(homes))):
            call, home = self.waiting[number], homes[number]
            home = home or next((read[value] for value in values_of(call.outputs) if value in read), None)
            homes[number] = home
            if home is not None:
                read.update(dict.fromkeys(values_of(call.inputs), home))
        waiting, self.waiting = self.waiting, []
        left = []
        for call, home in zip(waiting, homes, strict=True):
            if home is None and after_backward:
                left.append(call)
            else:
                self._add(call, home if home is not None and after_backward else self._now)
        return left

    def _first_readied(self) -> tuple[CallRecord, ...]:
        """What was before all, but for what made the first micro-batch ready as it was done for all others."""
        before = self._before or ()
        chunk_and_batch = min(self._parts)
        others = [self._readying.get(place, []) for place in self._parts if place[1] > 0]
        apis = {tuple(parse(call.name).api for call in each) for each in others}
        if len(apis) != 1:
            return before
        (same,) = apis
        own = before[len(before) - len(same) :]
        if not same or tuple(parse(call.name).api for call in own) != same:
            return before
        self._parts[chunk_and_batch][0][:0] = own
        return before[: len(before) - len(same)]


def _within_backward(dump: Dump, owned: Mapping[str, str]) -> dict[str, str]:
    """The calls that run between two of backward, as those that a function of the user's own makes in its backward do,
    each with the backward call that is next."""
    found: dict[str, str] = {}
    waiting: list[str] | None = None
    for call in dump.calls:
        if is_backward(call):
            found.update(dict.fromkeys(waiting or (), call.name))
            waiting = []
        elif call.name in owned:
            waiting = None
        elif waiting is not None:
            waiting.append(call.name)
    return found


def _chunks(dump: Dump, owned: Mapping[str, str], begins: Collection[str]) -> dict[str, int]:
    """The chunk of each module that ran: those that ran between the same messages are one."""
    found: dict[str, int] = {}
    now: int | None = None
    for call in dump.calls:
        if _is_message(call) or call.name in begins:
            now = None
        if call.name in owned:
            module = _module(owned[call.name])
            if now is None:
                now = found.get(module, 1 + max(found.values(), default=-1))
            found.setdefault(module, now)
    return found


def _module(owner: str) -> str:
    name = parse(owner)
    return f"{name.path} {name.api}"


def _is_message(call: CallRecord) -> bool:
    return any(collective.kind in MESSAGES for collective in call.collectives)


def _is_forward(call: CallRecord) -> bool:
    return not call.is_recompute and parse(call.name).direction == FORWARD


def is_backward(call: CallRecord) -> bool:
    return parse(call.name).direction in (BACKWARD, PARAMETERS_GRAD)
