"""Which call made the value that another reads, within one side: enough dataflow to find composites."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from dump.format.schema import CallRecord, TensorRecord


class Place(NamedTuple):
    """A tensor at an argument of a call."""

    call: CallRecord
    argument: str
    leaf: TensorRecord
    label: str = ""

    @property
    def full_name(self) -> str:
        return self.label or f"{self.call.name}.{self.argument}"


def value_key(leaf: TensorRecord) -> Hashable:
    """Equal for two tensors of one side that hold the same value: by identity, or by all that a foreign dump says."""
    if leaf.value is not None:
        return leaf.value
    return (leaf.dtype, leaf.shape, leaf.max, leaf.min, leaf.mean, leaf.norm, leaf.md5)


def reads(call: CallRecord) -> Iterator[Place]:
    """The tensors that a call reads, in order."""
    for argument in (*call.inputs, *call.parameters):
        if isinstance(argument.leaf, TensorRecord):
            yield Place(call, argument.name, argument.leaf)


def writes(call: CallRecord) -> Iterator[Place]:
    """The tensors that a call returns, in order."""
    for argument in call.outputs:
        if isinstance(argument.leaf, TensorRecord):
            yield Place(call, argument.name, argument.leaf)


class Values:
    """Who makes and who reads each value among some calls of one side, given in order."""

    def __init__(self, calls: Sequence[CallRecord]) -> None:
        self.calls = calls
        self.by_name = {call.name: call for call in calls}
        self._made: dict[Hashable, list[int]] = {}
        self._read: dict[Hashable, list[Place]] = {}
        for place, call in enumerate(calls):
            for made in writes(call):
                places = self._made.setdefault(value_key(made.leaf), [])
                if not places or places[-1] != place:
                    places.append(place)
            for read in reads(call):
                self._read.setdefault(value_key(read.leaf), []).append(read)
        self.places = {id(call): place for place, call in enumerate(calls)}

    def maker(self, leaf: TensorRecord, before: int) -> int | None:
        """The place of the last call before `before` that returned this value: one that passed it on, or made it."""
        made = self._made.get(value_key(leaf), [])
        found = bisect_left(made, before)
        return made[found - 1] if found else None

    def readers(self, leaf: TensorRecord) -> Sequence[Place]:
        """Where this value is read."""
        return self._read.get(value_key(leaf), ())
