"""A run in a wider type beside the two: how far either side is from it, and whose their difference is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, get_args

from acc_compare.judge.origins import Expected, Judged, Origin
from acc_compare.measured.calls import MeasuredCall
from acc_compare.measured.errors import TensorError
from acc_compare.messages import Message, count, say
from acc_compare.model import ReferenceErrors, Side
from dump.format.schema import SKETCH_BUCKETS

References: TypeAlias = Mapping[tuple[str, str], ReferenceErrors]
"""By the names of a call of the NPU side and of its argument."""

_MOSTLY = 0.5
_BOTH = 0.75


def reference_errors(npu: TensorError, bench: TensorError, apart: TensorError) -> ReferenceErrors:
    """How far each side is from the reference, and which of them the difference of the two, `apart`, comes from.

    With n and b for what is added to the reference on either side, |n|^2 - |b|^2 = (n - b)(n + b): as a share of
    |n - b|^2 it is 1 where the NPU side alone is off, -1 where the bench is, and near 0 where both are alike.
    Estimated from a sketch of B buckets it has a standard deviation of |n + b| / |n - b| / sqrt(B): what both have in
    common, such as parameters rounded alike, hides whose the rest is.
    """
    return ReferenceErrors(npu.relative, bench.relative, _side(npu, bench, apart))


def _side(npu: TensorError, bench: TensorError, apart: TensorError) -> Side:
    sizes = (npu.relative, bench.relative, apart.relative)
    if not all(map(math.isfinite, sizes)):
        bad = [math.isinf(size) for size in sizes[:2]]
        return "unclear" if all(bad) or not any(bad) else "npu" if bad[0] else "bench"
    if apart.relative == 0.0:
        return "both"
    sources = {npu.source, bench.source, apart.source}
    if not sources <= {"exact", "sketch"}:
        return "unclear"
    ours, theirs, between = sizes
    share = (ours - theirs) / between * ((ours + theirs) / between)
    together = math.hypot(ours, theirs) / between  # |n + b|^2 + |n - b|^2 is twice its square
    deviation = math.sqrt(max(0.0, 2 * together * together - 1) / SKETCH_BUCKETS) if "sketch" in sources else 0.0
    if abs(share) - deviation > _MOSTLY:
        return "npu" if share > 0 else "bench"
    return "both" if abs(share) + deviation <= _BOTH else "unclear"


def unless_of_both(verdict: tuple[Judged, Origin | None], references: References) -> tuple[Judged, Origin | None]:
    """`verdict`; without an origin where what seems to begin there is what either side is off by in its type."""
    judged, origin = verdict
    if origin is None or origin.kind != "operator" or origin.reshaped:
        return verdict
    expected = judged.expected
    if expected is not None and judged.argument.relative <= expected.limit:
        return verdict  # it is not its size that stands out
    beside = references.get((origin.call.full_name, judged.argument.name))
    if beside is None or beside.side != "both":
        return verdict
    size = math.hypot(beside.npu, beside.bench)
    limit = max(size, judged.argument.relative)
    return Judged(judged.argument, "propagated", Expected(size, limit, "reference")), None


def told_of(beside: ReferenceErrors) -> Message:
    """How far either side is from the reference, and what follows."""
    return say(f"evidence.reference_{beside.side}", npu=beside.npu, bench=beside.bench)


def told_of_all(references: References, calls: Sequence[MeasuredCall]) -> Message:
    """How often which side is further off, over what `calls` write."""
    written = [(call.full_name, argument.name) for call in calls for argument in call.wrote]
    sides = [references[key].side for key in written if key in references]
    if not sides:
        return say("note.no_reference")
    return say(
        "note.reference",
        results=count(len(sides), "result"),
        **{side: sides.count(side) for side in get_args(Side)},
    )
