"""The one table of the columns of a comparison: what each is called, where it is read, how it is shown.

The workbook, the csv, the parquet file and the DataFrame all take their columns from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter, methodcaller
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from acc_compare.metrics.distance import REAL_DATA
from acc_compare.metrics.registry import MetricTable
from acc_compare.metrics.sketches import SKETCHED
from acc_compare.metrics.statistics import STATISTICS
from acc_compare.model import Finding, Row
from acc_compare.report.i18n import text
from dump.format.errors import ConfigError
from dump.format.schema import Leaf, ScalarRecord, TensorRecord

if TYPE_CHECKING:
    import pandas as pd

Cell: TypeAlias = "str | int | float | bool"
PartOfRow: TypeAlias = Literal["row", "npu", "bench", "metrics"]
NumberStyle: TypeAlias = Literal["text", "flag", "value", "error", "percent", "cosine", "share", "factor"]

NAMES = ("NPU Name", "Bench Name")
ABSENT = "N/A"
"""What stands in a cell that does not apply; a cell is never a floating NaN or None."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.  `cell` gives its cell (None where it does not apply) from the part `of` a row that it looks at,
    `style` says how a number in it is shown, `width` its width in characters, `ours` whether it belongs to the
    localisation."""

    name: str
    cell: Callable[[Any], object]
    style: NumberStyle
    width: float
    explanation: str
    ours: bool = False
    of: PartOfRow = "row"

    def read(self, row: Row) -> object:
        """The cell in `row`."""
        return self.cell(row if self.of == "row" else getattr(row, self.of))


def as_cell(value: object) -> Cell:
    """`value` as a cell: None is 'N/A', a non-finite number is the text 'nan', 'inf' or '-inf', a scalar of
    numpy is Python's, anything else that is not a number or text is its `str`."""
    if value is None:
        return ABSENT
    if type(value) is str:  # nearly all cells are text or float, and a table has millions
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (str, int)):
        return value
    return str(value)


def columns_of(finding: Finding) -> tuple[Column, ...]:
    """The columns of `finding`, in order: those of its mode; `NPU_Stack_Info`, `Module`, `Bench Module` and those
    of a reference only where a row has one.

    Raises:
        ConfigError: the finding's mode has no columns.
    """
    try:
        columns = COLUMNS[finding.mode]
    except KeyError:
        known = ", ".join(COLUMNS)
        raise ConfigError(f"no columns for mode {finding.mode!r}; known modes: {known}") from None
    columns = (*columns, *_registered(finding.mode, columns))
    empty = {name for name, field in _OFTEN_EMPTY.items() if not any(map(attrgetter(field), finding.rows))}
    return tuple(column for column in columns if column.name not in empty)


def _registered(mode: str, columns: tuple[Column, ...]) -> Iterator[Column]:
    """Columns for metrics that were registered and stand in no table here."""
    known = {column.name for column in columns}
    for table in _METRICS.get(mode, ()):
        for name in table.columns:
            if name not in known:
                yield _measured(name, "value", table.explanation(name), ours=True)


def cells(rows: Iterable[Row], columns: tuple[Column, ...]) -> Iterator[list[Cell]]:
    """The cells of each row, in the order of `columns`."""
    readers = [column.read for column in columns]
    for row in rows:
        yield [as_cell(read(row)) for read in readers]


def frame(finding: Finding) -> pd.DataFrame:
    """All rows of `finding` as a DataFrame, one column for each of `columns_of(finding)`.

    Cells that do not apply hold 'N/A', non-finite numbers their name as text, so no cell is missing.

    Raises:
        ConfigError: the finding's mode has no columns.
    """
    import pandas as pd  # half a second, and needed by callers from Python only

    columns = columns_of(finding)
    table = list(cells(finding.rows, columns))
    result: pd.DataFrame = pd.DataFrame({column.name: [line[i] for line in table] for i, column in enumerate(columns)})
    return result


def _dtype(leaf: Leaf) -> object:
    if isinstance(leaf, TensorRecord):
        return leaf.dtype
    return leaf.type if isinstance(leaf, ScalarRecord) else None


def _shape(leaf: Leaf) -> object:
    return _shape_text(leaf.shape) if isinstance(leaf, TensorRecord) else None


@lru_cache(maxsize=4096)
def _shape_text(shape: tuple[int, ...]) -> str:
    return str(list(shape))


def _requires_grad(leaf: Leaf) -> object:
    return leaf.requires_grad if isinstance(leaf, TensorRecord) else None


def _md5(leaf: Leaf) -> object:
    return leaf.md5 if isinstance(leaf, TensorRecord) else None


def _statistic(field: Literal["max", "min", "mean", "norm"]) -> Callable[[Leaf], object]:
    def read(leaf: Leaf) -> object:
        # An argument that is no tensor shows its value in all four, as users know it.
        return getattr(leaf, field) if isinstance(leaf, TensorRecord) else getattr(leaf, "value", None)

    return read


def _messages(row: Row) -> str:
    return "; ".join(map(text, row.err_message))


def _same_requires_grad(row: Row) -> object:
    npu, bench = _requires_grad(row.npu), _requires_grad(row.bench)
    return None if npu is None or bench is None else npu == bench


def _both(
    suffix: str, read: Callable[[Leaf], object], explanation: str, *, style: NumberStyle, width: float
) -> tuple[Column, Column]:
    """The same reading on either side; `{side}` in the explanation is the side's name."""
    return (
        Column(f"NPU {suffix}", read, style, width, explanation.format(side="NPU"), of="npu"),
        Column(f"Bench {suffix}", read, style, width, explanation.format(side="bench"), of="bench"),
    )


def _measured(name: str, style: NumberStyle, explanation: str, *, ours: bool = False) -> Column:
    return Column(name, methodcaller("get", name), style, 13, explanation, ours, of="metrics")


def _judged(name: str, cell: Callable[[Row], Any], style: NumberStyle, explanation: str, width: int = 13) -> Column:
    return Column(name, cell, style, width, explanation, ours=True)


def _beside(field: Literal["npu", "bench", "side"]) -> Callable[[Row], object]:
    return lambda row: row.reference and getattr(row.reference, field)


STACK_COLUMN, MODULE_COLUMN, BENCH_MODULE_COLUMN = "NPU_Stack_Info", "Module", "Bench Module"

_OFTEN_EMPTY = {
    STACK_COLUMN: "stack",
    MODULE_COLUMN: "module",
    BENCH_MODULE_COLUMN: "bench_module",
    **dict.fromkeys(("NPU to Reference", "Bench to Reference", "Further Off"), "reference"),
}
"""Columns that a table has only where a row has something to put in them."""

_COMMON = (
    Column(
        "NPU Name",
        lambda row: row.npu_name or None,
        "text",
        44,
        "The argument on the NPU side: its call, then input, output or parameter. N/A: the bench only.",
    ),
    Column(
        "Bench Name",
        lambda row: row.bench_name or None,
        "text",
        44,
        "The argument on the bench side that it was compared with. N/A: the NPU side only.",
    ),
    *_both("Dtype", _dtype, "Type of the elements on the {side} side.", style="text", width=15),
    *_both("Tensor Shape", _shape, "Shape on the {side} side.", style="text", width=17),
    *_both(
        "Requires_grad",
        _requires_grad,
        "Whether autograd tracks it on the {side} side.",
        style="flag",
        width=14,
    ),
)

_SIDE_VALUES = tuple(
    pair[side]
    for side in (0, 1)
    for pair in (
        _both(
            "max",
            _statistic("max"),
            "Largest element on the {side} side; nan or inf if any is.",
            style="value",
            width=13,
        ),
        _both(
            "min",
            _statistic("min"),
            "Smallest element on the {side} side; nan or -inf if any is.",
            style="value",
            width=13,
        ),
        _both("mean", _statistic("mean"), "Mean of the elements on the {side} side.", style="value", width=13),
        _both(
            "l2norm",
            _statistic("norm"),
            "Root of the sum of squares on the {side} side.",
            style="value",
            width=13,
        ),
    )
)

_REAL_DATA = (
    _measured(
        "Cosine",
        "cosine",
        "Cosine of the angle between both tensors, N·B / (|N| |B|). 1 is the same direction.",
    ),
    _measured("EucDist", "error", "Euclidean distance |N - B|."),
    _measured("MaxAbsErr", "error", "Largest absolute difference of two elements, max |N - B|."),
    _measured("MaxRelativeErr", "error", "Largest relative difference of two elements, max |N - B| / |B|."),
    _measured("One Thousandth Err Ratio", "share", "Share of the elements whose relative difference is below 0.001."),
    _measured(
        "Five Thousandths Err Ratio",
        "share",
        "Share of the elements whose relative difference is below 0.005.",
    ),
)

_STATISTICS = (
    *(
        _measured(f"{name} diff", "error", f"{what} on the NPU side minus that on the bench side.")
        for name, what in (("Max", "Maximum"), ("Min", "Minimum"), ("Mean", "Mean"), ("L2norm", "L2 norm"))
    ),
    *(
        _measured(f"{name}RelativeErr", "percent", f"|{name} diff| in percent of the bench's {what}.")
        for name, what in (("Max", "maximum"), ("Min", "minimum"), ("Mean", "mean"))
    ),
    _measured("NormRelativeErr", "percent", "|L2norm diff| in percent of the bench's L2 norm."),
)

_MD5 = (
    Column("NPU MD5", _md5, "text", 35, "Digest of the bytes on the NPU side.", of="npu"),
    Column("BENCH MD5", _md5, "text", 35, "Digest of the bytes on the bench side.", of="bench"),
)

_GRAD_CONSISTENT = Column(
    "Requires_grad Consistent",
    _same_requires_grad,
    "flag",
    14,
    "Whether requires_grad is the same on both sides.",
)
_RESULT = Column(
    "Result",
    attrgetter("outcome"),
    "text",
    12,
    "The classic rules: pass, warning, error, or unmatched (no counterpart on the other side). "
    "They hold each row against constants; the verdict that counts is on the Summary sheet.",
)
_REACHED = Column(
    "Accuracy Reached or Not",
    attrgetter("reached"),
    "text",
    13,
    "No: cosine < 0.99 and MaxAbsErr > 0.001, or cosine < 0.9, or MaxAbsErr > 1, or NaN/Inf on the NPU side "
    "only. Unmatched: the shapes differ. N/A: nothing to compare.",
)
_MESSAGE = Column("Err_Message", _messages, "text", 70, "Why the row has its colour, in words.")
_STACK = Column(STACK_COLUMN, lambda row: row.stack or None, "text", 60, "The lines of code that made the call.")
_DATA_NAME = Column(
    "Data_Name", lambda row: row.data_name or None, "text", 44, "The file of the dump that holds the tensor."
)

_SKETCHED = (
    _measured(
        "Est. Cosine",
        "cosine",
        "Cosine of both tensors, estimated from their sketches; a few percent off.",
        ours=True,
    ),
    _measured(
        "Est. RelL2",
        "error",
        "|N - B| / |B|, estimated from the sketches alone. Sees what max and norm miss. Excess and the advisor add "
        "what norm, mean, max and min tell, and go no lower than a sketch can see (2e-7).",
        ours=True,
    ),
)
_EXACT = (
    _measured("RelL2", "error", "|N - B| / |B|: length of the difference over length of the bench.", ours=True),
    _measured("MaxAbsErr Index", "text", "Where in the tensor MaxAbsErr is; the first place of equals.", ours=True),
    _measured("MaxRelativeErr Index", "text", "Where MaxRelativeErr is; the first place of equals.", ours=True),
)
_METRICS: dict[str, tuple[MetricTable[Any], ...]] = {"tensor": (REAL_DATA,), "statistics": (STATISTICS, SKETCHED)}
_LOCALISED = (
    _judged("Expected", attrgetter("expected"), "error", "The relative error that inputs and rounding explain here."),
    _judged(
        "Expected From",
        lambda row: row.expected_from or None,
        "text",
        "What Expected rests on. floor: two bench runs differ by it (--floor). reference: both sides are off the "
        "reference by that much (--reference). peers: the inputs' error, rounding, and what other calls of this "
        "operator show in this run. prior: the same without such calls. exact: equal inputs, and no rounding. "
        "before, inside: what was seen before the call, or in the modules inside it. finite: the inputs hold no "
        "NaN or Inf. unknown: its inputs differ by nobody knows how much.",
        18,
    ),
    _judged(
        "Excess",
        attrgetter("excess"),
        "factor",
        "Measured over expected, as the advisor gives them; Origin says how improbable that is.",
    ),
    _judged(
        "Origin",
        lambda row: row.origin or None,
        "text",
        "introduced: the error begins here. propagated: it came in with the inputs. absorbed: the call made it "
        "smaller. input: it was there before any operator ran. random: a random operator drew other numbers. "
        "agrees: no more than rounding.",
    ),
    _judged("NPU to Reference", _beside("npu"), "error", "|N - R| / |R|: the NPU side against the reference run."),
    _judged("Bench to Reference", _beside("bench"), "error", "|B - R| / |R|: the bench against the reference run."),
    _judged("Further Off", _beside("side"), "text", "Whose the difference is: npu, bench, both (alike), unclear."),
    _judged(MODULE_COLUMN, lambda row: row.module or None, "text", "The module that the call ran in.", 24),
    _judged(BENCH_MODULE_COLUMN, lambda row: row.bench_module or None, "text", "The bench's, where another.", 24),
)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "tensor": (
        *_COMMON,
        *_REAL_DATA,
        *_SIDE_VALUES,
        _GRAD_CONSISTENT,
        _RESULT,
        _REACHED,
        _MESSAGE,
        _STACK,
        _DATA_NAME,
        *_EXACT,
        *_LOCALISED,
    ),
    "statistics": (
        *_COMMON,
        *_STATISTICS,
        *_SIDE_VALUES,
        _GRAD_CONSISTENT,
        _RESULT,
        _MESSAGE,
        _STACK,
        *_SKETCHED,
        *_LOCALISED,
    ),
    "md5": (*_COMMON, *_MD5, _GRAD_CONSISTENT, _RESULT, _MESSAGE, _STACK, *_LOCALISED),
}
"""The columns of each mode, in order.  `MaxRelativeErr` is elementwise in mode tensor and that of the maxima
in mode statistics, as users know it; a mode has only one of the two."""
