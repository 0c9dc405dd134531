"""An origin in words: what happened, and on what grounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dump.format.schema import Dump, ScalarRecord

from ..report.saying import Said, listed, say
from ..report.wording import factor, quantity, some
from .calls import MeasuredCall
from .kin import SOURCE as KIN
from .roles import Judged, Origin

_SETTINGS = 5
_FINEST = 1e-12
"""Inputs agree no better than this in words."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a comparison was made: both dumps, the step and the rank, and what there was to compare."""

    npu: Dump
    step: int | None
    rank: int | None
    mode: str
    bench: Dump | None = None


def message_of(origin: Origin, place: Place) -> Said:
    """What happened, in one sentence."""
    if origin.reshaped:
        return _reshaped(origin)
    tell = _MESSAGES.get(origin.kind)
    if tell is not None:
        return tell(origin, place)
    if origin.unseen:
        return _unseen(origin)
    if place.mode == "md5":
        return say("happened.digest", tensor=origin.judged.argument.name)
    if origin.kind == "random":
        return say("happened.drew", agree=_agree(origin))
    return _computed(origin)


def _size(origin: Origin) -> str:
    return quantity(origin.judged.argument.relative)


def _agree(origin: Origin) -> Said:
    if origin.inherited == 0:
        return say("agree.equal")
    return say("agree.to", size=quantity(max(origin.inherited, _FINEST)))


def _what(origin: Origin) -> Said:
    if origin.parameter:
        return say("parameter", name=origin.parameter)
    return say("of_call", tensor=origin.judged.argument.name, call=origin.call.full_name)


def _input(origin: Origin, place: Place) -> Said:
    if place.mode == "md5":
        return say("happened.input_not_same", what=_what(origin))
    return say("happened.input_differs", what=_what(origin), size=_size(origin))


def _updated(origin: Origin, _: Place) -> Said:
    return say("happened.updated", size=_size(origin))


def _one_side(origin: Origin, _: Place) -> Said:
    if origin.rewired:
        return say(
            "happened.rewired",
            tensor=origin.judged.argument.name,
            npu=origin.producer,
            bench=origin.rewired,
            size=_size(origin),
        )
    return say("happened.one_side", producer=origin.producer, size=_size(origin), call=origin.call.full_name)


def _nonfinite(origin: Origin, _: Place) -> Said:
    argument = origin.judged.argument
    kind = "NaN" if argument.error is not None and argument.error.nan else "Inf"
    words = {"tensor": argument.name, "kind": kind, "operator": origin.call.operator}
    bad = argument.npu.nan if kind == "NaN" else argument.npu.inf
    if not bad:  # a foreign dump says that there are some, not how many
        return say("happened.nonfinite", **words)
    return say("happened.nonfinite_counted", **words, bad=f"{bad:,}", all=f"{argument.npu.numel:,}")


_MESSAGES = {"input": _input, "optimizer": _updated, "structure": _one_side, "nan_inf": _nonfinite}


def _computed(origin: Origin) -> Said:
    judged = origin.judged
    words = {"agree": _agree(origin), "tensor": judged.argument.name, "size": _size(origin)}
    if judged.expected is None or judged.expected.relative == 0:
        return say("happened.computed_exact", **words)
    times, expected = factor(judged.excess or 0.0), quantity(judged.expected.relative)
    return say("happened.computed", **words, times=times, expected=expected, source=_source(origin.call, judged))


def _source(call: MeasuredCall, judged: Judged) -> Said:
    source = judged.expected.source if judged.expected is not None else ""
    if source == "measured floor":
        return say("source.floor")
    if source == KIN:
        return say("source.kin", operator=call.operator)
    return say("source.arithmetic", dtype=judged.argument.npu.dtype.removeprefix("torch."))


def _reshaped(origin: Origin) -> Said:
    argument = origin.judged.argument
    shapes = say("shapes", npu=str(list(argument.npu.shape)), bench=str(list(argument.bench.shape)))
    if origin.kind == "input":
        return say("happened.input_reshaped", what=_what(origin), shapes=shapes)
    return say("happened.reshaped", what=argument.name, shapes=shapes)


def _unseen(origin: Origin) -> Said:
    tensor = origin.judged.argument.name
    if origin.producer:
        return say("happened.overwritten", tensor=tensor, size=_size(origin), producer=origin.producer)
    before = say("happened.agreed_before", call=origin.before) if origin.before else ""
    node = say("happened.node", name=origin.grad_fn) if origin.grad_fn else ""
    return say(
        "happened.unseen", tensor=tensor, size=_size(origin), call=origin.call.full_name, before=before, node=node
    )


def evidence_of(first: Origin, members: Sequence[Origin]) -> tuple[str, ...]:
    """On what grounds, a sentence each."""
    found: list[str] = []
    if first.call.pair.fused is not None:
        found.append(say("evidence.fused", against=first.call.pair.fused.against))
    error = first.judged.argument.error
    if error is not None and error.source == "sketch" and first.kind == "operator":
        found.append(say("evidence.sketch"))
    if error is not None and error.source == "bound":
        found.append(say("evidence.bound"))
    found += _other_settings(first.call) if first.kind in ("operator", "random") else []
    if first.overwritten_by:
        found.append(say("evidence.writers", calls=listed(first.overwritten_by)))
    if len(members) > 1 and first.kind == "input":
        names = list(dict.fromkeys(_input_name(origin) for origin in members))
        found.append(say("evidence.start", names=some(names)))
    return tuple(found)


def _input_name(origin: Origin) -> str:
    return origin.parameter or _what(origin)


def _other_settings(call: MeasuredCall) -> list[str]:
    """`called with input.4 1e-05 against 1e-06`: numbers and flags that the two sides do not share."""
    differing = [
        say("evidence.setting", name=pair.name, npu=str(pair.npu.value), bench=str(pair.bench.value))
        for pair in call.pair.arguments
        if isinstance(pair.npu, ScalarRecord)
        and isinstance(pair.bench, ScalarRecord)
        and isinstance(pair.npu.value, (bool, int, float))
        and isinstance(pair.bench.value, (bool, int, float))
        and pair.npu.value != pair.bench.value
    ]
    if not differing:
        return []
    return [say("evidence.settings", settings=listed(differing[:_SETTINGS], by="semicolon"))]
