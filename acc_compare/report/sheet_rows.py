"""The rows of the table as SpreadsheetML (ECMA-376 part 1, section 18.3.1), and their way into a workbook.

openpyxl spends 13 microseconds on a styled cell, two seconds for 4,000 rows; text made directly takes a tenth
of that.  openpyxl still makes everything else: it writes a workbook whose table has its header only, and
`insert_rows` copies that file with the rows put in.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape

from openpyxl.utils import get_column_letter

from acc_compare.model import Row
from acc_compare.report.columns import ABSENT, Cell, Column, as_cell
from acc_compare.report.safe_text import cell_text, looks_like_formula
from acc_compare.report.styles import (
    ABSENT_FLAG,
    ABSENT_NUMBER,
    ABSENT_TEXT,
    FLAG,
    LINES,
    PLAIN,
    QUOTED,
    RESULT,
    WORD,
    CellStyles,
    Mark,
    Tint,
    number_face,
)

ROW_HEIGHT = 14
"""In points.  Given for every row: a spreadsheet would make those with a stack ten lines high."""

_END_OF_ROWS = b"</sheetData>"
_MAX_EXACT = 10**15
"""Excel keeps 15 digits of a number; a longer integer is written as text."""

_MOST_KEPT = 4096

_ABSENT_FACES = {"text": ABSENT_TEXT, "flag": ABSENT_FLAG}


def row_xml(
    rows: Iterable[Row],
    columns: tuple[Column, ...],
    *,
    styles: CellStyles,
    mark: Callable[[Row], Mark],
    first: int,
) -> Iterator[str]:
    """Each row as one `<row>` element, numbered from `first` (1 is the top of the sheet)."""
    plan = [(get_column_letter(i), column.read, _CellEnds(column, styles)) for i, column in enumerate(columns, 1)]
    for number, row in enumerate(rows, first):
        look = (row.outcome, mark(row))
        parts = [f'<row r="{number}" ht="{ROW_HEIGHT}" customHeight="1">']
        parts += [f'<c r="{letter}{number}" s="{ends.of(read(row), look)}' for letter, read, ends in plan]
        parts.append("</row>")
        yield "".join(parts)


class _CellEnds:
    """What follows `s="` in the `<c>` elements of one column: the style's number and the content.

    Texts, flags and absent cells repeat from row to row, so what was made of them is kept.
    """

    def __init__(self, column: Column, styles: CellStyles) -> None:
        self._column, self._styles = column, styles
        self._known: dict[tuple[Tint, Mark], dict[object, str]] = {}

    def of(self, value: object, look: tuple[Tint, Mark]) -> str:
        if type(value) is float:  # all others would be mixed up with 0, 1 and True as keys
            return self._made(value, look)
        known = self._known.setdefault(look, {})
        if len(known) > _MOST_KEPT:
            known.clear()
        key = (type(value), value)
        try:
            found = known.get(key)
            if found is None:
                found = known[key] = self._made(value, look)
        except TypeError:  # a value that cannot be hashed, such as a list
            return self._made(value, look)
        return found

    def _made(self, value: object, look: tuple[Tint, Mark]) -> str:
        cell = as_cell(value)
        return f'{self._styles.number(*look, _face(cell, self._column))}"{_content(cell)}'


def insert_rows(book: IO[bytes], sheet: str, rows: IO[bytes], target: Path) -> None:
    """Copy the workbook `book` to `target`, with `rows` after the rows that its part `sheet` has already.

    Raises:
        ValueError: the part has no place for rows.
        OSError: `target` cannot be written.
    """
    with (
        zipfile.ZipFile(book) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as copy,
    ):
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename != sheet:
                copy.writestr(entry.filename, content)
                continue
            head, end, tail = content.partition(_END_OF_ROWS)
            if not end:
                raise ValueError(f"{sheet} has no {_END_OF_ROWS.decode()}")
            with copy.open(entry.filename, "w", force_zip64=True) as part:
                part.write(head)
                shutil.copyfileobj(rows, part, 1 << 20)
                part.write(end + tail)


def _face(cell: Cell, column: Column) -> str:
    if column.name == "Result":
        return RESULT
    if isinstance(cell, str):
        if cell != "-inf" and looks_like_formula(cell):
            return QUOTED
        if cell == ABSENT:
            return _ABSENT_FACES.get(column.style, ABSENT_NUMBER)
        if column.style != "text":
            return WORD
        return LINES if "\n" in cell else PLAIN
    if isinstance(cell, bool):
        return FLAG
    if isinstance(cell, int) and abs(cell) > _MAX_EXACT:
        return WORD
    return number_face(column.style, cell)


def _content(cell: Cell) -> str:
    """The end of the `<c` tag and what follows it."""
    if isinstance(cell, str):
        return _text(cell)
    if isinstance(cell, bool):
        return f' t="b"><v>{int(cell)}</v></c>'
    if isinstance(cell, int) and abs(cell) > _MAX_EXACT:
        return _text(str(cell))
    return f"><v>{cell!r}</v></c>"


def _text(text: str) -> str:
    shown = escape(cell_text(text))
    if not shown:
        return "/>"
    space = ' xml:space="preserve"' if shown != shown.strip() else ""
    return f' t="inlineStr"><is><t{space}>{shown}</t></is></c>'
