"""The order of suspects on several ranks of which modules alone were recorded, not what ranks gave each other.

All forward calls of a step come before its backward calls, and these before its optimizers.  A stage of a pipeline that
reads a trained activation which nobody on its rank made is behind another rank: forward it comes later, backward
earlier.  A rank of an interleaved pipeline holds several, of which all ranks' first ones come before all second ones.
"""

from __future__ import annotations

from dump.format.names import BACKWARD, FORWARD, forward_name, parse
from dump.format.schema import Dump, tensor_records

_FORWARD, _BACKWARD, _OPTIMIZER = 0, 1, 2
_MOST = 1 << 20
"""Stages; places within one are numbered below the square of it."""


def place_in_time(name: str, order: int, dump: Dump, rank: int, *, made: bool) -> tuple[int, int]:
    """What orders the call of this name, the `order`th of its rank, among those of other ranks; what was read comes
    before what was `made` of it."""
    place = 2 * order + 1 + made
    if name.startswith("Optimizer."):
        return _OPTIMIZER, place
    depth = _depth(name, dump, rank)
    if parse(name).direction == BACKWARD:
        return _BACKWARD, (_MOST - depth) * _MOST * _MOST + place
    return _FORWARD, depth * _MOST * _MOST + place


def _depth(name: str, dump: Dump, rank: int) -> int:
    """How many stages may come before that of this call; 0 of a rank that begins with data."""
    root = _outermost(name, dump)
    chunks, is_behind = 0, False
    made: set[int | None] = set()
    met: set[str] = set()
    for call in dump.calls:
        known = parse(call.name)
        if known.direction != FORWARD or not known.is_module:
            continue
        if dump.owners.get(call.name) is None and (path := f"{known.path} {known.api}") not in met:
            met.add(path)
            given = next(tensor_records(call.inputs), None)
            if given is not None and given.value not in made:
                chunks, is_behind = chunks + 1, bool(given.requires_grad)
            if path == root:
                break
        made |= {record.value for record in tensor_records(call.outputs)}
    return (chunks - 1) * (dump.header.world_size or 1) + rank if is_behind and chunks else 0


def _outermost(name: str, dump: Dump) -> str:
    """The path and class of the module around all that a call ran in."""
    if parse(name).direction == BACKWARD and not parse(name).is_module:
        name = forward_name(name)
    while (owner := dump.owners.get(name)) is not None:
        name = owner
    return f"{parse(name).path} {parse(name).api}"
