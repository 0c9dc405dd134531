from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from acc_compare.report.write import (
    TableFormat,
    known_formats,
    register_format,
    stem_of,
    write_many_reports,
    write_reports,
)
from dump.format.errors import ConfigError, OutputError

STAMP = "20250102030405"


def names(folder):
    return sorted(path.name for path in (folder / "accuracy_compare").iterdir())


def test_one_finding(build, tmp_path):
    paths = write_reports(build.same(), tmp_path, timestamp=STAMP)
    assert names(tmp_path) == [
        f"advisor_{STAMP}.json",
        f"advisor_{STAMP}.txt",
        f"compare_result_{STAMP}.html",
        f"compare_result_{STAMP}.xlsx",
    ]
    assert paths.advisor_text.read_text().startswith("SAME: ")
    assert json.loads(paths.advisor_json.read_bytes())["verdict"] == "same"
    assert [path.name for path in paths.tables] == [f"compare_result_{STAMP}.xlsx", f"compare_result_{STAMP}.html"]


def test_all_files_of_a_run_get_the_same_number(build, tmp_path):
    for _ in range(2):
        write_reports(build.same(), tmp_path, timestamp=STAMP, formats=("csv",))
    (tmp_path / "accuracy_compare" / f"advisor_{STAMP}_2.txt").write_text("mine")
    paths = write_reports(build.same(), tmp_path, timestamp=STAMP, formats=("csv",))
    assert [path.name for path in paths.tables] == [f"compare_result_{STAMP}_3.csv"]
    assert paths.advisor_json.name == f"advisor_{STAMP}_3.json"
    assert f"compare_result_{STAMP}_1.csv" in names(tmp_path)


def test_formats_are_written_once_each_in_their_order(build, tmp_path):
    paths = write_reports(build.same(), tmp_path, timestamp=STAMP, formats=("csv", "xlsx", "csv"), stem="step0")
    assert [path.name for path in paths.tables] == [
        f"compare_result_step0_{STAMP}.xlsx",
        f"compare_result_step0_{STAMP}.csv",
    ]
    assert paths.advisor_text.name == f"advisor_step0_{STAMP}.txt"


def test_a_csv_asked_for_beside_a_workbook_that_overflows(build, tmp_path, monkeypatch):
    from acc_compare.report import workbook

    monkeypatch.setattr(workbook.write_workbook, "__kwdefaults__", {"limit": 5})
    paths = write_reports(build.gelu(size=12), tmp_path, timestamp=STAMP, formats=("xlsx", "csv"))
    assert [path.suffix for path in paths.tables] == [".xlsx", ".csv"]
    assert f"compare_result_{STAMP}.parquet" not in names(tmp_path)
    assert len(paths.tables[1].read_text().splitlines()) == 13


@pytest.mark.parametrize("formats", [("docx",), ("xlsx", "docx")])
def test_unknown_format_is_named_before_anything_is_written(build, tmp_path, formats):
    with pytest.raises(ConfigError, match="'docx'; known formats: xlsx, csv, parquet, html"):
        write_reports(build.same(), tmp_path, timestamp=STAMP, formats=formats)
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_fails_before_anything_is_written(build, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="pyarrow"):
        write_reports(build.same(), tmp_path, timestamp=STAMP, formats=("xlsx", "parquet"))
    assert list(tmp_path.iterdir()) == []


def test_a_format_is_registered_once():
    with pytest.raises(ValueError, match="'xlsx' is registered already"):
        register_format("xlsx", TableFormat(".xlsx", lambda finding, path, choice: (path,)))
    assert known_formats() == ("xlsx", "csv", "parquet", "html")


def test_several_ranks_share_one_advisor(build, tmp_path):
    parts = [dataclasses.replace(build.same(), rank=rank) for rank in (0, 1)]
    paths = write_many_reports(parts, build.gelu(), tmp_path, timestamp=STAMP, formats=("csv",))
    assert [path.name for path in paths.tables] == [
        f"compare_result_step0_rank0_{STAMP}.csv",
        f"compare_result_step0_rank1_{STAMP}.csv",
    ]
    assert paths.advisor_text.name == f"advisor_{STAMP}.txt"
    assert paths.advisor_text.read_text().startswith("DIFFERENT: ")


def test_two_findings_of_one_rank_are_refused(build, tmp_path):
    with pytest.raises(ValueError, match="one step and rank"):
        write_many_reports([build.same(), build.same()], build.same(), tmp_path, timestamp=STAMP)


@pytest.mark.parametrize(("step", "rank", "stem"), [(0, 1, "step0_rank1"), (None, 2, "rank2"), (None, None, "")])
def test_stem(build, step, rank, stem):
    assert stem_of(build.finding(step=step, rank=rank)) == stem


def test_a_place_that_cannot_be_is_an_output_error(build, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_reports(build.same(), tmp_path / "file", timestamp=STAMP)
