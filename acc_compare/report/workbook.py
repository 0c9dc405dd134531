"""`write_workbook`: a finding as an Excel file with the sheets Summary, Suspects, Compare, Errors, Stacks, Columns."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from acc_compare.model import Finding, Row, Suspect
from acc_compare.report.atomic_write import new_file
from acc_compare.report.columns import NAMES, Column, as_cell, columns_of
from acc_compare.report.encoded import EncodedTable
from acc_compare.report.error_sheet import errors_by_call, fill_errors, fill_stacks, link_names, thinned
from acc_compare.report.formatting import Text
from acc_compare.report.html.table import places_of
from acc_compare.report.plain_tables import write_whole_table
from acc_compare.report.sheet_rows import insert_rows, row_xml
from acc_compare.report.styles import HEADER_OURS, CellStyles, Mark
from acc_compare.report.summary_sheet import as_pages, fill_columns, fill_summary, fill_suspects, head_cell, put
from dump.format.errors import ConfigError

DEFAULT_LIMIT = 10_000
"""Rows up to which the sheet holds the whole table.  A person reads no more, and each thousand takes a tenth of a
second to write and as long to open; programs have the whole table beside it."""

MAX_ROWS = 1_048_576 - 1
"""Rows of a sheet (Microsoft, "Excel specifications and limits"), less the header."""

_DECIDING = ("RelL2", "Est. RelL2", "Expected", "Excess", "Origin", "Result", "Module")
"""What a person looks at first; with the names these are what is printed."""

_LONG = ("Expected From", "Data_Name", "Err_Message", "NPU_Stack_Info")

_IN_MEMORY = 8 << 20
"""Bytes of a sheet's rows, beyond which they wait in a file."""

_WIDEST_TEXT = 60.0
_WIDEST_NAME = 44.0
_URGENCY = {"error": 1, "warning": 2, "unmatched": 3, "pass": 4}


def write_workbook(
    finding: Finding,
    path: Path,
    *,
    limit: int = DEFAULT_LIMIT,
    page: str | None = None,
    table: EncodedTable | None = None,
    formats: Collection[str] = (),
) -> tuple[Path, ...]:
    """Write `finding` to `path` and return the files written.

    Up to `limit` rows the sheet holds all of them, in order of execution.  Of more it holds every row that is a
    suspect's or not a pass, up to what Excel can open, and passes as long as there are fewer than `limit`: the
    suspects' first, then errors, warnings, unmatched and passes, each in order of execution.  Then the whole table
    stands beside it as `write_whole_table` chooses by the `formats` asked for, and the Summary sheet says so.  Suspects
    are links to their rows, and to those of the page where its file name is given as `page`.  `table` holds all rows
    where they were read for another format.

    Raises:
        OutputError: `path` (or a file beside it) exists or cannot be written; nothing is left under its name.
        ConfigError: `limit` is below 1, or the finding's mode is unknown.
    """
    if limit < 1:
        raise ConfigError(f"the limit of rows on a sheet must be at least 1, not {limit}")
    limit = min(limit, MAX_ROWS)
    columns = for_reading(columns_of(finding))
    mark = marker(finding)
    rows = finding.rows
    notes: tuple[Text, ...] = finding.notes
    written: tuple[Path, ...] = (path,)
    with new_file(path) as draft:
        if len(rows) > limit:
            whole = write_whole_table(table or EncodedTable(finding), path, formats)
            rows = _most_urgent(rows, mark, limit)
            notes = (*notes, _left_out(len(rows), len(finding.rows), whole.name))
            written = (path, whole)
        _write(finding, draft, rows=rows, notes=notes, columns=columns, mark=mark, page=page)
    return written


def for_reading(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns in the order of the sheet: names, what decides, the rest, and long texts at the far right."""
    by_name = {column.name: column for column in columns}
    first = [by_name[name] for name in (*NAMES, *_DECIDING) if name in by_name]
    last = [by_name[name] for name in _LONG if name in by_name]
    rest = [column for column in columns if column.name not in {*NAMES, *_DECIDING, *_LONG}]
    return (*first, *rest, *last)


def marker(finding: Finding) -> Callable[[Row], Mark]:
    """A function that says whether a row belongs to a suspect of `finding`, and is the tensor accused."""
    suspects = [s for s in finding.suspects if _here(s, finding)]
    names = {name for s in suspects for name in (s.row or s.name, *s.others)}
    names |= {s.name for s in suspects if s.kind == "structure"}  # its row is that of the call which read what it made
    accused = {f"{s.row or s.name}.{s.tensor}" for s in suspects if s.tensor}

    def mark(row: Row) -> Mark:
        name = row.npu_name or row.bench_name
        if name in accused:
            return "accused"
        return "call" if any(call in names for call in _calls(name)) else "plain"

    return mark if names else lambda row: "plain"


def _calls(name: str) -> Iterator[str]:
    """`name` and all it begins with, cut at each dot from the right: one of them is the name of its call."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _here(suspect: Suspect, finding: Finding) -> bool:
    pairs = ((suspect.step, finding.step), (suspect.rank, finding.rank))
    return all(theirs is None or ours is None or theirs == ours for theirs, ours in pairs)


def _most_urgent(rows: tuple[Row, ...], mark: Callable[[Row], Mark], limit: int) -> tuple[Row, ...]:
    urgency = [_URGENCY[row.outcome] if mark(row) == "plain" else 0 for row in rows]
    urgent = len(urgency) - urgency.count(_URGENCY["pass"])
    order = sorted(range(len(rows)), key=urgency.__getitem__)
    return tuple(rows[place] for place in order[: min(max(limit, urgent), MAX_ROWS)])


def _left_out(shown: int, total: int, whole: str) -> str:
    return (
        f"The Compare sheet shows {shown:,} of {total:,} rows: the suspects' first, then errors, warnings, "
        f"unmatched and passes. All rows in order of execution are in {whole}."
    )


def _write(
    finding: Finding,
    draft: Path,
    *,
    rows: tuple[Row, ...],
    notes: tuple[Text, ...],
    columns: tuple[Column, ...],
    mark: Callable[[Row], Mark],
    page: str | None,
) -> None:
    book = Workbook()
    book.properties.creator = "acc compare"
    summary = book.active
    summary.title = "Summary"
    fill_summary(summary, finding, notes=notes)
    if finding.suspects:
        fill_suspects(book.create_sheet("Suspects"), finding.suspects)
    table = book.create_sheet("Compare")
    _prepare_table(table, columns, rows)
    errors = thinned(errors_by_call(finding.rows))
    wanted = [name for suspect in finding.suspects for name in _names_of(suspect)]
    places = _places(rows, [*wanted, *(each.row for each in errors)])
    _link_suspects(book, finding, places, page)
    if errors:
        fill_errors(book.create_sheet("Errors"), errors, places)
    if any(row.stack for row in finding.rows):
        fill_stacks(book.create_sheet("Stacks"), finding.rows)
    fill_columns(book.create_sheet("Columns"), columns)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as body:
        lines = row_xml(rows, columns, styles=CellStyles(table), mark=mark, first=2)
        body.writelines(line.encode("utf-8") for line in lines)
        body.seek(0)
        shell = io.BytesIO()
        book.save(shell)
        insert_rows(shell, table.path.removeprefix("/"), body, draft)


def _names_of(suspect: Suspect) -> tuple[str, str]:
    """A suspect's tensor and its call among the rows."""
    call = suspect.row or suspect.name
    return f"{call}.{suspect.tensor}", call


def _place_of(suspect: Suspect, places: Mapping[str, int]) -> int | None:
    return next((places[name] for name in _names_of(suspect) if name in places), None)


def _places(rows: Sequence[Row], wanted: Iterable[str]) -> dict[str, int]:
    """On which row of the Compare sheet each name stands."""
    places = places_of([row.npu_name or row.bench_name for row in rows], wanted)
    return {name: place + 2 for name, place in places.items()}


def _link_suspects(book: Workbook, finding: Finding, places: dict[str, int], page: str | None) -> None:
    """A suspect's name leads to its row; its number, on the Suspects sheet, to the page."""
    by_name = {s.name: _place_of(s, places) for s in reversed(finding.suspects)}
    targets = {name: f"'Compare'!A{place}" for name, place in by_name.items() if place is not None}
    for title in ("Summary", "Suspects"):
        if title in book.sheetnames:
            link_names(book[title], targets, targets)
    if page is None:
        return
    put(book["Summary"], "B1", page, ink=HEADER_OURS).hyperlink = page
    if "Suspects" not in book.sheetnames:
        return
    wanted = [name for s in finding.suspects for name in _names_of(s)]
    rows = places_of([row.npu_name or row.bench_name for row in finding.rows], wanted)
    by_number = {f"Suspect {number}": suspect for number, suspect in enumerate(finding.suspects, 1)}
    for cell in book["Suspects"]["A"]:
        suspect = by_number.get(cell.value)
        if suspect is not None:
            place = _place_of(suspect, rows)
            if place is not None:
                cell.hyperlink = f"{page}#row={place + 1}"


def _prepare_table(sheet: Worksheet, columns: tuple[Column, ...], rows: tuple[Row, ...]) -> None:
    for i, column in enumerate(columns, 1):
        letter = get_column_letter(i)
        head_cell(sheet, f"{letter}1", column.name, ours=column.ours, align=_head_alignment(column))
        sheet.column_dimensions[letter].width = _width(column, rows)
    sheet.row_dimensions[1].height = 32
    names = sum(column.name in NAMES for column in columns)
    deciding = sum(column.name in _DECIDING for column in columns)
    sheet.freeze_panes = f"{get_column_letter(names + 1)}2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{len(rows) + 1}"
    sheet.print_title_rows = "1:1"
    sheet.print_area = f"A1:{get_column_letter(names + deciding)}{len(rows) + 1}"
    as_pages(sheet)
    sheet.page_margins.left = sheet.page_margins.right = 0.3
    sheet.page_margins.top, sheet.page_margins.bottom, sheet.page_margins.footer = 0.5, 0.7, 0.3
    sheet.oddFooter.center.text = "&A, page &P of &N"


def _head_alignment(column: Column) -> Literal["left", "center", "right"]:
    if column.style == "flag" or column.name == "Result":
        return "center"
    return "left" if column.style == "text" else "right"


def _width(column: Column, rows: Iterable[Row]) -> float:
    """Wide enough for the heading in two lines beside the filter's button; as wide as the longest line of a
    text column needs, within reason; numbers have a fixed width."""
    heading = max(*(len(word) for word in column.name.split()), len(column.name) // 2) + 5.0
    if column.style != "text":
        return max(heading, column.width)
    longest = max((len(str(as_cell(column.read(row))).partition("\n")[0]) for row in rows), default=0)
    widest = _WIDEST_NAME if column.name in NAMES else max(column.width, _WIDEST_TEXT)
    return max(heading, 12.0, min(longest + 3.0, widest))
