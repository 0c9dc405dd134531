"""Where a step's records go: a folder that opens at the first of them."""

from __future__ import annotations

from collections.abc import Callable

from .record import contents
from .record.entries import Emission, Measured
from .write.writer import StepWriter


class StepOutput:
    """A sink that opens its folder at the first record: by then the process knows its rank.

    `open_writer` gives None where nothing can be written; `give_up` is called where nothing more is to be recorded.
    """

    def __init__(self, open_writer: Callable[[], StepWriter | None], give_up: Callable[[], None]) -> None:
        self._open_writer = open_writer
        self._give_up = give_up
        self.writer: StepWriter | None = None

    def _open(self) -> StepWriter | None:
        if self.writer is None:
            self.writer = self._open_writer()
        elif self.writer.failure is not None or self.writer.is_cut:
            self._give_up()
        return self.writer

    def record(self, emission: Emission) -> None:
        if (writer := self._open()) is not None:
            writer.record(emission)

    def store(self, measured: Measured, place: str | None, payload: contents.Contents) -> None:
        if (writer := self._open()) is not None:
            writer.store(measured, place, payload)
