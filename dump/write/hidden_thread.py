"""Threads that the script does not meet.

A script may wait for all threads there are (`for thread in threading.enumerate(): thread.join()`), count them, or have
a function called in each that begins.  So ours are none of the `threading` module's.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable


class HiddenThread:
    """Runs `act`, from now on, beside the thread that makes it; it does not keep the process alive.

    `act` must not ask for `threading.current_thread()`, which would make it one of the module's.
    """

    __slots__ = ("_ended",)

    def __init__(self, act: Callable[[], None]) -> None:
        self._ended = threading.Lock()
        self._ended.acquire()
        try:
            _thread.start_new_thread(self._run, (act,))
        except BaseException:
            self._ended.release()
            raise

    def _run(self, act: Callable[[], None]) -> None:
        try:
            act()
        finally:
            self._ended.release()

    def is_alive(self) -> bool:
        return self._ended.locked()

    def join(self) -> None:
        """Wait until `act` has returned."""
        with self._ended:
            pass
