"""Replayed calls as an Excel file: a line an operator, a line a tensor, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from acc_compare.replay.results import Accuracy, ReplayedCall, ReplayedTensor, ReplayResult
from acc_compare.report.atomic_write import new_file
from acc_compare.report.i18n import text
from acc_compare.report.replay_facts import cause_of
from acc_compare.report.styles import TINTS, Tint, fill
from acc_compare.report.summary_sheet import as_pages, head_cell, put

_TINTS: dict[str, Tint] = {"confirmed": "error", "inherited": "warning", "cleared": "pass", "not_replayed": "unmatched"}
_MOST_LINES = 100_000
_OPERATORS = (
    ("Operator", 34), ("Calls", 8), ("Confirmed", 11), ("Inherited", 11), ("Cleared", 9), ("Left out", 9),
    ("Recorded RelL2", 15), ("Made again RelL2", 16), ("Recorded ulp", 13), ("Not equal", 10),
)  # fmt: skip
_CALLS = (
    ("Call", 44), ("Step", 6), ("Rank", 6), ("Verdict", 13), ("Tensor", 14), ("Dtype", 15), ("Shape", 18),
    ("Recorded RelL2", 15), ("Recorded ulp", 13), ("Made again RelL2", 16), ("Made again ulp", 14),
    ("Bench RelL2", 13), ("Bench ulp", 13), ("Expected", 11), ("Limit", 11), ("Equal", 7), ("Why", 60),
)  # fmt: skip


def write_replay_workbook(result: ReplayResult, path: Path) -> None:
    """Sheets Operators, Calls and Left out.  Raises OutputError where `path` exists or cannot be written."""
    book = Workbook()
    book.properties.creator = "acc replay"
    book.active.title = "Operators"
    rows = [
        (
            r.operator,
            r.calls,
            r.confirmed,
            r.inherited,
            r.cleared,
            r.not_replayed,
            r.recorded,
            r.replayed,
            r.ulp,
            r.unequal,
        )
        for r in result.rows
    ]
    tints: list[Tint] = ["error" if row.confirmed else "pass" if row.cleared else "unmatched" for row in result.rows]
    _fill(book.active, _OPERATORS, zip(rows, tints, strict=True))
    _fill(book.create_sheet("Calls"), _CALLS, _lines(result))
    left: list[tuple[tuple[object, ...], Tint]] = [
        ((text(reason), number, number / len(result.calls)), "unmatched") for reason, number in result.reasons
    ]
    _fill(book.create_sheet("Left out"), (("Reason", 70), ("Calls", 8), ("Share", 8)), left)
    with new_file(path) as draft:
        book.save(draft)


def _lines(result: ReplayResult) -> Iterator[tuple[tuple[object, ...], Tint]]:
    lines = 0
    for call in result.calls:
        for line in _of_call(result, call):
            lines += 1
            if lines > _MOST_LINES:
                return
            yield line, _TINTS[call.verdict]


def _of_call(result: ReplayResult, call: ReplayedCall) -> Iterator[tuple[object, ...]]:
    head = call.name, call.step, call.rank, call.verdict
    if call.reason is not None:
        yield (*head, *[None] * 12, text(call.reason))
        return
    why = text(cause_of(result, call)) if call.cause else None
    for tensor in call.tensors:
        yield (*head, *_of_tensor(tensor), why)


def _of_tensor(tensor: ReplayedTensor) -> tuple[object, ...]:
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    sides = (tensor.recorded, tensor.replayed, tensor.bench)
    numbers = [number for side in sides for number in _numbers(side)]
    return tensor.name, tensor.dtype, shape, *numbers, tensor.expected, tensor.limit, tensor.equal


def _numbers(side: Accuracy | None) -> tuple[object, object]:
    if side is None:
        return None, None
    return ("NaN or Inf" if side.nonfinite else side.relative), side.ulp


def _fill(
    sheet: Worksheet, columns: Sequence[tuple[str, int]], lines: Iterable[tuple[tuple[object, ...], Tint]]
) -> None:
    for number, (name, width) in enumerate(columns, 1):
        letter = get_column_letter(number)
        head_cell(sheet, f"{letter}1", name)
        sheet.column_dimensions[letter].width = width
    for line, (values, tint) in enumerate(lines, 2):
        for number, value in enumerate(values, 1):
            cell = put(sheet, f"{get_column_letter(number)}{line}", value)
            cell.fill = fill(TINTS[tint])
            if isinstance(value, float):
                cell.number_format = "0.0E+00"
    sheet.freeze_panes = "B2"
    sheet.print_title_rows = "1:1"
    as_pages(sheet)
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{max(2, sheet.max_row)}"
