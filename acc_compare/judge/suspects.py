"""Origins to suspects: grouped by operator and ordered as error began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from acc_compare import operators
from acc_compare.judge.advice import advice_for, after_lower_precision, for_optimizer
from acc_compare.judge.evidence import Comparand, evidence_of, message_of
from acc_compare.judge.modules_in_time import place_in_time
from acc_compare.judge.optimizer import OptimizerFault
from acc_compare.judge.origins import SIDES, Origin, ratio
from acc_compare.judge.patterns import pattern_in_files, pattern_of, rounding_of
from acc_compare.judge.propagation import Propagation
from acc_compare.judge.ranks import ranges
from acc_compare.judge.reference import told_of
from acc_compare.measured.calls import MeasuredCall
from acc_compare.messages import Message, Value, count, listed, say
from acc_compare.model import ErrorPattern, ReferenceErrors, Relation, Row, Suspect
from dump.format.names import BACKWARD, forward_name, parse
from dump.format.schema import Dump

_LISTED = 20
_CLOSELY = 5
"""Suspects whose tensor files are read once more, for the shape of their error."""


def suspects_of(
    origins: Sequence[Origin],
    faults: Sequence[OptimizerFault],
    calls: Sequence[MeasuredCall],
    place: Comparand,
) -> tuple[Suspect, ...]:
    """One suspect for each operator, in the order in which error began."""
    groups: dict[tuple[str, ...], list[Origin]] = {}
    for origin in origins:
        groups.setdefault(_group(origin), []).append(origin)
    propagation, named = Propagation(calls), {call.full_name: call for call in calls}
    found = [
        (
            members[0].call.order,
            _in_step(
                _placed(
                    _suspect(members, propagation, named, place, closely=number < _CLOSELY), members[0].call, place
                ),
                members[0].call.order if members[0].first_seen is None else members[0].first_seen,
                place,
                made=members[0].first_seen is None and not members[0].unseen,
            ),
        )
        for number, members in enumerate(groups.values())
    ]
    for fault in faults:
        suspect = _placed(_optimizer_suspect(fault, place), fault.call, place)
        found.append((fault.call.order, _in_step(suspect, fault.call.order, place, made=True)))
    found.sort(key=lambda pair: pair[0])
    return tuple(suspect for _, suspect in found)


def _in_step(suspect: Suspect, order: int, place: Comparand, *, made: bool) -> Suspect:
    """At module level, where nobody knows what ranks gave each other, the place in the step alone."""
    if place.job is not None or place.rank is None or place.npu.header.level != "L0":
        return suspect
    return replace(suspect, clock=place_in_time(suspect.name, order, place.npu, place.rank, made=made))


def _placed(suspect: Suspect, call: MeasuredCall, place: Comparand) -> Suspect:
    """`suspect` with its place among the calls of all ranks, and the first collective that spread it."""
    job, rank = place.job, place.rank
    if job is None or rank is None or call.pair.npu is None:
        return suspect
    order = call.pair.npu.index
    spread = suspect.spread
    through = job.spread_from(rank, order)
    if through is not None:
        given, collective = through
        over = say("spread.over", call=given.call, ranks=ranges(collective.ranks))
        spread = over if spread is None else listed((spread, over), by="semicolon")
    return replace(suspect, clock=(job.clock(rank, order), order), spread=spread)


def merge_alike(suspects: Sequence[Suspect]) -> tuple[Suspect, ...]:
    """One suspect for each operator over all steps and ranks: the earliest, which counts the calls of the others.

    What differs from the start is one suspect wherever it is read, and so is a type that products are computed in: the
    cure is the same.
    """
    merged: dict[tuple[str, str, str], Suspect] = {}
    for suspect in suspects:
        name = parse(suspect.name)
        is_one = suspect.kind in ("input", "dtype")
        key = (suspect.kind, "" if is_one else operators.plain_name(name.api), "" if is_one else name.direction)
        first = merged.get(key)
        if first is None:
            merged[key] = suspect
            continue
        where = [
            say(f"place.{label}", number=value)
            for label, value, old in (("step", suspect.step, first.step), ("rank", suspect.rank, first.rank))
            if value is not None and value != old
        ]
        label: Value = say("placed", name=suspect.name, where=listed(where)) if where else suspect.name
        merged[key] = replace(
            first, calls=first.calls + suspect.calls, others=(*first.others, label, *suspect.others)[:_LISTED]
        )
    return tuple(merged.values())


def accused(suspects: Sequence[Suspect]) -> Message:
    """The first suspect, and how many more there are, in one sentence; there is at least one."""
    first = suspects[0]
    if len(suspects) == 1:
        return say("summary.suspect", name=first.name)
    return say("summary.suspects", name=first.name, more=count(len(suspects) - 1, "more suspect"))


def _group(origin: Origin) -> tuple[str, ...]:
    if origin.kind in ("input", "optimizer", "dtype"):
        return (origin.kind, "", "")
    if origin.since:
        return ("since",)
    if origin.lone:
        alone = parse(origin.producer)
        return (origin.kind, operators.plain_name(alone.api), alone.direction, origin.lone)
    seen = "unseen" if origin.unseen else "seen"
    operator = operators.plain_name(origin.call.operator)
    return (origin.kind, operator, origin.call.name.direction, seen)


def _accused(origin: Origin) -> str:
    """The call that is accused: the one that a side alone ran, else the one where it shows."""
    return origin.producer if origin.lone else origin.call.shown_name


def module_of(call: MeasuredCall) -> str:
    """The path of the module that a call ran in, "" at the top."""
    if call.name.is_module:
        return call.name.path
    return parse(call.owner).path if call.owner else ""


def stack_of(call: MeasuredCall, dump: Dump) -> tuple[str, ...]:
    """The call's stack; a backward call has that of its forward call."""
    return stack_of_call(call.full_name, dump)


def stack_of_call(call: str, dump: Dump) -> tuple[str, ...]:
    name = forward_name(call) if parse(call).direction == BACKWARD else call
    return tuple(dump.stacks.get(name, ()))


def module_at(call: str, dump: Dump) -> str:
    """The path of the module that a call of a dump ran in, "" at the top; a module's call has its own."""
    name = parse(call)
    owner = call if name.is_module else dump.owners.get(call)
    return parse(owner).path if owner else ""


def _suspect(
    members: Sequence[Origin],
    propagation: Propagation,
    named: Mapping[str, MeasuredCall],
    place: Comparand,
    *,
    closely: bool = False,
) -> Suspect:
    first = members[0]
    judged = first.judged
    expected = judged.expected.relative if judged.expected is not None else None
    error = judged.argument.error
    relative = None if error is None or error.source == "digest" else error.relative
    excess = judged.excess
    is_moved = first.kind == "optimizer" and bool(first.maker)
    is_one = first.kind == "input" or is_moved or bool(first.since)
    others = () if is_one else _others(members)
    beside = place.references.get((first.call.full_name, judged.argument.name))
    name, module, stack = first.maker or first.call.shown_name, module_of(first.call), stack_of(first.call, place.npu)
    if is_moved:
        module, stack = "", stack_of_call(name, place.npu)
    if first.lone:
        name, dump = first.producer, place.sides[SIDES.index(first.lone)]
        module, stack = module_at(name, dump), stack_of_call(name, dump)
    if first.earlier is not None:
        module, stack = first.earlier.module, first.earlier.stack
    called = named.get(forward_name(first.call.full_name)) if first.call.is_backward else None
    base = Suspect(
        name=name,
        kind=first.kind,
        step=place.step,
        rank=place.rank,
        module=module,
        tensor=judged.argument.name,
        rel_l2=relative,
        expected=expected,
        excess=excess if place.mode != "md5" else None,
        calls=1 if is_one else len({_accused(origin) for origin in members}),
        message=message_of(first, place),
        evidence=(*evidence_of(first, members, called), *_parted(first, place), *_beside(beside)),
        pattern=_pattern(first, place, closely=closely),
        spread=propagation.of(first),
        stack=stack,
        others=others[:_LISTED],
        reference=beside,
        row=first.call.full_name if first.lone else first.row,
    )
    if first.kind == "dtype":
        return _lowered(base, members, place)
    return replace(base, advice=advice_for(base, first, place))


def _parted(first: Origin, place: Comparand) -> tuple[Message, ...]:
    """Errors of parameters go one way in all rows, where those of rounding cancel."""
    return (say("evidence.parted", size=place.parted),) if place.parted and first.kind == "operator" else ()


def _beside(reference: ReferenceErrors | None) -> tuple[Message, ...]:
    return (told_of(reference),) if reference is not None else ()


def _pattern(first: Origin, place: Comparand, *, closely: bool) -> ErrorPattern | None:
    """From tensor files where there are and it is worth reading them, else from what was recorded of them."""
    if first.kind not in ("operator", "dtype"):
        return None
    argument = first.judged.argument
    if not closely or place.mode != "tensor" or place.bench is None or first.kind == "dtype":
        return pattern_of(argument)
    typical = first.judged.expected.relative if first.judged.expected is not None else None
    found = pattern_in_files(argument, typical, place.npu, place.bench)
    return found if found is not None and found.name else rounding_of(argument) or found


def _others(members: Sequence[Origin]) -> tuple[str, ...]:
    names = dict.fromkeys(map(_accused, members))
    names.pop(_accused(members[0]))
    return tuple(names)


def _lowered(base: Suspect, members: Sequence[Origin], place: Comparand) -> Suspect:
    """A side that computes its products in a narrower type throughout: one suspect for all of them."""
    names = sorted({operators.plain_name(origin.call.operator) for origin in members})
    pattern = next(filter(None, (rounding_of(origin.judged.argument) for origin in members)), None)
    return replace(
        base,
        message=say("happened.lowered", operators=listed(names)),
        evidence=(
            say("evidence.lowered", calls=count(base.calls, "call"), operators=count(len(names), "operator")),
            *_beside(base.reference),
        ),
        pattern=pattern,
        advice=after_lower_precision(base, place),
    )


def _optimizer_suspect(fault: OptimizerFault, place: Comparand) -> Suspect:
    worst = fault.worst
    pattern = None
    if worst.factor is not None:
        pattern = ErrorPattern(kind="factor", size=worst.factor, relation=Relation("factor", worst.factor))
    evidence = [say("evidence.updates", off=fault.suspicious, judged=fault.judged)]
    if fault.settings:
        evidence.append(say("evidence.optimizer", settings=listed(fault.settings, by="semicolon")))
    by_digest = place.mode == "md5"
    message = say(
        "happened.update_differs",
        parameter=worst.parameter,
        gradient=max(worst.gradient_error, 1e-12),
        size=worst.relative,
        expected=worst.expected,
    )
    expected, excess = worst.expected, ratio(worst.relative, worst.expected)
    if fault.scaled is not None:
        expected, excess = fault.scaled.uncertain, ratio(abs(fault.scaled.beyond), fault.scaled.uncertain)
        message = say(
            "happened.update_scaled" if fault.suspicious < fault.judged else "happened.updates_scaled",
            parameter=worst.parameter,
            gradient=max(worst.gradient_error, 1e-12),
            times=fault.scaled.times,
            uncertain=fault.scaled.uncertain,
        )
    if by_digest:
        message = say("happened.update_digest", parameter=worst.parameter)
    beside = place.references.get((fault.call.full_name, worst.argument.name))
    found = Suspect(
        name=fault.call.full_name,
        kind="optimizer",
        step=place.step,
        rank=place.rank,
        module="",
        tensor=worst.argument.name,
        rel_l2=None if by_digest else worst.relative,
        expected=expected,
        excess=None if by_digest else excess,
        calls=1,
        message=message,
        evidence=(*evidence, *_beside(beside)),
        reference=beside,
        pattern=pattern,
        stack=stack_of(fault.call, place.npu),
    )
    return replace(found, advice=for_optimizer(found, place))


def mark_accused(rows: Sequence[Row], suspects: Sequence[Suspect]) -> tuple[Row, ...]:
    """`rows`, with a mark on that of each suspect's tensor, or on the first of its call."""
    if not suspects:
        return tuple(rows)
    names = [row.npu_name or row.bench_name for row in rows]
    places = dict(zip(reversed(names), reversed(range(len(names))), strict=True))  # the first of equal names stays
    found = list(rows)
    for suspect in suspects:
        call = f"{suspect.row or suspect.name}."
        place = places.get(f"{call}{suspect.tensor}")
        if place is None:
            place = next((place for place, name in enumerate(names) if name.startswith(call)), None)
        if place is not None:
            row = found[place]
            messages = row.err_message or (say("row.accused"),)
            found[place] = msgspec.structs.replace(row, accused=True, err_message=messages)
    return tuple(found)
