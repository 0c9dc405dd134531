"""What an error looks like: a factor, a sign, a rounding, a place in the tensor."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from acc_compare.error_patterns.describe import describe
from acc_compare.judge.lowered import LOWERED
from acc_compare.measured.calls import MeasuredArgument
from acc_compare.metrics.sketches import scale_between, sketch_vector
from acc_compare.model import ErrorPattern, Relation
from acc_compare.operators import UNIT_ROUNDOFF
from dump.format.layout import TENSOR_FOLDER
from dump.format.schema import Dump, TensorRecord
from dump.format.tensors import read_tensor

_EXPLAINED = 0.05
_SIGN = 1e-3
_ROUNDINGS = 4.0
"""Unit roundoffs that two elements may differ by at least: their own last digits on both sides."""


def pattern_of(argument: MeasuredArgument) -> ErrorPattern | None:
    """From what was recorded of a tensor; None where nothing fits."""
    factor = constant_factor(argument.npu, argument.bench)
    if factor is not None:
        kind: Literal["sign", "factor"] = "sign" if abs(factor + 1) < _SIGN else "factor"
        return ErrorPattern(kind=kind, size=factor, relation=Relation(kind, factor))
    return rounding_of(argument)


def rounding_of(argument: MeasuredArgument) -> ErrorPattern | None:
    """The pattern of an error that is as large as one rounding to a narrower type; None elsewhere.

    Rounding to unit roundoff u leaves a relative L2 error near 0.42 u (uniform error over a binade; Higham 2002, 2.1);
    one on both operands of a product about 1.4 times as much.
    """
    if argument.error is None or argument.npu.dtype != argument.bench.dtype:
        return None
    own = UNIT_ROUNDOFF.get(argument.npu.dtype)
    for dtype, unit in sorted(LOWERED.items(), key=lambda item: -item[1]):
        if own is not None and own < unit / 16 and 0.2 * unit <= argument.error.relative <= 1.1 * unit:
            return ErrorPattern(kind="rounding", size=unit / 2, dtype=dtype)
    return None


def pattern_in_files(argument: MeasuredArgument, typical: float | None, npu: Dump, bench: Dump) -> ErrorPattern | None:
    """From the files of one tensor on both sides; None where there are none, or they hold complex numbers.  `typical`
    is the relative error that is normal of it.

    Raises TensorFileError where a file that the dump names cannot be read.
    """
    ours, theirs = argument.npu.data_name, argument.bench.data_name
    if ours is None or theirs is None or argument.npu.shape != argument.bench.shape:
        return None
    n = read_tensor(npu.path / TENSOR_FOLDER, ours)
    b = read_tensor(bench.path / TENSOR_FOLDER, theirs)
    if n.shape != b.shape or "c" in (n.dtype.kind, b.dtype.kind):
        return None
    return describe(n, b, noise=_noise(argument, typical))


def _noise(argument: MeasuredArgument, typical: float | None) -> float:
    """The relative error of an element that is normal here; 0 for integers and flags."""
    if not argument.is_floating:
        return 0.0
    unit = max(UNIT_ROUNDOFF.get(side.dtype, 0.0) for side in (argument.npu, argument.bench))
    return max(_ROUNDINGS * unit, typical if typical is not None and math.isfinite(typical) else 0.0)


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
