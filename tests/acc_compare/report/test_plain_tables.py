from __future__ import annotations

import csv
import importlib.util
import math
import sys

import pandas as pd
import pytest

from acc_compare.report.columns import frame
from acc_compare.report.plain_tables import write_csv, write_parquet
from dump.format.errors import ConfigError, OutputError


def lines(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_csv_holds_the_frame_with_all_digits(build, tmp_path):
    finding = build.gelu("statistics", 20)
    write_csv(finding, tmp_path / "a.csv")
    back = pd.read_csv(tmp_path / "a.csv", keep_default_na=False)
    table = frame(finding)
    assert list(back.columns) == list(table.columns)
    assert [str(cell) for cell in back["Est. RelL2"]] == [str(cell) for cell in table["Est. RelL2"]]


def test_csv_disarms_formulas_and_control_characters(build, tmp_path):
    rows = (build.row("=1+1", err_message="a,\n\x1bb", npu=build.tensor(min=-math.inf, mean=-2.5)),)
    write_csv(build.finding(rows=rows), tmp_path / "a.csv")
    (line,) = lines(tmp_path / "a.csv")
    assert line["NPU Name"] == "'=1+1"
    assert line["Err_Message"] == "a,\n␛b"
    assert (line["NPU min"], line["NPU mean"]) == ("-inf", "-2.5")


def test_csv_is_not_overwritten(build, tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(OutputError):
        write_csv(build.same(), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_parquet_without_pyarrow_says_what_to_install(build, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        write_parquet(build.same(), tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet_has_numbers_where_the_sheet_has_words(build, tmp_path):
    import pyarrow.parquet

    rows = (
        build.row(metrics={"MaxRelativeErr": "0.5%", "Est. RelL2": math.nan}),
        build.row(bench=None, bench_name="", result="unmatched"),
    )
    write_parquet(build.finding(rows=rows), tmp_path / "a.parquet")
    back = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pydict()
    assert back["MaxRelativeErr"] == [0.5, None]
    assert math.isnan(back["Est. RelL2"][0])
    assert back["Bench Requires_grad"] == [True, None]
    assert back["Bench Name"][1] == "N/A"
