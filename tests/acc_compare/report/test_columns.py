from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from acc_compare.metrics.distance import REAL_DATA, TensorDistance
from acc_compare.model import ComparedShare, Finding
from acc_compare.report.columns import COLUMNS, as_cell, cells, columns_of, frame
from dump.format.errors import ConfigError
from dump.format.schema import ScalarRecord

COMMON = [
    "NPU Name",
    "Bench Name",
    "NPU Dtype",
    "Bench Dtype",
    "NPU Tensor Shape",
    "Bench Tensor Shape",
    "NPU Requires_grad",
    "Bench Requires_grad",
]
VALUES = [f"{side} {name}" for side in ("NPU", "Bench") for name in ("max", "min", "mean", "l2norm")]
DIFFS = [f"{name} diff" for name in ("Max", "Min", "Mean", "L2norm")]
RELATIVE = [f"{name}RelativeErr" for name in ("Max", "Min", "Mean", "Norm")]
REAL = [
    "Cosine",
    "EucDist",
    "MaxAbsErr",
    "MaxRelativeErr",
    "One Thousandth Err Ratio",
    "Five Thousandths Err Ratio",
]
CONSISTENT = "Requires_grad Consistent"
LOCALISED = ["Expected", "Expected From", "Excess", "Origin"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (
            "tensor",
            [
                *COMMON,
                *REAL,
                *VALUES,
                CONSISTENT,
                "Result",
                "Accuracy Reached or Not",
                "Err_Message",
                "Data_Name",
                "RelL2",
                "MaxAbsErr Index",
                "MaxRelativeErr Index",
                *LOCALISED,
            ],
        ),
        (
            "statistics",
            [
                *COMMON,
                *DIFFS,
                *RELATIVE,
                *VALUES,
                CONSISTENT,
                "Result",
                "Err_Message",
                "Est. Cosine",
                "Est. RelL2",
                *LOCALISED,
            ],
        ),
        ("md5", [*COMMON, "NPU MD5", "BENCH MD5", CONSISTENT, "Result", "Err_Message", *LOCALISED]),
    ],
)
def test_frame_has_the_columns_users_know_in_their_order(build, mode, expected):
    assert list(frame(build.gelu(mode, 6)).columns) == expected


@pytest.mark.parametrize("mode", sorted(COLUMNS))
def test_stack_column_only_where_a_row_has_a_stack(build, mode):
    bare = build.finding(mode, rows=(build.row(),))
    stacked = build.finding(mode, rows=(build.row(), build.row(stack="File a.py, line 1")))
    assert "NPU_Stack_Info" not in frame(bare).columns
    names = list(frame(stacked).columns)
    assert names[names.index("Err_Message") + 1] == "NPU_Stack_Info"
    assert list(frame(stacked)["NPU_Stack_Info"]) == ["N/A", "File a.py, line 1"]


@pytest.mark.parametrize("mode", sorted(COLUMNS))
def test_names_are_unique_and_explained(mode):
    columns = COLUMNS[mode]
    assert len({column.name for column in columns}) == len(columns)
    assert all(column.explanation.endswith(".") and "{" not in column.explanation for column in columns)


def test_unmatched_row_is_absent_on_the_missing_side(build):
    lone = build.row(bench_name="", bench=None, result="unmatched", reached="Unmatched")
    line = frame(build.finding("tensor", rows=(lone,))).iloc[0]
    assert line["NPU Tensor Shape"] == "[4, 128, 256]"
    assert line["NPU max"] == 3.1250331
    for name in ("Bench Name", "Bench Dtype", "Bench Tensor Shape", "Bench Requires_grad", "Bench max"):
        assert line[name] == "N/A", name
    assert line[CONSISTENT] == "N/A"
    assert line["Accuracy Reached or Not"] == "Unmatched"


def test_requires_grad_is_compared_where_both_sides_know_it(build):
    rows = [build.row(bench=build.tensor(requires_grad=flag)) for flag in (True, False, None)]
    assert list(frame(build.finding(rows=tuple(rows)))[CONSISTENT]) == [True, False, "N/A"]


def test_an_argument_that_is_no_tensor_shows_its_type_and_value(build):
    line = frame(build.finding(rows=(build.row(npu=ScalarRecord("int", 3), bench=ScalarRecord("str", "same")),))).iloc[
        0
    ]
    assert (line["NPU Dtype"], line["NPU Tensor Shape"], line["NPU max"]) == ("int", "N/A", 3)
    assert (line["Bench Dtype"], line["Bench l2norm"]) == ("str", "same")


def test_no_cell_is_missing(any_finding):
    table = frame(any_finding)
    assert not table.isna().any().any()
    assert len(table) == len(any_finding.rows)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "N/A"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (np.float32("inf"), "inf"),
        (np.float64(0.5), 0.5),
        (np.int64(7), 7),
        (True, True),
        (np.bool_(True), True),
        ("0.5%", "0.5%"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_as_cell(value, cell):
    shown = as_cell(value)
    assert shown == cell
    assert type(shown) is type(cell)


def test_cells_follow_the_columns(build):
    finding = build.finding("md5", rows=(build.row(npu=build.tensor(md5="ab"), bench=build.tensor(md5="cd")),))
    columns = columns_of(finding)
    line = dict(zip([column.name for column in columns], next(cells(finding.rows, columns)), strict=True))
    assert (line["NPU MD5"], line["BENCH MD5"]) == ("ab", "cd")


def test_unknown_mode_is_named(build):
    with pytest.raises(ConfigError, match=r"'half'.*tensor, statistics, md5"):
        columns_of(build.finding("half"))


def test_a_registered_metric_has_a_column_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REAL_DATA, "_measures", dict(REAL_DATA._measures))

    @REAL_DATA.register("Finite")
    def finite(distance: TensorDistance) -> int:
        """How many elements are
        finite on both sides."""
        return distance.finite

    found = Finding("same", "", (), ComparedShare(0, 0, 0, 0), mode="tensor")
    (column,) = [column for column in columns_of(found) if column.name == "Finite"]
    assert column.explanation == "How many elements are finite on both sides."
    assert not [column for column in columns_of(replace(found, mode="md5")) if column.name == "Finite"]
