"""How much of both sides was compared."""

from __future__ import annotations

from collections.abc import Sequence

from acc_compare.judge.worlds import is_bookkeeping
from acc_compare.measured.pairs import MeasuredPair
from acc_compare.model import Alignment, ComparedShare
from dump.format.names import parse


def share_compared(
    alignment: Alignment,
    measured: Sequence[MeasuredPair],
    *,
    without_moving: bool,
    shown: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset()),
) -> ComparedShare:
    """What was compared and what has no partner; `without_moving` leaves calls that only move parts of a model among
    ranks out of what is missed, and so are those of either side that are `shown` by what was computed from them."""
    matched = [part for part in measured if part.call is not None]
    tensors = sum(len(part.call.read) + len(part.call.wrote) for part in matched if part.call is not None)
    lone_npu = [p for p in alignment.pairs if p.npu is not None and p.bench is None and not p.part_of]
    lone_bench = [p for p in alignment.pairs if p.bench is not None and p.npu is None and not p.part_of]
    lone = [(pair.npu or pair.bench, pair.reason) for pair in (*lone_npu, *lone_bench)]
    reasons = [(call.name, reason) for call, reason in lone if call is not None and reason is not None]
    kinds = [{parse(call.name).is_module for call in dump.calls} for dump in (alignment.npu, alignment.bench)]
    common = kinds[0] & kinds[1]  # one side at level L1, the other at mix: its modules are not missed
    missing = [
        sum(
            not call.is_recompute
            and parse(call.name).is_module in common
            and not (without_moving and is_bookkeeping(call))
            and call.name not in known
            for call in side
        )
        for side, known in (
            ([p.npu for p in lone_npu if p.npu], shown[0]),
            ([p.bench for p in lone_bench if p.bench], shown[1]),
        )
    ]
    most = 0 if alignment.differs_in_batches else max(missing)  # of differing batches the accumulated gradients tell
    return ComparedShare(len(matched), tensors, len(lone_npu), len(lone_bench), tuple(reasons), most)
