"""What stands for the names of a recorder that cannot be imported under this torch: the script runs on, unrecorded.

This imports neither torch nor what rests on it.
"""

from __future__ import annotations

import sys
from typing import Any


def nothing(*_: Any, **__: Any) -> None:
    """Take any arguments, and do nothing."""


class _Class(type):
    """A class with every attribute that is asked for."""

    def __getattr__(cls, name: str) -> Any:
        return _attribute(name)


class NothingRecorded(metaclass=_Class):
    """Stands for a class: made with any arguments, and whatever is called on it or on the class does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return _attribute(name)


_told: set[str] = set()


def stand_in(name: str, error: Exception) -> Any:
    """Say once for each reason that nothing is recorded; what stands for the public name `name`."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    if reason not in _told:
        _told.add(reason)
        text = f"error: nothing is recorded, for something failed; the script runs on ({reason})"
        print(f"acc dump: {text}", file=sys.stderr, flush=True)
    return NothingRecorded if name[0].isupper() else nothing


def _attribute(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return nothing
