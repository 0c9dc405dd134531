"""Sides that ran on different numbers of ranks: what differs with that number alone is no fault.

Meshes, ranges of ranks, shards and what indexes them have other shapes or other integers, collectives have no partner:
none of it says that an operator is wrong.  What says so is a whole tensor that differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from acc_compare import operators
from acc_compare.judge.origins import Origin
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.messages import Message, count, say
from acc_compare.model import VerdictName
from dump.format.names import parse
from dump.format.schema import CallRecord, Dump, ScalarRecord

_ENOUGH = 0.9
"""Where fewer of the results could be compared, agreement of the rest is no SAME."""


def unmeasured_calls(npu: Dump, calls: Sequence[MeasuredCall]) -> frozenset[str]:
    """The calls of which no result was compared."""
    measured = {call.full_name for call in calls if any(a.error is not None for a in call.wrote)}
    return frozenset(call.name for call in npu.calls if call.name not in measured)


def _has_no_values(argument: MeasuredArgument) -> bool:
    """Had neither side values that can be recorded, as on the meta device?"""
    why = argument.npu.unrecorded
    return why is not None and not why.startswith("parts.") and why == argument.bench.unrecorded


def is_bookkeeping(call: CallRecord) -> bool:
    """Does it only move what ranks hold and give each other?  Such calls come and go with the number of ranks."""
    api = parse(call.name).api
    return bool(call.collectives) or operators.operator_class(api) == "exact" or operators.moves_memory_only(api)


def is_of_the_world(origin: Origin) -> bool:
    """Does it differ as the number of ranks does?"""
    if origin.kind == "structure" or origin.reshaped:
        return True
    if not origin.call.owner and _cuts_otherwise(origin.call):
        return True  # divided by the number of ranks, indexed by the rank
    if operators.moves_layout_only(origin.call.operator):
        if _cuts_otherwise(origin.call):
            return True
        if not origin.judged.argument.name.startswith("output") and not origin.call.owner:
            return True  # buffers of several parts; what computes with them shows
    return not origin.judged.argument.is_floating


def _cuts_otherwise(call: MeasuredCall) -> bool:
    """Do integers differ that it was called with, such as a number of pieces, or does a side make more of them?"""
    return any(
        (pair.npu is None) != (pair.bench is None)
        or (isinstance(pair.npu, ScalarRecord) and isinstance(pair.bench, ScalarRecord) and pair.npu != pair.bench)
        for pair in call.pair.arguments
    )


def first_of(origins: Sequence[Origin]) -> list[Origin]:
    """The origins that differ otherwise than the number of ranks makes them, the first alone: what comes after one is
    measured by bounds, which do not add as errors do."""
    found = [origin for origin in origins if not is_of_the_world(origin)]
    return sorted(found, key=lambda origin: origin.call.order)[:1]


def judge_worlds(
    calls: Sequence[MeasuredCall], sides: tuple[Dump, Dump], judged: tuple[VerdictName, Message]
) -> tuple[VerdictName, Message, tuple[Message, ...]]:
    """The verdict, its summary, and notes of what could not be put together."""
    verdict, summary = judged
    worlds = [dump.header.world_size or 1 for dump in sides]
    notes = [say("note.worlds", npu=worlds[0], bench=worlds[1])]
    computing = [call for call in calls if call.pair.npu is not None and not is_bookkeeping(call.pair.npu)]
    results = [a for call in computing for a in call.wrote if a.is_floating and not _has_no_values(a)]
    missing = [a for a in results if a.error is None]
    why = Counter(a.npu.unrecorded or a.bench.unrecorded or "parts.shape" for a in missing)
    for reason, number in why.most_common():
        told = say(reason) if reason.startswith("parts.") else reason
        notes.append(say("note.parts", tensors=count(number, "result"), why=told))
    if verdict == "same" and len(missing) > (1 - _ENOUGH) * len(results):
        share = 1 - len(missing) / len(results)
        return "incomplete", say("summary.worlds", share=share, npu=worlds[0], bench=worlds[1]), tuple(notes)
    return verdict, summary, tuple(notes)
