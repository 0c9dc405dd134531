"""Sides that ran on different numbers of ranks: what differs with that number alone is no fault.

Meshes, ranges of ranks, shards and what indexes them have other shapes or other integers, collectives have no partner:
none of it says that an operator is wrong.  What says so is a whole tensor that differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Literal

from acc_compare import operators
from acc_compare.collectives import MESSAGES
from acc_compare.judge.origins import INPUT_NOISE, Expected, Judged, Origin
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.messages import Message, count, say
from acc_compare.model import VerdictName
from dump.format.names import BACKWARD, PARAMETERS_GRAD, parse
from dump.format.schema import CallRecord, Dump, Mode, ScalarRecord, tensor_records

_SHOWN = 1e-3
"""Relative error up to which a tensor says that what it was computed from agrees too."""

_OTHER_DATA = 1e-2
"""Relative error from which on data are other data."""

_APART, _TIMES_APART = 1e-2, 30.0
"""A gradient that is off by so much, and so many times what others are, is no agreement."""

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
    if _is_message(origin.call):
        return True  # who hands what to whom
    if origin.kind == "input" and operators.moves_memory_only(origin.call.operator):
        return True  # parts of weights, gathered as often as a module runs
    if not (origin.call.owner or origin.call.communicates) and _cuts_otherwise(origin.call):
        return True  # divided by the number of ranks, indexed by the rank
    if operators.moves_layout_only(origin.call.operator):
        if _cuts_otherwise(origin.call):
            return True
        if not origin.judged.argument.name.startswith("output") and not origin.call.owner:
            return True  # buffers of several parts; what computes with them shows
    return not origin.judged.argument.is_floating


def _is_read_by_the_model(origin: Origin, npu: Dump) -> bool:
    """Is it data, of which a module computes something, itself or what the script made of it?"""
    value, record = origin.judged.argument.npu.value, origin.call.pair.npu
    if origin.kind != "input" or origin.reshaped or value is None or record is None:
        return False
    values: set[int | None] = {value}
    for call in npu.calls:
        if call.index < record.index or parse(call.name).direction == BACKWARD or call.collectives:
            continue
        if any(leaf.value in values for leaf in tensor_records((*call.inputs, *call.parameters))):
            api = parse(call.name).api
            moves = operators.moves_layout_only(api) or operators.moves_memory_only(api)
            if npu.owners.get(call.name) is not None and not moves:
                return True
            values |= {leaf.value for leaf in tensor_records((*call.outputs, *call.written))} - {None}
    return False


def read_otherwise(calls: Sequence[MeasuredCall]) -> list[Origin]:
    """The first data that modules compute something of and that differs, where nothing before it does; whoever made it,
    as calls without a counterpart may.  None where there is none."""
    made: set[int | None] = set()
    for call in calls:
        if call.is_backward:
            continue
        if call.owner and not operators.moves_layout_only(call.operator):
            for argument in call.read:
                is_data = not argument.npu.requires_grad and argument.npu.value not in made
                if is_data and argument.error is not None and argument.relative > _OTHER_DATA:
                    judged = Judged(argument, "input", Expected.at_most(INPUT_NOISE, "before"))
                    return [Origin("input", call, judged, 0.0)]
            if any(argument.relative > _SHOWN for argument in call.wrote):
                return []
        if call.owner or call.communicates:
            made |= {argument.npu.value for argument in call.wrote}
    return []


def _is_message(call: MeasuredCall) -> bool:
    collectives = call.pair.npu.collectives if call.pair.npu is not None else ()
    return bool(collectives) and all(collective.kind in MESSAGES for collective in collectives)


def _cuts_otherwise(call: MeasuredCall) -> bool:
    """Do integers differ that it was called with, such as a number of pieces, or does a side make more of them?"""
    return any(
        (pair.npu is None) != (pair.bench is None)
        or (isinstance(pair.npu, ScalarRecord) and isinstance(pair.bench, ScalarRecord) and pair.npu != pair.bench)
        for pair in call.pair.arguments
    )


def first_of(origins: Sequence[Origin], npu: Dump, *, digests: bool = False) -> list[Origin]:
    """The origins that differ otherwise than the number of ranks makes them, the first alone: what comes after one is
    measured by bounds, which do not add as errors do.  What ranks read may be cut in any way: all of it together is the
    same data.  By `digests`, what other ranks add up is not the same to the bit."""
    found = [origin for origin in origins if not is_of_the_world(origin) or _is_read_by_the_model(origin, npu)]
    if digests:
        found = [origin for origin in found if not origin.call.communicates]
    return sorted(found, key=lambda origin: origin.call.order)[:1]


def seen_later(dump: Dump, calls: Sequence[MeasuredCall], side: Literal["npu", "bench"]) -> frozenset[str]:
    """The calls of one side of which no result was compared, but something that was computed from it, and agrees:
    there their errors would show.

    What backward adds to gradients nobody reads by a call of its own; it shows in the gradients that an optimizer
    reads.
    """
    names = {call.full_name: getattr(call.pair, side).name for call in calls if getattr(call.pair, side) is not None}
    measured = {names[c.full_name] for c in calls if c.full_name in names and any(a.error is not None for a in c.wrote)}
    agreeing = {names[c.full_name] for c in calls if c.full_name in names and c.wrote and all(map(_shows, c.wrote))}
    shown = {getattr(a, side).value for call in calls for a in (*call.read, *call.wrote) if _shows(a)} - {None}
    are_shown = _gradients_agree(calls)
    read = {leaf.value for call in dump.calls for leaf in tensor_records(call.inputs)}
    found = set()
    for call in reversed(dump.calls):
        written = {leaf.value for leaf in tensor_records((*call.outputs, *call.written))} - {None}
        is_added = parse(call.name).direction == BACKWARD and are_shown and not written & read
        if call.name in agreeing or is_added or (call.name not in measured and written & shown):
            found.add(call.name)
            shown.update(leaf.value for leaf in tensor_records(call.inputs))
    return frozenset(found - measured)


def _gradients_agree(calls: Sequence[MeasuredCall]) -> bool:
    """Do all gradients that an optimizer reads agree, whatever each rank held of them before?"""
    gradients = [a for call in calls if call.is_optimizer for a in call.read if a.name.startswith("input.grad.")]
    return bool(gradients) and all(map(_shows, gradients))


def _gradient_lost(calls: Sequence[MeasuredCall]) -> MeasuredArgument | None:
    """A gradient that ranks hold in several ways, of a parameter that they hold alike; None where there is none."""
    for call in calls:
        if call.is_optimizer:
            # Scales and biases begin with one number all over, alike on ranks that do not share them.
            held = {a.name for a in call.read if _shows(a) and len(a.npu.shape) > 1}
            for a in call.read:
                parameter = a.name.replace("input.grad.", "input.param.", 1)
                if a.npu.unrecorded == "parts.differ" and parameter != a.name and parameter in held:
                    return a
    return None


def _gradient_apart(calls: Sequence[MeasuredCall]) -> MeasuredArgument | None:
    """The gradient that an optimizer reads which is further off than the others; None where none is."""
    found = [a for c in calls if c.is_optimizer for a in c.read if a.name.startswith("input.grad.") and a.error]
    worst = max(found, key=lambda a: a.relative, default=None)
    if worst is None or worst.relative <= max(_APART, _TIMES_APART * median(a.relative for a in found)):
        return None
    return worst


def _shows(argument: MeasuredArgument) -> bool:
    return argument.error is not None and argument.relative <= _SHOWN


def _not_to_the_bit(calls: Sequence[MeasuredCall]) -> Message | None:
    """How many results are the same to the bit, and from which call on they are not; None where all are."""
    known = [(call, a) for call in calls for a in call.wrote if a.error is not None]
    differing = [call for call, a in known if a.relative > 0]
    if not differing:
        return None
    first = min(differing, key=lambda call: call.order).full_name
    return say("summary.digests", equal=len(known) - len(differing), all=count(len(known), "result"), first=first)


def judge_worlds(
    calls: Sequence[MeasuredCall],
    sides: tuple[Dump, Dump],
    judged: tuple[VerdictName, Message],
    shown: frozenset[str],
    mode: Mode = "statistics",
) -> tuple[VerdictName, Message, tuple[Message, ...]]:
    """The verdict, its summary, and notes of what could not be put together; `shown` are calls that were not compared,
    but what was computed from them."""
    verdict, summary = judged
    worlds = [dump.header.world_size or 1 for dump in sides]
    notes = [say("note.worlds", npu=worlds[0], bench=worlds[1])]
    computing = [call for call in calls if call.pair.npu is not None and not is_bookkeeping(call.pair.npu)]
    results = [(call, a) for call in computing for a in call.wrote if a.is_floating and not _has_no_values(a)]
    missing = [a for call, a in results if a.error is None and call.full_name not in shown]
    if _gradients_agree(calls):
        missing = [a for a in missing if not a.name.startswith(PARAMETERS_GRAD)]
    if shown:
        notes.append(say("note.shown", calls=count(len(shown), "call")))
    why = Counter(a.npu.unrecorded or a.bench.unrecorded or "parts.shape" for a in missing)
    for reason, number in why.most_common():
        told = say(reason) if reason.startswith("parts.") else reason
        notes.append(say("note.parts", tensors=count(number, "result"), why=told))
    apart = _not_to_the_bit(calls) if mode == "md5" else None
    if verdict == "same" and apart is not None:
        return "incomplete", apart, tuple(notes)
    lost = _gradient_lost(calls)
    if verdict == "same" and lost is not None:
        return "incomplete", say("summary.gradients_differ", name=lost.name), tuple(notes)
    off = _gradient_apart(calls)
    if verdict == "same" and off is not None:
        return "incomplete", say("summary.gradient", name=off.name, size=off.relative), tuple(notes)
    if verdict == "same" and len(missing) > (1 - _ENOUGH) * len(results):
        share = 1 - len(missing) / len(results)
        return "incomplete", say("summary.worlds", share=share, npu=worlds[0], bench=worlds[1]), tuple(notes)
    return verdict, summary, tuple(notes)
