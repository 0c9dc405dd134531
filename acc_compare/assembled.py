"""Whole tensors on disk: where ranks recorded the elements of their parts, those of the whole follow.

A joined record holds a plan of what its whole is made of.  The plans of both sides are carried out in a folder of their
own, a tensor at a time, so that what measures tensor files finds files; parts that are whole are linked and not copied.
Where statistics say that two wholes fit and their elements do not, parts were cut by groups, as the rows of a fused
projection are: then the order in which they fit is taken.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from dump.format.errors import TensorFileError
from dump.format.layout import TENSOR_FOLDER
from dump.format.packs import extent_of
from dump.format.schema import Argument, CallRecord, Dump, TensorRecord
from dump.format.tensors import AnyArray, read_tensor, write_tensor

_GROUPS = range(2, 9)
_OTHER, _FITS = 0.1, 1e-2


@dataclass(frozen=True, slots=True)
class Piece:
    """The tensor file of one rank."""

    rank: int
    folder: Path
    name: str

    def array(self) -> AnyArray:
        return read_tensor(self.folder, self.name)


@dataclass(frozen=True, slots=True)
class Cut:
    """Parts along a dimension; with `groups` each part has so many runs of rows, one of each group."""

    dimension: int
    parts: tuple[Plan, ...]
    groups: int = 1

    def array(self) -> AnyArray:
        return self.together([part.array() for part in self.parts])

    def together(self, arrays: Sequence[AnyArray]) -> AnyArray:
        """Arrays of the parts, in the order that this says."""
        if self.groups > 1:
            runs = [np.array_split(array, self.groups, self.dimension) for array in arrays]
            arrays = [run[number] for number in range(self.groups) for run in runs]
        try:
            return np.concatenate(arrays, self.dimension)
        except ValueError as error:
            raise _misfit(arrays) from error


@dataclass(frozen=True, slots=True)
class Total:
    """A sum, divided by a number of ranks."""

    parts: tuple[Plan, ...]
    by: int = 1

    def array(self) -> AnyArray:
        first = self.parts[0].array()
        wide, stored = (np.complex128, np.complex64) if first.dtype.kind == "c" else (np.float64, np.float32)
        total = first.astype(wide)
        for part in self.parts[1:]:
            other = part.array()
            if other.shape != total.shape:
                raise _misfit([total, other])
            total += other
        total /= self.by
        return total if first.dtype == wide else total.astype(stored)


def _misfit(arrays: Sequence[AnyArray]) -> TensorFileError:
    shapes = ", ".join(str(list(array.shape)) for array in arrays)
    return TensorFileError(f"expected parts of one tensor, found tensor files of the shapes {shapes}; record again")


Plan: TypeAlias = "Piece | Cut | Total"


class Assembled(TensorRecord, frozen=True):
    """A tensor whose elements a plan gives; without one they are not known."""

    plan: Plan | None = None


def piece(record: TensorRecord, rank: int, dump: Dump) -> TensorRecord:
    """A rank's part, which knows its file: in `dump`, or where a dump that was put together of several has it from."""
    if record.data_name is None:
        return record
    known = record.plan if isinstance(record, Assembled) else None
    folder = known.folder if isinstance(known, Piece) else dump.path / TENSOR_FOLDER
    plan = Piece(rank, folder, record.data_name)
    if isinstance(record, Assembled):
        return planned(record, plan)
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return Assembled(**fields, plan=plan)


def planned(whole: TensorRecord, plan: Plan | None) -> TensorRecord:
    """`whole` with a plan, if it can have one."""
    return msgspec.structs.replace(whole, plan=plan) if isinstance(whole, Assembled) else whole


def grouped(whole: TensorRecord, groups: int) -> TensorRecord:
    """`whole`, its parts with so many groups of rows each."""
    plan = whole.plan if isinstance(whole, Assembled) else None
    whole = msgspec.structs.replace(whole, waves=None)
    return planned(whole, replace(plan, groups=groups)) if isinstance(plan, Cut) else whole


def plans_of(parts: Sequence[TensorRecord]) -> tuple[Plan, ...] | None:
    """None where the elements of some part are not known."""
    found = tuple(part.plan for part in parts if isinstance(part, Assembled) and part.plan is not None)
    return found if len(found) == len(parts) else None


def assemble(npu: Dump, bench: Dump, folder: Path) -> tuple[Dump, Dump]:
    """Both sides with the files of their wholes below `folder`.  Raises TensorFileError, OSError."""
    theirs = dict(plans_in(bench))
    ours = {key: _fitting(plan, theirs.get(key)) for key, plan in plans_in(npu)}
    theirs = {key: _fitting(plan, ours.get(key)) for key, plan in theirs.items()}
    sides = ((npu, ours, folder / "npu"), (bench, theirs, folder / "bench"))
    return tuple(_carried_out(*side) for side in sides)  # type: ignore[return-value]


def plans_in(dump: Dump) -> Iterator[tuple[tuple[str, str], Plan]]:
    """The plans of a joined dump, by call and argument."""
    for call in dump.calls:
        for name, leaf in call.tensors():
            if isinstance(leaf, Assembled) and leaf.plan is not None:
                yield (call.name, name), leaf.plan


def _fitting(plan: Plan, other: Plan | None) -> Plan:
    """`plan` in the order of its parts that fits the other side's elements."""
    cuts = [node for node in _levels(plan) if isinstance(node, Cut)]
    if not cuts or other is None or any(cut.groups > 1 for cut in cuts):
        return plan
    ours, theirs = plan.array(), other.array()
    if ours.shape != theirs.shape or ours.dtype.kind in "bui" or (first := _apart(ours, theirs)) <= _OTHER:
        return plan
    for each in _orders(plan):  # what asks for least comes first
        made = each.array()
        if made.shape == theirs.shape and _apart(made, theirs) <= _FITS * first:
            return each
    return plan


def _levels(plan: Plan) -> list[Plan]:
    """The first plan at each depth: all at one depth are alike, for each is a dimension of a mesh of ranks."""
    return [plan] if isinstance(plan, Piece) else [plan, *_levels(plan.parts[0])]


def _orders(plan: Plan) -> Iterator[Plan]:
    """The same parts in other orders: the dimensions along which two meshes of ranks cut exchanged, and along one of
    them rows by groups."""
    cuts = [(depth, node.dimension) for depth, node in enumerate(_levels(plan)) if isinstance(node, Cut)]
    alike = len({piece.array().shape for piece in _pieces(plan)}) == 1
    others = [
        _with(_with(plan, one[0], dimension=two[1]), two[0], dimension=one[1])
        for one, two in combinations(cuts, 2)
        if alike and one[1] != two[1]
    ]
    yield from others
    for each in (plan, *others):
        for depth, _ in cuts:
            extents = _extents(each, depth)
            yield from (_with(each, depth, groups=n) for n in _GROUPS if all(extent % n == 0 for extent in extents))


def _with(plan: Plan, depth: int, **change: int) -> Plan:
    if depth == 0:
        return replace(plan, **change)  # type: ignore[arg-type]
    assert not isinstance(plan, Piece)
    return replace(plan, parts=tuple(_with(part, depth - 1, **change) for part in plan.parts))


def _pieces(plan: Plan) -> Iterator[Piece]:
    if isinstance(plan, Piece):
        yield plan
    else:
        for part in plan.parts:
            yield from _pieces(part)


def _extents(plan: Plan, depth: int) -> set[int]:
    """How long the parts are that plans at this depth cut."""
    assert not isinstance(plan, Piece)
    if depth:
        return {extent for part in plan.parts for extent in _extents(part, depth - 1)}
    assert isinstance(plan, Cut)
    return {part.array().shape[plan.dimension] for part in plan.parts}


def _apart(ours: AnyArray, theirs: AnyArray) -> float:
    wide = ours.astype(np.float64), theirs.astype(np.float64)
    size = float(np.linalg.norm(wide[1]))
    return float(np.linalg.norm(wide[0] - wide[1])) / size if size else 0.0


def _carried_out(dump: Dump, plans: Mapping[tuple[str, str], Plan], folder: Path) -> Dump:
    files = folder / TENSOR_FOLDER
    files.mkdir(parents=True)
    names: dict[Plan, str] = {}
    linked: dict[Path, str] = {}

    def written(call: CallRecord, argument: Argument) -> Argument:
        plan = plans.get((call.name, argument.name))
        if plan is None or not isinstance(argument.leaf, TensorRecord):
            return argument
        if plan not in names:
            names[plan] = _write(plan, files, len(names), linked)
        return Argument(argument.name, planned(msgspec.structs.replace(argument.leaf, data_name=names[plan]), plan))

    calls = tuple(call.mapped(partial(written, call)) for call in dump.calls)
    return replace(dump, path=folder, calls=calls)


def _write(plan: Plan, files: Path, number: int, linked: dict[Path, str]) -> str:
    if isinstance(plan, Piece):
        plan.array()  # refuses what is no tensor file of its own dump
        packed = extent_of(plan.name)
        source = plan.folder / (plan.name if packed is None else packed.file)
        if source not in linked:
            linked[source] = f"{number}{source.suffix}"
            _link(source, files / linked[source])
        return linked[source] if packed is None else str(packed._replace(file=linked[source]))
    array = np.ascontiguousarray(plan.array())
    if array.dtype.isbuiltin != 1:
        array = array.astype(np.float32)
    name = f"{number}.safetensors"
    write_tensor(files / name, data=array.tobytes(), dtype=f"torch.{array.dtype.name}", shape=array.shape)
    return name


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as read, target.open("wb") as copy:
            shutil.copyfileobj(read, copy)


def rank_of_error(plan: Plan | None, other: AnyArray) -> int | None:
    """The rank whose part alone is off from the other side's whole; None where it is none, or several."""
    ranks = _ranks(plan) if isinstance(plan, Cut) else None
    if plan is None or ranks is None or ranks.shape != other.shape:
        return None
    array = plan.array()
    found = [(_apart(array[held], other[held]), int(rank)) for rank in np.unique(ranks) for held in (ranks == rank,)]
    found.sort(reverse=True)
    worst, second = found[0], found[1]
    return worst[1] if math.isfinite(worst[0]) and worst[0] > 10 * second[0] else None


def _ranks(plan: Plan) -> AnyArray | None:
    """The rank that holds each element; None of sums."""
    if isinstance(plan, Piece):
        return np.full(plan.array().shape, plan.rank)
    parts = [ranks for part in plan.parts if (ranks := _ranks(part)) is not None]
    return plan.together(parts) if isinstance(plan, Cut) and len(parts) == len(plan.parts) else None
