from __future__ import annotations

import csv
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from acc_compare.report.columns import as_cell, frame
from acc_compare.report.encoded import EncodedTable
from acc_compare.report.plain_tables import PART, _number, write_csv, write_parquet, write_whole_table
from dump.format.errors import ConfigError, OutputError

SAMPLES = Path(__file__).resolve().parents[3] / "sample_dumps"


def lines(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_csv_holds_the_frame_with_all_digits(build, tmp_path):
    finding = build.gelu("statistics", 20)
    write_csv(EncodedTable(finding), tmp_path / "a.csv")
    back = pd.read_csv(tmp_path / "a.csv", keep_default_na=False)
    table = frame(finding)
    assert list(back.columns) == list(table.columns)
    for name in ("Est. RelL2", "Excess", "L2norm diff"):
        assert [as_cell(_number(cell)) for cell in back[name]] == list(table[name])


def test_csv_disarms_formulas_and_control_characters(build, tmp_path):
    rows = (build.row("=1+1", err_message="a,\n\x1bb", npu=build.tensor(min=-math.inf, mean=-2.5)),)
    write_csv(EncodedTable(build.finding(rows=rows)), tmp_path / "a.csv")
    (line,) = lines(tmp_path / "a.csv")
    assert line["NPU Name"] == "'=1+1"
    assert line["Err_Message"] == "a,\n␛b"
    assert (line["NPU min"], line["NPU mean"]) == ("-inf", "-2.5")


ODD = ["", "N/A", "nan", "a,b", 'say "x"', "two\nlines", "=1", "-inf", "\u2028", "\x1b[2J", "\ud800", "@", "plain"]


def test_every_text_comes_back_as_the_sheet_has_it(build, tmp_path):
    rows = tuple(build.row(f"Torch.x.{i}.forward", err_message=text) for i, text in enumerate(ODD))
    write_csv(EncodedTable(build.finding(rows=rows)), tmp_path / "a.csv")
    found = [line["Err_Message"] for line in lines(tmp_path / "a.csv")]
    assert found == [
        "",
        "N/A",
        "nan",
        "a,b",
        'say "x"',
        "two\nlines",
        "'=1",
        "-inf",
        "\u2028",
        "␛[2J",
        "\ufffd",
        "'@",
        "plain",
    ]


VALUES = [None, math.nan, math.inf, -math.inf, 0, 0.0, -0.0, 1e-7, 5e-324, 2**63, 2**80, True, "same", 0.1 + 0.2]


@pytest.mark.parametrize("values", [VALUES, VALUES[1:4], [None, None], [1.5, 2], [0.1, 1e300]])
def test_every_number_comes_back_exactly(build, tmp_path, values):
    rows = tuple(build.row(npu=build.tensor(max=value)) for value in values)
    finding = build.finding(rows=rows)
    write_csv(EncodedTable(finding), tmp_path / "a.csv")
    found = [line["NPU max"] for line in lines(tmp_path / "a.csv")]
    for text, value in zip(found, frame(finding)["NPU max"], strict=True):
        assert text == str(value) or (type(value) is float and float(text) == value)


def test_parts_follow_each_other(build, tmp_path):
    rows = tuple(build.row(f"Torch.x.{i}.forward") for i in range(2 * PART + 1))
    write_csv(EncodedTable(build.finding(rows=rows)), tmp_path / "a.csv")
    assert [line["NPU Name"] for line in lines(tmp_path / "a.csv")] == [row.npu_name for row in rows]


def test_a_stack_stands_in_the_first_row_of_its_call(build, tmp_path):
    stack = "File train.py, line 1"
    names = ("Torch.a.0.forward.input.0", "Torch.a.0.forward.output.0", "Torch.a.1.forward.input.0")
    rows = (*(build.row(name, stack=stack) for name in names), build.row("Torch.a.2.forward.input.0", stack=""))
    write_csv(EncodedTable(build.finding(rows=rows)), tmp_path / "a.csv")
    found = [line["NPU_Stack_Info"] for line in lines(tmp_path / "a.csv")]
    assert found == [stack, "N/A", stack, "N/A"]


def test_a_table_without_rows_has_its_header(build, tmp_path):
    finding = build.finding(rows=())
    write_csv(EncodedTable(finding), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == ",".join(frame(finding).columns) + "\n"


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_the_whole_table_is_parquet_where_that_can_be_written(build, tmp_path, monkeypatch, suffix):
    if suffix == "csv":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    elif importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    finding = build.gelu("statistics", 300, stacks=True)
    assert write_whole_table(EncodedTable(finding), tmp_path / "a.xlsx") == tmp_path / f"a.{suffix}"
    (write_csv if suffix == "csv" else write_parquet)(EncodedTable(finding), tmp_path / f"b.{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_csv_is_not_overwritten(build, tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(OutputError):
        write_csv(EncodedTable(build.same()), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_parquet_without_pyarrow_says_what_to_install(build, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        write_parquet(EncodedTable(build.same()), tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet_has_numbers_where_the_sheet_has_words(build, tmp_path):
    import pyarrow.parquet

    rows = (
        build.row(metrics={"MaxRelativeErr": "0.5%", "Est. RelL2": math.nan}),
        build.row(bench=None, bench_name="", result="unmatched"),
    )
    write_parquet(EncodedTable(build.finding(rows=rows)), tmp_path / "a.parquet")
    back = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pydict()
    assert back["MaxRelativeErr"] == [0.5, None]
    assert math.isnan(back["Est. RelL2"][0])
    assert back["Bench Requires_grad"] == [True, None]
    assert back["Bench Name"][1] == "N/A"


def test_parquet_is_written_without_pandas(tmp_path):
    """It takes half a second to import, and 50 MB."""
    pytest.importorskip("pyarrow")
    code = (
        "import sys; from acc_compare import compare;"
        "compare(*sys.argv[1:3]).write(sys.argv[3], formats=('parquet',)); sys.exit('pandas' in sys.modules)"
    )
    sides = [SAMPLES / name for name in ("healthy", "bench_statistics")]
    subprocess.run([sys.executable, "-c", code, *sides, tmp_path], check=True)
    assert list(tmp_path.rglob("*.parquet"))
