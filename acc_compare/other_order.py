"""Two jobs of as many ranks of which modules alone were recorded, the same but for the order of their ranks.

At level L0 no groups of ranks are recorded, so that a mesh which was laid out in another order shows by its parts
alone: what rank 1 holds and reads, another rank of the other side does.  Then each rank is compared with that one.
Ranks that hold the same weights and read other data are in no other order: that is other data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

from acc_compare.combined import distance
from acc_compare.load import PlacedPair, PlacedWorlds
from acc_compare.messages import Message, listed, say
from acc_compare.wholes import FITS
from dump.format.layout import DumpLocation
from dump.format.names import FORWARD, parse
from dump.format.reader import read_dump, without_collecting
from dump.format.schema import SKETCH_BUCKETS, Dump, TensorRecord, tensor_records

_MODULES, _PARAMETERS = "L0", ("parameters.", "input.param.")
_LOOKED_AT = 64
"""Weights of each rank, and tensors that it reads, that are held against those of others."""

_TOLD = 4
"""Ranks of which it is told which the other side's is."""

Parts: TypeAlias = "Mapping[tuple[str, str], TensorRecord]"


@dataclass(frozen=True, slots=True)
class _Held:
    """What a rank holds of the model and reads of the data, by call and argument."""

    weights: Parts
    data: Parts


def order_of(step: PlacedWorlds) -> Mapping[int, int] | None:
    """Which rank of the bench each of the NPU side answers to, where it is another one for some; None where ranks are
    in one order, or answer to each other in none.  Raises DumpError."""
    sides = []
    for side in (step.npu, step.bench):
        found = _held(side)
        if found is None:
            return None
        sides.append(found)
    ours, theirs = sides
    if ours.keys() != theirs.keys() or all(_fit(ours[rank].weights, theirs[rank].weights) for rank in ours):
        return None
    return _one_for_one(ours, theirs)


def in_order(pairs: Sequence[PlacedPair], order: Mapping[int, int]) -> tuple[PlacedPair, ...]:
    """The pairs with the bench's rank that each answers to; those of steps that some rank lacks as they are."""
    bench = {(pair.step, pair.rank): pair.bench for pair in pairs}
    return tuple(
        replace(pair, bench=bench.get((pair.step, order.get(pair.rank or 0, pair.rank)), pair.bench)) for pair in pairs
    )


def told(order: Mapping[int, int]) -> Message:
    moved = [(ours, theirs) for ours, theirs in sorted(order.items()) if ours != theirs]
    named = [say("note.order_rank", npu=ours, bench=theirs) for ours, theirs in moved[:_TOLD]]
    return say("note.order", number=len(moved), ranks=listed(named))


def _held(side: Mapping[int, DumpLocation]) -> dict[int, _Held] | None:
    """What each rank holds and reads; None where more than modules was recorded."""
    found = {}
    for rank, location in side.items():
        with without_collecting():
            dump = read_dump(location.path)
            if dump.header.level != _MODULES:
                return None
            found[rank] = _Held(_weights(dump), _data(dump))
    return found


def _weights(dump: Dump) -> Parts:
    """The parameters that modules have, or, where a wrapper hides them from these, an optimizer."""
    every = (
        ((call.name, argument.name), argument.leaf)
        for call in dump.calls
        if parse(call.name).direction == FORWARD
        for argument in (*call.parameters, *call.inputs)
        if argument.name.startswith(_PARAMETERS) and isinstance(argument.leaf, TensorRecord) and _tells(argument.leaf)
    )
    return dict(islice(every, _LOOKED_AT))


def _tells(leaf: TensorRecord) -> bool:
    return leaf.numel > SKETCH_BUCKETS and (leaf.sketch is not None or leaf.md5 is not None)


def _data(dump: Dump) -> Parts:
    """What modules read that is not trained and that no call made."""
    found: dict[tuple[str, str], TensorRecord] = {}
    made: set[int | None] = set()
    for call in dump.calls:
        if parse(call.name).direction != FORWARD or len(found) >= _LOOKED_AT:
            break
        given = ((a.name, a.leaf) for a in call.inputs if isinstance(a.leaf, TensorRecord))
        found |= {(call.name, n): t for n, t in given if not t.requires_grad and t.value not in made}
        made |= {t.value for t in tensor_records((*call.outputs, *call.written))}
    return found


def _fit(ours: Parts, theirs: Parts) -> bool:
    """Are these the same tensors, but for what steps before and other kernels did to them?"""
    return ours.keys() == theirs.keys() and all(
        ours[key].shape == theirs[key].shape and distance(ours[key], theirs[key]) <= FITS for key in ours
    )


def _one_for_one(ours: Mapping[int, _Held], theirs: Mapping[int, _Held]) -> dict[int, int] | None:
    left = list(theirs)
    found = {}
    for rank, held in ours.items():
        own = (r for r in left if _fit(held.weights, theirs[r].weights) and _fit(held.data, theirs[r].data))
        partner = min(own, key=lambda r: (r != rank, r), default=None)
        if partner is None:
            return None
        left.remove(partner)
        found[rank] = partner
    return found
