"""Replay every run with a planted fault of the localisation benchmark: what is confirmed, and what wrongly.

    python -m benchmarks.replay.run OUT [CASE ...]

Records what is not recorded yet below OUT (3 GB for all), each under a wrong kernel, and makes all calls again without
it.  What is right was found while the faulty run was recorded, by the kernel itself.
It prints a line a case and the sums.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from acc_compare.replay.results import ReplayResult
from acc_compare.replay.run import replay
from acc_compare.replay.wanted import Wanted
from benchmarks.localisation.events import Event
from benchmarks.localisation.faults import FAULTS
from benchmarks.localisation.recording import DUMP
from benchmarks.localisation.running import Work, events_of, record_all, works
from benchmarks.localisation.scoring import right_names


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls of one case, or of all: `planted` wrote a wrong result and could be made again, `confirmed` of them were;
    `others` were confirmed, had no fault planted and were not the first to read what one had written to."""

    replayed: int
    planted: int
    confirmed: int
    others: tuple[str, ...]

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.replayed + other.replayed,
            self.planted + other.planted,
            self.confirmed + other.confirmed,
            self.others + other.others,
        )


def tally(result: ReplayResult, events: Sequence[Event]) -> Tally:
    """What a replay found of what was planted."""
    made = {(call.step, call.name) for call in result.calls if call.reason is None}
    fired = [event for event in events if event.sort == "fired" and event.effect != 0.0]
    wrong = {(event.step, event.name) for event in fired} & made
    readers = {(event.step, event.name) for event in events if event.sort == "reads"}
    confirmed = {(call.step, call.name) for call in result.of("confirmed")}
    others = tuple(f"step {step} {name}" for step, name in sorted(confirmed - wrong - readers, key=str))
    return Tally(len(made), len(wrong), len(confirmed & wrong), others)


def of_case(work: Work) -> Tally:
    """One case, recorded already."""
    events = right_names(work.case, *events_of(work)) if work.case.answer == "fired" else ()
    return tally(replay(work.recordings[0].folder / DUMP, Wanted()), events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("cases", nargs="*")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case for case in FAULTS if not chosen.cases or case.name in chosen.cases]
    todo = works(chosen.out, cases, ("tensor",), ("L1",))
    problems = record_all(todo, workers=1, keep=True)
    total = Tally(0, 0, 0, ())
    for work in todo:
        if work.recordings[0].folder in problems:
            print(f"{work.case.name}: {problems[work.recordings[0].folder]}")
            continue
        found = of_case(work)
        total += found
        others = f"; not planted: {', '.join(found.others)}" if found.others else ""
        print(f"{work.case.name}: {found.replayed} replayed, {found.confirmed} of {found.planted} confirmed{others}")
    print(
        f"{total.replayed:,} calls replayed, {total.confirmed} of {total.planted} planted confirmed, "
        f"{len(total.others)} others"
    )


if __name__ == "__main__":
    main()
