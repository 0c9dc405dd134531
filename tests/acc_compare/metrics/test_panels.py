"""Panels are held to numpy on the whole tensors, and to what the planted errors are."""

from __future__ import annotations

import math
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from acc_compare.metrics.panels import BINS, COLUMNS, HOTTEST, NO_DIFFERENCE, NONFINITE, ROWS, WORST, Side, panel_of
from acc_compare.model import TensorPanel


def noise(*shape: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def panel(npu: Any, bench: Any = None, dtype: str = "torch.float32", bench_dtype: str | None = None) -> TensorPanel:
    other = Side(bench, bench_dtype or dtype) if bench is not None else None
    found = panel_of("Functional.gelu.0.forward.output.0", Side(npu, dtype), other)
    assert found is not None
    return found


def test_histograms_are_those_of_numpy() -> None:
    npu, bench = noise(3, 200, 210), noise(3, 200, 210, seed=2)
    found = panel(npu, bench)
    low, high = min(npu.min(), bench.min()), max(npu.max(), bench.max())
    assert found.values is not None
    assert found.difference is not None
    assert (found.values.low, found.values.high) == (low, high)
    for counts, side in ((found.values.npu, npu), (found.values.bench, bench)):
        known = np.histogram(side.astype(np.float64), bins=BINS, range=(low, high))[0]
        assert sum(counts) == side.size
        assert np.abs(np.array(counts) - known).max() <= 1  # an element on an edge may go to either
    assert sum(found.difference.npu) == npu.size
    assert found.difference.low == (npu.astype(np.float64) - bench).min()


def test_the_map_shows_the_tile_that_is_off() -> None:
    bench = noise(4, 80, 640)
    npu = bench.copy()
    npu[:, 40:44, 320:330] += 1
    found = panel(npu, bench)
    assert found.map is not None
    assert (found.map.axes, found.map.extents) == ((1, 2), (80, 640))
    assert (found.map.rows, found.map.columns) == (ROWS, COLUMNS)
    levels = np.frombuffer(found.map.levels, np.uint8).reshape(ROWS, COLUMNS)
    rows, columns = np.nonzero(levels)
    assert (sorted(set(rows)), sorted(set(columns))) == ([20, 21], [32])
    assert levels[20, 32] == HOTTEST
    assert found.map.high == pytest.approx(1, rel=1e-6)
    assert found.different == 4 * 4 * 10


def test_levels_are_logarithmic() -> None:
    bench = np.zeros((1, 3))
    found = panel(np.array([[1e-4, 1e-2, 1.0]]), bench, "torch.float64")
    assert found.map is not None
    assert list(found.map.levels) == [1, round(1 + (HOTTEST - 1) / 2), HOTTEST]


@pytest.mark.parametrize("shape", [(), (1,), (7,), (1, 1, 1), (2, 3, 5, 7), (41, 65), (1000, 1)])
def test_every_shape(shape: tuple[int, ...]) -> None:
    bench = noise(*shape)
    found = panel(bench + np.float32(0.5), bench)
    assert found.different == bench.size
    assert len(found.worst) == min(WORST, bench.size)
    assert (found.map is None) == (shape == ())
    if found.map is not None:
        assert len(found.map.levels) == found.map.rows * found.map.columns
        assert NO_DIFFERENCE not in found.map.levels


def test_any_layout_is_read_in_order_of_its_indices() -> None:
    bench = noise(30, 50)
    npu = bench.copy()
    npu[7, 11] += 9
    assert panel(np.asfortranarray(npu), np.asfortranarray(bench)) == panel(npu, bench)
    assert panel(npu, bench).worst[0].index == (7, 11)


def test_the_worst_come_first_and_of_equals_the_first() -> None:
    bench = np.zeros((2, 100_000), np.float32)
    npu = bench.copy()
    npu[1, 5], npu[0, 70_001], npu[1, 99_999] = 3, -4, 3
    found = panel(npu, bench)
    assert [(each.index, each.npu, each.bench) for each in found.worst] == [
        ((0, 70_001), -4, 0),
        ((1, 5), 3, 0),
        ((1, 99_999), 3, 0),
    ]
    assert found.worst[0].npu_bits == struct.pack(">f", -4).hex()


def test_nan_of_one_side_is_worst_and_of_both_is_equal() -> None:
    bench = noise(20, 20)
    npu = bench.copy()
    npu[3, 4] = np.nan
    npu[5, 6] = bench[5, 6] = np.inf
    npu[7, 8] += 1
    found = panel(npu, bench)
    assert (found.different, found.nonfinite, found.bench_nonfinite) == (2, 2, 1)
    assert [each.index for each in found.worst] == [(3, 4), (7, 8)]
    assert math.isnan(found.worst[0].npu)
    assert found.map is not None
    assert found.map.levels.count(NONFINITE) == 1
    assert found.values is not None
    assert sum(found.values.npu) == 398


def test_rounding_to_a_shorter_type_leaves_its_bits_unset() -> None:
    bench = noise(64, 64)
    npu = bench.astype(ml_dtypes.bfloat16).astype(np.float32)
    found = panel(npu, bench)
    assert found.bits[-16:] == (0.0,) * 16
    assert all(share > 0.4 for share in found.bench_bits[-16:])
    assert found.bits[0] == pytest.approx(np.signbit(npu).mean(), abs=1e-4)


def test_a_widened_file_has_the_bits_of_what_was_recorded() -> None:
    values = np.array([1.5, -2.0], np.float32)
    found = panel(values, values + 1, "torch.bfloat16")
    assert len(found.bits) == 16
    assert {each.npu_bits for each in found.worst} == {"3fc0", "c000"}


def test_equal_tensors_have_no_difference_to_show() -> None:
    same = noise(8, 8)
    found = panel(same, same.copy())
    assert (found.different, found.difference, found.worst) == (0, None, ())
    assert found.map is not None
    assert set(found.map.levels) == {NO_DIFFERENCE}


def test_one_side_alone_shows_its_largest() -> None:
    values = noise(50, 50)
    values[4, 5], values[6, 7] = -90, np.nan
    found = panel(values)
    assert [each.index for each in found.worst[:2]] == [(6, 7), (4, 5)]
    assert (found.bench_dtype, found.bench_bits, found.difference, found.nonfinite) == ("", (), None, 1)
    assert found.worst[1].bench is None


@pytest.mark.parametrize("extreme", [1e308, 5e-324])
def test_the_ends_of_float64(extreme: float) -> None:
    found = panel(np.array([extreme, -extreme, 0.0]), np.array([-extreme, extreme, 0.0]), "torch.float64")
    assert found.values is not None
    assert sum(found.values.npu) == 3
    assert found.different == 2


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64"])
def test_integers(dtype: str) -> None:
    bench = np.array([0, 1, 1, 0], dtype)
    found = panel(bench ^ np.array([0, 0, 1, 0], dtype), bench, f"torch.{dtype}")
    assert found.different == 1
    assert found.worst[0].index == (2,)
    assert len(found.bits) == (0 if dtype == "bool" else 8 * bench.itemsize)


def test_there_is_nothing_to_see_in_complex_numbers_or_in_none() -> None:
    assert panel_of("a", Side(np.zeros(3, np.complex64), "torch.complex64")) is None
    assert panel_of("a", Side(np.zeros((0, 3)), "torch.float64")) is None
    with pytest.raises(ValueError, match="one shape"):
        panel_of("a", Side(np.zeros(3), "torch.float64"), Side(np.zeros(4), "torch.float64"))
