"""`acc compare` within this process; tests/end_to_end runs it as users do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest

from acc_compare.cli import Exit, main


def record(
    make: Any, folder: Path, *, off: float = 0.0, mode: str = "statistics", odd: str = "", **header: Any
) -> Path:
    run = make.Run(mode=mode, **header)
    x = make.normal(8, 8)
    run.call("Functional.gelu.0.forward", [x, odd], [y := make.off(x, off)])
    run.call("Functional.relu.0.forward", [y], [np.maximum(y, 0)])
    written: Path = run.write(folder)
    return written


@pytest.mark.parametrize(("off", "code"), [(0.0, Exit.nothing_suspect), (1e-2, Exit.suspect)])
def test_exit_code_and_reports(make: Any, tmp_path: Path, capsys: Any, off: float, code: Exit) -> None:
    npu, bench = record(make, tmp_path / "n", off=off), record(make, tmp_path / "b")
    assert main(["compare", str(npu), str(bench), "-o", str(tmp_path / "out")]) == code
    printed = capsys.readouterr()
    folder = tmp_path / "out" / "accuracy_compare"
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".txt", ".xlsx"]
    assert printed.err == ""
    assert printed.out.startswith("SAME" if code == 0 else "DIFFERENT")
    assert all(str(path) in printed.out for path in folder.iterdir())
    assert json.loads(next(folder.glob("*.json")).read_bytes())["verdict"] == ("same" if code == 0 else "different")


def test_quiet_prints_one_line(make: Any, tmp_path: Path, capsys: Any) -> None:
    npu = record(make, tmp_path / "n")
    assert main(["compare", str(npu), str(npu), "-q", "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "2 calls compared, none differs by more than rounding explains.\n"


def test_floor(make: Any, tmp_path: Path, capsys: Any) -> None:
    npu, bench, again = (record(make, tmp_path / name, off=off) for name, off in (("n", 1e-3), ("b", 0), ("f", 1e-3)))
    arguments = ["compare", str(npu), str(bench), "-q", "-o", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert main([*arguments, "--floor", str(again)]) == 0


@pytest.mark.parametrize(
    ("formats", "suffixes"),
    [("csv", [".csv"]), ("csv, xlsx", [".csv", ".xlsx"]), ("", [])],
)
def test_formats(make: Any, tmp_path: Path, capsys: Any, formats: str, suffixes: list[str]) -> None:
    npu = record(make, tmp_path / "n")
    assert main(["compare", str(npu), str(npu), "--format", formats, "-o", str(tmp_path / "out")]) == 0
    written = {path.suffix for path in (tmp_path / "out" / "accuracy_compare").iterdir()}
    assert written == {".json", ".txt", *suffixes}


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_text_of_a_dump_never_becomes_a_formula(make: Any, tmp_path: Path, capsys: Any, start: str) -> None:
    run = make.Run()
    x = make.normal(4)
    name = f"{start}1+1 call"
    run.call(name, [x, f"{start}2+5"], [x])
    folder = run.write(tmp_path / "n")
    assert main(["compare", str(folder), str(folder), "-q", "-o", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out" / "accuracy_compare").glob("*.xlsx")
    cells = [cell for sheet in openpyxl.load_workbook(file) for line in sheet.iter_rows() for cell in line]
    ours = [cell for cell in cells if isinstance(cell.value, str) and ("1+1 call" in cell.value or "2+5" in cell.value)]
    assert ours
    assert {cell.data_type for cell in ours} == {"s"}
    assert not [cell for cell in cells if cell.data_type == "f"]


def test_names_that_the_terminal_cannot_show(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    npu = record(make, tmp_path / "n-\u00e9")
    assert main(["compare", str(npu), str(npu), "-o", str(tmp_path / "out")]) == 0
    terminal.flush()
    assert b"n-?" in terminal.buffer.getvalue()  # type: ignore[attr-defined]


def test_nothing_in_common_cannot_be_compared(make: Any, tmp_path: Path, capsys: Any) -> None:
    other = make.Run()
    other.call("Torch.tanh.0.forward", [make.normal(4)], [make.normal(4)])
    npu, bench = record(make, tmp_path / "n"), other.write(tmp_path / "b")
    assert main(["compare", str(npu), str(bench), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("acc: error: no call of one side answers to a call of the other")
    assert not (tmp_path / "out").exists()


def test_a_format_is_refused_before_the_work(tmp_path: Path, capsys: Any) -> None:
    # The dumps are not even looked for.
    assert main(["compare", str(tmp_path / "n"), str(tmp_path / "b"), "--format", "xlsx,docx"]) == 2
    assert capsys.readouterr().err == (
        "acc: error: --format: unknown format 'docx'; known formats: xlsx, csv, parquet\n"
    )


@pytest.mark.parametrize(
    "arguments", [["compare"], ["compare", "one"], ["compare", "a", "b", "--nothing"], ["nothing"]]
)
def test_wrong_usage(arguments: list[str], capsys: Any) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("acc: error: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["compare", "-h"]])
def test_help(arguments: list[str], capsys: Any) -> None:
    assert main(arguments) == 0
    assert "Usage" in capsys.readouterr().out
