"""The end of a step's files, at once or beside the run."""

from __future__ import annotations

import os
import weakref
from functools import partial

from ..format.errors import AccError
from .hidden_thread import HiddenThread
from .writer import StepWriter, Written

_closing: weakref.WeakSet[Closing] = weakref.WeakSet()


class Closing:
    """A step's files on their way to their end: at once, or (`waits`) beside a run that goes on."""

    def __init__(self, number: int, writer: StepWriter, trailer: dict[str, object], *, waits: bool) -> None:
        self.number = number
        self._act = partial(writer.close, trailer, helps=not waits)
        self._written: Written | None = None
        self._failure: AccError | None = None
        self._thread = HiddenThread(self._run) if waits else None
        if waits:
            _closing.add(self)

    def _run(self) -> None:
        try:
            self._written = self._act()
        except AccError as error:
            self._failure = error

    def wait(self) -> None:
        """Until nothing goes on beside the run any more."""
        if self._thread is not None:
            self._thread.join()

    def result(self) -> Written:
        """Wait for the end.  Raises what kept the files from it."""
        if self._thread is None:
            self._run()
        else:
            self.wait()
        if self._failure is not None:
            raise self._failure
        assert self._written is not None
        return self._written


def _wait_before_fork() -> None:
    for closing in list(_closing):
        closing.wait()


os.register_at_fork(before=_wait_before_fork)
