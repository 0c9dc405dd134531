"""The ranks of one side put together: of a job's dumps of one step, one dump of whole tensors.

Where two sides were run by another number of ranks, or cut the model in another way, no rank of the one answers to a
rank of the other, but the whole tensors do.  What a part belongs to is known from its layout, from that of another
record of the same value, or, of activations of a batch that was dealt out, from what fits the other side's shape.  In
statistics, extrema, means, norms and counts of parts combine; a sketch of the whole does not follow from theirs.  What
cannot be put together is left without numbers, and says why: `unrecorded` is the key of the message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import msgspec

from dump.format.names import FORWARD, parse
from dump.format.schema import Argument, CallRecord, Dump, LayoutRecord, TensorRecord

Pieces: TypeAlias = "dict[int, TensorRecord]"
Shape: TypeAlias = "tuple[int, ...]"

_ALIKE = 1e-5
"""Relative difference that replicas of one tensor may show in norm, max and min."""

_DIFFER = "parts.differ"
_NUMBERS = ("max", "min", "mean", "norm", "nan", "inf", "sketch", "md5", "data_name")


def join(dumps: Mapping[int, Dump], world_size: int, other: Mapping[tuple[str, str], Shape]) -> Dump:
    """One dump of what the ranks saw together.  `dumps` are theirs by rank, `other` the shapes of the other side by
    call and argument."""
    first = dumps[min(dumps)]
    layouts = {rank: _layouts(dump) for rank, dump in dumps.items()}
    by_name = {rank: {call.name: call for call in dump.calls} for rank, dump in dumps.items()}
    calls = []
    for call in first.calls:
        found = {rank: named[call.name] for rank, named in by_name.items() if call.name in named}
        joined = _Call(found, layouts, world_size, other).joined(call) if len(found) == len(dumps) else None
        calls.append(joined if joined is not None else _without_numbers(call, "parts.calls"))
    incomplete = next((dump.incomplete for dump in dumps.values() if dump.incomplete is not None), None)
    path = first.path if len(dumps) == 1 else first.path.parent
    return replace(first, path=path, calls=tuple(calls), incomplete=incomplete)


def shapes(dumps: Mapping[int, Dump]) -> dict[tuple[str, str], Shape]:
    """The shapes that one rank saw where it had the whole, by call and argument."""
    first = dumps[min(dumps)]
    return {
        (call.name, name): tensor.layout.shape if tensor.layout is not None else tensor.shape
        for call in first.calls
        for name, tensor in call.tensors()
    }


def knows_parts(dump: Dump) -> bool:
    """Does the dump say of what its ranks held parts, or gave each other?"""
    return any(
        call.collectives or any(tensor.layout is not None for _, tensor in call.tensors()) for call in dump.calls
    )


def _layouts(dump: Dump) -> dict[int, LayoutRecord]:
    """The layout of each value that has one somewhere: a part handed on as a plain tensor is still a part."""
    return {
        tensor.value: tensor.layout
        for call in dump.calls
        for _, tensor in call.tensors()
        if tensor.value is not None and tensor.layout is not None
    }


class _Call:
    """One call as all ranks made it."""

    def __init__(
        self,
        calls: Mapping[int, CallRecord],
        layouts: Mapping[int, Mapping[int, LayoutRecord]],
        world_size: int,
        other: Mapping[tuple[str, str], Shape],
    ) -> None:
        self._calls = calls
        self._layouts = layouts
        self._world_size = world_size
        self._other = other
        self._arguments = {rank: {a.name: a for group in _groups(call) for a in group} for rank, call in calls.items()}

    def joined(self, call: CallRecord) -> CallRecord:
        inputs, outputs, parameters, written = (
            tuple(self._argument(call, argument) for argument in group) for group in _groups(call)
        )
        return msgspec.structs.replace(call, inputs=inputs, outputs=outputs, parameters=parameters, written=written)

    def _argument(self, call: CallRecord, argument: Argument) -> Argument:
        leaf = argument.leaf
        if not isinstance(leaf, TensorRecord):
            return argument
        pieces: Pieces = {}
        for rank, arguments in self._arguments.items():
            found = arguments.get(argument.name)
            if found is None or not isinstance(found.leaf, TensorRecord):
                return Argument(argument.name, _unknown(leaf, "parts.calls"))
            pieces[rank] = found.leaf
        return Argument(argument.name, self._whole(call, argument.name, leaf, pieces))

    def _whole(self, call: CallRecord, name: str, leaf: TensorRecord, pieces: Pieces) -> TensorRecord:
        layout = leaf.layout or self._layout_of(pieces)
        if layout is not None:
            return _by_layout(leaf, layout, pieces)
        if len(pieces) < self._world_size:
            return _unknown(leaf, "parts.elsewhere")
        if _are_alike(list(pieces.values())):
            return msgspec.structs.replace(leaf, sketch=None)
        dimension = _dealt_along(list(pieces.values()), self._other.get((call.name, name)))
        if dimension is not None and parse(call.name).direction == FORWARD:
            return concatenated(list(pieces.values()), dimension)
        return _unknown(leaf, _DIFFER)

    def _layout_of(self, pieces: Pieces) -> LayoutRecord | None:
        """The layout that every rank's value has elsewhere, if it is one."""
        found = {
            self._layouts[rank].get(piece.value) if piece.value is not None else None for rank, piece in pieces.items()
        }
        return found.pop() if len(found) == 1 else None


def _groups(call: CallRecord) -> tuple[tuple[Argument, ...], ...]:
    return call.inputs, call.outputs, call.parameters, call.written


def _by_layout(leaf: TensorRecord, layout: LayoutRecord, pieces: Pieces) -> TensorRecord:
    """The whole of a tensor whose parts lie on a mesh."""
    whole = msgspec.structs.replace(leaf, shape=layout.shape)
    if all(placement == "R" for placement in layout.placements):
        known = [pieces[rank] for rank in layout.mesh if rank in pieces]
        return (
            msgspec.structs.replace(leaf, sketch=None, layout=None) if _are_alike(known) else _unknown(whole, _DIFFER)
        )
    if any(rank not in pieces for rank in layout.mesh):
        return _unknown(whole, "parts.elsewhere")
    parts = [pieces[rank] for rank in layout.mesh]
    for extent, placement in reversed(list(zip(layout.extents, layout.placements, strict=True))):
        rows = [parts[start : start + extent] for start in range(0, len(parts), extent)]
        # Replicas stand in the last dimension of what is left, so each row is one set of parts along it.
        done = [_combined(row, placement) for row in rows]
        if any(part is None for part in done):
            return _unknown(whole, "parts.placement")
        parts = [part for part in done if part is not None]
    joined = parts[0]
    if joined.shape != layout.shape:
        return _unknown(whole, "parts.placement")
    same = (leaf.value, leaf.storage, leaf.requires_grad, leaf.grad_fn)
    return msgspec.structs.replace(
        joined, value=same[0], storage=same[1], requires_grad=same[2], grad_fn=same[3], layout=None
    )


def _combined(parts: Sequence[TensorRecord], placement: str) -> TensorRecord | None:
    if len(parts) == 1:
        return parts[0]
    if placement == "R":
        return msgspec.structs.replace(parts[0], sketch=None) if _are_alike(parts) else None
    if placement.startswith("S(") and placement[2:-1].isdigit():
        return concatenated(parts, int(placement[2:-1]))
    return None  # partial sums: the collective that adds them up has the sum


def concatenated(parts: Sequence[TensorRecord], dimension: int) -> TensorRecord:
    """The statistics of parts put together along `dimension`: the largest, the smallest, the mean weighted by numbers
    of elements, the root of the summed squares of norms."""
    first = parts[0]
    extent = sum(part.shape[dimension] for part in parts)
    shape = (*first.shape[:dimension], extent, *first.shape[dimension + 1 :])
    held = [part for part in parts if part.numel]
    number = sum(part.numel for part in held)
    means = _all([part.mean for part in held])
    norms = _all([part.norm for part in held])
    return msgspec.structs.replace(
        first,
        shape=shape,
        max=_over(max, [part.max for part in held]),
        min=_over(min, [part.min for part in held]),
        mean=sum(m * p.numel for m, p in zip(means, held, strict=True)) / number if means and number else None,
        norm=math.hypot(*norms) if norms else None,
        nan=sum(part.nan or 0 for part in parts) or None,
        inf=sum(part.inf or 0 for part in parts) or None,
        sketch=None,
        md5=None,
        data_name=None,
        layout=None,
    )


def _all(numbers: Sequence[int | float | None]) -> list[float]:
    """The numbers, if all are known."""
    known = [float(number) for number in numbers if number is not None]
    return known if len(known) == len(numbers) else []


def _over(choose: Callable[[list[float]], float], numbers: Sequence[int | float | None]) -> float | None:
    known = _all(numbers)
    return math.nan if any(map(math.isnan, known)) else choose(known) if known else None


def _are_alike(parts: Sequence[TensorRecord]) -> bool:
    """Are these replicas of one tensor, as far as the numbers say?"""
    first = parts[0]
    return all(
        part.shape == first.shape
        and part.dtype == first.dtype
        and part.md5 == first.md5
        and all(_near(getattr(part, name), getattr(first, name)) for name in ("norm", "max", "min"))
        for part in parts[1:]
    )


def _near(one: float | None, two: float | None) -> bool:
    if one is None or two is None:
        return one is two
    both_nan = math.isnan(one) and math.isnan(two)
    return both_nan or one == two or abs(one - two) <= _ALIKE * max(abs(one), abs(two))


def _dealt_along(parts: Sequence[TensorRecord], whole: Shape | None) -> int | None:
    """The one dimension along which these parts add up to the shape of the whole; None where there is none."""
    if whole is None or any(len(part.shape) != len(whole) for part in parts):
        return None
    sums = [sum(part.shape[d] for part in parts) for d in range(len(whole))]
    fitting = [
        d
        for d in range(len(whole))
        if sums[d] == whole[d]
        and all(part.shape[:d] == whole[:d] and part.shape[d + 1 :] == whole[d + 1 :] for part in parts)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _unknown(leaf: TensorRecord, why: str) -> TensorRecord:
    return msgspec.structs.replace(leaf, **dict.fromkeys(_NUMBERS), unrecorded=why)


def _without_numbers(call: CallRecord, why: str) -> CallRecord:
    groups = (
        tuple(Argument(a.name, _unknown(a.leaf, why) if isinstance(a.leaf, TensorRecord) else a.leaf) for a in group)
        for group in _groups(call)
    )
    inputs, outputs, parameters, written = groups
    return msgspec.structs.replace(call, inputs=inputs, outputs=outputs, parameters=parameters, written=written)
