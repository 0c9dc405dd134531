"""What really happened in a run, as the tracer notes it: one event a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Event:
    """A planted fault has fired, or a marked line has made a call.

    `names` are the recorded calls that hold it, outermost first, empty where none does; `alias` is the module call
    that holds this one API call and no other.  `effect` is the relative L2 distance from what the kernel would have
    written, None where it cannot be told.  `sort` is `fired`, `marked`, `reads` (the
    first call to read what was written behind everybody's back) or `had` (the dump has the call).
    """

    sort: str
    what: str
    step: int
    rank: int
    names: tuple[str, ...] = ()
    alias: str = ""
    effect: float | None = None

    @property
    def name(self) -> str:
        return self.names[-1] if self.names else ""


def read_events(path: Path) -> tuple[Event, ...]:
    """The events of one run, of all its ranks; empty where nothing was planted."""
    if not path.is_file():
        return ()
    parts = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(Event(**{**part, "names": tuple(part["names"])}) for part in parts)


def recorded_calls(dump: Path) -> tuple[Event, ...]:
    """All calls of a dump of one rank, as events of sort `had`."""
    return tuple(
        Event("had", "", int(path.parents[1].name.removeprefix("step")), 0, (name,))
        for path in sorted(dump.glob("step*/*/dump.json"))
        for name in json.loads(path.read_bytes())["data"]
    )
