"""The dataflow of one run in short, so that what ranks gave each other can be drawn.

Of each call of a profile: those of its calls that made what it read, and the collectives that it took part in.  Calls
that the profile leaves out are passed through: what they read came from the calls before them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from acc_compare.collectives import MESSAGES
from acc_compare.judge.dataflow import Flow
from acc_compare.judge.ranks import of_several, ranges
from acc_compare.model import Meeting, RunProfile
from dump.format.schema import CallRecord, CollectiveRecord, Dump, TensorRecord

_MAKERS = 6
"""Calls that are kept of those that made what a call read: the ones that are furthest off."""

_LONG = 60
"""Characters of a list of ranks: a job of a thousand has a thousand such lists."""

_PARAMETER, _GRADIENT = "input.param.", "input.grad."


def linked(profile: RunProfile, dump: Dump) -> RunProfile:
    """`profile`, the calls of which are those of `dump`, with its `makers` and `meetings`."""
    number = {name: place for place, name in enumerate(profile.calls)}
    makers: list[tuple[int, ...]] = [()] * len(profile.calls)
    meetings: list[tuple[Meeting, ...]] = [()] * len(profile.calls)
    passed: dict[str, Sequence[int]] = {}
    way = _Way(dump)
    for call in dump.calls:
        found: dict[int, None] = {}
        for name in way.makers(call):
            found.update(dict.fromkeys([number[name]] if name in number else passed.get(name, ())))
        place = number.get(call.name)
        if place is None:
            passed[call.name] = _furthest(found, profile)
        else:
            found.pop(place, None)
            makers[place] = tuple(_furthest(found, profile))
            meetings[place] = tuple(map(_meeting, of_several(call)))
    return replace(profile, makers=tuple(makers), meetings=tuple(meetings))


def collective_calls(dump: Dump) -> frozenset[str]:
    """The calls of `dump` in which other ranks take part."""
    return frozenset(call.name for call in dump.calls if of_several(call))


def _meeting(collective: CollectiveRecord) -> Meeting:
    ranks = ranges(collective.ranks)
    if len(ranks) > _LONG:
        ranks = f"{ranks[:_LONG].rpartition(',')[0]} … ({len(collective.ranks)})"
    is_message = collective.kind in MESSAGES
    return Meeting(
        "message" if is_message else collective.kind,
        collective.group,
        collective.order,
        ranks,
        collective.ranks[:2] if is_message else (),
    )


def _furthest(found: Mapping[int, None], profile: RunProfile) -> list[int]:
    if len(found) <= _MAKERS:
        return sorted(found)

    def off(place: int) -> float:
        excess = profile.excess[place]
        return -1.0 if excess is None or math.isnan(excess) else excess

    return sorted(sorted(found, key=off, reverse=True)[:_MAKERS])


class _Way:
    """Who made what a call reads: the call that wrote the value, else the last to write to its memory; of a gradient
    that nobody is seen to have written, the backward calls that it is the sum of."""

    def __init__(self, dump: Dump) -> None:
        self._flow = Flow(dump)

    def makers(self, call: CallRecord) -> Iterator[str]:
        parameters = {argument.name: argument.leaf for argument in call.inputs if argument.name.startswith(_PARAMETER)}
        for argument in (*call.inputs, *call.parameters):
            leaf = argument.leaf
            if not isinstance(leaf, TensorRecord):
                continue
            made = self._made(leaf, call.index)
            if made:
                yield from made
            elif argument.name.startswith(_GRADIENT):
                parameter = parameters.get(f"{_PARAMETER}{argument.name.removeprefix(_GRADIENT)}")
                yield from self._summed(parameter)
            elif argument.name.startswith(_PARAMETER) and of_several(call):  # a reduction tells of parameters
                yield from self._summed(leaf)

    def _made(self, leaf: TensorRecord, before: int) -> list[str]:
        producer = self._flow.producer(leaf, before)
        found = [producer] if producer is not None else self._flow.writers(leaf, before)[:1]
        return [each.call for each in found]

    def _summed(self, parameter: object) -> list[str]:
        if not isinstance(parameter, TensorRecord):
            return []
        return [part.call for part in self._flow.contributions(parameter)]
