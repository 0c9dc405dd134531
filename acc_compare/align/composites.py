"""Several plain operators that together compute what one fused operator does: found by the dataflow.

The search begins at the call that makes the result and goes back to who made what it reads, latest first.  A call is
taken where its operator is a step that stands before the step of the call that reads it; casts and views are looked
through.  So other calls may run in between, and a composite is found whichever order its branches ran in.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from acc_compare.align.rules import FusedRule, Step
from acc_compare.align.values import Values, reads
from acc_compare.operators import moves_layout_only, plain_name
from dump.format import names
from dump.format.schema import CallRecord

_WINDOW = 64
"""Calls before the last within which a composite must lie."""

_MOST_VIEWS = 6
_MOST_ASKED = 1000


@dataclass(frozen=True, slots=True)
class Composite:
    """The calls that stand for one fused call, in order; the last makes its result.  `trailing` counts the optional
    steps at its end that were taken."""

    rule: FusedRule
    members: tuple[CallRecord, ...]
    trailing: int = 0

    @property
    def last(self) -> CallRecord:
        return self.members[-1]

    def shortened(self) -> Composite:
        """Without its last, optional step."""
        return Composite(self.rule, self.members[:-1], self.trailing - 1)


def operator_of(call: CallRecord) -> str:
    """The operator's name without prefix, in plain spelling."""
    return plain_name(names.parse(call.name).api)


def find_composites(values: Values, rules: Sequence[FusedRule]) -> list[Composite]:
    """All composites of `rules` among the calls of `values`; no call is in two, earlier rules come first."""
    operators = [operator_of(call) for call in values.calls]
    present: dict[str, list[int]] = {}
    for place, operator in enumerate(operators):
        present.setdefault(operator, []).append(place)
    taken: set[int] = set()
    found = []
    for rule in rules:
        for steps in rule.composites:
            if all(step.is_optional or step.operators & present.keys() for step in steps):
                ends = {place for step in steps for operator in step.operators for place in present.get(operator, ())}
                found += _find(_Search(values, operators, steps, taken), rule, sorted(ends, reverse=True))
    return found


@dataclass(frozen=True, slots=True)
class _Search:
    """What a search works on: the calls with their operators, the steps to find, the places that others have taken."""

    values: Values
    operators: Sequence[str]
    steps: Sequence[Step]
    taken: set[int]


def _find(search: _Search, rule: FusedRule, places: Sequence[int]) -> list[Composite]:
    """The composites that end at one of `places`, latest first."""
    steps = search.steps
    ends = [len(steps) - 1]
    while steps[ends[-1]].is_optional:
        ends.append(ends[-1] - 1)
    found = []
    for last in places:
        for end in ends:
            if last in search.taken or search.operators[last] not in steps[end].operators:
                continue
            grown = _grown(search, last, end)
            if grown is not None:
                members, used = grown
                search.taken.update(members)
                calls = tuple(search.values.calls[place] for place in sorted(members))
                found.append(Composite(rule, calls, sum(step > ends[-1] for step in used)))
                break
    return found


def _grown(search: _Search, last: int, end: int) -> tuple[set[int], set[int]] | None:
    """The places of the composite whose call at `last` is the step `end`, and its steps; None where there is none."""
    values, operators, steps = search.values, search.operators, search.steps
    members, left = {last}, set(range(end))
    queue: list[tuple[int, int, tuple[int, ...]]] = []

    def ask(place: int, limit: int, views: tuple[int, ...]) -> None:
        """Queue who made what the call at `place` reads; only steps before `limit` may follow."""
        for read in reads(values.calls[place]):
            maker = values.maker(read.leaf, place)
            if maker is not None and maker >= last - _WINDOW and maker not in search.taken and maker not in members:
                heapq.heappush(queue, (-maker, limit, views))

    ask(last, end, ())
    asked = 0
    while queue and asked < _MOST_ASKED:
        asked += 1
        negative, limit, views = heapq.heappop(queue)
        place = -negative
        if place in members:
            continue
        matching = [n for n in left if n < limit and operators[place] in steps[n].operators]
        if matching:
            chosen = max(matching)
            left.discard(chosen)
            members.add(place)
            members.update(views)
            ask(place, chosen, ())
        elif moves_layout_only(operators[place]) and len(views) < _MOST_VIEWS:
            ask(place, limit, (*views, place))
    if not all(steps[n].is_optional for n in left):
        return None
    return members, {*range(end + 1)} - left
