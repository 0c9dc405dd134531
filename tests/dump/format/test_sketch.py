from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dump.format import sketch

_MASK = (1 << 64) - 1


def _sign(number: int) -> int:
    """The top bit of splitmix64 in Python's own integers."""
    z = number * 0x9E3779B97F4A7C15 & _MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    z ^= z >> 31
    return 1 - 2 * (z >> 63)


def _from_the_definition(values: np.ndarray) -> list[float]:
    """Element by element, as the module's docstring says it."""
    span = sketch.width(len(values))
    buckets = [0.0] * 16
    for index, value in enumerate(values.tolist()):
        row = index // span
        digits = sum(int(digit, 16) for digit in f"{row % 65536:x}")
        buckets[digits % 16] += value * _sign(1 + index % (16 * span)) * _sign((1 << 32) + row % 65536)
    return buckets


def _sketch(values: np.ndarray) -> np.ndarray:
    return sketch.fold(sketch.row_sums(values, sketch.width(len(values))))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, 1),
        (1, 1),
        (511, 1),
        (512, 2),
        (1023, 2),
        (1024, 4),
        (65_536, 256),
        (65_535, 128),
        (2**20, 256),
        (10**9, 256),
    ],
)
def test_width(count: int, expected: int) -> None:
    assert sketch.width(count) == expected


def test_the_signs_never_change() -> None:
    # Gold: dumps on disk hold sums under these.
    assert sketch.column_signs()[:8].tolist() == [-1, 1, 1, -1, 1, 1, 1, -1]
    assert sketch.row_signs()[:8].tolist() == [-1, 1, -1, -1, 1, -1, -1, 1]
    assert sketch.column_signs().sum() == 68
    assert sketch.row_signs().sum() == -82
    assert len(sketch.column_signs()) == 4096
    assert len(sketch.row_signs()) == 65536


def test_the_signs_are_those_of_the_hash() -> None:
    assert sketch.column_signs().tolist() == [_sign(1 + n) for n in range(4096)]
    assert sketch.row_signs()[::97].tolist() == [_sign((1 << 32) + n) for n in range(0, 65536, 97)]


def test_signs_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        sketch.column_signs()[0] = 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 255, 256, 511, 512, 513, 1023, 1025, 4099, 20_011])
def test_the_sketch_is_its_definition(count: int, dtype: type) -> None:
    values = np.random.default_rng(count).standard_normal(count).astype(dtype)
    # float32 rows lose some 1e-7 of the norm.
    tolerance = (1e-6 if dtype is np.float32 else 1e-13) * float(np.linalg.norm(values))
    assert _sketch(values) == pytest.approx(_from_the_definition(values), rel=0, abs=tolerance)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_the_sketch_is_its_definition_at_any_length(count: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(count)
    assert _sketch(values) == pytest.approx(_from_the_definition(values), rel=0, abs=1e-10)


@pytest.mark.parametrize("rows", [512, 513, 65_535, 65_536, 65_537, 65_536 + 512, 131_073])
def test_many_rows_fold_as_few_do(rows: int) -> None:
    sums = np.random.default_rng(rows).standard_normal(rows)
    expected = np.zeros(16)
    numbers = np.arange(rows) % 65536
    buckets = (numbers + (numbers >> 4) + (numbers >> 8) + (numbers >> 12)) % 16
    np.add.at(expected, buckets, sums * np.resize(sketch.row_signs(), rows))
    assert sketch.fold(sums) == pytest.approx(expected, rel=0, abs=1e-9)


def test_the_sketch_is_linear() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 10_000))
    assert _sketch(2 * a - b) == pytest.approx(2 * _sketch(a) - _sketch(b), abs=1e-10)


def _columns_alike(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return np.tile(rng.standard_normal(columns), (rows, 1))


def _one_column(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    difference = np.zeros((rows, columns))
    difference[:, rng.integers(columns)] = 1.0
    return difference


def _one_factor_a_row(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return np.outer(rng.standard_normal(rows), rng.standard_normal(columns))


def _last_columns(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    difference = rng.standard_normal((rows, columns))
    difference[:, : columns - 8] = 0.0
    return difference


def _same_everywhere(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return np.full((rows, columns), rng.standard_normal())


@pytest.mark.parametrize("make", [_columns_alike, _one_column, _one_factor_a_row, _last_columns, _same_everywhere])
@pytest.mark.parametrize(("rows", "columns"), [(64, 96), (32, 768), (256, 256), (100, 1000), (128, 4096), (4096, 64)])
def test_a_regular_difference_does_not_drop_out(
    make: Callable[[np.random.Generator, int, int], np.ndarray], rows: int, columns: int
) -> None:
    rng = np.random.default_rng(0)
    differences = [make(rng, rows, columns).ravel() for _ in range(20)]
    found = [float(np.linalg.norm(_sketch(one)) / np.linalg.norm(one)) for one in differences]
    assert min(found) > 0.3
    assert max(found) < 2.5


def test_up_to_sixteen_elements_are_kept_as_they_are() -> None:
    values = np.arange(1.0, 17.0)
    assert np.abs(_sketch(values)).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("minimum", "maximum", "expected"),
    [
        (-1e9, 3.0, True),
        (-5000.0, 50.0, True),
        (-5000.0, 50.1, False),  # not a hundred times the rest
        (-4999.0, 0.0, False),  # not large
        (-1e9, 1e9, False),
        (-1e9, -1e9, False),  # nothing but the one value
        (5000.0, 1e9, False),
        (-3.4e38, 0.0, True),
    ],
)
def test_has_sentinel(minimum: float, maximum: float, expected: bool) -> None:
    assert sketch.has_sentinel(minimum, maximum) is expected
