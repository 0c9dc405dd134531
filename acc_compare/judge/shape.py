"""What an error looks like, from what was recorded: a constant factor, a sign, a rounding."""

from __future__ import annotations

import numpy as np

from acc_compare.operators import TENSOR_FLOAT_ROUNDOFF, UNIT_ROUNDOFF
from dump.format.schema import TensorRecord

from ..metrics.sketches import scale_between, sketch_vector
from ..report.saying import Said, say
from ..report.wording import quantity
from .calls import MeasuredArgument

_EXPLAINED = 0.05
_ROUNDINGS: tuple[tuple[str, float], ...] = (
    ("bfloat16", UNIT_ROUNDOFF["torch.bfloat16"]),
    (say("looks.rounding_other"), TENSOR_FLOAT_ROUNDOFF),
)


def shape_of_error(argument: MeasuredArgument) -> str:
    """A phrase for the advisor; empty where nothing fits."""
    factor = constant_factor(argument.npu, argument.bench)
    if factor is not None:
        flipped = abs(factor + 1) < 1e-3
        return say("looks.sketch_sign") if flipped else say("looks.sketch_factor", factor=f"{factor:.6g}")
    return size_of_error(argument) or ""


def size_of_error(argument: MeasuredArgument) -> Said | None:
    """A phrase where the error is as large as one rounding to a narrower type; None elsewhere."""
    if argument.error is None or argument.npu.dtype != argument.bench.dtype:
        return None
    own = UNIT_ROUNDOFF.get(argument.npu.dtype)
    for name, unit in _ROUNDINGS:
        if own is not None and own < unit / 16 and _rounding_size(argument.error.relative, unit):
            return say("looks.rounding_size", dtype=name, unit=quantity(unit / 2))
    return None


def _rounding_size(relative: float, unit: float) -> bool:
    """Rounding to unit roundoff u leaves a relative L2 error near 0.42 u (uniform error over a binade; Higham 2002,
    2.1); one on inputs of a product, about twice as much."""
    return 0.2 * unit <= relative <= 1.1 * unit


def constant_factor(npu: TensorRecord, bench: TensorRecord) -> float | None:
    """r where N = r B within 5 % of their difference: sketches are linear, so sketch(N) = r sketch(B) then.

    None where there is no sketch, shapes differ, or there is no such factor.
    """
    if npu.sketch is None or bench.sketch is None or npu.shape != bench.shape:
        return None
    ours, theirs = sketch_vector(npu.sketch), sketch_vector(bench.sketch)
    length = float(theirs @ theirs)
    apart = float(np.linalg.norm(ours - theirs))
    if length == 0 or apart == 0 or npu.numel < 4:
        return None
    factor, left = scale_between(ours, theirs)
    resolution = 1e-6 * float(np.sqrt(length))
    return factor if left <= max(_EXPLAINED * apart, resolution) and apart > 4 * resolution else None
