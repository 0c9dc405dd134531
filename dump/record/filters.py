"""Which calls `scope` and `list` ask for: a stretch of the step, and parts of names or patterns of them.

As in msprobe, names are taken in order of execution, backward calls after forward ones; what runs inside a module
that is asked for is asked for too, and a stretch that ends with a module ends where that module does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

_REGEX_START, _REGEX_END = "name-regex(", ")"


def picks(entries: Sequence[str]) -> Callable[[str], bool]:
    """A test for "does any entry pick this name?".

    A plain entry picks the names that contain it, `name-regex(PATTERN)` those in which the pattern is found
    anywhere (anchor it with ^ and $).  Without entries nothing is picked.  Raises re.error.
    """
    parts: list[str] = []
    patterns: list[re.Pattern[str]] = []
    for entry in entries:
        if entry.startswith(_REGEX_START) and entry.endswith(_REGEX_END):
            patterns.append(re.compile(entry[len(_REGEX_START) : -len(_REGEX_END)]))
        else:
            parts.append(entry)

    def picked(name: str) -> bool:
        return any(part in name for part in parts) or any(pattern.search(name) for pattern in patterns)

    return picked


def sides_kept(modes: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    """The (direction, side) pairs that `data_mode` asks for."""
    directions = [mode for mode in ("forward", "backward") if mode in modes]
    sides = [mode for mode in ("input", "output") if mode in modes]
    if "all" in modes:
        directions, sides = [], []
    return frozenset(
        (direction, side)
        for direction in directions or ("forward", "backward")
        for side in sides or ("input", "output")
    )


class Selection:
    """What is wanted of one step.  `within` are the names of the module calls around a call, in its direction."""

    def __init__(self, scope: Sequence[str], entries: Sequence[str]) -> None:
        self.selects = bool(scope or entries)
        self._first: str | None = scope[0] if scope else None
        self._last: str | None = scope[-1] if scope else None
        self._inside = not scope
        self._has_begun = not scope
        self._picked = picks(entries) if entries else None
        self._taken: set[str] = set()

    def wants(self, name: str, within: Iterable[str] = ()) -> bool:
        """Is the call asked for?  To be asked once for each call, in order of execution."""
        if not self.selects:
            return True
        around = tuple(within)
        if not self._has_begun and self._first in (name, *around):
            self._inside = self._has_begun = True
        if not self._inside:
            return False
        if not _is_module(name):
            self.left(name)
        if not self.may_want(name, around):
            return False
        self._taken.add(name)
        return True

    def may_want(self, name: str, within: Iterable[str] = ()) -> bool:
        """Does `list` pick the call, whenever it runs?"""
        return self._picked is None or self._picked(name) or any(self._picked(module) for module in within)

    def left(self, name: str) -> None:
        """The call is over, whether it was wanted or not."""
        if name == self._last and self._has_begun:
            self._inside = False

    def took(self, name: str) -> bool:
        """Has the call been asked for, and wanted?"""
        return not self.selects or name in self._taken


def _is_module(name: str) -> bool:
    return name.startswith("Module.")
