"""csv bytes, and going on in a file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dump.format.errors import OutputError
from dump.format.monitor_files import ACTV, GRAD_REDUCED
from dump.monitor.rows import Label, Row
from dump.monitor.writers.base import Layout
from dump.monitor.writers.csv_files import CsvWriter, rounded

OPS = ("norm", "nans", "shape", "dtype")
ROW = Row(Label(GRAD_REDUCED, 0, "fc.weight"), (0.1, 0, "[2, 3]", "torch.float32"))


def test_the_bytes(tmp_path: Path) -> None:
    writer = CsvWriter(Layout(tmp_path, 0, OPS, steps_per_file=2))
    odd = Row(Label(GRAD_REDUCED, 1, 'a "b", c'), (math.nan, 3, "[]", "torch.float16"))
    for step in (2, 3, 4):
        writer.write(step, {GRAD_REDUCED: [ROW, odd]})
    header = "vpp_stage,name,step,norm,nans,shape,dtype\n"
    rows = '0,fc.weight,{0},0.1,0,"[2, 3]",torch.float32\n1,"a ""b"", c",{0},nan,3,[],torch.float16\n'
    assert (tmp_path / "grad_reduced_2-3.csv").read_text() == header + rows.format(2) + rows.format(3)
    assert (tmp_path / "grad_reduced_4-5.csv").read_text() == header + rows.format(4)


def test_micro_steps_and_missing_numbers(tmp_path: Path) -> None:
    row = Row(Label(ACTV, 0, "fc.input", 1), (None, math.inf, "[0]", "torch.float32"))
    CsvWriter(Layout(tmp_path, 0, OPS)).write(7, {ACTV: [row], GRAD_REDUCED: []})
    assert [path.name for path in tmp_path.iterdir()] == ["actv_7-7.csv"]
    assert (tmp_path / "actv_7-7.csv").read_text() == (
        "vpp_stage,name,step,micro_step,norm,nans,shape,dtype\n0,fc.input,7,1,,inf,[0],torch.float32\n"
    )


def test_a_line_without_an_end_is_cut_off_when_a_run_goes_on(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 0, OPS, steps_per_file=10)
    CsvWriter(layout).write(0, {GRAD_REDUCED: [ROW]})
    path = tmp_path / "grad_reduced_0-9.csv"
    whole = path.read_bytes()
    path.write_bytes(whole + b"0,fc.weight,1,0.")
    CsvWriter(layout).write(1, {GRAD_REDUCED: [ROW]})
    assert path.read_text().splitlines()[2] == '0,fc.weight,1,0.1,0,"[2, 3]",torch.float32'
    assert path.read_bytes().startswith(whole)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    CsvWriter(Layout(tmp_path, 0, OPS)).write(0, {GRAD_REDUCED: [ROW]})
    fewer = Row(ROW.label, ROW.values[1:])
    with pytest.raises(OutputError, match="other columns"):
        CsvWriter(Layout(tmp_path, 0, OPS[1:])).write(0, {GRAD_REDUCED: [fewer]})


@pytest.mark.parametrize(
    ("value", "ndigits", "expected"),
    [
        (1234.56789, 2, 1234.57),
        (1.23456789e-9, 3, 1.235e-9),
        (0.123456789, 0, 0.123456789),
        (7, 3, 7),
        (math.inf, 3, math.inf),
        (None, 3, None),
        ("[2, 3]", 3, "[2, 3]"),
    ],
)
def test_digits(value: object, ndigits: int, expected: object) -> None:
    assert rounded(value, ndigits) == expected  # type: ignore[arg-type]
