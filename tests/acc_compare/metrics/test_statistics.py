"""Statistics of two records, and what they prove about the distance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from acc_compare.metrics.registry import RecordPair
from acc_compare.metrics.statistics import (
    STATISTICS,
    difference,
    distance_lower_bound,
    relative_percent,
)
from dump.format.schema import Number, TensorRecord

NAN, INF = math.nan, math.inf


def same(found: Number | None, expected: Number | None) -> bool:
    if isinstance(expected, float) and math.isnan(expected):
        return isinstance(found, float) and math.isnan(found)
    return found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("npu", "bench", "apart", "percent"),
    [
        (3.0, 2.0, 1.0, 50.0),
        (2.0, -4.0, 6.0, 150.0),
        (5, 2, 3, 150.0),
        (2**62 + 1, 2**62, 1, 100.0 / 2**62),
        (True, False, 1, INF),
        (0.0, 0.0, 0, 0.0),
        (1.0, 0.0, 1.0, INF),
        (0.0, 2.0, -2.0, 100.0),
        (INF, INF, 0, 0.0),
        (INF, 1.0, INF, INF),
        (1.0, INF, -INF, NAN),
        (INF, -INF, INF, NAN),
        (NAN, 1.0, NAN, NAN),
        (1.0, NAN, NAN, NAN),
        (NAN, NAN, NAN, NAN),
        (NAN, 0.0, NAN, NAN),
        (None, 1.0, None, None),
        (1.0, None, None, None),
    ],
)
def test_difference_and_percent(
    npu: Number | None, bench: Number | None, apart: Number | None, percent: float | None
) -> None:
    assert same(difference(npu, bench), apart)
    assert same(relative_percent(npu, bench), percent)


def test_columns_take_each_its_own_statistic() -> None:
    npu = TensorRecord("torch.float32", (4,), max=11, min=-5, mean=1.5, norm=8.0)
    bench = TensorRecord("torch.float32", (4,), max=10, min=-4, mean=1.0, norm=16.0)
    assert STATISTICS.cells(RecordPair(npu, bench)) == {
        "Max diff": 1,
        "Min diff": -1,
        "Mean diff": 0.5,
        "L2norm diff": -8.0,
        "MaxRelativeErr": pytest.approx(10.0),
        "MinRelativeErr": pytest.approx(25.0),
        "MeanRelativeErr": pytest.approx(50.0),
        "NormRelativeErr": pytest.approx(50.0),
    }
    empty = TensorRecord("torch.float32", (0,))
    assert set(STATISTICS.cells(RecordPair(empty, empty)).values()) == {None}


def record(values: np.ndarray) -> TensorRecord:
    return TensorRecord(
        "torch.float64",
        values.shape,
        max=float(values.max()),
        min=float(values.min()),
        mean=float(values.mean()),
        norm=float(np.linalg.norm(values.reshape(-1))),
    )


ELEMENTS = st.floats(-1e6, 1e6, width=32)
PAIRS = hnp.array_shapes(max_dims=2, max_side=20).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=ELEMENTS), hnp.arrays(np.float64, shape, elements=ELEMENTS)
    )
)


@given(PAIRS)
@settings(deadline=None)
def test_the_bound_is_never_above_the_distance(pair: tuple[np.ndarray, np.ndarray]) -> None:
    npu, bench = pair
    bound = distance_lower_bound(record(npu), record(bench))
    true = float(np.linalg.norm((npu - bench).reshape(-1)))
    slack = 1e-12 * float(np.abs(npu).sum() + np.abs(bench).sum())
    assert bound is not None
    assert bound <= true + slack
    rounded = distance_lower_bound(record(npu), record(bench), rounding=1e-6)
    assert rounded is not None
    assert 0 <= rounded <= bound


BENCH = np.array([3.0, -4.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("npu", "bound"),
    [
        (BENCH * 2, 5.0),
        (np.array([10.0, -4.0, 0.0, 0.0]), 7.0),
        (np.array([3.0, -11.0, 0.0, 0.0]), 7.0),
        (BENCH + 1.0, 2.0),
        (BENCH[::-1], 0.0),
    ],
    ids=["norm", "max", "min", "mean", "permuted"],
)
def test_each_bound_rules_once(npu: np.ndarray, bound: float) -> None:
    assert distance_lower_bound(record(npu), record(BENCH)) == pytest.approx(bound)


def test_rounding_of_sums_is_not_taken_for_a_difference() -> None:
    a = TensorRecord("torch.float32", (4,), max=1.0, min=0.0, mean=0.5, norm=1.0)
    b = TensorRecord("torch.float32", (4,), max=1.0, min=0.0, mean=0.5 + 1e-7, norm=1.0 + 1e-7)
    exact = distance_lower_bound(a, b)
    assert exact is not None
    assert exact > 1e-7
    assert distance_lower_bound(a, b, rounding=2e-7) == 0.0
    means_alone = [TensorRecord("torch.float32", (4,), mean=mean) for mean in (0.5, 0.6)]
    assert distance_lower_bound(*means_alone) == pytest.approx(0.2)
    assert distance_lower_bound(*means_alone, rounding=2e-7) is None


def test_nothing_is_known_of_other_sizes_or_without_finite_statistics() -> None:
    assert distance_lower_bound(record(np.ones(2)), record(np.ones(3))) is None
    unknown = TensorRecord("torch.float32", (2,), max=NAN, min=NAN, mean=NAN, norm=NAN)
    assert distance_lower_bound(unknown, record(np.ones(2))) is None
    infinite = TensorRecord("torch.float32", (2,), max=INF, min=-1.0, mean=INF, norm=INF)
    assert distance_lower_bound(infinite, record(np.ones(2))) == 2.0
