"""Cells of distances between whole tensors, as msprobe writes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

from acc_compare.model import Row
from acc_compare.report.columns import ABSENT, Cell, Column, as_cell
from dump.format.schema import TensorRecord

from . import shares
from .results import NAN, SHAPES_DIFFER, UNSUPPORTED, nonfinite_apart

Version: TypeAlias = Literal["8.3.3", "26.2.0"]
Relative: TypeAlias = Callable[[tuple[str, str]], shares.Shares]

_TWELVE_DIGITS = ("Cosine", "MaxAbsErr", "MaxRelativeErr", "One Thousandth Err Ratio", "Five Thousandths Err Ratio")
"""Columns that msprobe rounds to as many digits after the point."""

_ONE_BY_ONE = 0.9999
"""Above it msprobe rounds a cosine to six digits."""

OF_ONE_ELEMENT = ("MaxAbsErr", "MaxRelativeErr")
"""What msprobe computes of a tensor without extents."""

_OF_NO_ELEMENT = {"Cosine": 1.0, "EucDist": 0.0, "MaxAbsErr": 0.0, "MaxRelativeErr": 0.0}
"""What it says where all elements are NaN or infinite on both sides: it computes with zeros in their places."""


def distance_cell(row: Row, column: Column, relative: Relative) -> Cell:
    """A distance of whole tensors, rounded as msprobe rounds it; `relative` gives the relative errors of two files."""
    npu, bench = row.npu, row.bench
    if not isinstance(npu, TensorRecord) or not isinstance(bench, TensorRecord) or 0 in npu.shape:
        return UNSUPPORTED
    if not npu.shape and column.name not in OF_ONE_ELEMENT:
        return UNSUPPORTED
    if npu.shape != bench.shape:
        return SHAPES_DIFFER
    if nonfinite_apart(npu, bench) and npu.shape:
        return ABSENT
    if not npu.shape and _is_nonfinite(npu.max, bench.max):
        return _of_one_element(npu.max, bench.max, relative=column.name == "MaxRelativeErr")
    if column.name == "Cosine" and npu.shape == (1,):
        return UNSUPPORTED
    value = column.read(row)
    files = (npu.data_name, bench.data_name) if npu.data_name and bench.data_name else None
    if value is None and files is not None:  # no element of either is finite
        value = _OF_NO_ELEMENT.get(column.name)
    if column.name in shares.COLUMNS and row.metrics.get("MaxRelativeErr") == math.inf and files is not None:
        value = getattr(relative(files), shares.COLUMNS[column.name])
        if math.isnan(value):
            return NAN
    if isinstance(value, float) and column.name in _TWELVE_DIGITS:
        value = float(f"{value:.12f}")
        value = round(value, 6) if column.name == "Cosine" and value > _ONE_BY_ONE else value
    return as_cell(value)


def _of_one_element(npu: float | None, bench: float | None, *, relative: bool) -> Cell:
    """The largest error of tensors without extents of which one is NaN or infinite."""
    if npu is None or bench is None:
        return ABSENT
    apart = abs(npu - bench)
    if math.isnan(apart) or (relative and math.isinf(bench)):
        return NAN
    return as_cell(apart)


def _is_nonfinite(npu: float | None, bench: float | None) -> bool:
    return npu is not None and bench is not None and not (math.isfinite(npu) and math.isfinite(bench))
