"""The columns that judge: each rule of either version where it fires, and where it stays silent."""

from __future__ import annotations

import json

import pytest

from acc_compare.as_msprobe.results import TableRow, judge_call, judge_row
from acc_compare.as_msprobe.tables import columns
from acc_compare.model import Row
from acc_compare.report.columns import Cell
from dump.format.schema import Leaf, TensorRecord

FLOAT = "torch.float32"
TENSOR = TensorRecord(FLOAT, (2, 2), data_name="x.pt")
OUTPUTS_ALONE = "Distributed.all_to_all_single.0.forward"
CALL = "Functional.linear.0.forward"


def _row(
    name: str,
    mode: str,
    *,
    version: str = "26.2.0",
    npu: Leaf = TENSOR,
    bench: Leaf = TENSOR,
    lone: bool = False,
    **told: Cell,
) -> TableRow:
    cells: dict[str, Cell] = dict.fromkeys(columns(version, mode), "N/A")  # type: ignore[arg-type]
    other = "" if lone else name
    cells.update({"NPU Name": name, "Bench Name": other or "N/A"})
    cells.update({"NPU Requires_grad": True, "Bench Requires_grad": "N/A" if lone else True} if mode != "md5" else {})
    cells.update({"NPU Tensor Shape": "[2, 2]", "Bench Tensor Shape": "N/A" if lone else "[2, 2]"})
    cells.update({"NPU Dtype": FLOAT, "Bench Dtype": "N/A" if lone else FLOAT})
    cells.update({key.replace("_", " ") if key not in cells else key: value for key, value in told.items()})
    return TableRow(Row(name, other, npu, None if lone else bench, {}, "pass"), cells)


def _judged(mode: str, *rows: TableRow) -> list[tuple[Cell, list[str]]]:
    judge_call(rows, mode)
    return [(row.cells["Result"], json.loads(str(row.cells["Err_message"]))) for row in rows]


def _call(mode: str, before: dict[str, Cell], after: dict[str, Cell], call: str = CALL) -> list[tuple[Cell, list[str]]]:
    return _judged(mode, _row(f"{call}.input.0", mode, **before), _row(f"{call}.output.0", mode, **after))


SHARE = "NormRelativeErr"
RATIO = "One Thousandth Err Ratio"
OF_CALLS = [
    ("statistics", {SHARE: "8.0%"}, {SHARE: "60.0%"}, "error", "greater than 0.5"),
    ("statistics", {SHARE: "1.0%"}, {SHARE: "11.0%"}, "warning", "10 times"),
    ("statistics", {SHARE: 0}, {SHARE: "11.0%"}, "warning", "10 times"),
    ("statistics", {SHARE: "11.0%"}, {SHARE: "60.0%"}, "pass", ""),
    ("statistics", {SHARE: 0}, {SHARE: "9.0%"}, "pass", ""),
    ("tensor", {RATIO: 0.95}, {RATIO: 0.05}, "error", "output < 0.6"),
    ("tensor", {RATIO: 0.95}, {RATIO: 0.5}, "pass", ""),
    ("tensor", {"Cosine": 0.95}, {"Cosine": 0.8}, "warning", "Cosine > 0.9"),
    ("tensor", {"Cosine": "unsupported"}, {"Cosine": 0.95}, "pass", ""),
]


@pytest.mark.parametrize(("mode", "before", "after", "result", "words"), OF_CALLS, ids=range(len(OF_CALLS)))
def test_outputs_are_held_against_inputs(
    mode: str, before: dict[str, Cell], after: dict[str, Cell], result: str, words: str
) -> None:
    first, last = _call(mode, before, after)
    assert first == ("pass", [])
    assert last[0] == result
    assert [words in said for said in last[1]] == ([True] if words else [])
    for exempt in ("Tensor.numpy.0.forward", OUTPUTS_ALONE):
        assert _call(mode, before, after, exempt)[1] == ("pass", [])


OF_ROWS: list[tuple[dict[str, Cell], str, str]] = [
    ({"NPU max": "nan", "Bench max": 1.0}, "error", "nan/inf/-inf"),
    ({"NPU max": "inf", "Bench min": "-inf"}, "pass", ""),
    ({"NPU Requires_grad": False}, "error", "Required_Grad"),
    ({"NPU Dtype": "torch.bfloat16"}, "error", "dtype"),
    ({"NPU Tensor Shape": "[4]"}, "error", "shape"),
    ({"NPU max": 1.0, "Bench max": 2.0}, "pass", ""),
]


@pytest.mark.parametrize(("cells", "result", "words"), OF_ROWS, ids=range(len(OF_ROWS)))
def test_a_row_is_judged_by_its_own_cells(cells: dict[str, Cell], result: str, words: str) -> None:
    row = _row(f"{CALL}.input.0", "statistics")
    row.cells.update(cells)
    ((found, said),) = _judged("statistics", row)
    assert found == result
    assert [words in each for each in said] == ([True] if words else [])


def test_scalars_that_differ() -> None:
    row = _row(f"{CALL}.input.1", "tensor")
    row.cells.update({"NPU Dtype": "<class 'int'>", "Bench Dtype": "<class 'int'>", "NPU Tensor Shape": "[]"})
    row.cells.update({"Bench Tensor Shape": "[]", "NPU max": 1, "Bench max": 2})
    assert _judged("tensor", row) == [("error", ["error: The scalar parameters of NPU and Bench are inconsistent."])]
    row.cells["Bench max"] = 1
    row.found.clear()
    assert _judged("tensor", row) == [("pass", [])]


def test_what_one_side_has_alone() -> None:
    lone = [_row(f"{CALL}.input.0", mode, lone=True) for mode in ("statistics", "tensor")]
    assert _judged("statistics", lone[0]) == _judged("tensor", lone[1]) == [("pass", [])]
    row = _row(f"{CALL}.input.0", "md5", lone=True)
    row.cells["NPU MD5"] = "12345678"
    assert _judged("md5", row)[0][0] == "warning"


@pytest.mark.parametrize(("bench", "result"), [("12345678", "pass"), ("87654321", "error"), ("", "warning")])
def test_checksums(bench: str, result: str) -> None:
    row = _row(f"{CALL}.input.0", "md5")
    row.cells.update({"NPU MD5": "12345678", "BENCH MD5": bench})
    assert _judged("md5", row)[0][0] == result


EXTENTS: list[tuple[Leaf, Leaf, dict[str, Cell], str, str]] = [
    (TENSOR, TENSOR, {"Cosine": 1.0, "MaxAbsErr": 0.0}, "", "Yes"),
    (TENSOR, TENSOR, {"Cosine": 0.98, "MaxAbsErr": 0.01}, "", "No"),
    (TENSOR, None, {"Cosine": "unsupported", "MaxAbsErr": "unsupported"}, "Bench does not have", "None"),
    (TensorRecord(FLOAT, (), data_name="x"), TENSOR, {"Cosine": "unsupported", "MaxAbsErr": 0.0}, "0-d tensor", "None"),
    (TensorRecord(FLOAT, (0,), data_name="x"), TENSOR, {"Cosine": "unsupported", "MaxAbsErr": 0}, "empty data", "None"),
    (TensorRecord(FLOAT, (1,), data_name="x"), TensorRecord(FLOAT, (1,), data_name="x"), {}, "length 1", "No"),
    (TensorRecord(FLOAT, (4,), data_name="x"), TENSOR, {"Cosine": "shape unmatched"}, "Shape of NPU", "Unmatched"),
    (TensorRecord(FLOAT, (2, 2), nan=1, data_name="x"), TENSOR, {}, "inf or nan", "No"),
    (
        TensorRecord(FLOAT, (), data_name="x"),
        TENSOR,
        {"Cosine": "unsupported", "MaxAbsErr": "Nan", "MaxRelativeErr": "Nan"},
        "the data contains nan",
        "None",
    ),
    (TensorRecord("torch.int8", (2, 2), data_name="x"), TENSOR, {}, "Dtype of NPU", "No"),
]


@pytest.mark.parametrize(("npu", "bench", "cells", "words", "reached"), EXTENTS, ids=range(len(EXTENTS)))
def test_the_older_version_says_why_there_is_no_distance(
    npu: Leaf, bench: Leaf, cells: dict[str, Cell], words: str, reached: str
) -> None:
    row = _row(f"{CALL}.input.0", "tensor", version="8.3.3", npu=npu, bench=bench)
    row.cells.update(cells)
    judge_row(row, "tensor")
    assert row.cells["Accuracy Reached or Not"] == reached
    assert words in str(row.cells["Err_message"])
    assert bool(words) == bool(row.cells["Err_message"])


def test_the_older_version_of_a_call_that_one_side_has_alone() -> None:
    row = _row(f"{CALL}.input.0", "tensor", version="8.3.3", lone=True)
    judge_row(row, "tensor")
    assert row.cells["Err_message"] == "Requires_grad inconsistent. Bench api/module unmatched."
    row = _row(f"{CALL}.input.0", "statistics", version="8.3.3", lone=True)
    judge_row(row, "statistics")
    assert (row.cells["Result"], row.cells["Err_message"]) == (
        "N/A",
        "No bench data matched.Requires_grad inconsistent. ",
    )


@pytest.mark.parametrize(
    ("npu", "result"), [(1.4, ""), (2.1, "Warning"), ("Nan", ""), ("inf", ""), ("-inf", "Warning")]
)
def test_the_older_version_wants_half_of_the_larger(npu: Cell, result: str) -> None:
    row = _row(f"{CALL}.output.0", "statistics", version="8.3.3")
    row.cells.update({"NPU max": npu, "Bench max": 1.0})
    judge_row(row, "statistics")
    assert row.cells["Result"] == result
