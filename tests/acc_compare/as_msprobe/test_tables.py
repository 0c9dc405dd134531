"""The tables are those that msprobe 26.2.0 and 8.3.3 themselves wrote of the same dumps, which lie in `written`.

Their stacks are left out.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import openpyxl
import pytest
import torch
from cells import same

from acc_compare.as_msprobe import compare
from acc_compare.as_msprobe.distances import Version
from acc_compare.as_msprobe.functions import write
from acc_compare.as_msprobe.tables import VERSIONS, columns

WRITTEN = Path(__file__).parent / "written"
PAIRS: list[tuple[Version, str]] = [(version, mode) for version in VERSIONS for mode in ("statistics", "md5")]
Table = list[list[str]]


def _theirs(version: str, mode: str) -> Table:
    with (WRITTEN / f"{version}_{mode}" / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _ours(version: Version, mode: str, out: Path) -> Table:
    return _written(WRITTEN / f"{version}_{mode}", version, out)


def _written(pair: Path, version: Version, out: Path) -> Table:
    write(pair / "npu", pair / "bench", out, version=version, as_xlsx=False, with_stacks=False)
    (path,) = out.glob("compare_result*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(("version", "mode"), PAIRS)
def test_columns_and_rows_are_msprobes(version: Version, mode: str, tmp_path: Path) -> None:
    _assert_same(_ours(version, mode, tmp_path), _theirs(version, mode))


@pytest.mark.parametrize("version", VERSIONS)
def test_nan_and_infinities_are_shown_and_judged_as_msprobe_does(version: Version, tmp_path: Path) -> None:
    """Statistics of all pairs of NaN, infinities and numbers; 8.3.3 writes a workbook, without a space before any."""
    with (WRITTEN / "nonfinite" / f"{version}.csv").open(encoding="utf-8", newline="") as file:
        theirs = list(csv.reader(file))
    ours = _written(WRITTEN / "nonfinite", version, tmp_path)
    assert any(" inf" in row for row in ours) == (version == "26.2.0")
    _assert_same(ours, theirs)


def _assert_same(ours: Table, theirs: Table) -> None:
    assert ours[0] == theirs[0]
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    differ = [
        (row[0], name, cell, other)
        for row, others in zip(ours[1:], theirs[1:], strict=True)
        for name, cell, other in zip(ours[0], row, others, strict=True)
        if not same(cell, other)
    ]
    assert differ == []


def _saved(path: Path, scale: float) -> Path:
    """A debug.json with a tensor, its gradient, a nested value and a number."""
    largest = {"Max": 2.0 * scale, "Min": scale, "Mean": 1.5 * scale, "Norm": 2.2 * scale}
    record = {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2], **largest, "requires_grad": True}
    data = {
        "y.0.debug": record,
        "many.x.0.debug": [record, {"k": {"type": "int", "value": 3}, "t": record}],
        "s.0.debug": {"type": "float", "value": 3.5},
        "y.1.debug": record,
        "y_grad.0.debug": record,
    }
    path.parent.mkdir()
    path.write_text(json.dumps({"task": "statistics", "level": "debug", "dump_data_dir": None, "data": data}))
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_saved_values_have_the_names_of_debug_json_and_no_stacks(version: Version, tmp_path: Path) -> None:
    pair = [_saved(tmp_path / side / "debug.json", scale) for side, scale in (("npu", 2.0), ("bench", 3.0))]
    write(pair[0], pair[1], tmp_path / "out", version=version, as_xlsx=False)
    (path,) = (tmp_path / "out").glob("debug_compare_result_*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    names = [*("y.0.debug", "many.x.0.debug.0", "many.x.0.debug.1.k", "many.x.0.debug.1.t"), "s.0.debug"]
    assert [row[0] for row in rows] == [row[1] for row in rows] == [*names, "y.1.debug", "y_grad.0.debug"]
    assert {row[head.index("NPU_Stack_Info")] for row in rows} == {"N/A"}
    results = {row[head.index("Result")] for row in rows}
    assert results == ({"pass"} if version == "26.2.0" else {""})


def test_a_stack_is_a_list_of_frames_at_the_first_row_of_a_forward_call(tmp_path: Path) -> None:
    pair = tmp_path / "pair"
    shutil.copytree(WRITTEN / "26.2.0_statistics", pair)
    frames = ["File a.py, line 1, in f, \n code(x)", "File b.py, line 2, in g, \n f(x)"]
    calls = ["Functional.conv2d.0.forward", "Functional.conv2d.0.backward"]
    (pair / "npu" / "step0" / "rank0" / "stack.json").write_text(json.dumps({"0": [calls, frames]}))
    write(pair / "npu", pair / "bench", tmp_path / "out", version="26.2.0", as_xlsx=False)
    (path,) = (tmp_path / "out").glob("*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        told = {row["NPU Name"]: row["NPU_Stack_Info"] for row in csv.DictReader(file)}
    assert {name: stack for name, stack in told.items() if stack != "N/A"} == {
        "Functional.conv2d.0.forward.input.0": str(frames)
    }


def test_the_columns_of_each_version() -> None:
    assert columns("26.2.0", "tensor")[-5:] == (
        "Requires_grad Consistent",
        "Result",
        "Err_message",
        "NPU_Stack_Info",
        "Data_name",
    )
    assert columns("8.3.3", "tensor")[-5:-1] == (
        "Requires_grad Consistent",
        "Accuracy Reached or Not",
        "Err_message",
        "NPU_Stack_Info",
    )
    assert "Err_message" not in columns("8.3.3", "md5")


def test_the_function_writes_the_older_workbook_and_an_advisor(tmp_path: Path) -> None:
    pair = WRITTEN / "8.3.3_statistics"
    paths = {side: str(pair / folder / "step0" / "rank0" / "dump.json") for side, folder in SIDES.items()}
    compare({**paths, "stack_path": "unused", "is_print_compare_log": True}, str(tmp_path), stack_mode=True)
    (book,) = tmp_path.glob("compare_result_*.xlsx")
    first = next(iter(openpyxl.load_workbook(book).active.iter_rows(values_only=True)))
    assert first == columns("8.3.3", "statistics")
    assert len(list(tmp_path.glob("advisor_*.txt"))) == 1


SIDES = {"npu_path": "npu", "bench_path": "bench"}


def _recorded(folder: Path, tensor: torch.Tensor) -> Path:
    """A dump of one call with its tensor."""
    (folder / "dump_tensor_data").mkdir(parents=True)
    torch.save(tensor, folder / "dump_tensor_data" / "x.pt")
    numbers = {"Max": float(tensor.max()), "Min": float(tensor.min()), "Mean": float(tensor.mean()), "Norm": 1.0}
    leaf = {"type": "torch.Tensor", "dtype": "torch.float32", "shape": list(tensor.shape), **numbers}
    output = {**leaf, "requires_grad": False, "data_name": "x.pt"}
    data = {"Functional.relu.0.forward": {"input_args": [], "input_kwargs": {}, "output": [output]}}
    header = {"task": "tensor", "level": "L1", "framework": "pytorch", "dump_data_dir": str(folder), "data": data}
    (folder / "dump.json").write_text(json.dumps(header))
    return folder


@pytest.mark.parametrize(("version", "largest"), [("8.3.3", 2.0**52), ("26.2.0", 2.0**23)])
def test_relative_errors_against_zeros_are_each_versions_own(version: Version, largest: float, tmp_path: Path) -> None:
    npu = _recorded(tmp_path / "npu", torch.tensor([1.0, 2.0]))
    bench = _recorded(tmp_path / "bench", torch.tensor([0.0, 2.0]))
    write(npu, bench, tmp_path / "out", version=version, as_xlsx=False, with_stacks=False)
    (path,) = (tmp_path / "out").glob("compare_result*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["MaxRelativeErr"]) == largest
    assert float(row["One Thousandth Err Ratio"]) == 0.5
