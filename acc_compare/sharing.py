"""How the ranks of a job share out a model: by which collectives and placements, and whether two jobs do so alike."""

from __future__ import annotations

import math

from acc_compare.collectives import REDUCES_GRADIENTS
from dump.format.schema import Dump, tensor_records

_PLACED = "placed as "
_AS_MUCH = 0.5
"""Of what one side reduces, ranks that share out the model by other means give each other at least this; a loss or a
count of tokens is less."""


def shares_out_otherwise(npu: Dump, bench: Dump) -> bool:
    """Do two sides of as many ranks share out the same model in other ways, one by DistributedDataParallel and one not,
    or one by placements and one not?  Then calls that move parts have no partner, in good health.  A side whose ranks
    give each other far less than the other reduces shares out nothing: it left the reduction away."""
    ours, theirs = _shared_out(npu), _shared_out(bench)
    if ours[1] != theirs[1] or ours[0] == theirs[0]:
        return ours != theirs
    reduced, given = map(_elements_given, (npu, bench) if ours[0] else (bench, npu))
    return given >= reduced * _AS_MUCH


def _shared_out(dump: Dump) -> tuple[bool, bool]:
    ways = ways_of(dump)
    return REDUCES_GRADIENTS in ways, any(way.startswith(_PLACED) for way in ways)


def _elements_given(dump: Dump) -> int:
    """How many elements the ranks gave each other."""
    calls = [call for call in dump.calls if any(len(collective.ranks) > 1 for collective in call.collectives)]
    return sum(
        max(sum(math.prod(leaf.shape) for leaf in tensor_records(side)) for side in (call.inputs, call.outputs))
        for call in calls
    )


def ways_of(dump: Dump) -> frozenset[str]:
    """By which collectives and placements the model is shared out."""
    kinds = {c.kind for call in dump.calls for c in call.collectives if len(c.ranks) > 1}
    layouts = [tensor.layout for call in dump.calls for _, tensor in call.tensors() if tensor.layout is not None]
    return frozenset(kinds | {_PLACED + ",".join(layout.placements) for layout in layouts})
