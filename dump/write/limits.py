"""How much may be recorded: bytes on disk and steps, as the user has limited them.

`max_bytes` bounds what one process writes, over all its steps.  Room is taken before anything is written, so the
bound holds at every moment, with what each file needs for its proper end kept in reserve.  The step that meets it is
cut short: what fits is kept, its header says `ended_by`, and the reader takes it as incomplete.  `max_steps` ends the
recording behind a whole step.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import DumpConfig

RESERVE = 32 << 10
"""Bytes that a step's opening and closing lines are given: the header, its coverage, the last brackets."""


class Room:
    """Bytes that may still be written, for all threads of all writers of a process; `limit` None for no end."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.used = 0
        self.full = False
        self._lock = threading.Lock()

    def has(self, nbytes: int) -> bool:
        """Is there room for `nbytes` more?  Then they count as used."""
        with self._lock:
            fits = self.limit is None or self.used + nbytes <= self.limit
            self.used += nbytes if fits else 0
            return fits

    def take(self, nbytes: int) -> bool:
        """As `has`; where there is no room, `full` is set."""
        fits = self.has(nbytes)
        self.full = self.full or not fits
        return fits

    def give_back(self, nbytes: int) -> None:
        """Bytes that were taken and not written after all."""
        with self._lock:
            self.used -= nbytes

    def allow(self, limit: int | None) -> None:
        """Another limit: a larger one makes room again."""
        with self._lock:
            self.full = self.full and limit is not None and limit <= (self.limit or 0)
            self.limit = limit


class Limits:
    """What one session has recorded, held against the configuration in force."""

    def __init__(self) -> None:
        self.room = Room()
        self.steps = 0
        """How many steps have a dump."""
        self._last = -1
        self._cut: int | None = None
        self._told = False

    def allow(self, config: DumpConfig) -> None:
        """Go on under the limits of `config`."""
        self.room.allow(config.max_bytes)
        self._told = self._told and self.reached(config)

    def reached(self, config: DumpConfig) -> bool:
        """Is there to be no further step?"""
        return self.room.full or (config.max_steps is not None and self.steps >= config.max_steps)

    def count(self, number: int) -> None:
        """Step `number` has a dump."""
        self.steps += 1
        self._last = number

    def cut(self, number: int) -> None:
        """Step `number` had no room for all of its records."""
        if self._cut is None:
            self._cut = number

    def news(self, config: DumpConfig) -> str:
        """`sentence`, the first time that there is one; else ""."""
        found = "" if self._told else self.sentence(config)
        self._told = self._told or bool(found)
        return found

    def sentence(self, config: DumpConfig) -> str:
        """What ended the recording, and where; "" where no limit left anything out."""
        if not self.reached(config):
            return ""
        if not self.room.full and config.step and len(config.step) <= self.steps:
            return ""
        if not self.room.full:
            return f"recording ended after step {self._last}, which is whole: max_steps is {config.max_steps}"
        size = size_text(config.max_bytes or 0)
        if self._cut is not None:
            return f"recording ended within step {self._cut}, which is cut short: max_bytes is {size}"
        return f"recording ended after step {self._last}, which is whole: max_bytes, {size}, has no room for another"


def size_text(count: int) -> str:
    """`1.5 GB`: bytes in powers of 1,000."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def amounts_text(calls: int, tensors: int, nbytes: int) -> str:
    """`1 call, 2,400 tensors, 1.5 GB`: how much of a run is on disk."""
    counted = (
        f"{number:,} {noun}{'' if number == 1 else 's'}" for number, noun in ((calls, "call"), (tensors, "tensor"))
    )
    return ", ".join((*counted, size_text(nbytes)))
