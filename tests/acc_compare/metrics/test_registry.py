"""The table of columns."""

from __future__ import annotations

import pytest

from acc_compare.metrics.distance import REAL_DATA
from acc_compare.metrics.registry import MetricTable
from acc_compare.metrics.sketches import SKETCHED
from acc_compare.metrics.statistics import STATISTICS


def test_a_column_is_one_function_and_one_registration() -> None:
    table: MetricTable[int] = MetricTable()
    table.register("twice")(lambda number: 2 * number)

    @table.register("none")
    def nothing(number: int) -> None:
        return None

    assert table.columns == ("twice", "none")
    assert table.cells(4) == {"twice": 8, "none": None}


def test_a_duplicate_raises_and_changes_nothing() -> None:
    table: MetricTable[int] = MetricTable()
    table.register("same")(lambda number: number)
    with pytest.raises(ValueError, match="'same' is registered already"):
        table.register("same")(lambda number: -number)
    assert table.cells(1) == {"same": 1}


def test_the_columns_that_users_know() -> None:
    assert REAL_DATA.columns == (
        "Cosine",
        "EucDist",
        "MaxAbsErr",
        "MaxRelativeErr",
        "One Thousandth Err Ratio",
        "Five Thousandths Err Ratio",
        "RelL2",
        "MaxAbsErr Index",
        "MaxRelativeErr Index",
    )
    assert STATISTICS.columns == (
        "Max diff",
        "Min diff",
        "Mean diff",
        "L2norm diff",
        "MaxRelativeErr",
        "MinRelativeErr",
        "MeanRelativeErr",
        "NormRelativeErr",
    )
    assert SKETCHED.columns == ("Est. Cosine", "Est. RelL2")
