"""Runs of which one made an optimizer step that the other did not: from there on equal steps hold other work.

A step ends with an optimizer's.  Where a side leaves one out, its step ends elsewhere than the other's, and nothing
that comes later answers to what it is laid against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

from acc_compare.judge.suspects import accused, module_at, stack_of_call
from acc_compare.load import PlacedPair
from acc_compare.messages import say
from acc_compare.model import Finding, Suspect
from dump.format.layout import DumpLocation, find_dumps
from dump.format.names import parse
from dump.format.reader import read_dump

_UNMATCHED = 0.2
"""Share of the calls of a step without a counterpart from which it is looked for."""

_OTHERWISE = 0.02
"""Share of the calls before an optimizer's step that a side may make more or less for other reasons."""

_AHEAD = 4
"""Steps that are looked at from there on."""

_Process: TypeAlias = "tuple[int | None, int | None]"
_Steps: TypeAlias = "Mapping[_Process, Mapping[int, DumpLocation]]"


class _Made(NamedTuple):
    """A step of an optimizer: its call, where it is recorded, and after how many other calls it was made."""

    call: str
    at: DumpLocation
    after: int

    def answers(self, other: _Made) -> bool:
        """Does it stand where `other` does?"""
        return abs(self.after - other.after) <= 2 + _OTHERWISE * max(self.after, other.after)


def told_apart(pairs: Sequence[PlacedPair], findings: Sequence[Finding], npu: Path, bench: Path) -> list[Finding]:
    """The findings; where a side left an optimizer step out, with that as the first suspect, and none after it.  Of one
    step nobody knows how the other side went on."""
    if len(pairs) < 2 or not any(_is_apart(finding) for finding in findings):
        return list(findings)
    sides = (_located(npu), _located(bench))
    told, since = [], dict[int | None, int]()
    for pair, finding in zip(pairs, findings, strict=True):
        if pair.rank in since:
            summary = say("summary.steps_apart", step=since[pair.rank])
            told.append(replace(finding, verdict="incomplete", summary=summary, suspects=()))
            continue
        suspect = _left_out(pair, sides) if _is_apart(finding) else None
        if suspect is not None:
            since[pair.rank] = suspect.step or 0
            rest = tuple(each for each in finding.suspects if each.kind in ("operator", "nan_inf", "dtype"))
            suspects = (suspect, *rest)
            finding = replace(finding, verdict="different", summary=accused(suspects), suspects=suspects)
        told.append(finding)
    return told


def _is_apart(finding: Finding) -> bool:
    """Have many calls of a step no counterpart?"""
    alone = finding.coverage.unmatched_npu + finding.coverage.unmatched_bench
    return finding.step is not None and alone > _UNMATCHED * (alone + 2 * finding.coverage.calls)


def _located(side: Path) -> _Steps:
    found: dict[_Process, dict[int, DumpLocation]] = {}
    for at in find_dumps(side):
        if at.step is not None:
            found.setdefault((at.rank, at.pid), {})[at.step] = at
    return found


def _left_out(pair: PlacedPair, sides: tuple[_Steps, _Steps]) -> Suspect | None:
    """The first step of an optimizer, from the step before `pair`'s on, that one side alone made."""
    assert pair.step is not None
    places = zip((pair.npu, pair.bench), sides, strict=True)
    made = [list(_made(side[at.rank, at.pid], pair.step - 1)) for at, side in places]
    for one, two in zip(*made, strict=False):
        if not one.answers(two):
            break
        for each in made:
            del each[0]
    for side, (ours, theirs) in enumerate((made, made[::-1])):
        if len(ours) > 1 and theirs and not ours[0].answers(theirs[0]) and ours[1].answers(theirs[0]):
            return _suspect(ours[0], pair.rank, side)
    return None


def _made(steps: Mapping[int, DumpLocation], first: int) -> Iterator[_Made]:
    """The steps of optimizers in `_AHEAD` steps from `first` on, as far as they follow on each other."""
    after = 0
    for step in range(first, first + _AHEAD):
        at = steps.get(step)
        if at is None and step > first:
            return
        for call in read_dump(at.path).calls if at is not None else ():
            if parse(call.name).prefix == "Optimizer":
                yield _Made(call.name, at or steps[step], after)
            else:
                after += 1


def _suspect(made: _Made, rank: int | None, side: int) -> Suspect:
    """`made` by one side (0: the NPU's) and not by the other."""
    names, dump = [say("name.npu"), say("name.bench")], read_dump(made.at.path)
    return Suspect(
        name=made.call,
        kind="structure",
        step=made.at.step,
        rank=rank,
        module=module_at(made.call, dump),
        tensor="",
        rel_l2=None,
        expected=None,
        excess=None,
        calls=1,
        message=say("happened.steps_apart", call=made.call, side=names[side], other=names[1 - side]),
        advice=(say("advice.steps_apart"),),
        stack=stack_of_call(made.call, dump),
    )
