"""Calls on parts of tensors that several ranks hold (DTensor): which of them does a rank make by itself?

What was recorded are the parts that this rank holds.  Where other ranks' parts came in within the call, or only one
rank adds what all hold (the bias of a partial sum), the same call on these parts makes something else.
"""

from __future__ import annotations

from collections.abc import Iterable

from acc_compare.replay.expected import read_by, written_by
from dump.format.schema import NestedCall, TensorRecord

_WHOLE, _CUT, _PARTIAL = "whole", "cut", "partial"
_KINDS = {"R": _WHOLE, "S": _CUT, "_S": _CUT}


def is_made_alone(call: NestedCall, *, is_backward: bool) -> bool:
    """Does what the call makes of the parts that this rank read come to the parts that it wrote, along each dimension
    of the mesh?"""
    read = [record for _, record in read_by(call)]
    wrote = [record for _, record in written_by(call)]
    meshes = {record.layout.extents for record in (*read, *wrote) if record.layout is not None}
    follows = _gradients_follow if is_backward else _results_follow
    return len(meshes) <= 1 and all(
        follows(_kinds(read, axis), _kinds(wrote, axis)) for extents in meshes for axis in range(len(extents))
    )


def _results_follow(read: set[str], wrote: set[str]) -> bool:
    """A partial result of cut tensors alone: of what all hold only one rank adds it."""
    if _PARTIAL in read:
        return False
    if wrote == {_PARTIAL}:
        return read == {_CUT}
    return wrote <= ({_CUT} if _CUT in read else {_WHOLE})


def _gradients_follow(read: set[str], wrote: set[str]) -> bool:
    """The gradient of what all hold is partial, as long as nobody has added it up."""
    if _PARTIAL in read:
        return False
    if _CUT not in read:
        return wrote <= {_WHOLE, _CUT}
    return wrote <= ({_CUT} if _WHOLE in read else {_CUT, _PARTIAL})


def _kinds(records: Iterable[TensorRecord], axis: int) -> set[str]:
    placements = ("R" if record.layout is None else record.layout.placements[axis] for record in records)
    return {_KINDS.get(placement.partition("(")[0], _PARTIAL) for placement in placements}
