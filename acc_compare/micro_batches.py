"""The calls of one rank by micro-batch and by chunk of the model, told by the modules that they ran in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from acc_compare.collectives import MESSAGES
from dump.format.names import BACKWARD, FORWARD, forward_name, parse
from dump.format.schema import CallRecord, Dump


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The calls of one micro-batch, those before all and those after all."""

    before: tuple[CallRecord, ...]
    forward: tuple[CallRecord, ...]
    backward: tuple[CallRecord, ...]
    after: tuple[CallRecord, ...]


def parted(dump: Dump) -> list[list[MicroBatch]] | None:
    """The calls of one rank by chunk of the model and by micro-batch; None where they are not so many for each.

    A chunk is what runs between two messages, told by its modules; a rank has several where a pipeline is interleaved.
    """
    owned = {call.name: owner for call in dump.calls if _is_forward(call) and (owner := dump.owners.get(call.name))}
    if not owned:
        return None
    numbers: dict[str, set[int]] = {}
    for owner in owned.values():
        numbers.setdefault(_module(owner), set()).add(parse(owner).number)
    counts = {len(found) if found == set(range(len(found))) else 0 for found in numbers.values()}
    if len(counts) != 1 or counts == {0}:
        return None
    (count,) = counts
    chunks = _chunks(dump, owned)
    last = max(place for place, call in enumerate(dump.calls) if call.name in owned or is_backward(call))
    places: dict[str, tuple[int, int]] = {}
    sizes = (1 + max(chunks.values()), count)
    parts: list[list[tuple[list[CallRecord], list[CallRecord]]]] = [
        [([], []) for _ in range(sizes[1])] for _ in range(sizes[0])
    ]
    before: list[CallRecord] = []
    after: list[CallRecord] = []
    now: tuple[int, int] | None = None
    within = _within_backward(dump, owned)
    for place, call in enumerate(dump.calls):
        if _is_message(call):
            continue
        of = call.name if is_backward(call) else within.get(call.name)
        if of is not None:
            found = places.get(forward_name(of))
            if found is not None:
                parts[found[0]][found[1]][1].append(call)
            continue
        owner = owned.get(call.name)
        now = now if owner is None else (chunks[_module(owner)], parse(owner).number)
        if place > last:
            after.append(call)
        elif now is None:
            before.append(call)
        else:
            places[call.name] = now
            parts[now[0]][now[1]][0].append(call)
    return [
        [MicroBatch(tuple(before), tuple(there), tuple(back), tuple(after)) for there, back in batches]
        for batches in parts
    ]


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


def _chunks(dump: Dump, owned: Mapping[str, str]) -> dict[str, int]:
    """The chunk of each module that ran: those that ran between the same messages are one."""
    found: dict[str, int] = {}
    now: int | None = None
    for call in dump.calls:
        if _is_message(call):
            now = None
        elif call.name in owned:
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
    return parse(call.name).direction == BACKWARD
