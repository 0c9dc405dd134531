"""The workbook's sheets Errors and Stacks: the error of each call with a chart of all, and each stack once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from openpyxl.chart import Reference, ScatterChart, Series
from openpyxl.chart.shapes import GraphicalProperties
from openpyxl.styles import Alignment
from openpyxl.worksheet.hyperlink import Hyperlink
from openpyxl.worksheet.worksheet import Worksheet

from acc_compare.model import Row
from acc_compare.report.safe_text import cell_text
from acc_compare.report.styles import number_face
from acc_compare.report.summary_sheet import as_pages, head_cell, put
from acc_compare.row_names import split_names

MOST = 5_000
"""Calls on the sheet; of more, the worst of each so many that follow each other."""

MOST_STACKS = 2_000
_MEASURED = ("RelL2", "Est. RelL2")
_OUTPUTS = ("output", "written", "parameters_grad")
_HEADS = (("Call", 8.0), ("Name", 52.0), ("Error", 13.0), ("Expected", 13.0), ("Excess", 13.0))
_RED, _GREEN = "C62828", "2E8B57"


@dataclass(frozen=True, slots=True)
class CallError:
    """The worst of what one call wrote: `number` counts calls in the order of the run, from 0; `row` is that tensor's
    name.  Numbers are None where they are not known, or not finite."""

    number: int
    call: str
    row: str
    error: float | None
    expected: float | None
    excess: float | None


def errors_by_call(rows: Sequence[Row]) -> list[CallError]:
    """One for each call of which a result was measured."""
    found: list[CallError] = []
    number, before = -1, None
    names = [row.npu_name or row.bench_name for row in rows]
    for row, name, (call, argument) in zip(rows, names, split_names(names), strict=True):
        if call != before:
            number, before = number + 1, call
        if not argument.startswith(_OUTPUTS):
            continue
        each = CallError(number, call, name, _error(row), _finite(row.expected), _finite(row.excess))
        if found and found[-1].number == number:
            found[-1] = max(found[-1], each, key=_badness)
        else:
            found.append(each)
    return [each for each in found if each.error is not None or each.excess is not None]


def thinned(errors: Sequence[CallError], most: int = MOST) -> list[CallError]:
    """At most `most`: of each so many that follow each other the worst."""
    size = math.ceil(len(errors) / most) if errors else 1
    return [max(errors[start : start + size], key=_badness) for start in range(0, len(errors), size)]


def fill_errors(sheet: Worksheet, errors: Sequence[CallError], places: Mapping[str, int]) -> None:
    """The table, each name a link to its row on Compare (`places`, by the row's name), and the chart."""
    for letter, (name, width) in zip("ABCDE", _HEADS, strict=True):
        head_cell(sheet, f"{letter}1", name, align="left" if letter == "B" else "right")
        sheet.column_dimensions[letter].width = width
    for line, each in enumerate(errors, 2):
        sheet.cell(line, 1, each.number)
        name = put(sheet, f"B{line}", each.call)
        if each.row in places:
            link(name, f"'Compare'!A{places[each.row]}")
        for column, style, value in ((3, "error", each.error), (4, "error", each.expected), (5, "factor", each.excess)):
            # A logarithmic axis has no place for 0: an empty cell is equal, or not measured.
            if value:
                cell = sheet.cell(line, column, value)
                cell.number_format = number_face("factor" if style == "factor" else "error", value)
    sheet.freeze_panes = "A2"
    sheet.print_title_rows = "1:1"
    as_pages(sheet)
    if errors:
        sheet.add_chart(_chart(sheet, len(errors) + 1), "G2")


def fill_stacks(sheet: Worksheet, rows: Sequence[Row]) -> None:
    """Each stack once, with its first call and how many calls have it."""
    for letter, name, width in (("A", "First call", 52.0), ("B", "Calls", 9.0), ("C", "Stack", 110.0)):
        head_cell(sheet, f"{letter}1", name, align="right" if letter == "B" else "left")
        sheet.column_dimensions[letter].width = width
    stacks = _stacks(rows)
    for line, (stack, (first, calls)) in enumerate(list(stacks.items())[:MOST_STACKS], 2):
        put(sheet, f"A{line}", first)
        sheet.cell(line, 2, calls).alignment = Alignment(vertical="top")
        put(sheet, f"C{line}", stack)
        sheet.row_dimensions[line].height = 15.0 * min(27, 1 + stack.count("\n"))
    if len(stacks) > MOST_STACKS:
        put(sheet, f"A{MOST_STACKS + 2}", f"and {len(stacks) - MOST_STACKS:,} more; the table has all")
    sheet.freeze_panes = "A2"
    sheet.print_title_rows = "1:1"
    as_pages(sheet)


def link_names(sheet: Worksheet, names: Iterable[str], targets: Mapping[str, str], *, column: str = "B") -> None:
    """Make cells of a column that hold one of `names` links to places in the workbook (`targets`, by name)."""
    shown = {cell_text(name): targets[name] for name in names if name in targets}
    for cell in sheet[column]:
        if isinstance(cell.value, str) and cell.value in shown:
            link(cell, shown[cell.value])


def link(cell: object, location: str) -> None:
    """Make a cell lead to a place in the same workbook."""
    cell.hyperlink = Hyperlink(ref=cell.coordinate, location=location)  # type: ignore[attr-defined]


def _stacks(rows: Sequence[Row]) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for call, stack in _calls(rows):
        if stack:
            first, calls = found.get(stack, (call, 0))
            found[stack] = first, calls + 1
    return found


def _calls(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    before = None
    names = [row.npu_name or row.bench_name for row in rows]
    for row, (call, _) in zip(rows, split_names(names), strict=True):
        if call != before:
            before = call
            yield call, row.stack


def _chart(sheet: Worksheet, last: int) -> ScatterChart:
    chart = ScatterChart()
    chart.style = 13
    chart.title = None
    chart.height, chart.width = 11, 18  # beside the table on one page
    chart.x_axis.title, chart.y_axis.title = "call, in the order of the run", "relative error"
    chart.x_axis.delete = chart.y_axis.delete = False
    chart.y_axis.scaling.logBase = 10
    chart.y_axis.number_format = "0E+00"
    chart.y_axis.crosses = chart.x_axis.crosses = "min"
    chart.x_axis.number_format = "0"
    chart.x_axis.majorGridlines = None
    chart.legend.position = "t"
    calls = Reference(sheet, min_col=1, min_row=2, max_row=last)
    for column, colour, is_line in ((4, _GREEN, True), (3, _RED, False)):
        series = Series(Reference(sheet, min_col=column, min_row=1, max_row=last), calls, title_from_data=True)
        series.smooth = False
        if is_line:
            series.marker.symbol = "none"
            series.graphicalProperties = GraphicalProperties()
            series.graphicalProperties.line.solidFill = colour
            series.graphicalProperties.line.width = 12_700
        else:
            series.marker.symbol, series.marker.size = "circle", 4
            series.marker.graphicalProperties = GraphicalProperties(solidFill=colour)
            series.marker.graphicalProperties.line.noFill = True
            series.graphicalProperties = GraphicalProperties()
            series.graphicalProperties.line.noFill = True
        chart.series.append(series)
    return chart


def _badness(each: CallError) -> tuple[float, float]:
    return each.excess or 0.0, each.error or 0.0


def _error(row: Row) -> float | None:
    for name in _MEASURED:
        value = row.metrics.get(name)
        if isinstance(value, (int, float)):
            return _finite(float(value))
    if row.expected is None or row.excess is None:
        return None
    return _finite(row.expected * row.excess)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
