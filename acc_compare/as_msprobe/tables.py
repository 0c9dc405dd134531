"""A finding as the table that a version of msprobe writes: its columns, their order and its way to write a cell.

Which columns there are stands in layouts.json, as they were seen in what the versions wrote.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from acc_compare.model import Finding, Row
from acc_compare.report.columns import ABSENT, COLUMNS, STACK_COLUMN, Cell, Column, as_cell
from acc_compare.report.i18n import text
from acc_compare.report.safe_text import looks_like_formula, visible
from dump.format.errors import ConfigError, OutputError

Version: TypeAlias = Literal["8.3.3", "26.2.0"]
VERSIONS: tuple[Version, ...] = ("8.3.3", "26.2.0")

_LAYOUTS = Path(__file__).with_name("layouts.json")
_RESULTS: dict[tuple[Version, str, str], str] = {
    # 8.3.3 leaves a row of statistics that passes without a result, and names digests that differ.
    ("8.3.3", "statistics", "pass"): "",
    ("8.3.3", "statistics", "warning"): "Warning",
    ("8.3.3", "statistics", "error"): "Warning",
    ("8.3.3", "md5", "error"): "Different",
}


@cache
def columns(version: Version, mode: str) -> tuple[str, ...]:
    """The names of the columns, in order.  Raises ConfigError for a mode that has none."""
    layouts = json.loads(_LAYOUTS.read_text(encoding="utf-8"))
    try:
        return tuple(layouts[version][mode])
    except KeyError:
        raise ConfigError(f"msprobe {version} has no table for mode {mode!r}") from None


def lines(finding: Finding, version: Version, *, with_stacks: bool = True) -> Iterator[list[Cell]]:
    """The head of the table and its rows, cell by cell."""
    names = [name for name in columns(version, finding.mode) if with_stacks or name != STACK_COLUMN]
    yield list(names)
    readers = [_reader(name, finding.mode, version) for name in names]
    before: Row | None = None
    for row in finding.rows:
        repeats = before is not None and before.stack is row.stack
        yield [
            ABSENT if name == STACK_COLUMN and repeats else read(row) for name, read in zip(names, readers, strict=True)
        ]
        before = row


def write_csv(finding: Finding, path: Path, version: Version, *, with_stacks: bool = True) -> None:
    """The table as csv.  Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerows(map(_shown, lines(finding, version, with_stacks=with_stacks)))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def write_xlsx(finding: Finding, path: Path, version: Version, *, with_stacks: bool = True) -> None:
    """The table as a workbook of one sheet.  Raises OutputError."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    for line in lines(finding, version, with_stacks=with_stacks):
        sheet.append([cell[:_LONGEST_IN_EXCEL] if isinstance(cell, str) else cell for cell in _shown(line)])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise OutputError(f"{path}: exists already. Give another output path.")
        book.save(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


_LONGEST_IN_EXCEL = 32_767


def _shown(line: Sequence[Cell]) -> list[Cell]:
    """Cells that neither a terminal nor a spreadsheet takes for more than text."""
    return [_harmless(cell) if isinstance(cell, str) else cell for cell in line]


def _harmless(cell: str) -> str:
    seen = "\n".join(map(visible, cell.split("\n")))
    return f"'{seen}" if looks_like_formula(seen) and seen != "-inf" else seen


def _reader(name: str, mode: str, version: Version) -> Callable[[Row], Cell]:
    if name == "Err_message":
        return _message_list if version == "26.2.0" else lambda row: "\n".join(_messages(row))
    if name == "Data_name":
        return _data_names
    if name == "Result":
        return lambda row: _RESULTS.get((version, mode, row.result), "N/A" if row.result == "unmatched" else row.result)
    column = _ours(name, mode)
    if column.style == "percent":
        return lambda row: _percent(column.read(row), version)
    return lambda row: as_cell(column.read(row))


@cache
def _ours(name: str, mode: str) -> Column:
    return next(column for column in COLUMNS[mode] if column.name == name)


def _messages(row: Row) -> list[str]:
    return [text(message, "en") for message in row.err_message]


def _message_list(row: Row) -> Cell:
    return json.dumps([f"{row.result}: {message}" for message in _messages(row)], ensure_ascii=False)


def _data_names(row: Row) -> Cell:
    """The files of both sides, as msprobe lists them."""
    names = [getattr(leaf, "data_name", None) or ABSENT for leaf in (row.npu, row.bench)]
    return ABSENT if names == [ABSENT, ABSENT] else str(names)


def _percent(value: object, version: Version) -> Cell:
    """A relative difference: msprobe writes it as text with its sign, and 26.2.0 a plain 0 where there is none."""
    if not isinstance(value, (int, float)):
        return as_cell(value)
    return 0 if value == 0 and version == "26.2.0" else f"{float(value)}%"
