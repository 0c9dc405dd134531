"""The folders that a session writes, one a step: opened at the step's first record, brought to their end behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .config import DumpConfig
from .environment import versions
from .format.errors import AccError
from .write.closing import Closing
from .write.header import opening_keys
from .write.limits import RESERVE, Limits
from .write.output_paths import vanished
from .write.writer import StepWriter, Written


class SessionFiles:
    """What a session has on disk, and what keeps it from writing more.

    `on_step(number, written)` is told of every step that is on disk.  What goes wrong is kept in `failure`: nothing
    more is opened then.
    """

    def __init__(self, on_step: Callable[[int, Written], None] | None = None) -> None:
        self.written: list[Written] = []
        self.failure: AccError | None = None
        self.limits = Limits()
        self._on_step = on_step
        self._closing: Closing | None = None

    def open(self, config: DumpConfig, folder: Path) -> StepWriter | None:
        """A writer into `folder`; None where nothing more can be written."""
        if self.failure is not None or not self.limits.room.take(RESERVE):
            return None
        try:
            return StepWriter(
                folder,
                opening_keys(config, folder),
                file_format=config.file_format,
                hash_name=config.digest,
                budget=_budget(config),
                room=self.limits.room,
                nan_word=versions.is_called_as_another() if config.nan_word is None else config.nan_word,
            )
        except AccError as error:
            self.failure = error
            return None

    def close(self, number: int, writer: StepWriter, trailer: dict[str, object], *, waits: bool) -> None:
        """Bring the files of step `number` to their end, at once or (`waits`) beside the run."""
        self.limits.count(number)
        self._closing = Closing(number, writer, trailer, waits=waits)
        if not waits:
            self.settle()

    @property
    def are_settled(self) -> bool:
        """Is no step's folder still on its way to its end?"""
        return self._closing is None

    def settle(self) -> None:
        """Wait for the last step's files."""
        closing, self._closing = self._closing, None
        if closing is None:
            return
        try:
            written = closing.result()
        except AccError as error:
            self.failure = error
            return
        self.written.append(written)
        if written.is_cut:
            self.limits.cut(closing.number)
        if self._on_step is not None:
            self._on_step(closing.number, written)

    def look_for_all(self) -> None:
        """At the end: a folder that somebody has removed since is a failure."""
        self.failure = self.failure or vanished([written.folder for written in self.written])

    def forget(self) -> None:
        """In a forked child: the thread that closes the last step is the parent's."""
        self._closing = None


def _budget(config: DumpConfig) -> int:
    """Bytes that a step's contents may take; with `async_dump` two steps share them."""
    whole = config.buffer_mb << 20
    return whole // 2 if config.async_dump else whole
