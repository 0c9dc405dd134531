from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.error_patterns.footprint import footprint
from acc_compare.error_patterns.regions import REGIONS, Region, _detector, region_of


def region(shape: tuple[int, ...], *where: Any) -> Region | None:
    """The region of a tensor that is wrong at these indices."""
    npu = np.ones(shape)
    for index in where:
        npu[index] = 2.0
    return region_of(footprint(npu, np.ones(shape), noise=1e-9))


ALL = slice(None)
CASES = [
    # name, axis, start, stop: what must be found
    ((32, 64), [(ALL, slice(56, None))], ("last_tile", 1, 56, 64)),
    ((32, 64), [(ALL, -1)], ("last_tile", 1, 63, 64)),
    ((100,), [slice(96, None)], ("last_tile", 0, 96, 100)),
    ((4, 32, 64), [(ALL, slice(20, None))], ("rows_after", 1, 20, 32)),
    ((32, 64), [(slice(20, None),)], ("rows_after", 0, 20, 32)),
    ((8, 16, 9, 9), [(ALL, 3)], ("channel", 1, 3, 4)),
    ((8, 16, 9), [(ALL, 15)], ("channel", 1, 15, 16)),
    ((32, 64), [(ALL, 5)], ("column", 1, 5, 6)),
    ((32, 64), [(5,)], ("row", 0, 5, 6)),
    ((4, 32, 64), [(ALL, ALL, slice(16, 32))], ("head", 2, 16, 32)),
    ((8, 10), [(6, slice(7, None)), (7,)], ("flat_tail", -1, 67, 80)),
    ((100, 100), [(3, 5), (70, 9)], ("scattered", -1, 305, 7010)),
    ((16,), [(3,)], ("scattered", -1, 3, 4)),
]
SILENT = [
    ((32, 64), []),
    ((32, 64), [ALL]),
    ((32, 64), [(ALL, slice(1, None))]),  # nearly all columns: no tile
    ((64, 32), [(slice(2, None),)]),  # nearly all rows: no length
    ((32, 64), [(ALL, slice(15, 31))]),  # sixteen columns, but not aligned to a head
    ((32, 64), [(ALL, slice(16, 26))]),  # ten columns are no head of 64
    ((32, 64), [(slice(None, None, 2), slice(None, None, 2))]),
    ((4,), [(1,)]),  # a quarter of the elements is not a few
]


@pytest.mark.parametrize(("shape", "where", "expected"), CASES)
def test_fires(shape: tuple[int, ...], where: list[Any], expected: tuple[Any, ...]) -> None:
    found = region(shape, *where)
    assert found is not None
    assert (found.name, found.axis, found.start, found.stop) == expected


@pytest.mark.parametrize(("shape", "where"), SILENT)
def test_stays_silent(shape: tuple[int, ...], where: list[Any]) -> None:
    assert region(shape, *where) is None


def test_every_detector_has_a_case() -> None:
    singles = {"column", "channel", "row"}
    fired = {"single" if case[2][0] in singles else case[2][0] for case in CASES}
    assert fired == set(REGIONS)


def test_a_line_needs_a_quarter_of_it_off() -> None:
    sparse = [(row, 5) for row in range(0, 64, 4)]
    assert region((64, 64), *sparse) == Region("column", 1, 5, 6, 64, 16)
    found = region((64, 64), *sparse[:2])
    assert found is not None
    assert found.name == "scattered"


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        _detector("head")(lambda _: None)
