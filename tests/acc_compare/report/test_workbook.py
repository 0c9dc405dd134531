from __future__ import annotations

import csv
import dataclasses
import importlib.util
import math
import resource
import sys

import pandas as pd
import pytest
from openpyxl import load_workbook
from openpyxl.utils import get_column_letter

from acc_compare.messages import listed
from acc_compare.report.columns import cells, columns_of, frame
from acc_compare.report.i18n import text
from acc_compare.report.styles import STRONG_TINTS, TINTS
from acc_compare.report.workbook import MAX_ROWS, for_reading, marker, write_workbook
from dump.format.errors import ConfigError, OutputError


def texts(sheet):
    return [cell.value for line in sheet.iter_rows() for cell in line if isinstance(cell.value, str)]


@pytest.mark.parametrize("mode", ["statistics", "tensor", "md5"])
def test_compare_sheet_holds_the_frame(build, tmp_path, mode):
    finding = build.gelu(mode, 30, stacks=True)
    assert write_workbook(finding, tmp_path / "a.xlsx") == (tmp_path / "a.xlsx",)
    sheet = load_workbook(tmp_path / "a.xlsx")["Compare"]
    table = [[cell.value for cell in line] for line in sheet.iter_rows()]
    columns = for_reading(columns_of(finding))
    assert table[0] == [column.name for column in columns]
    assert sorted(table[0]) == sorted(frame(finding).columns)
    assert table[0][:2] == ["NPU Name", "Bench Name"]
    assert {"Expected", "Excess", "Origin", "Result"} <= set(table[0][2:8])
    assert table[0][-2:] == ["Err_Message", "NPU_Stack_Info"]
    expected = [["" if cell is None else cell for cell in line] for line in cells(finding.rows, columns)]
    assert [["" if cell is None else cell for cell in line] for line in table[1:]] == expected
    assert sheet.freeze_panes == "C2"
    for each in load_workbook(tmp_path / "a.xlsx"):
        assert (str(each.page_setup.paperSize), each.page_setup.orientation) == (each.PAPERSIZE_A4, "landscape"), each
    last = 1 + max(place for place, name in enumerate(table[0]) if name in ("Origin", "Result", "Module"))
    assert sheet.print_area == f"'Compare'!$A$1:${get_column_letter(last)}${len(table)}"
    assert sheet.auto_filter.ref == sheet.dimensions
    assert sheet.column_dimensions["A"].width > 30


def test_sheets_of_a_verdict_with_and_without_suspects(build, tmp_path):
    write_workbook(build.gelu(), tmp_path / "a.xlsx")
    write_workbook(build.same(), tmp_path / "b.xlsx")
    assert load_workbook(tmp_path / "a.xlsx").sheetnames == ["Summary", "Suspects", "Compare", "Errors", "Columns"]
    assert load_workbook(tmp_path / "b.xlsx").sheetnames == ["Summary", "Compare", "Errors", "Columns"]


def test_no_text_of_the_summary_needs_more_room_than_it_has(any_finding, tmp_path):
    # A row without a height of its own is one line high, of 12 points at least; nothing that it says may wrap.
    write_workbook(any_finding, tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx")["Summary"]
    widths = [sheet.column_dimensions[get_column_letter(i)].width for i in range(1, sheet.max_column + 1)]
    merged = {area.min_row: sum(widths[area.min_col - 1 : area.max_col]) for area in sheet.merged_cells.ranges}
    for line in sheet.iter_rows():
        for cell in line:
            if isinstance(cell.value, str) and cell.alignment.wrap_text:
                across = merged.get(cell.row) if cell.column > 1 or cell.row < 4 else None
                room = (across or widths[cell.column - 1]) * 1.1
                height = sheet.row_dimensions[cell.row].height or 13
                assert height >= 12 * math.ceil(len(cell.value) / room), (cell.coordinate, cell.value)


def test_settings_that_differ_stand_above_the_suspects(build, tmp_path):
    finding = dataclasses.replace(build.gelu(), settings=(listed(["HF32 on the NPU side"]),))
    write_workbook(finding, tmp_path / "a.xlsx")
    found = texts(load_workbook(tmp_path / "a.xlsx")["Summary"])
    assert found.index("HF32 on the NPU side") < found.index(finding.suspects[0].name)


def test_every_finding_opens(any_finding, tmp_path):
    write_workbook(any_finding, tmp_path / "a.xlsx")
    summary = load_workbook(tmp_path / "a.xlsx")["Summary"]
    assert summary["A2"].value == any_finding.verdict.upper()
    assert summary["A3"].value == (text(any_finding.summary) or None)
    assert {any_finding.npu_path + "   (npu)", any_finding.bench_path + "   (cuda)"} <= set(texts(summary))
    assert {suspect.name for suspect in any_finding.suspects} <= set(texts(summary))


@pytest.mark.parametrize("result", ["error", "warning", "pass", "unmatched"])
def test_colours_follow_the_result(build, tmp_path, result):
    write_workbook(build.finding(rows=(build.row(result=result),)), tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx")["Compare"]
    heads = [cell.value for cell in sheet[1]]
    colours = {cell.fill.start_color.rgb for cell in sheet[2] if heads[cell.column - 1] != "Result"}
    assert colours == {"FF" + TINTS[result]}
    assert sheet.cell(2, heads.index("Result") + 1).fill.start_color.rgb == "FF" + STRONG_TINTS[result]


def test_rows_of_suspects_stand_out(build, tmp_path):
    names = (
        "Functional.gelu.2.forward.input.0",
        "Functional.gelu.2.forward.output.0",
        "Functional.gelu.20.forward.output.0",
        "Functional.gelu.3.forward.output.0",
    )
    finding = build.gelu(rows=tuple(build.row(name) for name in names))
    assert [marker(finding)(row) for row in finding.rows] == ["call", "accused", "plain", "call"]
    write_workbook(finding, tmp_path / "a.xlsx")
    column = load_workbook(tmp_path / "a.xlsx")["Compare"]["A"][1:]
    assert [bool(cell.font.bold) for cell in column] == [True, True, False, True]
    assert [cell.border.top.style for cell in column] == ["thin", "medium", "thin", "thin"]


def test_hundreds_of_suspects_are_counted_not_all_told(build, tmp_path):
    suspects = tuple(build.suspect(name=f"Torch.op.{i}.forward") for i in range(203))
    write_workbook(build.finding(suspects=suspects), tmp_path / "a.xlsx")
    book = load_workbook(tmp_path / "a.xlsx")
    assert "and 193 more on the Suspects sheet" in texts(book["Summary"])
    assert "Torch.op.199.forward" in texts(book["Suspects"])
    assert texts(book["Suspects"])[-1] == "and 3 more in the advisor's JSON"


def test_a_suspect_of_another_rank_marks_nothing_here(build):
    finding = build.finding(rank=1, suspects=(build.suspect(rank=0),), rows=(build.row(),))
    assert marker(finding)(finding.rows[0]) == "plain"


def over_the_limit(build):
    results = ["pass", "unmatched", "warning", "pass", "error"]
    rows = [build.row(f"Torch.add.{i}.forward.output.0", result=result) for i, result in enumerate(results)]
    rows.append(build.row())  # passes, but is the suspect's
    return build.finding(rows=tuple(rows), suspects=(build.suspect(),))


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (1, ["gelu.2", "add.4", "add.2", "add.1"]),  # whatever is not a pass stays
        (4, ["gelu.2", "add.4", "add.2", "add.1"]),
        (5, ["gelu.2", "add.4", "add.2", "add.1", "add.0"]),  # and passes as far as there is room
    ],
)
def test_over_the_limit_the_urgent_rows_stay(build, tmp_path, limit, shown):
    finding = over_the_limit(build)
    written = write_workbook(finding, tmp_path / "a.xlsx", limit=limit, formats=("xlsx", "csv"))
    assert [path.name for path in written] == ["a.xlsx", "a.csv"]
    book = load_workbook(tmp_path / "a.xlsx")
    names = [cell.value for cell in book["Compare"]["A"][1:]]
    assert [".".join(name.split(".")[1:3]) for name in names] == shown
    assert any(f"{len(shown)} of 6 rows" in text and "a.csv" in text for text in texts(book["Summary"]))


def test_never_more_rows_than_excel_opens(build, tmp_path, monkeypatch):
    from acc_compare.report import workbook

    monkeypatch.setattr(workbook, "MAX_ROWS", 2)
    write_workbook(over_the_limit(build), tmp_path / "a.xlsx")
    assert load_workbook(tmp_path / "a.xlsx")["Compare"].max_row == 3


@pytest.mark.parametrize("pyarrow", [True, False])
def test_over_the_limit_the_whole_table_stands_beside(build, tmp_path, monkeypatch, pyarrow):
    if not pyarrow:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    elif importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    finding = over_the_limit(build)
    written = write_workbook(finding, tmp_path / "a.xlsx", limit=4)
    whole = "a.parquet" if pyarrow else "a.csv"
    assert [path.name for path in written] == ["a.xlsx", whole]
    assert set(tmp_path.iterdir()) == set(written)
    note = next(text for text in texts(load_workbook(tmp_path / "a.xlsx")["Summary"]) if "of 6 rows" in text)
    assert whole in note
    if pyarrow:
        names = pd.read_parquet(tmp_path / whole)["NPU Name"].tolist()
    else:
        with (tmp_path / whole).open() as stream:
            names = [line["NPU Name"] for line in csv.DictReader(stream)]
    assert names == [row.npu_name for row in finding.rows]


def test_at_the_limit_all_rows_stay_in_order(build, tmp_path):
    finding = build.gelu(size=8)
    assert write_workbook(finding, tmp_path / "a.xlsx", limit=8) == (tmp_path / "a.xlsx",)
    column = load_workbook(tmp_path / "a.xlsx")["Compare"]["A"][1:]
    assert [cell.value for cell in column] == [row.npu_name for row in finding.rows]


def test_limit_below_one_is_refused(build, tmp_path):
    with pytest.raises(ConfigError, match="at least 1"):
        write_workbook(build.same(), tmp_path / "a.xlsx", limit=0)
    assert MAX_ROWS == 1_048_575


def test_an_existing_file_is_not_overwritten(build, tmp_path):
    (tmp_path / "a.xlsx").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_workbook(build.same(), tmp_path / "a.xlsx")
    assert (tmp_path / "a.xlsx").read_text() == "mine"


def test_a_full_disk_leaves_nothing_behind(build, tmp_path):
    finding = build.gelu(size=60)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot write"):
            write_workbook(finding, tmp_path / "a.xlsx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_hostile_text_everywhere_is_only_text(build, tmp_path):
    evil = "=cmd|' /C calc'!A0"
    suspect = build.suspect(name=evil, module="+1", message="@x", stack=(evil,), advice=(evil,), rel_l2=math.nan)
    rows = (build.row(evil, err_message="-1\x1b[2J", stack=evil),)
    finding = build.finding(suspects=(suspect,), rows=rows, notes=(evil,), npu_path=evil, npu_device="")
    write_workbook(finding, tmp_path / "a.xlsx")
    book = load_workbook(tmp_path / "a.xlsx")
    kinds = {cell.data_type for sheet in book for line in sheet.iter_rows() for cell in line if cell.value is not None}
    assert kinds <= {"s", "n", "b"}
    heads = [cell.value for cell in book["Compare"][1]]
    assert book["Compare"].cell(2, heads.index("Err_Message") + 1).value == "-1␛[2J"


def test_columns_sheet_explains_each_column(build, tmp_path):
    finding = build.gelu("tensor")
    write_workbook(finding, tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx")["Columns"]
    explained = [(line[0].value, line[1].value) for line in sheet.iter_rows(min_row=2)]
    assert explained == [(column.name, column.explanation) for column in for_reading(columns_of(finding))]


@pytest.mark.parametrize(
    ("origins", "words"),
    [
        (("propagated", "absorbed", "agrees"), {"explained": "3 of the 3"}),
        (
            ("agrees", "introduced", "random", "input", ""),
            {"explained": "1 of the 5", "suspected": "3", "not judged": "1"},
        ),
        (("introduced", ""), {"suspected": "1 of the 2", "not judged": "1 of them"}),
    ],
)
def test_each_error_of_the_classic_rules_has_its_word_in_the_summary(build, tmp_path, origins, words) -> None:
    rows = [build.row(f"Torch.a.{i}.forward.output.0", result="error", origin=o) for i, o in enumerate(origins)]
    accused = build.row("Torch.b.0.forward.output.0", result="error", origin="introduced", accused=True)
    write_workbook(build.finding(rows=(*rows, accused)), tmp_path / "a.xlsx")
    summary = load_workbook(tmp_path / "a.xlsx")["Summary"]
    told = {line[0].value: str(line[1].value) for line in summary.iter_rows()}
    assert told["error"].split()[0] == str(len(origins) + 1)
    found = {label: told[label] for label in ("explained", "suspected", "not judged") if label in told}
    assert found.keys() == words.keys()
    assert all(found[label].startswith(words[label]) for label in words)
