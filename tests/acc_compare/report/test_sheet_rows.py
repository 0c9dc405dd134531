from __future__ import annotations

import io
import zipfile

import pytest
from openpyxl import Workbook, load_workbook

from acc_compare.report.columns import Column
from acc_compare.report.sheet_rows import insert_rows, row_xml
from acc_compare.report.styles import CellStyles


def read_back(build, tmp_path, value, style="text"):
    """The one cell of a workbook whose row holds `value`."""
    book = Workbook()
    book.active["A1"] = "head"
    column = Column("X", lambda row: value, style, 10, "")
    xml = "".join(row_xml([build.row()], (column,), styles=CellStyles(book.active), mark=lambda row: "plain", first=2))
    shell = io.BytesIO()
    book.save(shell)
    insert_rows(shell, "xl/worksheets/sheet1.xml", io.BytesIO(xml.encode()), tmp_path / "x.xlsx")
    return load_workbook(tmp_path / "x.xlsx").active["A2"]


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "a<b & c", '"q"', "层", " edge ", "two\nlines", "x" * 32_767],
)
def test_text_stays_text(build, tmp_path, text):
    cell = read_back(build, tmp_path, text)
    assert (cell.data_type, cell.value) == ("s", text)
    assert cell.quotePrefix == text.startswith(("=", "+", "-", "@", "\t"))


@pytest.mark.parametrize(
    ("value", "style", "shown"),
    [
        ("bell\x07", "text", "bell␇"),
        ("x" * 40_000, "text", "x" * (32_767 - 6) + " [cut]"),
        (float("nan"), "error", "nan"),
        (float("-inf"), "value", "-inf"),
        (None, "error", "N/A"),
        (10**18 + 1, "value", "1000000000000000001"),
    ],
)
def test_what_a_cell_cannot_hold_is_shown_as_text(build, tmp_path, value, style, shown):
    cell = read_back(build, tmp_path, value, style)
    assert (cell.data_type, cell.value) == ("s", shown)
    assert not cell.quotePrefix


@pytest.mark.parametrize(
    ("value", "style", "kind"),
    [(1.5e-7, "error", "n"), (3, "value", "n"), (-2.5, "value", "n"), (True, "flag", "b")],
)
def test_numbers_and_flags_keep_their_type_and_all_digits(build, tmp_path, value, style, kind):
    cell = read_back(build, tmp_path, value, style)
    assert (cell.data_type, cell.value) == (kind, value)


def test_empty_text_is_an_empty_cell(build, tmp_path):
    assert read_back(build, tmp_path, "").value is None


def test_a_part_without_rows_is_refused(tmp_path):
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("sheet.xml", "<worksheet/>")
    with pytest.raises(ValueError, match="sheetData"):
        insert_rows(book, "sheet.xml", io.BytesIO(), tmp_path / "x.xlsx")
