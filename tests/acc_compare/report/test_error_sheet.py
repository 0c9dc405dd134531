from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from acc_compare.report.error_sheet import errors_by_call, thinned
from acc_compare.report.workbook import write_workbook


def opened(finding: Any, path: Path, **options: Any) -> Any:
    write_workbook(finding, path, **options)
    return openpyxl.load_workbook(path)


def test_a_call_has_the_worst_of_what_it_wrote(build: Any) -> None:
    rows = [
        build.row("Torch.split.0.forward.input.0", metrics={"RelL2": 0.5}, expected=0.1, excess=5.0),
        build.row("Torch.split.0.forward.output.0", metrics={"RelL2": 1e-7}, expected=1e-7, excess=1.0),
        build.row("Torch.split.0.forward.output.1", metrics={"RelL2": 1e-3}, expected=1e-7, excess=1e4),
        build.row("Torch.add.0.forward.input.0", metrics={"RelL2": 0.5}),
        build.row("Torch.mul.0.forward.output.0", expected=2e-7, excess=2.0),
        build.row("Torch.log.0.forward.output.0", metrics={"RelL2": math.inf}, expected=1e-7, excess=math.inf),
    ]
    found = errors_by_call(rows)
    assert [(each.number, each.row, each.error, each.excess) for each in found] == [
        (0, "Torch.split.0.forward.output.1", 1e-3, 1e4),
        (2, "Torch.mul.0.forward.output.0", 4e-7, 2.0),
    ]


@pytest.mark.parametrize(("most", "kept"), [(100, 20), (20, 20), (6, 5), (1, 1)])
def test_of_many_calls_the_worst_stay(build: Any, most: int, kept: int) -> None:
    errors = errors_by_call(build.gelu(size=80).rows)
    assert len(errors) == 20
    found = thinned(errors, most)
    assert len(found) == kept
    assert max(errors, key=lambda each: each.excess or 0) in found


def test_there_is_a_chart_of_errors_over_what_is_expected(build: Any, tmp_path: Path) -> None:
    finding = build.gelu(size=80)
    book = opened(finding, tmp_path / "book.xlsx")
    sheet = book["Errors"]
    errors = errors_by_call(finding.rows)
    lines = list(sheet.iter_rows(min_row=2, max_col=3, values_only=True))
    assert [line[:2] for line in lines] == [(each.number, each.call) for each in errors]
    assert [line[2] for line in lines] == pytest.approx([each.error for each in errors])
    (chart,) = sheet._charts
    assert chart.y_axis.scaling.logBase == 10
    assert not chart.x_axis.delete
    assert [series.yVal.numRef.f for series in chart.series] == [
        f"'Errors'!$D$2:$D${len(errors) + 1}",
        f"'Errors'!$C$2:$C${len(errors) + 1}",
    ]


def test_suspects_lead_to_their_rows_and_to_the_page(build: Any, tmp_path: Path) -> None:
    book = opened(build.gelu(size=80), tmp_path / "book.xlsx", page="book.html")
    table = book["Compare"]
    names = [cell.value for cell in table["A"]]
    row = names.index("Functional.gelu.2.forward.output.0") + 1
    for title in ("Summary", "Suspects"):
        (name,) = [cell for cell in book[title]["B"] if cell.value == "Functional.gelu.2.forward"]
        assert name.hyperlink.location == f"'Compare'!A{row}"
    assert book["Suspects"]["A1"].hyperlink.target == f"book.html#row={row - 1}"
    assert book["Summary"]["B1"].hyperlink.target == "book.html"
    link = next(cell for cell in book["Errors"]["B"] if cell.value == "Functional.gelu.2.forward").hyperlink
    assert link.location == f"'Compare'!A{row}"


def test_without_a_page_nothing_leads_to_one(build: Any, tmp_path: Path) -> None:
    book = opened(build.gelu(size=80), tmp_path / "book.xlsx")
    links = [cell.hyperlink for sheet in book for line in sheet.iter_rows() for cell in line if cell.hyperlink]
    assert links
    assert {link.target for link in links} == {None}


def test_links_follow_the_rows_where_urgent_ones_come_first(build: Any, tmp_path: Path) -> None:
    finding = build.gelu(size=80)
    book = opened(finding, tmp_path / "book.xlsx", limit=20, page="book.html")
    (name,) = [cell for cell in book["Suspects"]["B"] if cell.value == "Functional.gelu.2.forward"]
    shown = book["Compare"][name.hyperlink.location.rpartition("!")[2]].value
    assert shown == "Functional.gelu.2.forward.output.0"
    place = [row.npu_name for row in finding.rows].index(shown)
    assert book["Suspects"]["A1"].hyperlink.target == f"book.html#row={place + 1}"


def test_each_stack_stands_once(build: Any, tmp_path: Path) -> None:
    book = opened(build.gelu(size=80, stacks=True), tmp_path / "book.xlsx")
    calls = len({row.npu_name.partition(".forward")[0] for row in build.gelu(size=80).rows})
    ((first, number, stack),) = book["Stacks"].iter_rows(min_row=2, values_only=True)
    assert (first, number) == ("Functional.layer_norm.0.forward", calls)
    assert "model.py" in stack
    assert "Stacks" not in opened(build.gelu(), tmp_path / "plain.xlsx").sheetnames
