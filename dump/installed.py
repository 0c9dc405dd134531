"""Which session has patched torch in this process: one at a time, and in a forked child none."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol

from .format.errors import ConfigError


class Recording(Protocol):
    """What is asked of a session that is installed."""

    def aside(self, act: Callable[[], None]) -> None: ...
    def forget(self) -> None: ...


_installed: weakref.WeakSet[Recording] = weakref.WeakSet()


def has_room_for(session: Recording) -> bool:
    """Is `session` still to be installed?  Raises ConfigError where another one is."""
    if session in _installed:
        return False
    if _installed:
        raise ConfigError(
            "a recording runs already in this process. Run a script that makes a PrecisionDebugger with "
            "python itself, or with acc dump --as-msprobe."
        )
    return True


def add(session: Recording) -> None:
    """`session` has patched torch, or is about to; it is held only as long as somebody else holds it."""
    _installed.add(session)


def discard(session: Recording) -> None:
    """`session` has put torch back."""
    _installed.discard(session)


def unseen(act: Callable[[], None]) -> None:
    """Run work of ours that no recording of this process is to see."""
    session = next(iter(_installed), None)
    if session is None:
        act()
    else:
        session.aside(act)


def _forget_in_child() -> None:
    for session in list(_installed):
        session.forget()


os.register_at_fork(after_in_child=_forget_in_child)
