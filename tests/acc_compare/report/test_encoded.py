from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acc_compare.report import columns as of_columns
from acc_compare.report.encoded import EncodedTable, encode

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from((0.0, 1.0, 2.0, math.inf, 0.5)),
    st.sampled_from(("", "a", "1", "\ud800")),
)


@given(st.lists(_VALUES))
def test_each_row_has_its_cell_of_its_own_type(values):
    cells, codes = encode(values)
    back = [cells[code] for code in codes.tolist()]
    assert [(type(cell), cell) for cell in back] == [(type(value), value) for value in values]
    assert len(cells) == len({(type(value), value) for value in values})


def test_what_is_no_key_is_what_a_cell_shows_of_it():
    cells, codes = encode([[1, 2], "a", [1, 2]])
    assert (list(cells), codes.tolist()) == (["[1, 2]", "a"], [0, 1, 0])


@pytest.mark.parametrize("mode", ["statistics", "tensor", "md5"])
def test_a_table_has_the_cells_that_its_columns_read(build, mode):
    finding = replace(build.gelu(size=40, stacks=True), mode=mode)
    for column, read in EncodedTable(finding):
        assert [read.cells[code] for code in read.codes.tolist()] == [column.read(row) for row in finding.rows]


def test_what_rows_share_is_read_once_and_each_column_once(build, monkeypatch):
    row = build.row()
    asked = []
    shared = of_columns.Column("Shared", asked.append, "text", 9, "", of="npu")
    monkeypatch.setitem(of_columns.COLUMNS, "statistics", (shared,))
    rows = (row, msgspec.structs.replace(row, result="error"), msgspec.structs.replace(row, stack="b"))
    table = EncodedTable(build.finding(rows=rows))
    for _ in range(2):
        (_, read), *_ = table
        assert read.codes.tolist() == [0, 0, 0]
    assert asked == [row.npu]
