"""`merge_result`: the tables of several ranks as one."""

from __future__ import annotations

import shutil
from pathlib import Path

import openpyxl
import pytest

from acc_compare.as_msprobe.command import main
from acc_compare.as_msprobe.functions import write

PAIR = Path(__file__).parent / "written" / "26.2.0_statistics"
ASKED = "api:\n- Functional.conv2d\n- Functional.no_such\ncompare_index:\n- Max diff\n- MinRelativeErr\n"


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    """A folder with the tables of two ranks."""
    write(PAIR / "npu", PAIR / "bench", tmp_path / "tables", version="26.2.0", as_xlsx=True)
    (table,) = (tmp_path / "tables").glob("*.xlsx")
    shutil.copy(table, table.with_name("compare_result_rank10_20260101000000.xlsx"))
    table.rename(table.with_name("compare_result_rank2_20260101000000.xlsx"))
    (tmp_path / "tables" / "advisor.txt").write_text("not a table")
    return tmp_path / "tables"


def _merge(folder: Path, asked: str, tmp_path: Path) -> int:
    config = tmp_path / "config.yaml"
    config.write_text(asked)
    return main(["merge_result", "-i", str(folder), "-o", str(tmp_path / "out"), "-config", str(config)])


def test_a_sheet_for_each_distance_and_a_column_for_each_rank(ranks: Path, tmp_path: Path) -> None:
    assert _merge(ranks, ASKED, tmp_path) == 0
    (path,) = (tmp_path / "out").glob("multi_ranks_compare_merge_*.xlsx")
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Max diff", "MinRelativeErr"]
    head, *rows = book["Max diff"].iter_rows(values_only=True)
    assert head == ("NPU Name", "rank2", "rank10")
    names = [str(row[0]) for row in rows]
    assert names == sorted(names)
    assert names
    assert all(name.startswith("Functional.conv2d.") for name in names)
    assert all(row[1] == row[2] for row in rows)
    absent = [row[1] for row in rows if "input.6" in str(row[0])]
    assert all(str(value).startswith("NPU:") or value == 0 for value in absent)


def test_all_distances_where_none_is_named(ranks: Path, tmp_path: Path) -> None:
    assert _merge(ranks, "api: [Functional.conv2d]\n", tmp_path) == 0
    (path,) = (tmp_path / "out").glob("*.xlsx")
    sheets = openpyxl.load_workbook(path).sheetnames
    assert sheets == [
        *("Max diff", "Min diff", "Mean diff", "L2norm diff"),
        *("MaxRelativeErr", "MinRelativeErr", "MeanRelativeErr", "NormRelativeErr"),
        "Requires_grad Consistent",
    ]


WRONG = [
    ("", "'api'"),
    ("api: []\n", "'api'"),
    ("api: text\n", "'api'"),
    ("api: [Functional.conv2d]\ncompare_index: [Cosine]\n", "'Cosine'"),
    ("api: [Functional.no_such]\n", "no_such"),
    ("api: [&a x, *a]\n", "anchors"),
    ("api: [\n", "YAML"),
]


@pytest.mark.parametrize(("asked", "words"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_merged_is_one_line(
    ranks: Path, asked: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _merge(ranks, asked, tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "out").exists()


def test_tables_that_are_none(ranks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _merge(tmp_path / "nowhere", ASKED, tmp_path) == 2
    (ranks / "compare_result_rank3_20260101000000.xlsx").write_bytes(b"PK no workbook")
    assert _merge(ranks, ASKED, tmp_path) == 2
    for path in sorted(ranks.glob("*rank*"))[1:]:
        path.unlink()
    assert _merge(ranks, ASKED, tmp_path) == 2
    lines = capsys.readouterr().err.splitlines()
    assert ["nowhere" in lines[0], "rank3" in lines[1], "two ranks" in lines[2]] == [True] * 3
