"""Origins to suspects: grouped by operator and ordered as error began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from acc_compare import operators
from dump.format.names import forward_name, parse
from dump.format.schema import Dump

from ..looks.words import told
from ..model import Suspect
from ..report.saying import listed, say
from ..report.wording import count, quantity
from .advice import advice_for, after_lower_precision, for_optimizer
from .calls import MeasuredCall
from .closer import real_shape
from .optimizer import OptimizerFault
from .reach import Reach
from .roles import Origin, ratio
from .shape import shape_of_error, size_of_error
from .telling import Place, evidence_of, message_of

_LISTED = 20
_CLOSELY = 5
"""Suspects whose tensor files are read once more, for the shape of their error."""
_THROUGHOUT = 0.5


def suspects_of(
    origins: Sequence[Origin],
    faults: Sequence[OptimizerFault],
    calls: Sequence[MeasuredCall],
    place: Place,
) -> tuple[Suspect, ...]:
    """One suspect for each operator, in the order in which error began."""
    groups: dict[tuple[str, ...], list[Origin]] = {}
    for origin in origins:
        groups.setdefault(_group(origin), []).append(origin)
    lowered = _lower_precision(groups, calls)
    reach = Reach(calls)
    found = [
        (members[0].call.order, _suspect(members, reach, place, closely=number < _CLOSELY))
        for number, (key, members) in enumerate(groups.items())
        if key not in lowered
    ]
    if lowered:
        members = sorted((o for key in lowered for o in groups[key]), key=lambda origin: origin.call.order)
        found.append((members[0].call.order, _dtype_suspect(members, reach, place)))
    found += [(fault.call.order, _optimizer_suspect(fault, place)) for fault in faults]
    found.sort(key=lambda pair: pair[0])
    return tuple(suspect for _, suspect in found)


def merge_alike(suspects: Sequence[Suspect]) -> tuple[Suspect, ...]:
    """One suspect for each operator over all steps and ranks: the earliest, which counts the calls of the others.

    What differs from the start is one suspect wherever it is read: the cure is the same.
    """
    merged: dict[tuple[str, str, str], Suspect] = {}
    for suspect in suspects:
        name = parse(suspect.name)
        is_start = suspect.kind == "input"
        key = (suspect.kind, "" if is_start else operators.plain_api(name.api), "" if is_start else name.direction)
        first = merged.get(key)
        if first is None:
            merged[key] = suspect
            continue
        where = ", ".join(
            f"{label} {value}"
            for label, value, old in (("step", suspect.step, first.step), ("rank", suspect.rank, first.rank))
            if value is not None and value != old
        )
        label = f"{suspect.name} ({where})" if where else suspect.name
        merged[key] = replace(
            first, calls=first.calls + suspect.calls, others=(*first.others, label, *suspect.others)[:_LISTED]
        )
    return tuple(merged.values())


def _group(origin: Origin) -> tuple[str, ...]:
    if origin.kind in ("input", "optimizer"):
        return (origin.kind, "", "")
    seen = "unseen" if origin.unseen else "seen"
    operator = operators.plain_api(origin.call.operator)
    return (origin.kind, operator, origin.call.name.direction, seen)


def _lower_precision(
    groups: Mapping[tuple[str, ...], Sequence[Origin]], calls: Sequence[MeasuredCall]
) -> frozenset[tuple[str, ...]]:
    """The groups of products and sums that are off by the size of one rounding, where they are two or more operators
    and at least half of those that could show it: a precision switch (TF32, HF32, autocast), not a wrong kernel.
    What such an operator's backward shows belongs to it."""
    rounded = {
        key[1]
        for key, members in groups.items()
        if key[0] == "operator"
        and key[-1] == "seen"
        and operators.operator_class(key[1]) == "contraction"
        and all("rounding" in shape_of_error(origin.judged.argument) for origin in members)
    }
    contractions = {
        operators.plain_api(call.operator) for call in calls if operators.operator_class(call.operator) == "contraction"
    }
    if len(rounded) < 2 or len(rounded) < _THROUGHOUT * len(contractions):
        return frozenset()
    return frozenset(key for key in groups if key[0] == "operator" and key[-1] == "seen" and key[1] in rounded)


def module_of(call: MeasuredCall) -> str:
    """The path of the module that a call ran in, "" at the top."""
    if call.name.is_module:
        return call.name.path
    return parse(call.owner).path if call.owner else ""


def stack_of(call: MeasuredCall, dump: Dump) -> tuple[str, ...]:
    """The call's stack; a backward call has that of its forward call."""
    name = forward_name(call.full_name) if call.is_backward else call.full_name
    return tuple(dump.stacks.get(name, ()))


def _suspect(members: Sequence[Origin], reach: Reach, place: Place, *, closely: bool = False) -> Suspect:
    first = members[0]
    judged = first.judged
    expected = judged.expected.relative if judged.expected is not None else None
    error = judged.argument.error
    relative = None if error is None or error.source == "digest" else error.relative
    excess = judged.excess
    others = () if first.kind == "input" else _others(members)
    shape, looks = _looks(first, place, closely=closely)
    base = Suspect(
        name=first.producer if first.kind == "structure" and not first.rewired else first.call.shown_name,
        kind=first.kind,
        step=place.step,
        rank=place.rank,
        module=module_of(first.call),
        tensor=judged.argument.name,
        rel_l2=relative,
        expected=expected,
        excess=excess if place.mode != "md5" else None,
        calls=1 if first.kind == "input" else len({origin.call.full_name for origin in members}),
        message=message_of(first, place),
        evidence=evidence_of(first, members),
        shape_of_error=looks,
        shape=shape,
        spread=reach.of(first),
        stack=stack_of(first.call, place.npu),
        others=others[:_LISTED],
    )
    return replace(base, advice=advice_for(base, first, place))


def _looks(first: Origin, place: Place, *, closely: bool) -> tuple[str, str]:
    """The error's shape for programs and in words, from tensor files where there are and it is worth reading them,
    else from what was recorded of them."""
    if first.kind != "operator":
        return "", ""
    argument = first.judged.argument
    if not closely or place.mode != "tensor" or place.bench is None:
        return "", shape_of_error(argument)
    found = real_shape(argument, first.judged.expected, place.npu, place.bench)
    if found is None:
        return "", size_of_error(argument) or ""
    in_words = told(found, argument.name, argument.npu.shape)
    return found.name, in_words if found.name else size_of_error(argument) or in_words


def _others(members: Sequence[Origin]) -> tuple[str, ...]:
    names = dict.fromkeys(origin.call.shown_name for origin in members)
    names.pop(members[0].call.shown_name)
    return tuple(names)


def _dtype_suspect(members: Sequence[Origin], reach: Reach, place: Place) -> Suspect:
    base = _suspect(members, reach, place)
    names = sorted({operators.plain_api(origin.call.operator) for origin in members})
    looks = next(filter(None, (shape_of_error(origin.judged.argument) for origin in members)), "")
    return replace(
        base,
        kind="dtype",
        message=say("happened.lowered", operators=listed(names), looks=looks),
        evidence=(say("evidence.lowered", calls=count(base.calls, "call"), operators=count(len(names), "operator")),),
        shape_of_error=looks,
        advice=after_lower_precision(base, place),
    )


def _optimizer_suspect(fault: OptimizerFault, place: Place) -> Suspect:
    worst = fault.worst
    looks = say("looks.update_factor", factor=f"{worst.factor:.4g}") if worst.factor is not None else ""
    evidence = [say("evidence.updates", off=fault.suspicious, judged=fault.judged)]
    if fault.settings:
        evidence.append(say("evidence.optimizer", settings=listed(fault.settings, by="semicolon")))
    message = say(
        "happened.update_differs",
        parameter=worst.parameter,
        gradient=quantity(max(worst.gradient_error, 1e-12)),
        size=quantity(worst.relative),
        expected=quantity(worst.expected),
    )
    by_digest = place.mode == "md5"
    if by_digest:
        message = say("happened.update_digest", parameter=worst.parameter)
    found = Suspect(
        name=fault.call.full_name,
        kind="optimizer",
        step=place.step,
        rank=place.rank,
        module="",
        tensor=worst.argument.name,
        rel_l2=None if by_digest else worst.relative,
        expected=worst.expected,
        excess=None if by_digest else ratio(worst.relative, worst.expected),
        calls=1,
        message=message,
        evidence=tuple(evidence),
        shape_of_error=looks,
        stack=stack_of(fault.call, place.npu),
    )
    return replace(found, advice=for_optimizer(found, place))
