from __future__ import annotations

from typing import Any

import pytest

from acc_compare.error_patterns.relations import RELATIONS
from acc_compare.messages import say
from acc_compare.model import ErrorPattern, Region, Relation
from acc_compare.report.error_patterns import described
from acc_compare.report.i18n import text

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


def pattern(region: Region | None, relation: Relation | None = None, **fields: Any) -> ErrorPattern:
    kind = relation.name if relation is not None else "region" if region is not None else "none"
    values = {"confidence": "measured", "extents": (32, 64), **fields}
    return ErrorPattern(kind=kind, place=region, relation=relation, **values)


@pytest.mark.parametrize(("name", "axis", "start", "stop", "extent", "words"), REGIONS)
def test_every_region_has_words(name: Any, axis: int, start: int, stop: int, extent: int, words: str) -> None:
    found = described(pattern(Region(name, axis, start, stop, extent, 3)), "x")
    assert text(found) == f"{words} off, the rest agrees to rounding"


@pytest.mark.parametrize("name", sorted(RELATIONS))
def test_every_relation_has_words(name: Any) -> None:
    for value in (0.0, 1.0):
        found = described(pattern(None, Relation(name, value, (0, 1))), "x")
        assert found.key == "looks.relation_alone"
        assert text(found).startswith("x as a whole ")


def test_spread_errors_say_how_many_are_off() -> None:
    assert described(pattern(None, share=0.5), "x") == say("looks.spread", tensor="x", share=0.5)
    assert described(pattern(None, share=0.95), "x") == say("looks.all", tensor="x")
    assert "50 % of the elements of x are off" in text(described(pattern(None, share=0.5), "x"))


def test_one_element_by_itself() -> None:
    one = described(pattern(Region("scattered", -1, 65, 66, 2048, 1)), "x")
    assert text(one) == "one of the 2,048 elements of x is (at [1, 1]) off, the rest agrees to rounding"
    tail = described(pattern(Region("last_tile", 0, 15, 16, 16, 1), extents=(16,)), "x")
    assert text(tail).startswith("the last of the 16 elements of x is off")


def test_what_is_estimated_says_so() -> None:
    factor = ErrorPattern(kind="factor", size=1.001, relation=Relation("factor", 1.001))
    assert described(factor, "x") == say("looks.sketch_factor", factor=1.001)
    rounding = ErrorPattern(kind="rounding", size=2.0**-12, dtype="tf32")
    assert described(rounding, "x") == say("looks.rounding_size", dtype=say("looks.rounding_other"), unit=2.0**-12)
    assert described(None, "x") is None
