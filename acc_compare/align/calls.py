"""Which call of one side answers to which of the other.

Where both sides made the same calls, names settle it.  Where they did not, an extra call shifts every later number of
its api, so forward calls are aligned as sequences of (api, module, shapes), backward calls follow their forward calls,
and modules and optimizers go by name.  Recomputed calls answer to what they repeat, and a fused call to the composite
that stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from acc_compare.align.arguments import pair_arguments
from acc_compare.align.forward import Matched, match_forward
from acc_compare.align.fused import FusedMatch, backward_names
from acc_compare.align.paths import Translator, plain_path
from acc_compare.align.reasons import Reasons
from acc_compare.align.recomputed import MicroBatches, micro_batches, originals
from acc_compare.align.rules import Rules
from acc_compare.align.side import Side, backward_of, is_api_forward, is_plain_forward
from acc_compare.align.values import Place, Values
from acc_compare.messages import say
from acc_compare.model import Alignment, PairedCall
from dump.format import names
from dump.format.schema import CallRecord, Dump

__all__ = ["align", "plain_path"]

_NO_RULES = Rules()


@dataclass(slots=True)
class _Found:
    """What answers to what: the bench's call by the id of the NPU's; pairs with a composite on one side, by the id of
    the NPU side's call; the fused call that an inner call of a composite is part of, by id."""

    partner: dict[int, CallRecord] = field(default_factory=dict)
    fused: dict[int, PairedCall] = field(default_factory=dict)
    part_of: dict[int, str] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def match(self, call: CallRecord, answer: CallRecord) -> None:
        self.partner[id(call)] = answer
        self.taken.add(id(answer))


def align(npu: Dump, bench: Dump, rules: Rules = _NO_RULES) -> Alignment:
    """Pair the calls of both sides; every call appears once, matched or with the reason why it is not.

    Two exceptions: a call that the NPU side recomputes for backward is laid against the bench's one call a second time,
    and of a composite that answers to a fused call the last call stands for all.
    """
    classes = (_classes(npu), _classes(bench)) if rules.renaming.layers else ()
    translator = Translator(rules.renaming, *classes)
    ours, theirs = Side.translated(npu, translator), Side.plain(bench)
    batches = None
    if _same_names(ours, theirs):
        found = _by_name(ours, theirs)
    else:
        batches = micro_batches(npu, bench)
        found = _by_sequence(ours, theirs, rules, batches)
    lone = {
        True: frozenset(c.name for c in npu.calls if id(c) not in found.partner and id(c) not in found.fused),
        False: frozenset(c.name for c in bench.calls if id(c) not in found.taken),
    }
    reasons = Reasons(ours, theirs, batches=batches, lone=lone)
    notes = [say("note.renames_nothing", source=str(rules.source), entry=entry) for entry in translator.unused()]
    if batches is not None:
        notes.append(say("batches.npu_side", difference=batches.difference(on_npu=True)))
    pairs = tuple(_ordered(npu, bench, found, reasons))
    return Alignment(npu, bench, pairs, tuple(notes), differs_in_batches=batches is not None)


def _classes(dump: Dump) -> dict[str, str]:
    """The class of each module that was called, by its path."""
    called = (names.parse(call.name) for call in dump.calls)
    return {name.path: name.api for name in called if name.is_module}


def _same_names(npu: Side, bench: Side) -> bool:
    """Did both sides make the same calls, wrappers and renaming aside?"""
    ours = {npu.comparable(call) for call in npu.dump.calls}
    return len(ours) == len(npu.dump.calls) and ours == {bench.comparable(call) for call in bench.dump.calls}


def _by_name(npu: Side, bench: Side) -> _Found:
    theirs = {bench.comparable(call): call for call in bench.dump.calls}
    found = _Found()
    for call in npu.dump.calls:
        found.match(call, theirs[npu.comparable(call)])
    return found


def _by_sequence(npu: Side, bench: Side, rules: Rules, batches: MicroBatches | None) -> _Found:
    found = _Found()
    everything = max(len(npu.dump.calls), len(bench.dump.calls), 1)
    if batches is None:
        until = (everything, everything)
    elif batches.same_size:
        until = (batches.first_npu, batches.first_bench)
    else:
        until = (0, 0)
    matched = match_forward(npu, bench, rules, until=until)
    for call, answer in matched.pairs:
        found.match(call, answer)
    fused = _FusedPairs(npu, bench, matched, found)
    _match_rest(npu, bench, found, batches)
    fused.match_backward()
    return found


class _FusedPairs:
    """Fused calls and composites: forward first, backward when all other calls have found their answers."""

    def __init__(self, npu: Side, bench: Side, matched: Matched, found: _Found) -> None:
        self._found = found
        self._matched: dict[bool, Mapping[int, tuple[CallRecord, CallRecord]]] = {}
        self._matches: list[tuple[FusedMatch, Mapping[str, Place]]] = []
        if not matched.fused:
            return
        ours, theirs = Values(npu.dump.calls), Values(bench.dump.calls)
        for pair in matched.fused:
            match = FusedMatch.of(pair, ours, theirs)
            paired, answers = match.forward()
            self._matches.append((match, answers))
            self._note(match, paired, match.members)

    def match_backward(self) -> None:
        for match, answers in self._matches:
            paired = match.backward(answers, self._readers(match))
            if paired is not None:
                members = [match.values.by_name[n] for n in backward_names(match.members) if n in match.values.by_name]
                self._note(match, paired, members)

    def _readers(self, match: FusedMatch) -> Mapping[int, tuple[CallRecord, CallRecord]]:
        """Matched pairs of calls, the fused call's side first, by the id of the call there."""
        if match.on_npu not in self._matched:
            npu = (match.fused_values if match.on_npu else match.values).calls
            pairs = [(call, self._found.partner[id(call)]) for call in npu if id(call) in self._found.partner]
            turned = pairs if match.on_npu else [(answer, call) for call, answer in pairs]
            self._matched[match.on_npu] = {id(pair[0]): pair for pair in turned}
        return self._matched[match.on_npu]

    def _note(self, match: FusedMatch, paired: PairedCall, members: Sequence[CallRecord]) -> None:
        assert paired.fused is not None
        last = next(member for member in members if member.name == paired.fused.members[-1])
        fused = match.fused_values.by_name[paired.fused.fused]
        self._found.fused[id(fused if match.on_npu else last)] = paired
        self._found.taken.add(id(last if match.on_npu else fused))
        around = match.views()
        if match.call.name != paired.fused.fused:
            around = [match.values.by_name[n] for n in backward_names(around) if n in match.values.by_name]
        self._found.part_of.update({id(call): paired.fused.fused for call in (*around, *members) if call is not last})


def _match_rest(npu: Side, bench: Side, found: _Found, batches: MicroBatches | None) -> None:
    """Modules by name, recomputed calls by what they repeat, backward calls by their forward calls."""
    again = {call.name: name for name, call in originals(bench.dump.calls, bench.dump.owners).items()}
    by_name = {bench.comparable(call): call for call in bench.dump.calls if not is_plain_forward(call)}
    forward = {call.name: found.partner[id(call)] for call in npu.dump.calls if id(call) in found.partner}
    is_followed = bool(forward)
    for call in npu.dump.calls:
        name = names.parse(call.name)
        if name.is_module and name.direction == names.FORWARD and not call.is_recompute:
            answer = by_name.get(npu.comparable(call)) if _may_go_by_name(call, batches) else None
            if answer is not None and not answer.is_recompute:
                found.match(call, answer)
                forward[call.name] = answer
    _match_recomputed(npu, bench, found, forward, again)
    for call in npu.dump.calls:
        name = names.parse(call.name)
        if id(call) in found.partner or is_api_forward(name):
            continue
        answer = None
        if name.direction == names.BACKWARD:
            answer = _backward_answer(bench, call, forward, by_name, again)
            if answer is None and not name.is_module and is_followed:
                continue  # the forward call has no partner, so its backward has none
        if answer is None and _may_go_by_name(call, batches):
            answer = by_name.get(npu.comparable(call))
        if answer is not None and id(answer) not in found.taken:
            found.match(call, answer)
    if batches is not None and not batches.same_size:
        _match_last_gradients(npu, bench, found)


def _match_recomputed(
    npu: Side, bench: Side, found: _Found, forward: dict[str, CallRecord], again: Mapping[str, str]
) -> None:
    """Where both sides recompute a call, the two; where the NPU alone does, it and the bench's one call.

    `forward` maps the NPU side's calls to their answers and is added to, `again` the bench's to their recomputations.
    """
    ours = {call.name: call for call in npu.dump.calls if call.is_recompute}
    theirs = {call.name: call for call in bench.dump.calls if call.is_recompute}
    for name, original in originals(npu.dump.calls, npu.dump.owners).items():
        answer = forward.get(original.name)
        if answer is None or id(ours[name]) in found.partner:
            continue
        repeated = theirs.get(again.get(answer.name, ""), answer)
        if repeated is answer or id(repeated) not in found.taken:
            found.match(ours[name], repeated)
            forward[name] = repeated


def _backward_answer(
    bench: Side,
    call: CallRecord,
    forward: Mapping[str, CallRecord],
    by_name: Mapping[str, CallRecord],
    again: Mapping[str, str],
) -> CallRecord | None:
    """The backward call of what answers to the forward call, or of the recomputation of that."""
    answer = forward.get(names.forward_name(call.name))
    if answer is None:
        return None
    candidates = [answer.name, again.get(answer.name)]
    keys = [bench.comparable(names.parse(backward_of(name))) for name in candidates if name is not None]
    return next((by_name[key] for key in keys if key in by_name), None)


def _may_go_by_name(call: CallRecord, batches: MicroBatches | None) -> bool:
    """Numbers of modules mean the same unless one side runs more micro-batches; then those of the first do."""
    name = names.parse(call.name)
    if batches is None or name.prefix == "Optimizer":
        return True
    return batches.same_size and name.number == 0


def _match_last_gradients(npu: Side, bench: Side, found: _Found) -> None:
    """Of each module, the parameters' gradients as the last micro-batch leaves them."""
    last: list[dict[str, CallRecord]] = [{}, {}]
    for number, side in enumerate((npu, bench)):
        for call in side.dump.calls:
            name = names.parse(call.name)
            if name.direction == names.PARAMETERS_GRAD:
                last[number][side.comparable(call).rpartition(".")[0]] = call
    for key, call in last[0].items():
        if key in last[1]:
            found.match(call, last[1][key])


def _ordered(npu: Dump, bench: Dump, found: _Found, reasons: Reasons) -> Iterator[PairedCall]:
    """All pairs in the NPU side's order; calls of the bench alone stand where they ran."""
    leftovers = iter([call for call in bench.calls if id(call) not in found.taken])
    waiting = next(leftovers, None)
    for call in npu.calls:
        fused, answer = found.fused.get(id(call)), found.partner.get(id(call))
        reached = fused.bench if fused is not None else answer
        if reached is None:
            yield _alone(call, found, reasons, on_npu=True)
            continue
        while waiting is not None and waiting.index < reached.index:
            yield _alone(waiting, found, reasons, on_npu=False)
            waiting = next(leftovers, None)
        yield fused if fused is not None else PairedCall(call, answer, pair_arguments(call, answer))
    while waiting is not None:
        yield _alone(waiting, found, reasons, on_npu=False)
        waiting = next(leftovers, None)


def _alone(call: CallRecord, found: _Found, reasons: Reasons, *, on_npu: bool) -> PairedCall:
    part_of = found.part_of.get(id(call), "")
    reason = say("alone.part_of_fused", call=part_of) if part_of else reasons.of(call, on_npu=on_npu)
    npu, bench = (call, None) if on_npu else (None, call)
    return PairedCall(npu, bench, pair_arguments(npu, bench), reason, part_of=part_of)
