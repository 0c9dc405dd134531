"""A closer look at a suspect's output: the tensor files of both sides."""

from __future__ import annotations

import math
from pathlib import Path

from acc_compare.operators import UNIT_ROUNDOFF
from dump.format.layout import TENSOR_FOLDER
from dump.format.schema import Dump
from dump.format.tensors import read_tensor

from ..looks.shapes import ErrorShape, describe
from .calls import MeasuredArgument
from .expected import Expected

_ROUNDINGS = 4.0
"""Unit roundoffs that two elements may differ by at least: their own last digits on both sides."""


def real_shape(argument: MeasuredArgument, expected: Expected | None, npu: Dump, bench: Dump) -> ErrorShape | None:
    """The shape of the error of one tensor, from its files; None where there are none, or they hold complex numbers.

    Raises TensorFileError where a file that the dump names cannot be read.
    """
    ours, theirs = argument.npu.data_name, argument.bench.data_name
    if ours is None or theirs is None or argument.npu.shape != argument.bench.shape:
        return None
    n = read_tensor(Path(npu.path) / TENSOR_FOLDER, ours)
    b = read_tensor(Path(bench.path) / TENSOR_FOLDER, theirs)
    if n.shape != b.shape or "c" in (n.dtype.kind, b.dtype.kind):
        return None
    return describe(n, b, noise=_noise(argument, expected))


def _noise(argument: MeasuredArgument, expected: Expected | None) -> float:
    """The relative error of an element that is normal here; 0 for integers and flags."""
    if not argument.is_floating:
        return 0.0
    unit = max(UNIT_ROUNDOFF.get(side.dtype, 0.0) for side in (argument.npu, argument.bench))
    normal = expected.relative if expected is not None and math.isfinite(expected.relative) else 0.0
    return max(_ROUNDINGS * unit, normal)
