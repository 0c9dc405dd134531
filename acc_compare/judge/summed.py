"""Which backward calls a gradient is the sum of.

Autograd adds up what the backward calls of a parameter's readers gave, and no call of its own says so.  Sketches are
linear: where those of backward calls that gave a gradient to one value add up to that of a tensor, it is their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from acc_compare.judge.dataflow import Contribution, Flow
from acc_compare.judge.origins import Context
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.metrics.sketches import SketchVector, sketch_vector
from dump.format.schema import TensorRecord

_OFF = 1e-4
"""What a sum may be off by relative to its size: roundings of its own, and of 16 float32."""


@dataclass(frozen=True, slots=True)
class Summed:
    """The backward calls whose gradients a tensor is the sum of, on either side; none where that is not known.  `alike`
    says that they answer to each other."""

    calls: tuple[tuple[str, ...], tuple[str, ...]]
    alike: bool


def summed(call: MeasuredCall, argument: MeasuredArgument, context: Context) -> Summed | None:
    """What the gradient `argument` that `call` reads is the sum of; None where it is none, as far as anybody knows."""
    if call.pair.npu is None or call.pair.bench is None or context.other_world or not argument.is_floating:
        return None
    ours = _parts(argument.npu, context.npu, call.pair.npu.index)
    theirs = _parts(argument.bench, context.bench, call.pair.bench.index)
    if not ours and not theirs:
        return None
    answers = {(context.partner.get(part.call, ""), part.argument) for part in ours}
    alike = answers == {(part.call, part.argument) for part in theirs}
    return Summed((tuple(part.call for part in ours), tuple(part.call for part in theirs)), alike)


def sketch_of(tensor: TensorRecord) -> SketchVector | None:
    """The sketch of a tensor; None where it has none, or NaN or Inf in it."""
    if tensor.sketch is None:
        return None
    vector = sketch_vector(tensor.sketch)
    return vector if np.all(np.isfinite(vector)) else None


def _parts(tensor: TensorRecord, flow: Flow, before: int) -> Sequence[Contribution]:
    """The last backward calls, or all, that gave a gradient to one value before the call number `before`, where this is
    their sum."""
    wanted = sketch_of(tensor)
    size = 0.0 if wanted is None else float(np.linalg.norm(wanted))
    if wanted is None or size == 0.0 or not flow.exact:
        return ()
    for given in flow.every_contribution(tensor.shape):
        parts = [part for part in reversed(given) if part.index < before]
        sketches = [sketch_of(part.tensor) for part in parts]
        known = [sketch for sketch in sketches if sketch is not None]
        if len(known) < len(sketches):
            continue
        for number, total in enumerate(accumulate(known), 1):
            if float(np.linalg.norm(total - wanted)) <= _OFF * size:
                return parts[:number][::-1]
    return ()
