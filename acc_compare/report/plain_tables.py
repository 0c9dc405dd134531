"""The table without colours, for programs: csv and parquet."""

from __future__ import annotations

import csv
import importlib
import importlib.util
from pathlib import Path

from acc_compare.model import Finding
from acc_compare.report.columns import Cell, Column, as_cell, cells, columns_of
from acc_compare.report.placing import new_file
from acc_compare.report.safe_text import looks_like_formula, visible
from dump.format.errors import ConfigError


def write_csv(finding: Finding, path: Path) -> None:
    """All rows as UTF-8 csv, the columns of the workbook, numbers in full precision.

    A text that a spreadsheet would compute on opening gets an apostrophe in front.

    Raises:
        OutputError: `path` exists or cannot be written.
        ConfigError: the finding's mode is unknown.
    """
    columns = columns_of(finding)
    with new_file(path) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(column.name for column in columns)
        for line in cells(finding.rows, columns):
            writer.writerow([_harmless(cell) if isinstance(cell, str) else cell for cell in line])


def write_parquet(finding: Finding, path: Path) -> None:
    """All rows as parquet: columns of numbers are float64 and those of flags bool, null where a cell does not
    apply; the rest is text.

    Raises:
        OutputError: `path` exists or cannot be written.
        ConfigError: pyarrow is not installed, or the finding's mode is unknown.
    """
    require_pyarrow()
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    columns = columns_of(finding)
    kinds = {"text": arrow.string(), "flag": arrow.bool_()}
    table = arrow.table(
        {
            column.name: arrow.array(_typed(finding, column), type=kinds.get(column.style, arrow.float64()))
            for column in columns
        }
    )
    with new_file(path) as draft:
        parquet.write_table(table, str(draft))


def require_pyarrow() -> None:
    """Raise ConfigError where pyarrow, which parquet needs, is not installed."""
    try:
        found = importlib.util.find_spec("pyarrow") is not None
    except ValueError:  # a module of that name was put aside by hand
        found = False
    if not found:
        raise ConfigError("--format parquet needs pyarrow, which is not installed: pip install pyarrow")


def _harmless(text: str) -> str:
    shown = visible(text)
    return f"'{shown}" if looks_like_formula(shown) and shown != "-inf" else shown


def _typed(finding: Finding, column: Column) -> list[object]:
    values = (column.read(row) for row in finding.rows)
    if column.style == "text":
        return [visible(str(as_cell(value))) for value in values]
    if column.style == "flag":
        return [value if isinstance(value, bool) else None for value in values]
    return [_number(as_cell(value)) for value in values]


def _number(cell: Cell) -> float | None:
    """The cell as a number: 'nan' and 'inf' are numbers again, '0.5%' is 0.5, other text is None."""
    try:
        return float(cell.removesuffix("%") if isinstance(cell, str) else cell)
    except (ValueError, OverflowError):
        return None
