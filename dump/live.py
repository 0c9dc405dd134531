"""The sink of a recording that is looked at while the run goes on.

A call's contents are held in memory until its record is whole, then an observer says what becomes of it: most are
dropped, what fails goes on to the dump with its tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TypeAlias

from .format import encode
from .record import contents
from .record.entries import Emission, Entry, Measured
from .record.observer import Observer, SeenCall
from .step_output import StepOutput
from .write.call_record import plain_body
from .write.tensor_record import TensorRecords
from .write.writer import StepWriter

_Held: TypeAlias = "tuple[str, Measured, contents.Contents]"


class ObservedOutput(StepOutput):
    """A step's output of which an observer says what goes into it."""

    def __init__(
        self, open_writer: Callable[[], StepWriter | None], give_up: Callable[[], None], observer: Observer
    ) -> None:
        super().__init__(open_writer, give_up)
        self._observer = observer
        self._told = TensorRecords()
        self._kept: dict[str, tuple[Measured, contents.Contents]] = {}
        self._held: dict[str, tuple[Emission, list[_Held]]] = {}

    def store(self, measured: Measured, place: str | None, payload: contents.Contents) -> None:
        """Hold contents until the record that they belong to is whole."""
        if place is None:
            super().store(measured, place, payload)
        else:
            name, number = place, 1
            while name in self._kept:  # what a call writes stands under the place of what it read there
                number += 1
                name = f"{place}~{number}"
            self._kept[name] = measured, payload.kept()
            measured.data_name = name

    def record(self, emission: Emission) -> None:
        """Show a record, and do with it what the observer says."""
        if self._observer.is_over:
            self._drop(emission.name)
            return
        named: dict[str, contents.Contents] = {}
        entries: list[Entry] = []

        def told(entry: Entry, place: str) -> object:
            name = None if entry.measured is None else entry.measured.data_name
            kept = self._kept.get(name) if name is not None else None
            if name is None or kept is None:
                return self._told.of(entry)
            named[name] = kept[1]
            entries.append(entry)
            return self._told.of(entry, name)

        body = encode.body(plain_body(emission, told))
        reaction = self._observer.saw(SeenCall(emission.name, body, named))
        held = self._held.pop(reaction.first, None)
        if held is not None:
            self._write(*held)
        if reaction.holds or (reaction.records and reaction.with_tensors):
            tensors = self._alone(entries)
            if reaction.records:
                self._write(emission, tensors)
            else:
                self._held[emission.name] = emission, tensors
        elif reaction.records:
            super().record(emission)
        self._drop(emission.name)
        self._observer.is_over = self._observer.is_over or reaction.ends

    def _alone(self, entries: list[Entry]) -> list[_Held]:
        """The tensors of a record, under what is known of them alone: the same value may be seen again."""
        found: dict[str, _Held] = {}
        for entry in entries:
            assert entry.measured is not None
            place = str(entry.measured.data_name)
            if place not in found:
                found[place] = place.partition("~")[0], copy(entry.measured), self._kept[place][1]
            entry.measured = found[place][1]
        return list(found.values())

    def _write(self, emission: Emission, tensors: list[_Held]) -> None:
        for place, measured, payload in tensors:
            super().store(measured, place, payload)
        super().record(emission)

    def _drop(self, name: str) -> None:
        """Let go of what the record brought: whoever reads it again brings it anew."""
        for place in [place for place in self._kept if place.startswith(f"{name}.")]:
            measured, _ = self._kept.pop(place)
            measured.data_name = None
            measured.stored = False


def output_of_step(
    open_writer: Callable[[], StepWriter | None], give_up: Callable[[], None], observer: Observer | None
) -> StepOutput:
    """Where a step's records go: to a folder, past the observer where there is one."""
    return StepOutput(open_writer, give_up) if observer is None else ObservedOutput(open_writer, give_up, observer)
