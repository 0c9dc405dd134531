"""The native core beside the path in Python: what is counted is equal, what is summed as near as float64 adds up."""

from __future__ import annotations

from dataclasses import asdict, replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acc_compare.metrics import native_distance
from acc_compare.metrics.distance import TensorDistance, measure
from dump import native

pytestmark = pytest.mark.skipif(native.core is None, reason=f"the native core is {native.state}")

DTYPES = [
    np.dtype(kind)
    for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.int32, np.bool_)
]
SUMMED = ("cosine", "euc_dist", "norm_npu", "norm_bench", "live")


def _in_python(npu: np.ndarray, bench: np.ndarray) -> TensorDistance:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "core", None)
        return measure(npu, bench)


def _assert_alike(npu: np.ndarray, bench: np.ndarray) -> None:
    assert native_distance.takes(npu, bench)
    ours, theirs = measure(npu, bench), _in_python(npu, bench)
    left_out = dict.fromkeys(SUMMED)
    assert replace(ours, **left_out) == replace(theirs, **left_out)
    for name in SUMMED[:-1]:
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert (mine is None) == (other is None), name
        assert other is None or mine == pytest.approx(other, rel=1e-12, abs=1e-300)
    assert (ours.live is None) == (theirs.live is None)
    if ours.live is not None and theirs.live is not None:
        assert asdict(ours.live) == pytest.approx(asdict(theirs.live), rel=1e-12, abs=1e-300)


@given(
    st.sampled_from([1, 3, 5, 900, 1023, 1024, 1025, 5000, 70_000]),
    st.integers(0, 2**32 - 1),
    st.sampled_from(DTYPES),
    st.sampled_from(DTYPES),
    st.lists(
        st.sampled_from([(np.nan, 1.0), (np.nan, np.nan), (np.inf, np.inf), (np.inf, -np.inf), (1.0, -np.inf)])
        | st.sampled_from([(-1e9, -1e9), (-1e4, -1e4), (65504.0, 65504.0), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]),
        max_size=6,
    ),
)
@settings(max_examples=150, deadline=None)
def test_counts_and_largest_are_equal_and_sums_as_near_as_can_be(
    count: int, seed: int, npu: np.dtype, bench: np.dtype, planted: list[tuple[float, float]]
) -> None:
    random = np.random.default_rng(seed)
    left = random.standard_normal(count) * 3
    right = left * random.uniform(0.99, 1.01, count)
    for ours, theirs in planted:
        places = random.integers(0, count, max(1, count // 50))
        left[places], right[places] = ours, theirs
    with np.errstate(all="ignore"):
        _assert_alike(left.astype(npu), right.astype(bench))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_memory_of_any_layout(dtype: type) -> None:
    random = np.random.default_rng(1)
    npu = random.standard_normal((60, 70, 9)).astype(dtype)
    bench = npu + random.standard_normal((60, 70, 9)).astype(dtype) * npu.dtype.type(1e-2)
    _assert_alike(npu.transpose(2, 0, 1), bench.transpose(2, 0, 1))
    _assert_alike(npu[::-2, 3:, ::2], bench[::-2, 3:, ::2])
    _assert_alike(np.broadcast_to(npu[:1], (4, 70, 9)), np.broadcast_to(bench[:1], (4, 70, 9)))


@pytest.mark.parametrize(("ours", "theirs"), [("float16", "bfloat16"), ("float32", "float16")])
def test_the_ends_of_two_ranges_are_one_mask(ours: str, theirs: str) -> None:
    npu, bench = (np.linspace(-1, 1, 2000).astype(name) for name in (ours, theirs))
    npu[::3], bench[::3] = (ml_dtypes.finfo(side.dtype).min for side in (npu, bench))
    _assert_alike(npu, bench)
    assert measure(npu, bench).sentinels == 667


@pytest.mark.parametrize(
    ("npu", "bench"),
    [
        (np.ones(3, np.complex64), np.ones(3, np.float32)),
        (np.ones(3, np.int64), np.ones(3, np.int64)),
        (np.ones(3, ">f4"), np.ones(3, "<f4")),
        (np.frombuffer(bytes(13), np.uint8)[1:].view(np.float32), np.ones(3, np.float32)),
    ],
)
def test_what_the_core_does_not_read_is_left_to_python(npu: np.ndarray, bench: np.ndarray) -> None:
    assert not native_distance.takes(npu, bench)
    assert measure(npu, bench) == _in_python(npu, bench)


def test_two_sides_of_two_sizes_are_refused() -> None:
    values = np.ones(4, np.float32)
    memory = (values.ctypes.data, 1, 4)
    with pytest.raises(ValueError, match="layout"):
        native.core.distance(memory, (values.ctypes.data, 1, 3), None)
    with pytest.raises(TypeError):
        native.core.distance(memory, memory, (1.0, 2.0))
    with pytest.raises(TypeError):
        native.core.distance(memory[:2], memory, None)
