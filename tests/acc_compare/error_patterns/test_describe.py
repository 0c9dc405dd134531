from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.error_patterns import describe as shapes
from acc_compare.error_patterns.describe import describe

NOISE = 2.0**-22


def normal(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype("f4")


def changed(values: Any, index: Any, change: Any) -> Any:
    found = values.copy()
    found[index] = change(found[index])
    return found


ALL = slice(None)


@pytest.mark.parametrize(
    ("shape", "index", "change", "name"),
    [
        ((32, 64), (ALL, slice(56, None)), lambda x: x * 0, "last_tile: zero"),
        ((8, 16, 6, 6), (ALL, 3), lambda x: x * np.float32(1.25), "channel: factor"),
        ((4, 32, 64), (ALL, slice(20, None)), lambda x: x + np.float32(0.5), "rows_after: offset"),
        ((32, 64), (ALL, slice(16, 32)), lambda x: x + x * x, "head"),
        ((100, 100), ([3, 60], [5, 7]), lambda x: x * 9, "scattered"),
        ((32, 64), ..., lambda x: -x, "sign"),
        ((32, 64), ..., lambda x: x + x * x, ""),
        ((4, 100), (3, slice(50, None)), lambda x: x * 0, "flat_tail: zero"),
    ],
)
def test_where_and_what(shape: tuple[int, ...], index: Any, change: Any, name: str) -> None:
    bench = normal(*shape)
    npu = changed(bench, index, change)
    found = describe(npu, bench, noise=NOISE)
    assert found is not None
    assert found.name == name
    assert found.extents == bench.shape
    assert found.share <= np.count_nonzero(npu != bench) / bench.size


def test_nothing_off_is_no_shape() -> None:
    assert describe(normal(8, 8), normal(8, 8), noise=NOISE) is None


def test_complex_tensors_are_refused() -> None:
    with pytest.raises(ValueError, match="complex"):
        describe(np.ones(4, "c8"), np.ones(4, "c8"), noise=NOISE)


def test_of_a_large_tensor_some_slices_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "LIMIT", 4096)
    bench = normal(256, 64)
    found = describe(bench * np.float32(1.5), bench, noise=NOISE)
    assert found is not None
    assert found.name == "factor"
    # Where it sits is counted over all of it: one element that no evenly spaced slice holds.
    found = describe(changed(bench, (201, 3), lambda x: x + 1), bench, noise=NOISE)
    assert found is not None
    assert found.name == "scattered"
    # Rows in another order cannot be seen in a part of them, and nothing false is said instead.
    found = describe(bench[::-1], bench, noise=NOISE)
    assert found is not None
    assert found.name == ""


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_and_flags_are_off_where_they_differ(dtype: str) -> None:
    bench = np.zeros((16, 16), dtype)
    found = describe(changed(bench, (ALL, 4), lambda x: x + x.dtype.type(1)), bench, noise=0.0)
    assert found is not None
    assert found.name == "column"
