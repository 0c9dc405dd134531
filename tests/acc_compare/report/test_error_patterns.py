from __future__ import annotations

from typing import Any

import pytest

from acc_compare.error_patterns.describe import ErrorShape
from acc_compare.error_patterns.regions import Region
from acc_compare.error_patterns.relations import RELATIONS, Relation
from acc_compare.report.error_patterns import told

REGIONS = [
    ("last_tile", 1, 56, 64, 64, "the last 8 of the 64 columns of x are"),
    ("last_tile", 1, 63, 64, 64, "the last of the 64 columns of x is"),
    ("flat_tail", -1, 1999, 2048, 2048, "the last 49 of the 2,048 elements of x are"),
    ("rows_after", 0, 20, 32, 32, "x from index 20 on along dimension 0 (of 32) is"),
    ("channel", 1, 3, 4, 64, "channel (or head) 3 of 64 of x, along dimension 1, is"),
    ("column", 1, 3, 4, 64, "one of the 64 columns of x, index 3, is"),
    ("row", 0, 3, 4, 32, "one of the 32 rows of x, index 3 along dimension 0, is"),
    (
        "head",
        1,
        16,
        32,
        64,
        "one block of 16 of the 64 columns of x (indices 16 to 31: one head of 4) is",
    ),
    ("scattered", -1, 65, 300, 2048, "3 of the 2,048 elements of x are (the first at [1, 1])"),
]


@pytest.mark.parametrize(("name", "axis", "start", "stop", "extent", "text"), REGIONS)
def test_every_region_has_words(name: Any, axis: int, start: int, stop: int, extent: int, text: str) -> None:
    shape = ErrorShape(Region(name, axis, start, stop, extent, 3), None, 3, 2048)
    assert told(shape, "x", (32, 64)) == f"{text} off, the rest agrees to rounding"


@pytest.mark.parametrize("name", sorted(RELATIONS))
def test_every_relation_has_words(name: Any) -> None:
    for value in (0.0, 1.0):
        text = told(ErrorShape(None, Relation(name, value, (0, 1)), 9, 9), "x", (32, 64))
        assert text.startswith("x as a whole ")


def test_spread_errors_say_how_many_are_off() -> None:
    assert "50 % of the elements of x are off" in told(ErrorShape(None, None, 8, 16), "x", (4, 4))


def test_one_element_by_itself() -> None:
    one = ErrorShape(Region("scattered", -1, 65, 66, 2048, 1), None, 1, 2048)
    assert told(one, "x", (32, 64)) == "one of the 2,048 elements of x is (at [1, 1]) off, the rest agrees to rounding"
    tail = ErrorShape(Region("last_tile", 0, 15, 16, 16, 1), None, 1, 16)
    assert told(tail, "x", (16,)).startswith("the last of the 16 elements of x is off")
