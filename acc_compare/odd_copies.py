"""The copy that is no copy: which rank holds another tensor than the others, where all should hold what the other side
has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from acc_compare.combined import distance, divided
from acc_compare.wholes import Whole
from dump.format.schema import CallRecord, Dump, TensorRecord

_ANOTHER = 0.3
"""Relative difference from which on a part is another tensor, as another expert's weights, and no copy that is off."""

_OPTIMIZER, _UPDATED, _OWN = "Optimizer.", "output.0.", "input.own."

_COPIES = 1e-3
"""Relative difference up to which a part is taken for a copy of what the other side has whole."""


@dataclass(frozen=True, slots=True)
class Odd:
    """The number of a part that is no copy as others are, and how far these are `off` the other side."""

    number: int
    off: float


def _copied(theirs: Sequence[Whole], shape: tuple[int, ...]) -> list[TensorRecord]:
    """What the parts of this shape may be copies of: means alone say nothing of that."""
    return [each.record for each in theirs if each.shape == shape and not (each.scaled or each.vague)]


def odd_copy(parts: Sequence[TensorRecord], theirs: Sequence[Whole]) -> tuple[Odd, int] | None:
    """Which of the parts that a collective should have left alike is furthest from what the other side has, where
    another is that, divided by a number of ranks; and that number.  None where none is."""
    known = _copied(theirs, parts[0].shape)
    found = []
    for by in sorted({1, len(parts)}):
        apart = [min((distance(divided(part, by), record) for record in known), default=math.inf) for part in parts]
        if min(apart) <= _COPIES:
            found.append((min(apart), by, max(range(len(apart)), key=apart.__getitem__)))
    if not found:
        return None
    off, by, number = min(found)
    return Odd(number, off), by


def odd_one(parts: Sequence[TensorRecord], theirs: Sequence[Whole], *, is_data: bool = False) -> Odd | None:
    """Which of the parts is furthest from what the other side has, where another is a copy of that; None where none
    is one.  What is far off is another tensor, as another expert's weights, but for data that all should have read."""
    known = _copied(theirs, parts[0].shape)
    if not known or any(part.shape != parts[0].shape for part in parts):
        return None
    apart = [min(distance(part, record) for record in known) for part in parts]
    furthest = max(range(len(apart)), key=apart.__getitem__)
    another = not is_data and _ANOTHER < apart[furthest] < math.inf
    return Odd(furthest, min(apart)) if min(apart) <= _COPIES and not another else None


def odd_updates(dumps: Mapping[int, Dump], odd: Mapping[tuple[str, str], int]) -> frozenset[tuple[str, str]]:
    """The steps of optimizers and the parameters of which one rank holds an `odd` copy, though all ranks read the same
    value and the same gradient: no noise of theirs made that one."""
    calls = [{call.name: call for call in dump.calls if call.name.startswith(_OPTIMIZER)} for dump in dumps.values()]
    told = [(name, tensor.removeprefix(_UPDATED)) for name, tensor in odd if tensor.startswith(_UPDATED)]
    return frozenset(
        (name, parameter)
        for name, parameter in told
        if all(name in each for each in calls)
        and len({read for each in calls for read in _read(each[name], parameter)}) == 2
    )


def _read(call: CallRecord, parameter: str) -> Iterator[tuple[object, ...]]:
    """What is known of what a step read of a parameter; nothing where ranks share out the parameters among them."""
    if not any(argument.name.startswith(_OWN) for argument in call.inputs):
        for name, leaf in call.tensors():
            if name in (f"input.param.{parameter}", f"input.grad.{parameter}") and leaf.sketch is not None:
                yield name, leaf.sketch, leaf.waves, leaf.norm, leaf.max, leaf.min, leaf.mean
