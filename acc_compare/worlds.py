"""Two jobs of different numbers of ranks to one finding for each step: each side's ranks are put together."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from acc_compare.assembled import assemble, plans_in, rank_of_error
from acc_compare.at_fault import Grid, parts_at_fault
from acc_compare.collectives import MESSAGES
from acc_compare.declared import NO_LAYOUTS, Layouts
from acc_compare.exchanged_updates import with_updates
from acc_compare.experts import Unrolled, unrolled
from acc_compare.experts_alone import unrolled_by_weights
from acc_compare.in_order import with_waves_in_order
from acc_compare.joining import Grounds, Joined, join, wholes
from acc_compare.judge.origins import Previous
from acc_compare.judge.verdict import Setting
from acc_compare.judge.worlds import is_bookkeeping
from acc_compare.load import PlacedWorlds, mode_of
from acc_compare.messages import Message, say
from acc_compare.model import Finding, Suspect
from acc_compare.odd_copies import odd_updates
from acc_compare.one_pair import Outcome, Progress, Task, before, compare_dumps, joined, tell_nobody
from acc_compare.operators import moves_layout_only
from acc_compare.sharing import ways_of
from acc_compare.stage_names import named_alike
from acc_compare.stages import Line, Staged, owned_alike, parameters_alike, staged, stages_of
from acc_compare.wholes import candidates, chosen
from dump.format.errors import IncomparableError
from dump.format.names import FORWARD, parse
from dump.format.reader import read_dump, without_collecting
from dump.format.schema import CallRecord, CollectiveRecord, Dump, TensorRecord, tensor_records

_LOOKED_AT = 5
"""Suspects whose elements are looked at for the rank that holds them."""

_RESULTS = ("output.", "written.")
_SAME_DATA, _FIRST_READ = 1e-3, 8
"""Relative difference up to which micro-batches are of the same data, and of how many tensors at most that is asked."""

_ALIKE = 0.75
"""Where fewer of the results have the same shape on a rank of either side, ranks hold other parts."""


def is_cut_otherwise(ours: Dump, theirs: Dump) -> bool:
    """Do two jobs of as many ranks hold other parts of the same tensors, so that no rank answers to one of the other
    side?  Read off one rank of each."""
    if ways_of(ours) == ways_of(theirs):
        # So many chunks of a pipeline; a mesh in another order.
        return _messages(ours) != _messages(theirs) or _meet_others(ours, theirs)
    shapes = [_shapes(side) for side in (ours, theirs)]
    common = (shapes[0] & shapes[1]).total()
    return common < _ALIKE * min(shapes[0].total(), shapes[1].total())


def _meet_others(ours: Dump, theirs: Dump) -> bool:
    """Do the same collectives join other ranks, those of one group always the same others?  A call of another group
    among calls that are alike is a fault."""
    met = [[(c.kind, c.ranks) for call in side.calls for c in _joining(call)] for side in (ours, theirs)]
    if [kind for kind, _ in met[0]] != [kind for kind, _ in met[1]]:
        return False
    pairs = {(mine, their) for (_, mine), (_, their) in zip(*met, strict=True)}
    is_one_to_one = len({mine for mine, _ in pairs}) == len({their for _, their in pairs}) == len(pairs)
    return is_one_to_one and any(mine != their for mine, their in pairs)


def _joining(call: CallRecord) -> list[CollectiveRecord]:
    return [c for c in call.collectives if c.kind not in MESSAGES and len(c.ranks) > 1]


def _messages(dump: Dump) -> Counter[str]:
    return Counter(c.kind for call in dump.calls for c in call.collectives if c.kind in MESSAGES)


def _shapes(dump: Dump) -> Counter[tuple[str, tuple[int, ...]]]:
    """What calls in modules compute, by operator and shape."""
    return Counter(
        (parse(call.name).api, tensor.shape)
        for call in dump.calls
        if parse(call.name).direction == FORWARD
        and dump.owners.get(call.name) is not None
        and not (is_bookkeeping(call) or moves_layout_only(parse(call.name).api))
        for name, tensor in call.tensors()
        if name.startswith("output") and tensor.layout is None and tensor.shape
    )


def compare_worlds(
    steps: Sequence[PlacedWorlds], task: Task, *, jobs: int = 1, progress: Progress | None = None
) -> list[Finding]:
    """A finding for each step of two jobs of different numbers of ranks, each side's ranks put together.

    Raises DumpError, IncomparableError.
    """
    tell = progress if progress is not None else tell_nobody
    findings: list[Finding] = []
    outcomes: list[Outcome] = []
    for number, step in enumerate(steps):
        tell("steps", number, len(steps))
        with without_collecting():
            npu = {rank: read_dump(location.path) for rank, location in step.npu.items()}
            bench = {rank: read_dump(location.path) for rank, location in step.bench.items()}
            stages = [stages_of(side) for side in (npu, bench)]
            in_stages = any(len(side) > 1 for side in stages)
            if in_stages and task.layouts != NO_LAYOUTS:
                raise IncomparableError(
                    "a layout file says nothing of the stages of a pipeline. Compare without --layout."
                )
            experts = (Unrolled(npu), Unrolled(bench))
            if not in_stages:
                alone = unrolled_by_weights(npu, bench)
                experts = alone or with_updates(unrolled(npu), unrolled(bench), (npu, bench))
            pipelines = [_in_line(*each) for each in zip((npu, bench), stages, strict=True)] if in_stages else []
            has_stages = in_stages
            if not (in_stages or any(side.ranks for side in experts) or task.layouts != NO_LAYOUTS):
                pipelines = _in_micro_batches(npu, bench)
                in_stages = bool(pipelines)
            if in_stages:
                pipelines[0] = named_alike(*pipelines)
            lines = _lines_of(*pipelines) if in_stages else None
            if in_stages:
                ours, theirs = _joined_in_line(pipelines[0], pipelines[1], lines)
            else:
                ours, theirs = _joined_unrolled(experts[0], experts[1], task.layouts)
            # What a step left open may have led to anything in the next; optimizers of stages and of experts may not be
            # compared.
            apart = (has_stages and lines is None) or any(side.ranks and not side.owners for side in experts)
            is_open = any(earlier.verdict != "same" for earlier in findings) or (apart and number > 0)
            known = before(outcomes, step.step)
            previous: Previous = "suspect" if is_open and known != "poisoned" else known
            odd = odd_updates(npu, ours.odd) | odd_updates(bench, theirs.odd)
            setting = Setting(step=step.step, previous=previous, other_world=True, odd_updates=odd)
            finding = _compare_joined(ours, theirs, setting, task, jobs=jobs)
            if lines is not None:
                finding = _as_recorded(_on_ranks_in(finding, lines[0]), lines[0].names)
            elif in_stages:
                finding = _in_its_batch(finding, pipelines[0], pipelines[1])
            else:
                finding = _as_recorded(_on_ranks_with(finding, *experts), experts[0].names)
            sides = (("name.npu", npu, ours.grounds), ("name.bench", bench, theirs.grounds))
            told = tuple(_told(name, grounds) for name, ranks, grounds in sides if len(ranks) > 1)
            finding = replace(finding, notes=(*finding.notes, *told))
        outcomes.append(Outcome.of(finding))
        findings.append(finding if task.keep_rows else replace(finding, rows=()))
    tell("steps", len(steps), len(steps))
    return findings


def _told(side: str, grounds: Grounds) -> Message:
    """On what grounds the parts of a side were put together."""
    return say(
        "note.grounds",
        side=say(side),
        file=grounds.file,
        layout=grounds.layout,
        attributes=grounds.attributes,
        copies=grounds.copies,
        shape=grounds.shape,
        fit=grounds.fitted,
        off=grounds.off,
        other=grounds.other,
    )


def _in_line(dumps: Mapping[int, Dump], stages: Sequence[Sequence[int]]) -> Staged:
    """Raises IncomparableError."""
    found = staged(dumps, stages)
    if found is None:
        raise IncomparableError(
            f"{dumps[min(dumps)].path.parent}: the stages of this pipeline cannot be laid one behind the other. They"
            " must have as many ranks and micro-batches each, and run each module once for a micro-batch."
        )
    return found


def _in_micro_batches(npu: Mapping[int, Dump], bench: Mapping[int, Dump]) -> list[Staged]:
    """Both sides by micro-batch, where these are not those of the other side; else none."""
    sides = [staged(dumps, [sorted(dumps)]) for dumps in (npu, bench)]
    found = [side for side in sides if side is not None]
    return found if len(found) == 2 and are_dealt_otherwise(found[0], found[1]) else []


def are_dealt_otherwise(npu: Staged, bench: Staged) -> bool:
    """Are there other micro-batches on either side: of another number, or none of which all ranks together read the
    same data?"""
    if npu.batches != bench.batches:
        return True
    return npu.batches > 1 and not any(_reads_alike(npu, bench, batch) for batch in range(npu.batches))


def _reads_alike(npu: Staged, bench: Staged, batch: int) -> bool:
    """Is what the model first reads of one micro-batch the same, as the ranks of each side have it together?"""
    sides = []
    for side in (npu, bench):
        dumps = [dump for number, dump in side.dumps.items() if number % side.batches == batch]
        data = [_data(dump) for dump in dumps]
        meshes = (side.mesh[:-1],) if len(side.mesh) > 2 else ()
        sides.append(
            {
                place: candidates([each[place] for each in data], scaled=False, meshes=meshes)
                for place in data[0]
                if all(place in each for each in data)
            }
        )
    fits = [chosen(may_be, sides[1].get(place, ()), forward=True) for place, may_be in sides[0].items()]
    return all(choice is not None and choice.fit is not None and choice.fit <= _SAME_DATA for choice in fits)


def _data(dump: Dump) -> dict[tuple[str, str], TensorRecord]:
    """What the first calls of modules read that is not trained and that no call of a module made."""
    found: dict[tuple[str, str], TensorRecord] = {}
    made: set[int | None] = set()
    for call in dump.calls:
        if dump.owners.get(call.name) is None or parse(call.name).direction != FORWARD:
            continue
        given = ((a.name, a.leaf) for a in call.inputs if isinstance(a.leaf, TensorRecord))
        found |= {(call.name, n): t for n, t in given if not t.requires_grad and t.value not in made}
        made |= {t.value for t in tensor_records((*call.outputs, *call.written))}
        if len(found) >= _FIRST_READ:
            break
    return found


def _lines_of(npu: Staged, bench: Staged) -> tuple[Line, Line] | None:
    """Both sides with their micro-batches one after the other, where each has as many and holds the model once."""
    if npu.line is None or bench.line is None or npu.batches != bench.batches:
        return None
    return parameters_alike(npu.line, bench.line), bench.line


def _joined_in_line(npu: Staged, bench: Staged, lines: tuple[Line, Line] | None) -> tuple[Joined, Joined]:
    """Both sides, micro-batch by micro-batch, or else with the micro-batches of each put together."""
    if lines is not None:
        pair = [({0: line.dump}, 1) for line in lines]
        each = npu.batches
        may_be = [wholes(*side, meshes=(), batches=each) for side in pair]
        ours, theirs = (
            join(*side, other, meshes=(), batches=each) for side, other in zip(pair, reversed(may_be), strict=True)
        )
        return replace(ours, dump=owned_alike(ours.dump, theirs.dump)), theirs
    sides = (npu, bench)
    may_be = [wholes(side.dumps, len(side.dumps), meshes=side.meshes) for side in sides]
    ours, theirs = (
        join(side.dumps, len(side.dumps), other, meshes=side.meshes)
        for side, other in zip(sides, reversed(may_be), strict=True)
    )
    return replace(ours, dump=owned_alike(ours.dump, theirs.dump)), theirs


def _joined_unrolled(npu: Unrolled, bench: Unrolled, layouts: Layouts) -> tuple[Joined, Joined]:
    """Both sides, the ranks of each put together; layers as the bench numbers them, where a side has experts."""
    ours, theirs = joined(npu.dumps, bench.dumps, layouts)
    has_experts = bool(npu.ranks or bench.ranks)
    return replace(ours, dump=owned_alike(ours.dump, theirs.dump)) if has_experts else ours, theirs


def _on_ranks_with(finding: Finding, ours: Unrolled, theirs: Unrolled) -> Finding:
    """The suspects in experts with the rank that has them, of replicas the one at fault where that is known."""
    suspects = []
    for suspect in finding.suspects:
        ranks = ours.owners.get(suspect.tensor.removeprefix("output.0."), ours.ranks.get(suspect.name, ()))
        if len(ranks) == 1:
            suspect = replace(suspect, rank=ranks[0])
        elif len(ranks) > 1 and suspect.rank is None:
            calls = ours.parts(suspect.name), theirs.parts(suspect.name)
            among = _parts_among(suspect, calls, ((len(calls[0]), 1), (len(calls[1]), 1)))
            suspect = replace(suspect, rank=ranks[among[0]] if len(among) == 1 else None)
        suspects.append(suspect)
    return replace(finding, suspects=tuple(suspects))


def _as_recorded(finding: Finding, names: Mapping[str, str]) -> Finding:
    """The suspects by the names that their ranks recorded them by, where calls were numbered anew."""
    named = (_renamed(s, names.get(s.name, s.name)) if s.rank is not None else s for s in finding.suspects)
    return replace(finding, suspects=tuple(named))


def _renamed(suspect: Suspect, name: str) -> Suspect:
    if name == suspect.name:
        return suspect
    told = say("evidence.counted_as", call=suspect.name)
    return replace(suspect, name=name, row=suspect.row or suspect.name, evidence=(*suspect.evidence, told))


def _on_ranks_in(finding: Finding, line: Line) -> Finding:
    """The suspects with the rank that made the call, or updates the parameter."""
    suspects = []
    for suspect in finding.suspects:
        rank = line.owners.get(suspect.tensor.removeprefix("output.0."), line.ranks.get(suspect.name))
        suspects.append(replace(suspect, rank=rank))
    return replace(finding, suspects=tuple(suspects))


def _in_its_batch(finding: Finding, ours: Staged, theirs: Staged) -> Finding:
    """The suspects with the rank and by the name of the call that is at fault, as far as it is known which of the
    groups of ranks and micro-batches that is."""
    suspects = []
    for suspect in finding.suspects:
        number = suspect.rank
        among = _among(suspect, ours, theirs) if number is None else (number,)
        groups = {each // ours.batches for each in among}
        ranks = ours.ranks.get(suspect.name, ())
        group = min(groups) if len(groups) == 1 else 0 if len(ranks) == 1 else None
        rank = None if group is None or group >= len(ranks) else ranks[group]
        recorded = [ours.names[each].get(suspect.name, suspect.name) for each in among]
        suspect = _renamed(replace(suspect, rank=rank), recorded[0])
        if len(set(recorded)) > 1:
            told = say("evidence.one_of_batches", number=len(set(recorded)), calls=", ".join(dict.fromkeys(recorded)))
            suspect = replace(suspect, evidence=(*suspect.evidence, told))
        suspects.append(suspect)
    return replace(finding, suspects=tuple(suspects))


def _among(suspect: Suspect, ours: Staged, theirs: Staged) -> tuple[int, ...]:
    """The numbers of the dumps that may be at fault, in which this suspect is a part of a whole."""
    ours_in, theirs_in = ((len(side.dumps) // side.batches, side.batches) for side in (ours, theirs))
    calls = _calls_of(ours, suspect.name), _calls_of(theirs, suspect.name)
    if len(calls[0]) < len(ours.dumps) or len(calls[1]) < len(theirs.dumps):
        return tuple(ours.dumps)
    return _parts_among(suspect, calls, (ours_in, theirs_in))


def _parts_among(
    suspect: Suspect, calls: tuple[Sequence[CallRecord], Sequence[CallRecord]], grids: tuple[Grid, Grid]
) -> tuple[int, ...]:
    """The numbers of those of our calls that may be at fault, which are parts of one."""
    found = tuple(range(len(calls[0])))
    wrote = [a.name for a in calls[0][0].arguments()] if calls[0] and calls[1] else []
    for name in sorted((n for n in wrote if n.startswith(_RESULTS)), key=lambda name: name != suspect.tensor):
        parts = [[t for call in side for n, t in call.tensors() if n == name] for side in calls]
        if len(parts[0]) == len(calls[0]) and len(parts[1]) == len(calls[1]):
            found = parts_at_fault(parts[0], parts[1], grids)
        if len(found) < len(calls[0]):
            break
    return found


def _calls_of(side: Staged, name: str) -> list[CallRecord]:
    return [call for dump in side.dumps.values() for call in dump.calls if call.name == name]


def _compare_joined(ours: Joined, theirs: Joined, setting: Setting, task: Task, *, jobs: int) -> Finding:
    """The finding of two sides that were put together, each suspect with the rank that alone is off."""
    if mode_of(ours.dump, theirs.dump) != "tensor":
        dumps = with_waves_in_order(ours.dump, theirs.dump)
        ours, theirs = replace(ours, dump=dumps[0]), replace(theirs, dump=dumps[1])
        return _on_ranks(compare_dumps(ours.dump, theirs.dump, setting, task, jobs=jobs, tell=tell_nobody), ours.odd)
    with tempfile.TemporaryDirectory(prefix="acc_joined_") as folder:
        sides = assemble(ours.dump, theirs.dump, Path(folder))
        found = _without_commands(compare_dumps(*sides, setting, task, jobs=jobs, tell=tell_nobody), folder)
    found = replace(found, npu_path=str(ours.dump.path), bench_path=str(theirs.dump.path))
    plans = [dict(plans_in(side)) for side in sides]
    odd = dict(ours.odd)
    for suspect in found.suspects[:_LOOKED_AT]:
        key = (suspect.name, suspect.tensor)
        if key not in odd and key in plans[0] and key in plans[1]:
            rank = rank_of_error(plans[0][key], plans[1][key].array())
            odd.update({} if rank is None else {key: rank})
    return _on_ranks(found, odd)


def _without_commands(finding: Finding, folder: str) -> Finding:
    """The suspects without advice to run what would read a folder that is gone by then."""
    return replace(
        finding,
        suspects=tuple(
            replace(suspect, advice=tuple(told for told in suspect.advice if folder not in repr(told)))
            for suspect in finding.suspects
        ),
    )


def _on_ranks(finding: Finding, odd: Mapping[tuple[str, str], int]) -> Finding:
    """The suspects with the rank that they were seen on, where one alone is off."""
    suspects = tuple(
        replace(suspect, rank=odd.get((suspect.name, suspect.tensor), suspect.rank)) for suspect in finding.suspects
    )
    return replace(finding, suspects=suspects)
