"""Was the answer right?  Suspects on one side, what really happened on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.localisation.events import Event
from benchmarks.localisation.judging import Named, Verdict
from benchmarks.localisation.rows import Case


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case at one task and level.

    `place` is that of the first right suspect, counted from 1, 0 where none is right; a healthy pair is right with no
    suspect at all.  `effect` is the largest relative L2 error that the fault put into a tensor, where known.
    `unsound` says why the case itself is no test: the fault did not fire, a run failed.
    """

    case: str
    task: str
    level: str
    place: int
    suspects: tuple[Named, ...]
    expected: tuple[str, ...]
    effect: float | None = None
    unsound: str = ""
    npu: str = ""
    bench: str = ""
    healthy: bool = False

    @property
    def is_first(self) -> bool:
        return not self.unsound and (not self.suspects if self.healthy else self.place == 1)

    @property
    def is_in_three(self) -> bool:
        return not self.unsound and (not self.suspects if self.healthy else 1 <= self.place <= 3)


def right_names(case: Case, npu: Sequence[Event], bench: Sequence[Event]) -> tuple[Event, ...]:
    """The events whose calls are the right answer; empty where a kind alone tells, or where the fault never fired.

    Of marked lines that both sides run, the calls that one of them alone makes count, if there are any.
    """
    if case.answer == "marked":
        wanted = {value for side in (case.npu, case.bench) for name, value in side.variables if name == "VARIANT"}
        marked = [{e for e in side if e.sort == "marked" and e.what in wanted} for side in (npu, bench)]
        return tuple(sorted(marked[0] ^ marked[1] or marked[0], key=lambda e: (e.step, e.names)))
    if case.answer == "one side":
        had = [{e for e in side if e.sort == "had"} for side in (npu, bench)]
        return tuple(sorted(had[0] ^ had[1], key=lambda e: (e.step, e.names)))
    if case.answer == "fired":
        return tuple(event for event in (*npu, *bench) if event.sort in ("fired", "reads") and event.name)
    return ()


def score(case: Case, verdict: Verdict, npu: Sequence[Event], bench: Sequence[Event]) -> tuple[int, str]:
    """(the place of the first right suspect, why the case is no test)."""
    if verdict.error:
        return 0, verdict.error
    if case.is_healthy:
        return 0, ""
    right = right_names(case, npu, bench)
    if case.answer != "kind" and not right:
        return 0, "the fault never fired in a recorded call"
    for place, suspect in enumerate(verdict.suspects, 1):
        if is_right(case, suspect, right):
            return place, ""
    return 0, ""


def is_right(case: Case, suspect: Named, right: Sequence[Event]) -> bool:
    """Is this suspect the fault?  A tool that tells no kind, step or rank is not held to them."""
    if suspect.kind and suspect.kind not in case.kinds:
        return False
    if case.answer == "kind":
        return bool(suspect.kind)
    return any(
        suspect.name in (event.name, event.alias)
        and suspect.step in (None, event.step)
        and suspect.rank in (None, event.rank)
        for event in right
    )
