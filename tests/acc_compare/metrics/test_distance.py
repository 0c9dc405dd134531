"""`measure` against plain numpy on whole arrays, and against the rules its module states."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from acc_compare.metrics.distance import REAL_DATA, TensorDistance, measure
from acc_compare.metrics.nonfinite import NonFinite
from dump import native

NAN, INF = math.nan, math.inf
DTYPES = [
    np.dtype(kind)
    for kind in (
        np.float64,
        np.float32,
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2,
        np.int64,
        np.int32,
        np.int8,
        np.uint8,
        np.uint16,
        np.uint64,
        np.bool_,
        np.complex64,
        np.complex128,
    )
]


@pytest.fixture(autouse=True, scope="module", params=["native", "python"])
def core(request: pytest.FixtureRequest) -> Iterator[None]:
    """The whole file holds for the native core, where there is one, and for the path without it."""
    if request.param == "native" and native.core is None:
        pytest.skip(f"the native core is {native.state}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "core", native.core if request.param == "native" else None)
        yield


def reference(npu: np.ndarray, bench: np.ndarray) -> dict[str, float]:
    """The formulas of results.md, on whole arrays of finite float64 or complex128."""
    n, b = npu.reshape(-1), bench.reshape(-1)
    apart = np.abs(n - b)
    relative = np.array([d / abs(x) if x else (INF if d else 0.0) for d, x in zip(apart, b, strict=True)])
    norms = np.linalg.norm(n), np.linalg.norm(b)
    euc_dist = float(np.linalg.norm(apart))
    zero = not norms[0] or not norms[1]
    cosine = 1.0 if not euc_dist else 0.0 if zero else np.vdot(b, n).real / norms[0] / norms[1]
    return {
        "cosine": float(cosine),
        "euc_dist": euc_dist,
        "max_abs_err": float(apart.max()),
        "max_relative_err": float(relative.max()),
        "one_thousandth_ratio": float(np.mean(relative < 0.001)),
        "five_thousandths_ratio": float(np.mean(relative < 0.005)),
        "norm_npu": float(norms[0]),
        "norm_bench": float(norms[1]),
        "rel_l2": euc_dist / float(norms[1]) if norms[1] else (INF if euc_dist else 0.0),
    }


def check(found: TensorDistance, npu: np.ndarray, bench: np.ndarray) -> None:
    for name, value in reference(npu, bench).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-12, abs=1e-300), name
    apart = np.abs(npu - bench).reshape(-1)
    assert found.max_abs_index == (int(apart.argmax()) if apart.any() else None)
    assert (found.max_relative_index is None) == (not apart.any())
    assert found.finite == found.numel == npu.size


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


VALUES = st.floats(-1000, 1000, width=16) | st.sampled_from([0.0, 1.0, -2.0])
FLOAT_PAIRS = hnp.array_shapes(min_dims=0, max_dims=3, max_side=9).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=VALUES), hnp.arrays(np.float64, shape, elements=VALUES)
    )
)


@given(FLOAT_PAIRS, st.sampled_from([1, 7, 1 << 16]))
@settings(deadline=None)
def test_against_numpy(pair: tuple[np.ndarray, np.ndarray], block: int) -> None:
    npu, bench = pair
    check(measure(npu, bench, block=block), npu, bench)
    check(measure(npu.T, bench.T, block=block), npu.T, bench.T)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
def test_more_than_one_block_of_any_layout(dtype: type) -> None:
    random = np.random.default_rng(5)
    npu = random.standard_normal((300, 301)).astype(dtype)
    npu = npu * (1 + 2j) if dtype is np.complex128 else npu
    bench = npu * random.uniform(0.99, 1.01, npu.shape).astype(dtype)
    check(measure(npu, bench), wide(npu), wide(bench))
    check(measure(npu.T, bench.T, block=20_000), wide(npu.T), wide(bench.T))
    check(measure(npu[:, ::2], bench[:, ::2]), wide(npu[:, ::2]), wide(bench[:, ::2]))


@pytest.mark.parametrize("bench_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("npu_dtype", DTYPES, ids=str)
def test_every_pair_of_dtypes(npu_dtype: np.dtype, bench_dtype: np.dtype) -> None:
    random = np.random.default_rng(3)
    npu = random.integers(0, 12, (5, 8)).astype(npu_dtype)
    bench = random.integers(0, 12, (5, 8)).astype(bench_dtype)
    if "c" in (npu_dtype.kind, bench_dtype.kind):
        npu = npu * npu.dtype.type(1 + 2j) if npu_dtype.kind == "c" else npu
        bench = bench * bench.dtype.type(2 - 1j) if bench_dtype.kind == "c" else bench
    check(measure(npu, bench, block=16), wide(npu), wide(bench))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_against_itself(dtype: np.dtype) -> None:
    array = np.arange(40).astype(dtype)
    found = measure(array, array.copy(), block=16)
    assert (found.cosine, found.euc_dist, found.max_abs_err, found.max_relative_err) == (1, 0, 0, 0)
    assert (found.one_thousandth_ratio, found.five_thousandths_ratio, found.rel_l2) == (1, 1, 0)
    assert found.max_abs_index is found.max_relative_index is None


def test_64_bit_integers_are_exact() -> None:
    npu = np.array([2**62 + 1, -(2**63), 5], np.int64)
    bench = np.array([2**62, 2**63 - 1, 5], np.int64)
    found = measure(npu, bench)
    assert (found.max_abs_err, found.max_abs_index) == (float(2**64), 1)
    assert measure(npu[:1], bench[:1]).max_abs_err == 1.0
    assert measure(npu[1:2], npu[1:2]).norm_bench == 2.0**63
    top = np.array([2**64 - 1], np.uint64)
    assert measure(top, top - np.uint64(1)).max_abs_err == 1.0
    assert measure(np.array([2**62 + 1]), np.array([True])).max_abs_err == 2.0**62


def test_float64_is_not_narrowed() -> None:
    found = measure(np.array([1.0 + 2**-52, 1.0]), np.ones(2))
    assert found.max_abs_err == 2.0**-52
    assert found.max_abs_index == 0


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e300, 1e-300])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_squares_beyond_the_range_of_float64(dtype: type, scale: float) -> None:
    npu, bench = np.array([3.0, 4.0, 1.0], dtype), np.array([3.0, 6.0, 0.0], dtype)
    small, found = measure(npu, bench), measure(npu * scale, bench * scale, block=2)
    for name in ("cosine", "rel_l2", "one_thousandth_ratio", "max_relative_err"):
        assert getattr(found, name) == pytest.approx(getattr(small, name))
    for name in ("euc_dist", "max_abs_err", "norm_npu", "norm_bench"):
        assert getattr(found, name) == pytest.approx(getattr(small, name) * scale)
    assert found.max_abs_index == 1
    assert found.nonfinite == NonFinite()


def test_float32_squares_beyond_its_range() -> None:
    npu, bench = np.float32([3e38, 1e-30]), np.float32([-3e38, 1e-30])
    found = measure(npu, bench)
    assert found.max_abs_err == pytest.approx(6e38)
    assert found.cosine == -1.0
    tiny = measure(np.float32([2e-40]), np.float32([1e-40]))
    assert tiny.rel_l2 == pytest.approx(1.0, rel=1e-4)


def test_extremes_name_the_first_of_equals_and_flat_indices() -> None:
    bench = np.ones((3, 4))
    npu = bench.copy()
    npu[1, 2] = npu[2, 3] = 3.0
    found = measure(npu.T, bench.T, block=5)
    assert np.unravel_index(found.max_abs_index or 0, (4, 3)) == (2, 1)
    assert found.max_relative_index == found.max_abs_index


@pytest.mark.parametrize(
    ("npu", "bench", "relative", "rel_l2", "cosine"),
    [
        ([0.0, 0.0], [0.0, 0.0], 0.0, 0.0, 1.0),
        ([0.0, 1.0], [0.0, 0.0], INF, INF, 0.0),
        ([0.0, 0.0], [0.0, 1.0], 1.0, 1.0, 0.0),
        ([0.0, 2.0], [0.0, 1.0], 1.0, 1.0, 1.0),
        ([-0.0], [0.0], 0.0, 0.0, 1.0),
    ],
)
def test_zeros(npu: list[float], bench: list[float], relative: float, rel_l2: float, cosine: float) -> None:
    found = measure(np.array(npu), np.array(bench))
    assert (found.max_relative_err, found.rel_l2, found.cosine) == (relative, rel_l2, cosine)


def test_ratios_are_strict_shares() -> None:
    bench = np.array([1000.0, 1000.0, 1000.0, 0.0])
    found = measure(np.array([1000.5, 1001.0, 1004.0, 0.0]), bench)
    assert (found.one_thousandth_ratio, found.five_thousandths_ratio) == (0.5, 1.0)


def test_nothing_to_measure() -> None:
    empty = measure(np.empty((0, 3)), np.empty((0, 3)))
    assert empty == TensorDistance(numel=0, finite=0, nonfinite=NonFinite(), shape=(0, 3))
    assert set(REAL_DATA.cells(empty).values()) == {None}
    unmeasured = measure(np.array([NAN, INF]), np.array([NAN, 1.0]))
    assert (unmeasured.numel, unmeasured.finite, unmeasured.cosine, unmeasured.live) == (2, 0, None, None)
    assert (unmeasured.one_thousandth_ratio, unmeasured.rel_l2) == (0.5, None)


def test_a_scalar_is_one_element() -> None:
    found = measure(np.array(3.0), np.array(2.0))
    assert (found.numel, found.max_abs_err, found.max_abs_index) == (1, 1.0, 0)
    assert found.position(found.max_abs_index) == "()"


def test_shapes_that_differ_raise() -> None:
    with pytest.raises(ValueError, match="one shape"):
        measure(np.zeros(3), np.zeros((3, 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_nonfinite_elements_are_counted_and_left_out(dtype: type) -> None:
    npu = np.array([1, NAN, NAN, INF, INF, INF, 2, 3, NAN], dtype)
    bench = np.array([1, NAN, 5, INF, -INF, NAN, INF, 3, 4], dtype)
    found = measure(npu, bench, block=4)
    assert found.nonfinite == NonFinite(
        positions=7,
        npu_nan=3,
        npu_inf=3,
        bench_nan=2,
        bench_inf=3,
        npu_only=2,
        bench_only=1,
        conflicting=2,
        first_one_sided=2,
    )
    assert found.nonfinite.disagreeing == 5
    assert (found.finite, found.cosine, found.max_abs_err) == (2, 1.0, 0.0)
    assert found.norm_npu == pytest.approx(math.sqrt(10))
    assert found.one_thousandth_ratio == pytest.approx(4 / 9)
    assert found.live is not None
    assert found.live.count == 2


def test_nonfinite_elements_of_complex_tensors() -> None:
    npu = np.array([complex(NAN, 1), complex(INF, 1), complex(INF, NAN), 1 + 1j])
    bench = np.array([complex(1, NAN), complex(1, INF), 2j, 1 + 2j])
    found = measure(npu, bench)
    assert (found.nonfinite.npu_nan, found.nonfinite.npu_inf, found.nonfinite.npu_only) == (2, 1, 1)
    assert found.nonfinite.conflicting == 0
    assert (found.finite, found.max_abs_err, found.max_abs_index) == (1, 1.0, 3)


@given(FLOAT_PAIRS, st.data())
@settings(deadline=None, max_examples=60)
def test_nonfinite_positions_change_nothing_else(pair: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    npu, bench = pair[0].reshape(-1), pair[1].reshape(-1)
    holes = data.draw(hnp.arrays(bool, npu.shape))
    broken = np.where(holes, data.draw(st.sampled_from([NAN, INF, -INF])), npu)
    found = measure(broken, bench, block=5)
    assert found.nonfinite.npu_only == holes.sum()
    assert found.nonfinite.first_one_sided == (int(holes.argmax()) if holes.any() else None)
    if holes.all():
        assert found.cosine is None
        return
    kept = measure(npu[~holes], bench[~holes])
    for name in ("cosine", "euc_dist", "max_abs_err", "max_relative_err", "norm_npu", "rel_l2"):
        assert getattr(found, name) == pytest.approx(getattr(kept, name), rel=1e-12), name


# Sentinels


def scores(mask: float, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Scores of which every other one is masked, live ones off by 1 %."""
    bench = np.linspace(-2, 2, 200).astype(dtype)
    npu = (bench * dtype(1.01)).astype(dtype)
    npu[::2] = bench[::2] = mask
    return npu, bench


@pytest.mark.parametrize("mask", [-1e4, -1e9, 1e9, -1e30, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize("block", [7, 1 << 16])
def test_sentinels_do_not_rule_the_norm(mask: float, block: int) -> None:
    npu, bench = scores(mask)
    found = measure(npu, bench, block=block)
    assert found.live is not None
    assert (found.sentinels, found.live.count) == (100, 100)
    live = measure(npu[1::2], bench[1::2])
    assert found.rel_l2 == pytest.approx(0.01, rel=1e-3)
    for name in ("rel_l2", "cosine", "norm_npu", "norm_bench", "euc_dist"):
        assert getattr(found.live, name) == pytest.approx(getattr(live.live, name)), name
    # The columns users know keep them.
    assert found.norm_bench == pytest.approx(abs(mask) * 10)
    assert found.euc_dist == pytest.approx(live.euc_dist)
    assert found.cosine == pytest.approx(1.0)


def test_the_least_value_of_either_dtype_means_the_same() -> None:
    _, bench = scores(float(np.finfo(np.float32).min))
    npu = bench.astype(ml_dtypes.bfloat16)
    npu[::2] = ml_dtypes.finfo(ml_dtypes.bfloat16).min
    found = measure(npu, bench)
    assert found.sentinels == 100
    assert found.rel_l2 is not None
    assert found.rel_l2 < 0.01
    assert found.max_abs_err is not None
    assert found.max_abs_err > 1e35
    half = scores(-65504.0, np.float16)[0]
    assert measure(half, bench).sentinels == 100


@pytest.mark.parametrize(
    ("npu", "bench"),
    [
        (scores(-4999.0)[0], scores(-4999.0)[1]),
        (np.full(50, 1e9), np.r_[np.full(49, 1e9), 1e9 + 64]),
        (np.r_[1e9, np.full(50, 1e8)], np.r_[1e9, np.full(50, 1.1e8)]),
        (np.r_[6000.0, np.full(50, 10.0)], np.r_[6000.0, np.full(50, 11.0)]),
        (np.array([10**9, 1]), np.array([10**9, 2])),
        (np.array([1e9 + 0j, 1]), np.array([1e9 + 0j, 2])),
        (np.array([448, 1e-2], ml_dtypes.float8_e4m3fn), np.array([448, 2e-2], ml_dtypes.float8_e4m3fn)),
        (np.array([-1e9, 1.0]), np.array([-2e9, 2.0])),
        (np.array([1.0, 1.0]), np.array([1e9, 1e9])),
    ],
    ids=[
        "too small",
        "the rest is as large",
        "ten times the rest",
        "600 times the rest",
        "integers",
        "complex",
        "float8 saturates",
        "differs",
        "one-sided",
    ],
)
def test_what_is_no_sentinel(npu: np.ndarray, bench: np.ndarray) -> None:
    found = measure(npu, bench)
    assert found.sentinels == 0
    assert found.live is not None
    assert found.live.count == npu.size
    assert found.rel_l2 == pytest.approx(found.euc_dist / found.norm_bench)  # type: ignore[operator]


def test_each_class_of_sentinels_is_judged_by_itself() -> None:
    # 6000 is no sentinel beside values of 100; -1e9 still is.
    bench = np.r_[-1e9, 6000.0, np.full(50, 100.0)]
    npu = np.r_[-1e9, 6000.0, np.full(50, 101.0)]
    found = measure(npu, bench)
    assert found.live is not None
    assert (found.sentinels, found.live.count) == (1, 51)
    assert found.live.norm_bench == pytest.approx(math.sqrt(6000**2 + 50 * 100**2))


def test_a_tensor_of_sentinels_alone_agrees() -> None:
    array = np.full(8, -1e9)
    found = measure(array, array)
    assert found.live is not None
    assert (found.sentinels, found.live.count, found.rel_l2, found.live.cosine) == (8, 0, 0.0, 1.0)


def test_sentinels_in_float64_that_needs_another_scale() -> None:
    least = float(np.finfo(np.float64).min)
    npu, bench = np.array([least, 1.0, 2.0]), np.array([least, 1.0, 2.02])
    found = measure(npu, bench)
    assert found.sentinels == 1
    assert found.max_abs_err == pytest.approx(0.02)
    assert found.rel_l2 == pytest.approx(0.02 / math.hypot(1, 2.02))
    assert found.norm_bench == pytest.approx(abs(least))
    assert found.cosine == pytest.approx(1.0)
    tiny = measure(np.array([-1e9, 1e-200]), np.array([-1e9, 2e-200]))
    assert (tiny.sentinels, tiny.rel_l2, tiny.norm_bench) == (1, 0.5, 1e9)


def test_sentinels_and_nonfinite_elements_together() -> None:
    npu = np.array([-1e9, NAN, 1.0, INF, 2.0])
    bench = np.array([-1e9, 1.0, 1.0, INF, 2.02])
    found = measure(npu, bench, block=2)
    assert found.live is not None
    assert (found.sentinels, found.live.count, found.finite) == (1, 2, 3)
    assert found.live.norm_bench == pytest.approx(math.hypot(1, 2.02))


def test_the_columns_of_real_data(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.array([1.0, 2.0]))
    npu = np.load(tmp_path / "n.npy", mmap_mode="r")
    assert REAL_DATA.cells(measure(npu, np.array([1.0, 4.0]))) == {
        "Cosine": pytest.approx(9 / math.sqrt(5 * 17)),
        "EucDist": 2.0,
        "MaxAbsErr": 2.0,
        "MaxRelativeErr": 0.5,
        "One Thousandth Err Ratio": 0.5,
        "Five Thousandths Err Ratio": 0.5,
        "RelL2": pytest.approx(2 / math.sqrt(17)),
        "MaxAbsErr Index": "(1,)",
        "MaxRelativeErr Index": "(1,)",
    }
