"""The first call that reads finite numbers and writes NaN or Inf, found while the run goes on."""

from __future__ import annotations

from acc_compare.first_nan import NanWatch
from dump.format.nested import plain_call
from dump.record.observer import Observer, Reaction, SeenCall


class StopAtNan(Observer):
    """Ends the run there; what the call read and wrote is recorded as tensors.  `found` is its name, "" before."""

    def __init__(self) -> None:
        self.found = ""
        self.step: int | None = None
        self._watch = NanWatch()

    def begins(self, step: int, rank: int | None) -> None:
        self.step, self._watch = step, NanWatch()

    def saw(self, call: SeenCall) -> Reaction:
        if self.found or not self._watch.look(plain_call(call.name, call.body, "the run")):
            return Reaction(records=True)
        self.found = call.name
        return Reaction(records=True, with_tensors=True, ends=True)
