from __future__ import annotations

import math
import random

import pytest

from acc_compare.report.columns import as_cell
from acc_compare.report.html.packing import pack, unpack


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [None],
        ["a", "b", "a", None, "b"],
        [0.1, 0.1, None, 3.0, -2.5e-300, 5e-324],
        [True, False, True, None],
        [1, 2.5, "N/A", None, 1],
        ["\u4e2d\u6587", "<script>", "\ud800", "a\x00b"],
    ],
)
def test_cells_come_back(cells: list[object]) -> None:
    assert unpack(pack(cells)) == cells


def test_true_and_one_are_several_cells() -> None:
    back = unpack(pack([True, 1, False, 0, 1.0]))
    assert [type(cell) for cell in back] == [bool, int, bool, int, float]
    assert back == [1, 1, 0, 0, 1]


def test_what_json_has_no_number_for_is_text_as_in_every_table() -> None:
    values = [math.nan, math.inf, -math.inf, 1.5, math.nan]
    assert unpack(pack(values)) == [as_cell(value) for value in values]


def test_anything_else_is_what_a_cell_shows_of_it() -> None:
    values: list[object] = [[1, 2], {"a": 1}, (3,), 2.0, [1, 2]]
    assert unpack(pack(values)) == ["[1, 2]", "{'a': 1}", "(3,)", 2.0, "[1, 2]"]


@pytest.mark.parametrize("distinct", [1, 3, 300, 70_000])
def test_codes_of_every_width_come_back(distinct: int) -> None:
    chance = random.Random(distinct)
    values = [float(chance.randrange(distinct)) for _ in range(80_000)]
    assert unpack(pack(values)) == values


def test_rows_that_repeat_cost_next_to_nothing() -> None:
    chance = random.Random(1)
    numbers = [chance.random() for _ in range(2000)]
    once = len(pack(numbers))
    twice = len(pack([number for number in numbers for _ in range(4)]))
    assert twice < 1.05 * once
