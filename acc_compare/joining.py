"""The ranks of one side put together: of a job's dumps of one step, one dump of whole tensors.

Where two sides were run by another number of ranks, or cut the model in another way, no rank of the one answers to a
rank of the other, but the whole tensors do.  What a part belongs to is known from its layout, from that of another
record of the same value, or else from what fits the other side (`acc_compare.wholes`).  What cannot be put together is
left without numbers, and says why: `unrecorded` is the key of the message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec

from acc_compare.assembled import piece, planned
from acc_compare.collectives import COPIES, MESSAGES
from acc_compare.combined import are_alike, concatenated, divided, summed
from acc_compare.declared import Layout, Names
from acc_compare.odd_copies import odd_copy, odd_one
from acc_compare.wholes import Choice, Mesh, Whole, candidates, chosen, meshes_of, put_together
from dump.format.names import FORWARD, parse, without_wrappers
from dump.format.schema import Argument, CallRecord, Dump, LayoutRecord, TensorRecord

Pieces: TypeAlias = "dict[int, TensorRecord]"
Wholes: TypeAlias = "Mapping[tuple[str, str], Sequence[Whole]]"

_DIFFER = "parts.differ"
_CUT = re.compile(r"_?S\((\d{1,3})(?:, \d+)?\)", re.ASCII)
"""Cut along a dimension; `_S(0, 2)` in an order that another cut of it makes, which no statistic sees."""

_RESULTS = ("output.", "written.")
_NUMBERS = ("max", "min", "mean", "norm", "nan", "inf", "sketch", "waves", "md5", "data_name")


@dataclass(slots=True)
class Grounds:
    """How many tensors were put together as a file says, by their layout, by attributes of parameters, as copies, by
    shape alone, and by what fits the other side; how far the worst of those is from what it fits, and how far the
    nearest that is made in another way."""

    file: int = 0
    layout: int = 0
    attributes: int = 0
    copies: int = 0
    shape: int = 0
    fitted: int = 0
    off: float = 0.0
    other: float = math.inf

    def note(self, choice: Choice) -> None:
        if choice.fit is None:
            self.shape += 1
            return
        self.fitted += 1
        self.off = max(self.off, choice.fit)
        self.other = min(self.other, math.inf if choice.other is None else choice.other)


@dataclass(frozen=True, slots=True)
class Joined:
    """One dump of what the ranks of a side saw together.  `odd` names the rank whose copy of a tensor is that of the
    dump, where others hold what the other side has, by call and argument; `grounds` says on what grounds parts were put
    together."""

    dump: Dump
    odd: Mapping[tuple[str, str], int]
    grounds: Grounds


def join(
    dumps: Mapping[int, Dump],
    world_size: int,
    other: Wholes,
    *,
    meshes: tuple[Mesh, ...] | None = None,
    declared: Layout | None = None,
    batches: int = 1,
) -> Joined:
    """What the ranks saw together.  `dumps` are theirs by rank, `other` what the parts of the other side may make, by
    call and argument; `meshes` say how they lie, where it is not to be read off their collectives, `declared` how
    tensors are cut, where the user said, and each call is of one of so many micro-`batches`."""
    first = dumps[min(dumps)]
    calls = []
    odd: dict[tuple[str, str], int] = {}
    grounds = Grounds()
    for call, found in _calls(dumps, world_size, meshes, declared, batches):
        joined = None if found is None else found.joined(call, other, grounds)
        calls.append(joined if joined is not None else _without_numbers(call, "parts.calls"))
        odd.update({(call.name, name): rank for name, rank in found.odd.items()} if found is not None else {})
    cut = next((dump.incomplete for dump in dumps.values() if dump.incomplete), None)
    path = first.path if len(dumps) == 1 else first.path.parent
    return Joined(replace(first, path=path, calls=tuple(calls), incomplete=cut), odd, grounds)


def wholes(
    dumps: Mapping[int, Dump],
    world_size: int,
    *,
    meshes: tuple[Mesh, ...] | None = None,
    declared: Layout | None = None,
    batches: int = 1,
) -> Wholes:
    """What the parts that the ranks of a side hold may make, by call and argument."""
    return {
        place_of(call.name, name): may_be
        for call, found in _calls(dumps, world_size, meshes, declared, batches)
        if found is not None
        for name, may_be in found.wholes(call)
    }


def place_of(call: str, argument: str) -> tuple[str, str]:
    """A call and its argument as both sides name them, whatever wraps the modules of either."""
    known = parse(call)
    if known.is_module:
        return str(replace(known, path=without_wrappers(known.path, data_parallel=True))), argument
    is_update = known.prefix == "Optimizer"
    return call, without_wrappers(argument, data_parallel=True) if is_update else argument


def _calls(
    dumps: Mapping[int, Dump],
    world_size: int,
    meshes: tuple[Mesh, ...] | None,
    declared: Layout | None,
    batches: int,
) -> Iterator[tuple[CallRecord, _Call | None]]:
    """The calls of the first rank, each as all ranks made it; None where some did not."""
    first = dumps[min(dumps)]
    world = _World(
        dumps,
        world_size,
        meshes_among(dumps, world_size) if meshes is None else meshes,
        {rank: _layouts(dump) for rank, dump in dumps.items()},
        _partitions(first),
        declared,
        Names(first),
        batches,
    )
    by_name = {rank: {call.name: call for call in dump.calls} for rank, dump in dumps.items()}
    for call in first.calls:
        found = {rank: named[call.name] for rank, named in by_name.items() if call.name in named}
        alone = first.owners.get(call.name) is None
        yield call, _Call(found, world, alone=alone) if len(found) == len(dumps) else None


def meshes_among(dumps: Mapping[int, Dump], world_size: int) -> tuple[Mesh, ...]:
    """How ranks lie, by the groups that gave each other something; any mesh of two dimensions where modules alone were
    recorded, which tell of no group."""
    groups = {
        collective.ranks
        for dump in dumps.values()
        for call in dump.calls
        for collective in call.collectives
        if collective.kind not in MESSAGES
    }
    if groups or any(dump.header.level != "L0" for dump in dumps.values()):
        return meshes_of(groups, world_size)
    return tuple((number, world_size // number) for number in range(2, world_size) if world_size % number == 0)


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


def _partitions(dump: Dump) -> dict[int, tuple[int, ...]]:
    """How each value is cut that is a parameter and says so."""
    return {
        tensor.value: tensor.partition
        for call in dump.calls
        for _, tensor in call.tensors()
        if tensor.value is not None and tensor.partition is not None
    }


@dataclass(frozen=True, slots=True)
class _World:
    """What is known of the ranks of a side: how many there are, the meshes that they may lie in, and how values are cut
    by their layouts, by attributes of parameters, and as the user said; of how many micro-batches each call has one."""

    dumps: Mapping[int, Dump]
    size: int
    meshes: tuple[Mesh, ...]
    layouts: Mapping[int, Mapping[int, LayoutRecord]]
    partitions: Mapping[int, tuple[int, ...]]
    declared: Layout | None
    names: Names
    batches: int


class _Call:
    """One call as all ranks of a `world` made it; `alone` outside of any module."""

    def __init__(self, calls: Mapping[int, CallRecord], world: _World, *, alone: bool) -> None:
        self._world = world
        self.odd: dict[str, int] = {}
        self._grounds = Grounds()
        self._arguments = {rank: {a.name: a for a in call.arguments()} for rank, call in calls.items()}
        call = next(iter(calls.values()))
        self._is_copied = any(c.kind in COPIES and len(c.ranks) == world.size > 1 for c in call.collectives)
        self._forward = parse(call.name).direction == FORWARD
        # Losses, gradients and what is done to them: means over a rank's own part of the batch.
        self._scales = alone or not self._forward or bool(call.collectives)

    def joined(self, call: CallRecord, other: Wholes, grounds: Grounds) -> CallRecord:
        self._grounds = grounds
        return call.mapped(lambda argument: self._argument(call, argument, other))

    def wholes(self, call: CallRecord) -> Iterator[tuple[str, Sequence[Whole]]]:
        """What the parts of each tensor may make."""
        for name, leaf in call.tensors():
            pieces = self._pieces(name)
            if pieces is None:
                continue
            known = self._declared(call, name, leaf, pieces)
            if known is not None:
                yield name, [Whole.of(known)]
                continue
            parts = self._by_layouts(leaf, pieces)
            if parts is not None or len(pieces) == self._world.size:
                yield name, self._candidates(parts, pieces, leaf)

    def _pieces(self, name: str) -> Pieces | None:
        """The parts of an argument by rank; None where some rank has none."""
        found = {rank: arguments.get(name) for rank, arguments in self._arguments.items()}
        pieces = {
            rank: piece(argument.leaf, rank, self._world.dumps[rank])
            for rank, argument in found.items()
            if argument is not None and isinstance(argument.leaf, TensorRecord)
        }
        return pieces if len(pieces) == len(found) else None

    def _argument(self, call: CallRecord, argument: Argument, other: Wholes) -> Argument:
        leaf = argument.leaf
        if not isinstance(leaf, TensorRecord):
            return argument
        pieces = self._pieces(argument.name)
        if pieces is None:
            return Argument(argument.name, _unknown(leaf, "parts.calls"))
        known = self._declared(call, argument.name, leaf, pieces)
        if known is not None:
            self._grounds.file += known.unrecorded is None
            return Argument(argument.name, known)
        return Argument(argument.name, self._whole(argument, pieces, other.get(place_of(call.name, argument.name), ())))

    def _declared(self, call: CallRecord, name: str, leaf: TensorRecord, pieces: Pieces) -> TensorRecord | None:
        """The whole as the user said that it is made; None where nothing was said of it."""
        declared = self._world.declared
        ways = None if declared is None else declared.ways(self._world.names.of(call, name, leaf))
        if declared is None or ways is None:
            return None
        parts = [pieces[rank] for rank in sorted(pieces)]
        found = put_together(parts, declared.mesh, ways) if len(parts) == self._world.size else None
        return found if found is not None else _unknown(leaf, "parts.file")

    def _whole(self, argument: Argument, pieces: Pieces, other: Sequence[Whole]) -> TensorRecord:
        leaf = argument.leaf
        assert isinstance(leaf, TensorRecord)
        copies = list(pieces.values())
        if self._is_copied and argument.name.startswith(_RESULTS) and not are_alike(copies):
            found = odd_copy(copies, other)
            if found is not None:
                self.odd[argument.name] = list(pieces)[found[0].number]
                return msgspec.structs.replace(divided(copies[found[0].number], found[1]), layout=None)
        may_be_odd = len(pieces) == self._world.size and not are_alike(copies)
        odd = odd_one(copies, other, is_data=not (self._scales or leaf.requires_grad)) if may_be_odd else None
        parts = self._by_layouts(leaf, pieces)
        whole = None if odd is None else chosen(self._candidates(parts, pieces, leaf), other, forward=self._forward)
        # Losses of parts of a batch may be near the mean by chance.
        if odd is not None and (whole is None or whole.fit is None or whole.fit >= odd.off):
            self.odd[argument.name] = list(pieces)[odd.number]
            return msgspec.structs.replace(copies[odd.number], layout=None)
        if parts is None and len(pieces) < self._world.size:
            return _unknown(leaf, "parts.elsewhere")
        if parts is not None and len(parts) == 1:
            self._grounds.layout += parts[0].unrecorded is None
            return parts[0]
        may_be = self._candidates(parts, pieces, leaf)
        if parts is None and self._partition(leaf) and len(may_be) == 1:
            self._grounds.attributes += 1
            return may_be[0].record
        parts = parts or copies
        choice = chosen(may_be, other, forward=self._forward, may_repeat=not leaf.requires_grad)
        if choice is not None and not (choice.whole.how == "same" and not choice.whole.scaled):
            self._grounds.note(choice)
            return choice.whole.record
        self._grounds.copies += are_alike(parts)
        return parts[0] if are_alike(parts) else _unknown(leaf, parts[0].unrecorded or _DIFFER)

    def _by_layouts(self, leaf: TensorRecord, pieces: Pieces) -> list[TensorRecord] | None:
        """The whole that each mesh holds, where every rank's part has a layout, its own or that of the same value; None
        where one has none."""
        layouts = {rank: piece.layout or self._layout_of(rank, piece) for rank, piece in pieces.items()}
        meshes: dict[tuple[int, ...], LayoutRecord] = {}
        for layout in layouts.values():
            if layout is None:
                return None
            meshes.setdefault(layout.mesh, layout)
        held = {rank for mesh in meshes for rank in mesh}
        if len(pieces) < self._world.size and len(meshes) > 1:
            return [_unknown(leaf, "parts.elsewhere")]
        return [_by_layout(leaf, layout, pieces) for layout in meshes.values()] if held >= set(pieces) else None

    def _candidates(self, parts: Sequence[TensorRecord] | None, pieces: Pieces, leaf: TensorRecord) -> list[Whole]:
        """What the parts that layouts leave may make; of a parameter that says how it is cut, that alone."""
        meshes = self._world.meshes
        if parts is not None:
            fitting = (mesh for mesh in meshes if math.prod(mesh) == len(parts))
            return candidates(parts, scaled=self._scales, meshes=fitting)
        found = candidates(list(pieces.values()), scaled=self._scales, meshes=meshes, batches=self._world.batches)
        told = self._partition(leaf)
        if not told or len(pieces) == 1:
            return found
        dimension, *stride = told
        cut = [each for each in found if each.dimensions == {dimension} and not each.scaled]
        # Copies lie along the other dimensions of a mesh, so of parts that are alike none is a further part.
        fewest = [each for each in cut if not each.repeats] or cut
        return [replace(each, groups=stride[0] if stride else 1) for each in fewest[:1]] or found

    def _partition(self, leaf: TensorRecord) -> tuple[int, ...] | None:
        """How a parameter says that it is cut, whichever record of it this is."""
        if leaf.partition is not None or leaf.value is None:
            return leaf.partition
        return self._world.partitions.get(leaf.value)

    def _layout_of(self, rank: int, piece: TensorRecord) -> LayoutRecord | None:
        """The layout that a rank's value has elsewhere."""
        return self._world.layouts[rank].get(piece.value) if piece.value is not None else None


def _by_layout(leaf: TensorRecord, layout: LayoutRecord, pieces: Pieces) -> TensorRecord:
    """The whole of a tensor whose parts lie on a mesh."""
    whole = msgspec.structs.replace(leaf, shape=layout.shape)
    if all(placement == "R" for placement in layout.placements):
        known = [pieces[rank] for rank in layout.mesh if rank in pieces]
        return msgspec.structs.replace(known[0], layout=None) if are_alike(known) else _unknown(whole, _DIFFER)
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
    if parts[0].shape != layout.shape:
        return _unknown(whole, "parts.placement")
    same = {name: getattr(leaf, name) for name in ("value", "storage", "requires_grad", "grad_fn")}
    return msgspec.structs.replace(parts[0], **same, layout=None)


def _combined(parts: Sequence[TensorRecord], placement: str) -> TensorRecord | None:
    if len(parts) == 1:
        return parts[0]
    if placement == "R":
        return parts[0] if are_alike(parts) else None
    cut = _CUT.fullmatch(placement)
    if cut:
        whole = concatenated(parts, int(cut[1]))
        return planned(msgspec.structs.replace(whole, waves=None), None) if placement.startswith("_") else whole
    return summed(parts) if placement == "P(sum)" else None


def _unknown(leaf: TensorRecord, why: str) -> TensorRecord:
    return planned(msgspec.structs.replace(leaf, **dict.fromkeys(_NUMBERS), unrecorded=why), None)


def _without_numbers(call: CallRecord, why: str) -> CallRecord:
    def told(argument: Argument) -> Argument:
        leaf = argument.leaf
        return Argument(argument.name, _unknown(leaf, why)) if isinstance(leaf, TensorRecord) else argument

    return call.mapped(told)
