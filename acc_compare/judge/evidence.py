"""What happened at an origin, and on what grounds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from acc_compare import operators
from acc_compare.judge.origins import SUSPICIOUS, Judged, Origin, Previous
from acc_compare.judge.ranks import JobStep, of_several, ranges
from acc_compare.measured.calls import MeasuredCall
from acc_compare.messages import Message, Value, listed, say
from acc_compare.model import ReferenceErrors, Suspect
from dump.format.schema import CutShort, Dump, Leaf, Mode, ScalarRecord

_SETTINGS = 5
_DEVICE = re.compile(r"(?:cpu|cuda|npu|meta|mps|xpu|hpu|privateuseone)(?::\d+)?", re.ASCII)
_EXAMPLES = 3
_FINEST = 1e-12
"""Inputs agree no better than this in words."""


@dataclass(frozen=True, slots=True)
class Comparand:
    """Where a comparison was made: both dumps, the step and the rank, what there was to compare, the step of all
    ranks where they gave each other anything, how far both sides are from a third run, what became of the step
    before, and how far parameters were apart before the recording began."""

    npu: Dump
    step: int | None
    rank: int | None
    mode: Mode
    bench: Dump | None = None
    job: JobStep | None = None
    references: Mapping[tuple[str, str], ReferenceErrors] = field(default_factory=dict)
    previous: Previous = "none"
    parted: float = 0.0

    @property
    def is_compiled(self) -> bool:
        """Did a side run compiled code, of which nothing is recorded?"""
        return any((side.header.coverage or {}).get("compiled") for side in self.sides)

    @property
    def sides(self) -> tuple[Dump, Dump]:
        """The NPU's dump and the bench's; the NPU's twice where there is but one."""
        return self.npu, self.bench if self.bench is not None else self.npu


def message_of(origin: Origin, place: Comparand) -> Message:
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
    if origin.kind == "random" and not _other_settings(origin.call):
        return say("happened.drew", agree=_agree(origin))
    return _computed(origin)


def _size(origin: Origin) -> float:
    return _relative(origin)


def _relative(origin: Origin) -> float:
    error = origin.judged.argument.error
    return error.relative if error is not None else math.inf


def _agree(origin: Origin) -> Message:
    if origin.inherited == 0:
        return say("agree.equal")
    return say("agree.to", size=max(origin.inherited, _FINEST))


def _what(origin: Origin) -> Message:
    if origin.parameter:
        return say("parameter", name=origin.parameter)
    return say("of_call", tensor=origin.judged.argument.name, call=origin.call.full_name)


def _input(origin: Origin, place: Comparand) -> Message:
    if place.mode == "md5":
        return say("happened.input_not_same", what=_what(origin))
    if origin.judged.argument.name.startswith("output") and _other_settings(origin.call):
        return _computed(origin)  # another part of the same data
    if origin.trained:
        return say("happened.trained", what=_what(origin), size=_size(origin), side=say(f"name.{origin.trained}"))
    is_parameter = bool(origin.parameter or origin.judged.argument.npu.requires_grad)
    came = "input_compiled" if place.is_compiled and not is_parameter else "input_differs"
    return say(f"happened.{came}", what=_what(origin), size=_size(origin))


def _updated(origin: Origin, _: Comparand) -> Message:
    if origin.maker:
        what = _what(origin)
        return say("happened.moved", what=what, size=_size(origin), call=origin.call.full_name, optimizer=origin.maker)
    return say("happened.updated", size=_size(origin))


def _one_side(origin: Origin, _: Comparand) -> Message:
    if origin.rewired:
        return say(
            "happened.read_another" if origin.unseen else "happened.rewired",
            tensor=origin.judged.argument.name,
            npu=origin.producer,
            bench=origin.rewired,
            size=_size(origin),
        )
    side = say(f"name.{origin.lone}")
    words: dict[str, Value] = {"producer": origin.producer, "side": side, "size": _size(origin)}
    if origin.handed:
        return say("happened.handed", **words, argument=origin.handed, call=origin.call.full_name)
    key = "happened.one_side" if origin.earlier is None else "happened.one_side_before"
    return say(key, **words, call=origin.call.full_name)


def _nonfinite(origin: Origin, _: Comparand) -> Message:
    argument = origin.judged.argument
    kind = "NaN" if argument.error is not None and argument.error.nan else "Inf"
    ours = argument.error is None or argument.error.bad_npu >= argument.error.bad_bench
    side, record = ("name.npu", argument.npu) if ours else ("name.bench", argument.bench)
    words: dict[str, Value] = {
        "tensor": argument.name,
        "kind": kind,
        "operator": origin.call.operator,
        "side": say(side),
    }
    bad = record.nan if kind == "NaN" else record.inf
    if not bad:  # a foreign dump says that there are some, not how many
        return say("happened.nonfinite", **words)
    return say("happened.nonfinite_counted", **words, bad=bad, all=record.numel)


_MESSAGES = {"input": _input, "optimizer": _updated, "structure": _one_side, "nan_inf": _nonfinite}


def _computed(origin: Origin) -> Message:
    judged = origin.judged
    words: dict[str, Value] = {"agree": _agree(origin), "tensor": judged.argument.name, "size": _size(origin)}
    if judged.expected is None or judged.expected.relative == 0:
        return say("happened.computed_exact", **words)
    shift = judged.expected.shift
    if shift is not None and judged.argument.relative <= judged.expected.limit:
        words |= {"value": abs(shift.value), "typical": shift.typical, "allowed": say("allowed.rounding")}
        if judged.expected.basis == "peers" and judged.argument.relative > SUSPICIOUS * judged.expected.relative:
            words["allowed"] = say("allowed.peers", operator=origin.call.operator)
        return say(f"happened.shifted_{shift.channel}", **words)
    source = _source(origin.call, judged)
    return say(
        "happened.computed", **words, times=judged.excess or 0.0, expected=judged.expected.relative, source=source
    )


def _source(call: MeasuredCall, judged: Judged) -> Message:
    basis = judged.expected.basis if judged.expected is not None else ""
    if basis == "floor":
        return say("source.floor")
    if basis == "peers":
        return say("source.peers", operator=call.operator)
    return say("source.arithmetic", dtype=judged.argument.npu.dtype.removeprefix("torch."))


def _reshaped(origin: Origin) -> Message:
    shapes = _shapes(origin)
    if origin.kind == "input":
        return say("happened.input_reshaped", what=_what(origin), shapes=shapes)
    if origin.lone:
        side, tensor = say(f"name.{origin.lone}"), origin.judged.argument.name
        words: dict[str, Value] = {"producer": origin.producer, "side": side, "call": origin.call.full_name}
        key = "happened.one_side_reshaped" if origin.earlier is None else "happened.one_side_reshaped_before"
        return say(key, **words, tensor=tensor, shapes=shapes)
    return say("happened.reshaped", what=origin.judged.argument.name, shapes=shapes)


def _shapes(origin: Origin) -> Message:
    argument = origin.judged.argument
    return say("shapes", npu=str(list(argument.npu.shape)), bench=str(list(argument.bench.shape)))


def _unseen(origin: Origin) -> Message:
    tensor = origin.judged.argument.name
    if origin.summed is not None:
        return _summed(origin, *origin.summed)
    if origin.since:
        side = say(f"name.{origin.since}")
        return say("happened.since", what=_what(origin), size=_size(origin), side=side, optimizer=origin.before)
    if origin.producer:
        return say("happened.overwritten", tensor=tensor, size=_size(origin), producer=origin.producer)
    if origin.maker:
        return say("happened.hidden", tensor=tensor, size=_size(origin), call=origin.call.full_name)
    before: Value = say("happened.agreed_before", call=origin.before) if origin.before else ""
    node: Value = say("happened.node", name=origin.grad_fn) if origin.grad_fn else ""
    return say(
        "happened.unseen", tensor=tensor, size=_size(origin), call=origin.call.full_name, before=before, node=node
    )


def _summed(origin: Origin, npu: Sequence[str], bench: Sequence[str]) -> Message:
    words: dict[str, Value] = {"tensor": origin.judged.argument.name, "size": _size(origin)}
    if npu and bench:
        return say("happened.summed", **words, npu=some(list(npu)), bench=some(list(bench)))
    side = say("name.npu" if npu else "name.bench")
    return say("happened.not_summed", **words, side=side, calls=some(list(npu or bench)))


def evidence_of(first: Origin, members: Sequence[Origin], called: MeasuredCall | None = None) -> tuple[Message, ...]:
    """On what grounds, a sentence each; `called` is the call that a backward call is of."""
    found: list[Message] = []
    if first.call.pair.fused is not None:
        found.append(say("evidence.fused", against=first.call.pair.fused.against))
    error = first.judged.argument.error
    if error is not None and error.source == "sketch" and first.kind == "operator":
        found.append(say("evidence.sketch"))
    if error is not None and error.source == "bound":
        found.append(say("evidence.bound"))
    found += _other_settings(called or first.call) if first.kind in ("operator", "random", "input") else []
    if first.overwritten_by:
        found.append(say("evidence.writers", calls=listed(first.overwritten_by)))
    if first.since:
        names = [name for name in dict.fromkeys(map(_input_name, members)) if name != _input_name(first)]
        found += [say("evidence.changed_too", names=some(names))] if names else []
    if len(members) > 1 and first.kind == "input":
        names = list(dict.fromkeys(_input_name(origin) for origin in members))
        found.append(say("evidence.start", names=some(names)))
        reshaped = next((origin for origin in members if origin.reshaped and origin is not first), None)
        if reshaped is not None:
            found.append(say("evidence.reshaped", name=_input_name(reshaped), shapes=_shapes(reshaped)))
    return tuple(found)


def has_other_settings(suspect: Suspect, *keys: str) -> bool:
    """Was it called with other numbers, flags or words on the two sides, which are no collective's, and is what it made
    what differs?"""
    told = any(part.key in (keys or ("evidence.settings",)) for part in suspect.evidence)
    made = suspect.tensor.partition(".")[0] not in ("input", "parameters")
    return told and made and not suspect.name.startswith("Distributed.")


def may_have_other_settings(suspect: Suspect) -> bool:
    """Has it other settings, or an argument on one side that may be the other's default?"""
    return has_other_settings(suspect, "evidence.settings", "evidence.given")


def some(names: Sequence[Value], *, total: int = 0) -> Message:
    """The first three of `names`, and how many more there are, of `total` where that is larger."""
    shown = listed(names[:_EXAMPLES])
    more = max(total, len(names)) - min(len(names), _EXAMPLES)
    return say("and_more", names=shown, number=more) if more else shown


def cut_short(cut: CutShort) -> Message:
    """How a dump was cut short."""
    if cut.kind == "by_limit":
        return say("cut.by_limit", source=cut.source, limit=cut.limit, number=cut.calls)
    return say("cut.early" if cut.kind == "early" else "cut.no_end", source=cut.source, number=cut.calls)


def _input_name(origin: Origin) -> Value:
    return origin.parameter or _what(origin)


def _other_settings(call: MeasuredCall) -> list[Message]:
    """`called with other settings: input.4 1e-05 against 1e-06`: numbers, flags and words that the two sides do not
    share, but for names of devices; of a collective who takes part too.  Then what one side alone was given."""
    differing = [say_setting(*setting) for setting in settings_apart(call)]
    ours, theirs = ([found.ranks for found in of_several(side)] for side in (call.pair.npu, call.pair.bench))
    if ours != theirs:
        named = [listed([ranges(ranks) for ranks in side], by="semicolon") for side in (ours, theirs)]
        differing.append(say("evidence.setting", name="ranks", npu=named[0], bench=named[1]))
    found = [say("evidence.settings", settings=listed(differing[:_SETTINGS], by="semicolon"))] if differing else []
    given = {
        side: {
            _named(pair.name or pair.bench_name, call): _setting(getattr(pair, side))
            for pair in call.pair.arguments
            if getattr(pair, other) is None
        }
        for side, other in (("npu", "bench"), ("bench", "npu"))
    }
    for side, other in (("npu", "bench"), ("bench", "npu")):
        alone = [
            say("evidence.value", name=name, value=str(value))
            for name, value in given[side].items()
            if value is not None and value not in given[other].values()  # by place there, by name here
        ]
        if alone:
            settings = listed(alone[:_SETTINGS], by="semicolon")
            found.append(say("evidence.given", side=say(f"name.{side}"), settings=settings))
    return found


def settings_apart(call: MeasuredCall) -> list[tuple[str, object, object]]:
    """The numbers, flags and words that `call` was given on both sides and that are not the same, but for names of
    devices: by the argument's name, of the NPU side and of the bench's."""
    pairs = ((pair.name, _setting(pair.npu), _setting(pair.bench)) for pair in call.pair.arguments)
    differ = ((name, npu, bench) for name, npu, bench in pairs if None not in (npu, bench) and npu != bench)
    return [(_named(name, call), npu, bench) for name, npu, bench in differ]


def say_setting(name: str, npu: object, bench: object) -> Message:
    return say("evidence.setting", name=name, npu=str(npu), bench=str(bench))


def _named(argument: str, call: MeasuredCall) -> str:
    """`input.4 (eps)`: as it is recorded, and what the operator calls it."""
    parameter = operators.parameter_at(call.operator, argument)
    return f"{argument} ({parameter})" if parameter else argument


def _setting(leaf: Leaf) -> object:
    """What a call was told by an argument that is no tensor; None where that is nothing, or no matter of a setting."""
    if not isinstance(leaf, ScalarRecord):
        return None
    value = leaf.value
    if isinstance(value, str):
        return None if leaf.type != "str" or _DEVICE.fullmatch(value) else value
    return value if isinstance(value, (bool, int, float, list)) else None
