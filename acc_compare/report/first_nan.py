"""Where NaN and Inf came from: a page of text, and JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict

from acc_compare.first_nan import FirstNan, NanReport, Range
from acc_compare.judge.evidence import cut_short, some
from acc_compare.messages import Message, Value, count, listed, say
from acc_compare.report.i18n import text
from acc_compare.report.messages import Lang
from acc_compare.report.safe_text import one_line
from acc_compare.report.wrapping import columns, padded, wrap
from acc_compare.stacks import own_line

_RANKS = 4


def nan_text(report: NanReport, *, lang: Lang = "en") -> str:
    """One page: the first call, what it read, the largest numbers on the way to it and in the steps before."""
    if not report.origins:
        lines = wrap(text(say("nan.none", calls=count(report.calls, "call")), lang))
        if report.incomplete is not None:
            lines += wrap(text(cut_short(report.incomplete), lang))
    else:
        first, *others = report.origins
        lines = wrap(text(_first(first), lang))
        facts = [*_facts(first), *((say("nan.label.more"), _also(other)) for other in others[:_RANKS])]
        if report.vanished:
            told = say("nan.vanished", count=count(len(report.vanished), "call"), names=some(report.vanished))
            facts.append((say("nan.label.vanished"), told))
        before: Message | None = None
        for label, fact in facts:
            lead = "  " + padded("" if label == before else text(label, lang), 14)
            lines += wrap(text(fact, lang), lead=lead, indent=columns(lead))
            before = label
    return "\n".join(lines) + "\n"


def nan_json(report: NanReport) -> str:
    """The same as strict JSON; a number that is not finite is null."""
    return json.dumps(_finite(asdict(report)), indent=1, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _place(found: FirstNan) -> Value:
    known = (("step", found.step), ("rank", found.rank))
    parts = [say(f"place.{name}", number=number) for name, number in known if number is not None]
    return say("replay.place", place=listed(parts)) if parts else ""


def _first(found: FirstNan) -> Message:
    if found.nan is None or found.inf is None:
        what = say("nan.wrote.uncounted", tensor=found.tensor)
    else:
        what = say("nan.wrote", nan=found.nan, inf=found.inf, tensor=found.tensor)
    return say("nan.first", call=one_line(found.call), place=_place(found), what=what)


def _also(found: FirstNan) -> Message:
    return say("nan.more", call=one_line(found.call), place=_place(found))


def _facts(found: FirstNan) -> Iterator[tuple[Message, Message | str]]:
    if found.module:
        yield say("nan.label.module"), one_line(found.module)
    line = own_line(found.stack)
    if line:
        yield say("nan.label.source"), one_line(line)
    for each in found.reads:
        yield say("nan.label.read"), _range(each, each.tensor)
    for each in found.way:
        yield say("nan.label.way"), _range(each, one_line(each.call))
    for each in found.steps:
        if each.step is not None:
            yield say("nan.label.steps"), _range(each, say("nan.of_step", step=each.step))


def _range(found: Range, name: Value) -> Message:
    if math.isinf(found.largest):
        return say("nan.range.infinite", name=name)
    if found.bits is None:
        return say("nan.range", name=name, largest=found.largest)
    dtype = found.dtype.removeprefix("torch.")
    return say("nan.range.bits", name=name, largest=found.largest, bits=found.bits, dtype=dtype)
