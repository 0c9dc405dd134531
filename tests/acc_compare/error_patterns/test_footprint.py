from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acc_compare.error_patterns import footprint as module
from acc_compare.error_patterns.footprint import footprint, is_off, thinned, typical_size, wide

NOISE = 2.0**-22


def normal(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype("f4")


def test_counts_along_every_axis_and_both_ends() -> None:
    bench = normal(4, 5, 6)
    npu = bench.copy()
    npu[1, 2, 3] += 1
    npu[3, 2, 0] += 1
    found = footprint(npu, bench, noise=NOISE)
    assert found.off == 2
    assert [counts.tolist() for counts in found.along] == [[0, 1, 0, 1], [0, 0, 2, 0, 0], [1, 0, 0, 1, 0, 0]]
    assert (found.first, found.last) == (1 * 30 + 2 * 6 + 3, 3 * 30 + 2 * 6)


def test_nothing_is_off_within_rounding() -> None:
    bench = normal(64, 64)
    npu = (bench.astype("f8") * (1 + 2.0**-23)).astype("f4")
    assert footprint(npu, bench, noise=NOISE).off == 0
    assert footprint(bench, bench, noise=0.0).off == 0


@pytest.mark.parametrize(
    ("npu", "bench", "off"),
    [
        ([np.nan, 1], [np.nan, 1], 0),
        ([np.inf, 1], [np.inf, 1], 0),
        ([np.inf, 1], [-np.inf, 1], 1),
        ([np.nan, 1], [1, 1], 1),
        ([1, 1], [1, np.inf], 1),
    ],
)
def test_what_is_not_finite_is_right_where_both_sides_hold_it(npu: Any, bench: Any, off: int) -> None:
    assert footprint(np.array(npu, "f4"), np.array(bench, "f4"), noise=NOISE).off == off


def test_masks_do_not_set_the_scale() -> None:
    bench = normal(100, 100)
    plain = typical_size(bench)
    bench[::2] = -1e9
    assert typical_size(bench) == pytest.approx(plain, rel=0.05)
    npu = bench.copy()
    npu[1, 1] += 1e-3
    assert footprint(npu, bench, noise=NOISE).off == 1


def test_scalars_and_empty_tensors() -> None:
    assert footprint(np.float32(1.5), np.float32(1), noise=NOISE).off == 1  # type: ignore[arg-type]
    assert footprint(np.ones((0, 3)), np.ones((0, 3)), noise=NOISE).off == 0
    with pytest.raises(ValueError, match="one shape"):
        footprint(np.ones(2), np.ones(3), noise=NOISE)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_blocks_give_what_one_look_gives(shape: list[int], block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wrong = rng.random(shape) < 0.3
    bench = np.ones(shape)
    before, module.BLOCK = module.BLOCK, block
    try:
        found = footprint(np.where(wrong, 2.0, 1.0), bench, noise=1e-9)
    finally:
        module.BLOCK = before
    assert found.off == wrong.sum()
    for axis, counts in enumerate(found.along):
        others = tuple(a for a in range(wrong.ndim) if a != axis)
        assert counts.tolist() == wrong.sum(axis=others).tolist()
    places = np.flatnonzero(wrong)
    assert (found.first, found.last) == ((places[0], places[-1]) if places.size else (-1, -1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(1, 500))
def test_thinning_is_a_view_within_the_limit_that_keeps_the_last_axis_longest(shape: list[int], limit: int) -> None:
    array = np.zeros(shape)
    view = thinned(array, limit=limit)
    assert 0 < view.size <= limit
    assert np.shares_memory(view, array)
    if view.shape[-1] < shape[-1]:
        assert all(extent == 1 for extent in view.shape[:-1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_signalling_nan_in_a_file_is_no_warning(dtype: Any) -> None:
    bits = {2: np.uint16(0x7D01), 4: np.uint32(0x7FA00001)}[np.dtype(dtype).itemsize]
    array = np.full(8, bits).view(dtype)
    with np.errstate(invalid="raise"):
        assert np.isnan(wide(array)).all()
        assert typical_size(array) == 0.0
        assert not is_off(array, array, noise=1e-6, size=1.0).any()
