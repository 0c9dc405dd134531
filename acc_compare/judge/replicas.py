"""Ranks of one side held against each other: what a collective leaves on all of its ranks is one value.

A sum, a gathered tensor, a broadcast and the parameters of replicas are copies, whatever the other side has.  A rank
that holds something else is told by itself: both sides may have the same fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from acc_compare.collectives import COPIES, REDUCES_GRADIENTS
from acc_compare.combined import are_alike
from acc_compare.model import PairedCall
from dump.format.schema import CollectiveRecord, TensorRecord

Held = Mapping[str, tuple[TensorRecord, TensorRecord]]
"""What one rank holds after a collective, by argument: on the NPU side and on the bench."""

_PARAMETERS, _RESULTS = "input.param.", ("output.", "written.")


def held_after(call: PairedCall) -> Held:
    """What this rank holds as a copy after a collective call, with as much of it as tells copies apart."""
    collectives = call.npu.collectives if call.npu is not None else ()
    if len(collectives) != 1 or collectives[0].kind not in COPIES:
        return {}
    return {
        argument.name: (_brief(argument.npu), _brief(argument.bench))
        for argument in call.arguments
        if isinstance(argument.npu, TensorRecord) and isinstance(argument.bench, TensorRecord)
        if argument.name.startswith(_RESULTS)
        or (collectives[0].kind == REDUCES_GRADIENTS and argument.name.startswith(_PARAMETERS))
    }


def _brief(record: TensorRecord) -> TensorRecord:
    return TensorRecord(record.dtype, record.shape, max=record.max, min=record.min, norm=record.norm, md5=record.md5)


class After(msgspec.Struct, frozen=True):
    """One collective as all of its ranks came out of it: the call's name and what is held, by rank."""

    calls: Mapping[int, str]
    held: Mapping[int, Held]


@dataclass(frozen=True, slots=True)
class OddReplica:
    """After `call`, `odd` of the `ranks` of a group hold another `argument` than the rest, on the side of that name."""

    side: str
    call: str
    argument: str
    ranks: tuple[int, ...]
    odd: tuple[int, ...]


def odd_replicas(done: Mapping[CollectiveRecord, After]) -> list[OddReplica]:
    """For either side the first collective after which a rank holds another value than the others of its group."""
    found = []
    for number, side in enumerate(("name.npu", "name.bench")):
        told = next((odd for c, after in done.items() if (odd := _odd(c, after, number, side)) is not None), None)
        found += [told] if told is not None else []
    return found


def _odd(collective: CollectiveRecord, after: After, number: int, side: str) -> OddReplica | None:
    if set(after.held) < set(collective.ranks):
        return None
    for name in after.held[collective.ranks[0]]:
        copies = {rank: held[name][number] for rank, held in after.held.items() if name in held}
        alike = _alike(copies)
        if len(copies) == len(collective.ranks) and len(alike) > 1:
            usual: list[int] = max(alike, key=len)
            odd = tuple(sorted(set(copies) - set(usual)))
            return OddReplica(side, after.calls[odd[0]], name, collective.ranks, odd)
    return None


def _alike(copies: Mapping[int, TensorRecord]) -> list[list[int]]:
    """The ranks by what they hold."""
    groups: list[list[int]] = []
    for rank, record in copies.items():
        group = next((each for each in groups if are_alike((copies[each[0]], record))), None)
        groups.append([rank]) if group is None else group.append(rank)
    return groups
