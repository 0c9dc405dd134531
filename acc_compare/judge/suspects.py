"""Origins to suspects: grouped, ordered, and put into words for the advisor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dump.format.names import parse
from dump.format.schema import Dump

from ..model import Suspect
from ..report.wording import factor, quantity
from . import arithmetic
from .calls import MeasuredCall
from .optimizer import OptimizerFault
from .origins import Origin
from .shape import shape_of_error

_LISTED = 20
_THROUGHOUT = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """Where a comparison was made; `command` is what its user typed after `acc compare`."""

    npu: Dump
    step: int | None
    rank: int | None
    mode: str


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
    found: list[tuple[int, Suspect]] = []
    for key, members in groups.items():
        if lowered and key[0] == "operator" and key[-1] == "seen" and key[1] in lowered:
            continue
        found.append((members[0].call.order, _suspect(members, calls, place)))
    if lowered:
        members = [o for key, group in groups.items() if key[1] in lowered for o in group]
        members.sort(key=lambda origin: origin.call.order)
        found.append((members[0].call.order, _dtype_suspect(members, sorted(lowered), place)))
    found += [(fault.call.order, _optimizer_suspect(fault, place)) for fault in faults]
    found.sort(key=lambda pair: pair[0])
    return tuple(suspect for _, suspect in found)


def merge_alike(suspects: Sequence[Suspect]) -> tuple[Suspect, ...]:
    """One suspect for each operator over all steps and ranks: the earliest, which counts the calls of the others."""
    merged: dict[tuple[str, str, str], Suspect] = {}
    for suspect in suspects:
        name = parse(suspect.name)
        key = (suspect.kind, arithmetic.plain_api(name.api), name.direction)
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
    operator = arithmetic.plain_api(origin.call.operator)
    return (origin.kind, operator, origin.call.name.direction, seen)


def _lower_precision(groups: dict[tuple[str, ...], list[Origin]], calls: Sequence[MeasuredCall]) -> set[str]:
    """Operators of products and sums that are all off by the size of one rounding: two or more operators, most of the
    calls that could show it.  That is a precision switch (TF32, HF32, autocast), not a wrong kernel."""
    rounded: dict[str, int] = {}
    for key, members in groups.items():
        if key[0] != "operator" or key[-1] != "seen":
            continue
        if arithmetic.operator_class(key[1]) != "contraction":
            continue
        if all("rounding" in shape_of_error(origin.judged.argument) for origin in members):
            rounded[key[1]] = rounded.get(key[1], 0) + len(members)
    contractions = {
        arithmetic.plain_api(call.operator)
        for call in calls
        if arithmetic.operator_class(call.operator) == "contraction"
    }
    if len(rounded) >= 2 and len(rounded) >= _THROUGHOUT * len(contractions):
        return set(rounded)
    return set()


def module_of(call: MeasuredCall) -> str:
    """The path of the module that a call ran in, "" at the top."""
    if call.name.is_module:
        return call.name.path
    return parse(call.owner).path if call.owner else ""


def stack_of(call: MeasuredCall, dump: Dump) -> tuple[str, ...]:
    """The call's stack; a backward call has that of its forward call."""
    name = call.full_name
    if call.is_backward:
        name = (
            name.replace(".backward.", ".forward.")
            if call.name.is_module
            else f"{name.removesuffix('backward')}forward"
        )
    return tuple(dump.stacks.get(name, ()))


def _suspect(members: Sequence[Origin], calls: Sequence[MeasuredCall], place: Place) -> Suspect:
    first = members[0]
    judged = first.judged
    expected = judged.expected.relative if judged.expected is not None else None
    error = judged.argument.error
    relative = None if error is None or error.source == "digest" else error.relative
    excess = judged.excess
    others = () if first.kind == "input" else _others(members)
    base = Suspect(
        name=first.producer if first.kind == "structure" else first.call.full_name,
        kind=first.kind,
        step=place.step,
        rank=place.rank,
        module=module_of(first.call),
        tensor=judged.argument.name,
        rel_l2=relative,
        expected=expected,
        excess=excess if place.mode != "md5" else None,
        calls=1 if first.kind == "input" else len({origin.call.full_name for origin in members}),
        message=_message(first, place),
        evidence=_evidence(first, members),
        shape_of_error=shape_of_error(judged.argument) if first.kind == "operator" else "",
        spread=_spread(first, calls),
        stack=stack_of(first.call, place.npu),
        others=others[:_LISTED],
    )
    return replace(base, advice=_advice(base, first, place))


def _message(origin: Origin, place: Place) -> str:
    judged, operator = origin.judged, origin.call.operator
    tensor = judged.argument.name
    relative = judged.argument.relative
    if origin.kind == "input":
        what = f"parameter {origin.parameter}" if origin.parameter else f"{tensor} of {origin.call.full_name}"
        how = "is not the same" if place.mode == "md5" else f"differs by {quantity(relative)} of its size"
        return f"{what} {how} before any recorded operator touched it"
    if origin.kind == "optimizer":
        return (
            f"the parameters differ by {quantity(relative)} at the start of this step although the step before agreed:"
            " the optimizer's update was another"
        )
    if origin.kind == "structure":
        return (
            f"{origin.producer} ran on one side only, and what it made differs by {quantity(relative)} where"
            f" {origin.call.full_name} reads it"
        )
    if origin.kind == "nan_inf":
        kind = "NaN" if judged.argument.error is not None and judged.argument.error.nan else "Inf"
        return f"{tensor} holds {kind} on the NPU side only, all that {operator} read is finite"
    if origin.unseen:
        return _unseen_message(origin, relative)
    if place.mode == "md5":
        return f"everything it read is equal bit by bit, {tensor} is not"
    inputs = "equal" if origin.inherited == 0 else f"agree to {quantity(max(origin.inherited, 1e-12))}"
    expected = judged.expected.relative if judged.expected is not None else 0.0
    if origin.kind == "random":
        return f"its inputs are {inputs}" if inputs == "equal" else f"its inputs {inputs}, what it drew does not"
    dtype = judged.argument.npu.dtype.removeprefix("torch.")
    verb = "are equal" if inputs == "equal" else inputs
    excess = judged.excess or 0.0
    return (
        f"its inputs {verb}, {tensor} differs by {quantity(relative)}: {factor(excess)} times what {dtype} {operator}"
        f" explains ({quantity(expected)})"
    )


def _unseen_message(origin: Origin, relative: float) -> str:
    tensor = origin.judged.argument.name
    before = f" and agreed up to {origin.before}" if origin.before else ""
    if origin.producer:
        return (
            f"{tensor} differs by {quantity(relative)}, though {origin.producer} made it alike on both sides: its"
            " memory was overwritten in between"
        )
    node = f" (autograd node {origin.grad_fn})" if origin.grad_fn else ""
    return (
        f"{tensor} differs by {quantity(relative)} when {origin.call.full_name} reads it{before}: an operator that was"
        f" not recorded{node} made the difference in between"
    )


def _evidence(first: Origin, members: Sequence[Origin]) -> tuple[str, ...]:
    found = []
    judged = first.judged
    if judged.expected is not None and judged.expected.source == "measured floor":
        found.append(f"two bench runs differ by {quantity(judged.expected.relative)} here")
    error = judged.argument.error
    if error is not None and error.source == "sketch" and first.kind == "operator":
        found.append("measured by the sketch, which is right within about a third")
    if error is not None and error.source == "bound":
        found.append("the dump has no sketch: the true difference is at least this large")
    if first.overwritten_by:
        found.append("calls that wrote to that memory: " + ", ".join(first.overwritten_by))
    count = len({origin.call.full_name for origin in members})
    if count > 1 and first.kind == "operator":
        found.append(f"{count} calls of {first.call.operator} introduce error alike")
    if len(members) > 1 and first.kind == "input":
        found.append("what differs from the start: " + _named([_input_name(origin) for origin in members]))
    return tuple(found)


def _others(members: Sequence[Origin]) -> tuple[str, ...]:
    names = dict.fromkeys(origin.call.full_name for origin in members)
    names.pop(members[0].call.full_name)
    return tuple(names)


def _input_name(origin: Origin) -> str:
    return origin.parameter or f"{origin.judged.argument.name} of {origin.call.full_name}"


def _named(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - 3} more" if len(distinct) > 3 else ""
    return ", ".join(distinct[:3]) + more


def _spread(first: Origin, calls: Sequence[MeasuredCall]) -> str:
    """How far the error reaches: the share of later calls that carry it, and the last scalar, which is the loss."""
    later = [call for call in calls if call.order > first.call.order]
    touched = [call for call in later if any(a.relative > 1e-6 for a in call.wrote if a.error is not None)]
    losses = [
        (call, argument)
        for call in calls
        if not call.is_backward and call.order >= first.call.order
        for argument in call.wrote
        if argument.is_floating
        and argument.npu.numel == 1
        and argument.name == "output.0"
        and argument.error is not None
        and argument.npu.requires_grad
    ]
    if not later:
        return ""
    text = f"{len(touched):,} of the {len(later):,} calls after it carry the difference"
    if losses:
        call, argument = losses[-1]
        assert argument.error is not None
        if math.isinf(argument.relative):
            text += f"; it reaches {call.full_name} (the loss)"
        elif argument.relative > 0:
            text += f"; it reaches {call.full_name} (the loss) as {quantity(argument.error.relative)}"
        else:
            text += "; the loss does not show it"
    return text


def _advice(suspect: Suspect, origin: Origin, place: Place) -> tuple[str, ...]:
    call = origin.call.full_name
    forward = call.removesuffix(".backward").removesuffix(".forward")
    if suspect.kind == "input":
        return (
            "start both sides alike: acc dump --seed 1234 --deterministic -s SCRIPT",
            "load the same checkpoint and the same batch on both sides, then record again",
        )
    if suspect.kind == "random":
        return (
            "seed both sides: acc dump --seed 1234 --deterministic -s SCRIPT",
            "generators of two devices differ even then: compare with p=0, or seed_all(rm_dropout=True)",
        )
    if suspect.kind == "optimizer":
        return (
            "compare learning rate, betas, eps and weight decay of both scripts",
            _record_more("Optimizer"),
        )
    if suspect.kind == "structure":
        return ("find out why this call is made on one side only (a fused operator, a branch, a version)",)
    if origin.unseen:
        return (
            f"look at the lines of the model between {origin.before or 'the start'} and {call}",
            "record modules too: acc dump --level mix -s SCRIPT",
        )
    if place.mode == "tensor":
        return (
            f"run {origin.call.operator} alone on the CPU in float64 with the recorded inputs of {call}",
            "replace it on the NPU by its composite of simpler operators and record again",
        )
    return (f"on both sides, {_record_more(forward)}", "then compare the two: acc compare NPU_DIR BENCH_DIR")


def _record_more(name: str) -> str:
    return f"record the whole tensors of this call: acc dump --task tensor -s --list {name} SCRIPT"


def _dtype_suspect(members: Sequence[Origin], operators: Sequence[str], place: Place) -> Suspect:
    first = members[0]
    base = _suspect(members, (), place)
    looks = shape_of_error(first.judged.argument)
    return replace(
        base,
        kind="dtype",
        message=(
            f"{', '.join(operators)} are all off by {looks}: one side computes products in a lower precision throughout"
        ),
        evidence=(f"{base.calls} calls of {len(operators)} operators show it alike",),
        shape_of_error=looks,
        advice=(
            "switch TF32 off on a GPU: torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False",
            "switch HF32 off on an NPU: torch_npu.npu.conv.allow_hf32 = torch_npu.npu.matmul.allow_hf32 = False",
            "then record both sides again",
        ),
    )


def _optimizer_suspect(fault: OptimizerFault, place: Place) -> Suspect:
    worst = fault.worst
    looks = f"the update is {worst.factor:.6g} times the bench's" if worst.factor is not None else ""
    evidence = [f"{fault.suspicious} of {fault.judged} updates that can be judged are off"]
    if fault.settings:
        evidence.append("settings differ: " + "; ".join(fault.settings))
    return Suspect(
        name=fault.call.full_name,
        kind="optimizer",
        step=place.step,
        rank=place.rank,
        module="",
        tensor=worst.argument.name,
        rel_l2=worst.relative,
        expected=worst.expected,
        excess=worst.relative / worst.expected,
        calls=1,
        message=(
            f"the gradient of {worst.parameter} agrees to {quantity(max(worst.gradient_error, 1e-12))}, its update"
            f" differs by {quantity(worst.relative)} where {quantity(worst.expected)} is explained"
        ),
        evidence=tuple(evidence),
        shape_of_error=looks,
        advice=(
            "compare learning rate, betas, eps and weight decay of both scripts",
            "try the optimizer's plain implementation: foreach=False, fused=False",
        ),
        stack=stack_of(fault.call, place.npu),
    )
