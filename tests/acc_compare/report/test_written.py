from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from acc_compare.report import written
from acc_compare.report.html.packing import unpack
from acc_compare.report.html.table import PackedTable, pack_rows
from acc_compare.report.write import write_many_reports, write_reports
from acc_compare.report.written import read_result, write_pages
from dump.format.errors import ResultError

STAMP = "20260102030405"


def cells(table: PackedTable) -> dict[str, list[object]]:
    """The cells of every column, names in one piece; stacks once for each call, as a csv has them."""
    return {
        f"{column.name} {part}": unpack(block)
        for column in table.columns
        if column.name != "NPU_Stack_Info"
        for part, block in enumerate(column.blocks)
    }


@pytest.mark.parametrize("format_", ["csv", "parquet", "xlsx"])
@pytest.mark.parametrize("mode", ["tensor", "statistics", "md5"])
def test_the_page_of_a_table_has_the_cells_of_the_rows(build: Any, tmp_path: Path, format_: str, mode: str) -> None:
    finding = build.gelu(mode, size=60, stacks=True)
    write_reports(finding, tmp_path, timestamp=STAMP, formats=(format_,))
    found = read_result(tmp_path)
    assert found.overall == dataclasses.replace(finding, rows=())
    table = written._table(found.tables[""], finding)
    made = pack_rows(finding, "en", table.places)
    assert (table.rows, table.places, table.results) == (made.rows, made.places, made.results)
    ours, theirs = cells(table), cells(made)
    assert ours.keys() == theirs.keys()
    for name, column in ours.items():
        if format_ == "parquet":  # its columns of numbers have no flags
            pairs = zip(column, theirs[name], strict=True)
            assert [a for a, b in pairs if type(b) is not bool] == [b for b in theirs[name] if type(b) is not bool], (
                name
            )
        else:
            assert column == theirs[name], name


def test_text_that_a_spreadsheet_would_compute_comes_back_as_it_was(build: Any, tmp_path: Path) -> None:
    rows = (build.row("=1+1.forward.output.0"), build.row("'quoted.forward.output.0"))
    write_reports(build.gelu(rows=rows), tmp_path, timestamp=STAMP, formats=("csv",))
    table = written._table(read_result(tmp_path).tables[""], build.gelu())
    assert unpack(table.columns[0].blocks[0]) == ["=1+1.forward", "'quoted.forward"]


def test_the_fullest_table_is_taken(build: Any, tmp_path: Path) -> None:
    write_reports(build.gelu(), tmp_path, timestamp=STAMP, formats=("xlsx", "csv"))
    assert read_result(tmp_path).tables[""].suffix == ".csv"


def test_the_newest_result_of_a_folder_is_taken(build: Any, tmp_path: Path) -> None:
    write_reports(build.same(), tmp_path, timestamp=STAMP, formats=())
    write_reports(build.gelu(), tmp_path, timestamp=STAMP, formats=())
    assert read_result(tmp_path).overall.verdict == "different"
    assert read_result(tmp_path / "accuracy_compare" / f"advisor_{STAMP}.json").overall.verdict == "same"
    assert read_result(tmp_path / "accuracy_compare").stamp == f"{STAMP}_1"


def test_pages_of_several_ranks(build: Any, tmp_path: Path) -> None:
    parts = [dataclasses.replace(build.gelu(), rank=rank) for rank in (0, 1)]
    overall = dataclasses.replace(build.gelu(), rows=(), step=None, rank=None)
    write_many_reports(parts, overall, tmp_path, timestamp=STAMP, formats=("csv",))
    paths = write_pages(tmp_path, tmp_path / "pages", lang="zh")
    assert [path.name for path in paths] == [
        f"overview_{STAMP}.html",
        f"compare_result_step0_rank0_{STAMP}.html",
        f"compare_result_step0_rank1_{STAMP}.html",
    ]
    assert f'href="compare_result_step0_rank1_{STAMP}.html"' in paths[0].read_text(encoding="utf-8")


def _spoiled(document: dict[str, Any]) -> dict[str, Any]:
    document["record"]["finding"]["summary"]["key"] = "no.such.key"
    return document


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"{}",
        b'{"record": {"finding": {}}}',
        b"\xff\xfe",
        b"[" * 100_000,
        lambda document: json.dumps(_spoiled(document)).encode(),
    ],
)
def test_a_foreign_advisor_is_one_clear_line(build: Any, tmp_path: Path, content: Any) -> None:
    paths = write_reports(build.gelu(), tmp_path, timestamp=STAMP, formats=("csv",))
    document = json.loads(paths.advisor_json.read_bytes())
    paths.advisor_json.write_bytes(content if isinstance(content, bytes) else content(document))
    with pytest.raises(ResultError) as caught:
        write_pages(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b'NPU Name,Bench Name,Result\n"x', b"NPU Name,Bench Name,Result\nx\n", b"\xff"]
)
def test_a_foreign_table_is_one_clear_line(build: Any, tmp_path: Path, content: bytes) -> None:
    paths = write_reports(build.gelu(), tmp_path, timestamp=STAMP, formats=("csv",))
    paths.tables[0].write_bytes(content)
    with pytest.raises(ResultError):
        write_pages(tmp_path)


def test_no_result_is_one_clear_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path(__file__)):
        with pytest.raises(ResultError):
            read_result(path)


def test_a_page_that_is_there_is_kept(build: Any, tmp_path: Path) -> None:
    write_reports(build.gelu(), tmp_path, timestamp=STAMP, formats=("csv", "html"))
    (again,) = write_pages(tmp_path, lang="zh")
    assert again.name == f"compare_result_{STAMP}_1.html"
    assert 'lang="en"' in again.with_name(f"compare_result_{STAMP}.html").read_text(encoding="utf-8")
    assert 'lang="zh-Hans"' in again.read_text(encoding="utf-8")
