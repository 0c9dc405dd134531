"""Which names a list of the user's picks: parts of names, and patterns written `name-regex(PATTERN)`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

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
