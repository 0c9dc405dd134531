"""What ranks give each other: the dataflow of a step goes on from rank to rank in its collectives.

A collective's result is made of what all of its ranks gave, so it is judged by all of that: an error that another rank
put in is inherited, and one that no rank put in was introduced by the collective.  What each rank gave is gathered
beforehand, a rank at a time.  A message is a collective of two.

Calls of different ranks are ordered by the collectives between them: a call is later than another when a chain of
collectives leads from the one to the other.  `clock` counts the longest chain that leads to a call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from acc_compare.collectives import MESSAGES, REDUCES_GRADIENTS
from acc_compare.judge.dataflow import Flow
from acc_compare.judge.origins import INPUT_NOISE
from acc_compare.judge.replicas import After, Held, held_after, odd_replicas
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.measured.pairs import MeasuredPair
from acc_compare.messages import Message, say
from acc_compare.model import Alignment, PairedCall
from acc_compare.operators import reduced_in
from dump.format.names import BACKWARD, parse
from dump.format.schema import CallRecord, CollectiveRecord, TensorRecord

_MOST_GIVEN = 64

_PARAMETER, _RESULT = "input.param.", "output.0."


class Given(msgspec.Struct, frozen=True):
    """What one rank gave to the collectives of one call: `arguments` by the result that they go into, "" for all.
    `order` is the call's place among those of its rank, `held` what it holds after it as the others of its group do."""

    rank: int
    call: str
    order: int
    collectives: tuple[CollectiveRecord, ...]
    arguments: Mapping[str, tuple[MeasuredArgument, ...]]
    held: Held = {}

    @property
    def differs(self) -> bool:
        """Does anything that it gave differ between the two sides?"""
        return any(a.relative > INPUT_NOISE for given in self.arguments.values() for a in given)


def of_several(call: CallRecord | None) -> tuple[CollectiveRecord, ...]:
    """The collectives of a call in which other ranks take part."""
    return () if call is None else tuple(found for found in call.collectives if len(found.ranks) > 1)


def communicating(alignment: Alignment) -> Alignment:
    """The part of `alignment` that must be measured to know what this rank gave: its collectives, and the backward
    calls whose gradients are reduced."""
    reduced = any(c.kind == REDUCES_GRADIENTS for pair in alignment.pairs for c in of_several(pair.npu))

    def is_needed(pair: PairedCall) -> bool:
        if pair.npu is None or pair.bench is None:
            return False
        return bool(of_several(pair.npu)) or (reduced and parse(pair.npu.name).direction == BACKWARD)

    return Alignment(alignment.npu, alignment.bench, tuple(filter(is_needed, alignment.pairs)))


def given_by(rank: int, alignment: Alignment, measured: Sequence[MeasuredPair]) -> tuple[Given, ...]:
    """What `rank` gave to each collective of the step, in order."""
    calls = [part.call for part in measured if part.call is not None]
    reduction = _Reduction(alignment, calls)
    found: list[Given] = []
    for call in calls:
        collectives = of_several(call.pair.npu)
        if collectives and call.pair.npu is not None:
            is_reduction = any(c.kind == REDUCES_GRADIENTS for c in collectives)
            arguments = reduction.gradients(call, rank) if is_reduction else {"": _from(rank, call.read)}
            held = held_after(call.pair)
            found.append(Given(rank, call.full_name, call.pair.npu.index, collectives, arguments, held))
    return tuple(found)


def _from(rank: int, arguments: Iterable[MeasuredArgument]) -> tuple[MeasuredArgument, ...]:
    return tuple(
        msgspec.structs.replace(argument, name=f"rank{rank}.{argument.name}", rank=rank) for argument in arguments
    )


class _Reduction:
    """Which backward calls made the gradients that are reduced."""

    def __init__(self, alignment: Alignment, calls: Sequence[MeasuredCall]) -> None:
        self._alignment = alignment
        self._written = {(call.full_name, a.name): a for call in calls if call.is_backward for a in call.wrote}
        self._flow: Flow | None = None
        self._before: dict[str, MeasuredArgument] = {}

    def gradients(self, call: MeasuredCall, rank: int) -> dict[str, tuple[MeasuredArgument, ...]]:
        """By parameter, what the backward calls of this rank wrote, and what the reduction before this one left in its
        gradient."""
        if self._flow is None:
            self._flow = Flow(self._alignment.npu)
        found = {}
        for argument in call.pair.npu.inputs if call.pair.npu is not None else ():
            if isinstance(argument.leaf, TensorRecord) and argument.name.startswith(_PARAMETER):
                parts = self._flow.contributions(argument.leaf)
                known = [self._written.get((part.call, part.argument)) for part in parts]
                result = f"{_RESULT}{argument.name.removeprefix(_PARAMETER)}"
                known.append(self._before.get(result))
                found[result] = _from(rank, [part for part in known if part is not None])
        self._before.update((result.name, result) for result in call.wrote)
        return found


@dataclass(frozen=True, slots=True)
class JobStep:
    """One step of all ranks: what each gave to each collective, and the ranks that are compared."""

    given: Mapping[CollectiveRecord, Mapping[int, Given]] = field(default_factory=dict)
    ranks: frozenset[int] = frozenset()
    clocks: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Mapping[int, Sequence[Given]]) -> JobStep:
        """Of what each rank gave, by rank."""
        given: dict[CollectiveRecord, dict[int, Given]] = {}
        for rank, calls in parts.items():
            for call in calls:
                for collective in call.collectives:
                    given.setdefault(_key(collective), {})[rank] = call
        return cls(given, frozenset(parts), _clocks(parts))

    def odd_replicas(self) -> list[Message]:
        """What ranks of one side should hold alike and do not."""
        found = {
            collective: After({r: one.call for r, one in given.items()}, {r: one.held for r, one in given.items()})
            for collective, given in self.given.items()
            if collective.kind not in MESSAGES
        }
        return [
            say(
                "note.replicas",
                side=say(odd.side),
                call=odd.call,
                argument=odd.argument,
                ranks=ranges(odd.ranks),
                odd=ranges(odd.odd),
            )
            for odd in odd_replicas(found)
        ]

    def seen_by(self, rank: int) -> JobStep:
        """What is needed to judge the calls of `rank`."""
        given = {collective: found for collective, found in self.given.items() if rank in collective.ranks}
        return JobStep(given, self.ranks, {rank: self.clocks.get(rank, ())})

    def taken_in(self, call: MeasuredCall, rank: int) -> list[MeasuredCall]:
        """`call` as `rank` ran it, with what other ranks gave among what it read: one for each gradient that is
        reduced.  Without anything written where a rank that gave is not compared, or where a hook reduces of which
        it is not known how: then nobody knows."""
        collectives = of_several(call.pair.npu)
        if not collectives:
            return [call]
        takers = [self.given.get(_key(collective), {}) for collective in collectives]
        silent = any(
            giver not in found and giver not in self.ranks
            for collective, found in zip(collectives, takers, strict=True)
            for giver in _givers(collective)
        )
        hook = reduced_in(call.options.get("input.hook"))
        if silent or hook is None:
            return [msgspec.structs.replace(call, wrote=())]
        reduces = any(collective.kind == REDUCES_GRADIENTS for collective in collectives)
        others = [given for found in takers for giver, given in sorted(found.items()) if reduces or giver != rank]
        if not reduces:
            more = _largest([argument for given in others for argument in given.arguments.get("", ())])
            return [msgspec.structs.replace(call, read=(*call.read, *more))]
        return [
            msgspec.structs.replace(
                call,
                read=tuple(_largest([a for given in others for a in given.arguments.get(result.name, ())])),
                wrote=(result,),
            )
            for result in call.wrote
        ]

    def clock(self, rank: int, order: int) -> int:
        """How many collectives, in the longest chain over any ranks, come before the call `order` of `rank`."""
        before = 0
        for place, clock in self.clocks.get(rank, ()):
            if place >= order:
                break
            before = clock
        return before

    def spread_from(self, rank: int, order: int) -> tuple[Given, CollectiveRecord] | None:
        """The first collective into which `rank` put a difference after its call `order`; None where it did not."""
        after = [
            (found[rank], collective)
            for collective, found in self.given.items()
            if rank in found and found[rank].order >= order and found[rank].differs
        ]
        return min(after, key=lambda pair: pair[0].order, default=None)


def ranges(ranks: Iterable[int]) -> str:
    """Ranks, short.

    >>> ranges([0, 1, 2, 5])
    '0-2, 5'
    """
    runs: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def _largest(arguments: list[MeasuredArgument]) -> list[MeasuredArgument]:
    """Those that may matter where very many ranks gave something: errors add in squares."""
    if len(arguments) <= _MOST_GIVEN:
        return arguments
    return sorted(arguments, key=lambda argument: argument.distance, reverse=True)[:_MOST_GIVEN]


def _key(collective: CollectiveRecord) -> CollectiveRecord:
    """The same for both ends of a message."""
    return msgspec.structs.replace(collective, kind="message") if collective.kind in MESSAGES else collective


def _givers(collective: CollectiveRecord) -> tuple[int, ...]:
    return collective.ranks[:1] if collective.kind in MESSAGES else collective.ranks


def _clocks(parts: Mapping[int, Sequence[Given]]) -> dict[int, tuple[tuple[int, int], ...]]:
    """For each rank its collective calls, by order, each with the length of the longest chain that ends with it."""
    progress = _Progress(parts)
    progress.run()
    return {rank: tuple(places) for rank, places in progress.found.items()}


class _Progress:
    """Ranks go forward together: a collective is passed when all who take part have come to it, a message when it was
    sent; where that never happens, as in a dump that was cut short, it is passed without."""

    def __init__(self, parts: Mapping[int, Sequence[Given]]) -> None:
        self.found: dict[int, list[tuple[int, int]]] = {rank: [] for rank in parts}
        self._calls = {rank: sorted(calls, key=lambda call: call.order) for rank, calls in parts.items()}
        self._now = dict.fromkeys(parts, 0)
        self._arrived: dict[CollectiveRecord, set[int]] = {}
        self._sent: dict[CollectiveRecord, int] = {}
        self._moving = deque(parts)

    def run(self) -> None:
        while True:
            while self._moving:
                self._come(self._moving.popleft())
            stuck = [rank for rank in self.found if self._head(rank) is not None]
            if not stuck:
                return
            self._pass({min(stuck, key=lambda rank: len(self.found[rank]))})

    def _head(self, rank: int) -> Given | None:
        passed = len(self.found[rank])
        return self._calls[rank][passed] if passed < len(self._calls[rank]) else None

    def _come(self, rank: int) -> None:
        """`rank` has come to its next collective."""
        call = self._head(rank)
        if call is None:
            return
        members = {rank}
        for collective in call.collectives:
            key = _key(collective)
            self._arrived.setdefault(key, set()).add(rank)
            if collective.kind == "send":
                continue
            others = {other for other in collective.ranks if other in self.found}
            if collective.kind == "recv":
                if collective.ranks[0] in others and key not in self._sent:
                    return
            elif others <= self._arrived[key]:
                members |= others
            else:
                return
        self._pass(members)

    def _pass(self, members: Iterable[int]) -> None:
        going = [(rank, call) for rank in members if (call := self._head(rank)) is not None]
        keys = [_key(collective) for _, call in going for collective in call.collectives]
        clock = 1 + max([*(self._now[rank] for rank, _ in going), *(self._sent.get(key, 0) for key in keys)])
        for rank, call in going:
            self.found[rank].append((call.order, clock))
            self._now[rank] = clock
            self._moving.append(rank)
            for collective in call.collectives:
                if collective.kind == "send":
                    self._sent[_key(collective)] = clock
                    self._moving.extend(other for other in collective.ranks[1:] if other in self.found)
