"""The workbook's sheets for reading: Summary, Suspects, and what each column means."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from openpyxl.cell import Cell as SheetCell
from openpyxl.styles import Alignment, Border, Font, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from acc_compare.model import Finding, Result, Role, Suspect
from acc_compare.report.columns import ABSENT, Column, as_cell
from acc_compare.report.formatting import Text, facts, mode_of
from acc_compare.report.i18n import text
from acc_compare.report.safe_text import cell_text, looks_like_formula
from acc_compare.report.styles import (
    FAINT,
    FONT,
    HEADER,
    HEADER_OURS,
    INK,
    STRONG_TINTS,
    TINTS,
    Tint,
    fill,
    number_face,
)

_NUMBERS = ("RelL2", "Expected", "Excess")
_WIDTHS = (17, 46, 13, 26, 18, 13, 13, 13)
_SUSPECT_HEADS = ("Suspects", "Call, most likely first", "Kind", "Module", "Tensor", *_NUMBERS)
_LAST = get_column_letter(len(_WIDTHS))
_TEXT_WIDTH = sum(_WIDTHS[1:])
_LINE_HEIGHT = 15.0
_PAGE_WIDTH = 110
_SHOWN_SUSPECTS, _TOLD_SUSPECTS = 10, 200
_VERDICT_TINTS: dict[str, Tint] = {"same": "pass", "different": "error", "incomplete": "warning"}
_EXPLAINED: frozenset[Role] = frozenset(("propagated", "absorbed", "agrees"))
_RESULTS: tuple[tuple[Result, str], ...] = (
    ("error", "accused, or breaks a classic rule (constants, see the Columns sheet); Err_Message says which"),
    ("warning", "close to it, or worse than its inputs"),
    ("pass", "keeps all classic rules"),
    ("unmatched", "the other side has nothing to compare it with"),
)
_BEYOND = (
    ("explained", "they came in with the inputs, became less in the call, or are rounding"),
    ("suspected", "error begins in these as well: further tensors and calls of a suspect, or what follows from one"),
    (
        "not judged",
        "of a module the operators inside are judged, of an optimizer the updates; such a row says what the constants "
        "say, no more",
    ),
)
"""What becomes of the errors and warnings of the classic rules that no suspect is named for; each is one of these."""
_RULE = Border(bottom=Side(style="thin", color="C8CCD0"))


def put(sheet: Worksheet, at: str, value: object, *, bold: bool = False, size: int = 10, ink: str = INK) -> SheetCell:
    """Write one cell of a sheet for reading; text stays text, whatever it begins with."""
    cell: SheetCell = sheet[at]
    shown = as_cell(value)
    if isinstance(shown, str):
        shown = cell_text(shown)
        cell.value = shown
        cell.data_type = "s"
        cell.quotePrefix = looks_like_formula(shown)
    else:
        cell.value = shown
    cell.font = Font(name=FONT, size=size, bold=bold, color="FF" + ink)
    cell.alignment = Alignment(horizontal="left", vertical="top", wrap_text=isinstance(shown, str), indent=1)
    return cell


def fill_summary(sheet: Worksheet, finding: Finding, *, notes: tuple[Text, ...]) -> None:
    """The page that opens first.  `notes` are the finding's and what the workbook itself has to say."""
    for i, width in enumerate(_WIDTHS, 1):
        sheet.column_dimensions[get_column_letter(i)].width = width
    sheet.sheet_view.showGridLines = False
    row = _verdict(sheet, finding)
    row = _sides(sheet, finding, row + 1)
    if finding.settings:
        row = _sentences(sheet, "Settings", finding.settings, row + 1)
    if finding.suspects:
        row = _suspects(sheet, finding, row + 1)
    row = _counts(sheet, finding, row + 1)
    if notes:
        row = _sentences(sheet, "Notes", notes, row + 1)
    row = _legend(sheet, row + 1, accused=bool(finding.suspects))
    as_pages(sheet, f"A1:{_LAST}{row - 1}")


def fill_suspects(sheet: Worksheet, suspects: tuple[Suspect, ...]) -> None:
    """All that is known of each suspect, most likely first, one under the other."""
    sheet.column_dimensions["A"].width, sheet.column_dimensions["B"].width = 18, _PAGE_WIDTH
    sheet.sheet_view.showGridLines = False
    row = 1
    for number, suspect in enumerate(suspects[:_TOLD_SUSPECTS], 1):
        for letter, name in (("A", f"Suspect {number}"), ("B", suspect.name)):
            put(sheet, f"{letter}{row}", name, bold=True, size=11).fill = fill(TINTS["error"])  # links are dark, too
        for label, texts in facts(suspect):
            row += 1
            told = "\n".join(map(text, texts))
            put(sheet, f"A{row}", text(label), bold=True)
            put(sheet, f"B{row}", told)
            sheet.row_dimensions[row].height = _LINE_HEIGHT * _lines(told, _PAGE_WIDTH)
        row += 2
    if len(suspects) > _TOLD_SUSPECTS:
        put(sheet, f"B{row}", f"and {len(suspects) - _TOLD_SUSPECTS:,} more in the advisor's JSON")
    as_pages(sheet)


def fill_columns(sheet: Worksheet, columns: tuple[Column, ...]) -> None:
    """What each column of the table means."""
    _header(sheet, 1, (("Column", 28), ("What it says", _PAGE_WIDTH)))
    for row, column in enumerate(columns, 2):
        name = put(sheet, f"A{row}", column.name, bold=True, ink=HEADER_OURS if column.ours else INK)
        meaning = put(sheet, f"B{row}", column.explanation)
        name.border = meaning.border = _RULE
        sheet.row_dimensions[row].height = _LINE_HEIGHT * _lines(column.explanation, _PAGE_WIDTH)
    sheet.freeze_panes = "A2"
    as_pages(sheet)


def _verdict(sheet: Worksheet, finding: Finding) -> int:
    put(sheet, "A1", "acc compare", ink=FAINT)
    sheet.merge_cells(f"A2:{_LAST}2")
    title = put(sheet, "A2", finding.verdict.upper(), bold=True, size=24)
    title.fill = fill(STRONG_TINTS[_VERDICT_TINTS[finding.verdict]])
    title.alignment = Alignment(horizontal="left", vertical="center", indent=1)
    sheet.row_dimensions[2].height = 40
    sheet.merge_cells(f"A3:{_LAST}3")
    line = put(sheet, "A3", text(finding.summary), bold=True, size=12)
    line.fill = fill(TINTS[_VERDICT_TINTS[finding.verdict]])
    line.alignment = Alignment(horizontal="left", vertical="center", wrap_text=True, indent=1)
    sheet.row_dimensions[3].height = 8 + 16 * _lines(line.value, int((_TEXT_WIDTH + _WIDTHS[0]) * 0.8))
    return 4


def _sides(sheet: Worksheet, finding: Finding, row: int) -> int:
    coverage = finding.coverage
    compared = f"{coverage.calls:,} calls, {coverage.tensors:,} tensors"
    missing = f"{coverage.unmatched_npu:,} calls of the NPU side, {coverage.unmatched_bench:,} of the bench"
    pairs = [
        ("NPU", _side(finding.npu_path, finding.npu_device)),
        ("Bench", _side(finding.bench_path, finding.bench_device)),
        ("Mode", text(mode_of(finding))),
        ("Step, rank", f"step {as_cell(finding.step)}, rank {as_cell(finding.rank)}"),
        ("Compared", compared),
        ("No counterpart", missing),
    ]
    for label, value in pairs:
        if label != "Step, rank" or (finding.step, finding.rank) != (None, None):
            row = _labelled(sheet, row, label, value)
    return row


def _counts(sheet: Worksheet, finding: Finding, row: int) -> int:
    tally = Counter(line.outcome for line in finding.rows)
    put(sheet, f"A{row}", "Rows", bold=True)
    by_rules = "by the classic rules, which hold each row against constants; the verdict does not rest on them"
    _span(sheet, row, by_rules, ink=FAINT)
    for tint, meaning in _RESULTS:
        row += 1
        name = put(sheet, f"A{row}", tint)
        name.fill = fill(STRONG_TINTS[tint])
        _span(sheet, row, f"{tally[tint]:,}   {meaning}")
    beyond = [line for line in finding.rows if line.outcome in ("error", "warning") and not line.accused]
    kinds = Counter(_kind(line.origin) for line in beyond)
    shown = [(label, kinds[label], meaning) for label, meaning in _BEYOND if kinds[label]]
    for number, (label, lines, meaning) in enumerate(shown):
        row += 1
        put(sheet, f"A{row}", label)
        of = "them" if number else f"the {len(beyond):,} errors and warnings beside the accused tensors"
        _span(sheet, row, f"{lines:,} of {of}: {meaning}")
    return row + 1


def _kind(origin: Role) -> str:
    """The word of `_BEYOND` for what the localisation says of a row."""
    if not origin:
        return "not judged"
    return "explained" if origin in _EXPLAINED else "suspected"


def _suspects(sheet: Worksheet, finding: Finding, row: int) -> int:
    shown = finding.suspects[:_SHOWN_SUSPECTS]
    _header(sheet, row, [(name, None) for name in _SUSPECT_HEADS])
    for number, suspect in enumerate(shown, 1):
        row += 1
        values = (
            number,
            suspect.name,
            suspect.kind,
            suspect.module or ABSENT,
            suspect.tensor or ABSENT,
            suspect.rel_l2,
            suspect.expected,
            suspect.excess,
        )
        for i, (value, name) in enumerate(zip(values, _SUSPECT_HEADS, strict=True), 1):
            cell = put(sheet, f"{get_column_letter(i)}{row}", value, bold=i == 2)
            sheet.cell(row + 1, i).border = _RULE
            _format(cell, name)
        sheet.row_dimensions[row].height = _LINE_HEIGHT * max(
            _lines(suspect.name, _WIDTHS[1]),
            _lines(suspect.module, _WIDTHS[3]),
            _lines(suspect.tensor, _WIDTHS[4]),
        )
        row = _span(sheet, row + 1, text(suspect.message)) - 1
    more = len(finding.suspects) - len(shown)
    if more:
        row = _span(sheet, row + 1, f"and {more:,} more on the Suspects sheet") - 1
    return row + 1


def _sentences(sheet: Worksheet, label: str, sentences: tuple[Text, ...], row: int) -> int:
    put(sheet, f"A{row}", label, bold=True)
    for sentence in sentences:
        row = _span(sheet, row, text(sentence))
    return row


def _legend(sheet: Worksheet, row: int, *, accused: bool) -> int:
    put(sheet, f"A{row}", "How to read", bold=True)
    lines = [
        "The Compare sheet has one row for each argument of each call, in the colours above.",
        "RelL2: the length of the difference over the length of the bench's tensor. "
        "Expected: what of it the inputs' own difference and rounding explain.",
        "Excess: how many times more than expected was measured.",
        "The verdict, the suspects, Expected, Excess and Origin come from following the error from call to "
        "call. Where they and the colours disagree, trust them.",
    ]
    if accused:
        lines.insert(1, "Rows in bold are those of a suspected call; red between red lines: the tensor in question.")
    for line in lines:
        row = _span(sheet, row, line)
    return row


def _side(path: str, device: str) -> str:
    return f"{path or ABSENT}   ({device})" if device else path or ABSENT


def _labelled(sheet: Worksheet, row: int, label: str, value: str) -> int:
    put(sheet, f"A{row}", label, bold=True)
    return _span(sheet, row, value)


def _span(sheet: Worksheet, row: int, content: str, *, ink: str = INK) -> int:
    """Text over all columns but the first, as high as it needs (Excel fits no merged cell by itself)."""
    sheet.merge_cells(f"B{row}:{_LAST}{row}")
    put(sheet, f"B{row}", content, ink=ink)
    sheet.row_dimensions[row].height = _LINE_HEIGHT * _lines(content, _TEXT_WIDTH)
    return row + 1


def _header(sheet: Worksheet, row: int, names: Sequence[tuple[str, float | None]]) -> None:
    for i, (name, width) in enumerate(names, 1):
        letter = get_column_letter(i)
        head_cell(sheet, f"{letter}{row}", name)
        if name in _NUMBERS:
            sheet[f"{letter}{row}"].alignment = Alignment(horizontal="right", vertical="center", indent=1)
        if width is not None:
            sheet.column_dimensions[letter].width = width
    sheet.row_dimensions[row].height = 20


def head_cell(
    sheet: Worksheet,
    at: str,
    name: str,
    *,
    ours: bool = False,
    align: Literal["left", "center", "right"] = "left",
) -> None:
    """One cell of a header row, aligned as the cells under it."""
    cell = put(sheet, at, name, bold=True, ink="FFFFFF")
    cell.fill = fill(HEADER_OURS if ours else HEADER)
    indent = 0 if align == "center" else 1
    cell.alignment = Alignment(vertical="center", horizontal=align, wrap_text=True, indent=indent)


def _format(cell: SheetCell, column: str) -> None:
    if isinstance(cell.value, float):
        cell.number_format = number_face("factor" if column == "Excess" else "error", cell.value)
    if cell.value == ABSENT:
        cell.font = Font(name=FONT, size=10, color="FF" + FAINT)
    if column in _NUMBERS:
        cell.alignment = Alignment(horizontal="right", vertical="top", indent=1)


def _lines(content: object, width: float) -> int:
    """How many lines `content` takes in a column `width` digits of the default font wide; the letters of our
    smaller font are narrower than those by more than is lost where words break."""
    usable = max(width * 1.1, 1)
    return sum(max(1, math.ceil(len(part) / usable)) for part in str(content).split("\n"))


def as_pages(sheet: Worksheet, area: str | None = None) -> None:
    """Print a sheet, or an area of it, on A4 landscape, as wide as a page and as many pages long as it takes."""
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.paperSize = sheet.PAPERSIZE_A4
    sheet.sheet_properties.pageSetUpPr.fitToPage = True
    sheet.page_setup.fitToWidth = 1
    sheet.page_setup.fitToHeight = 0
    sheet.page_margins.left = sheet.page_margins.right = 0.4
    sheet.page_margins.top = sheet.page_margins.bottom = 0.5
    if area:
        sheet.print_area = area
