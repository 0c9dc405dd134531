"""Every number of docs/metrics.md against the same definition written with 60 digits, element by element.

Tensors are drawn as raw bits, so that every dtype brings its NaN, infinities, zeros, subnormals and extremes, and the
sides differ in dtype.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from acc_compare.metrics.distance import TensorDistance, measure
from acc_compare.metrics.statistics import difference, relative_percent

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
        np.uint64,
        np.int32,
        np.uint8,
        np.bool_,
        np.complex64,
        np.complex128,
    )
]
INTEGERS = "iub"


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two tensors of one shape, 0-d and empty ones among them, of any dtypes; often with elements in common."""
    shape = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 0), (2, 3), (7,)]))
    one, other = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(DTYPES))
    npu, bench = _drawn(draw, one, shape), _drawn(draw, other, shape)
    if one == other:
        same = np.array(draw(st.lists(st.booleans(), min_size=npu.size, max_size=npu.size)), bool).reshape(shape)
        bench = np.where(same, npu, bench).astype(other)
    return npu, bench


def _drawn(draw: st.DrawFn, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    count = math.prod(shape)
    if draw(st.booleans()) or dtype.kind == "b":
        return np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))).astype(dtype).reshape(shape)
    data = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    return np.frombuffer(data, dtype).reshape(shape)


def exact(element: Any, dtype: np.dtype[Any]) -> Any:
    """An element as mpmath has it; None where it is not finite."""
    if dtype.kind in INTEGERS:
        return mpmath.mpf(int(element))
    if dtype.kind == "c":
        whole = complex(element)
        return mpmath.mpc(whole) if np.isfinite(whole) else None
    whole = float(element)
    return mpmath.mpf(whole) if math.isfinite(whole) else None


def agree(npu: Any, bench: Any) -> bool:
    """Two elements of which one at least is not finite."""
    n, b = complex(npu), complex(bench)
    if np.isfinite(n) or np.isfinite(b):
        return False
    if np.isnan(n) or np.isnan(b):
        return bool(np.isnan(n) and np.isnan(b))
    if isinstance(npu, (complex, np.complexfloating)) or isinstance(bench, (complex, np.complexfloating)):
        return True  # complex infinities have no sign
    return bool(n == b)


def reference(npu: np.ndarray, bench: np.ndarray) -> dict[str, Any]:
    """The definitions, over elements finite on both sides."""
    finite, agreeing = [], 0
    for n, b in zip(npu.reshape(-1), bench.reshape(-1), strict=True):
        one, other = exact(n, npu.dtype), exact(b, bench.dtype)
        if one is None or other is None:
            agreeing += agree(n, b)
        else:
            finite.append((one, other))
    apart = [abs(n - b) for n, b in finite]
    share = [d / abs(b) if b else (mpmath.inf if d else mpmath.mpf(0)) for d, (_, b) in zip(apart, finite, strict=True)]
    distance = mpmath.sqrt(sum(d**2 for d in apart))
    norms = [mpmath.sqrt(sum(abs(pair[side]) ** 2 for pair in finite)) for side in (0, 1)]
    inner = sum(mpmath.re(n * mpmath.conj(b)) for n, b in finite)
    cosine = 1 if not distance else 0 if not norms[0] or not norms[1] else inner / norms[0] / norms[1]
    counted = [(agreeing + sum(s < limit for s in share)) / npu.size if npu.size else None for limit in (0.001, 0.005)]
    found = {"one_thousandth_ratio": counted[0], "five_thousandths_ratio": counted[1]}
    if finite:
        found |= {
            "cosine": cosine,
            "euc_dist": distance,
            "max_abs_err": max(apart),
            "max_relative_err": max(share),
            "norm_npu": norms[0],
            "norm_bench": norms[1],
        }
    if min(*norms, distance or max(norms)) < mpmath.mpf(10) ** -150 * max(norms):
        # Squares are summed in one scale, in which those of a much shorter one vanish.
        for name in ("cosine", "norm_npu", "norm_bench", "euc_dist"):
            found.pop(name, None)
    return found


def is_rounded(npu: np.ndarray, bench: np.ndarray) -> bool:
    """The one case that is not exact: a 64-bit integer against a float, or against one of the other sign."""
    kinds = {npu.dtype, bench.dtype}
    long = any(kind.kind in "iu" and kind.itemsize == 8 for kind in kinds)
    return long and np.result_type(*(k if k.kind in "iubc" else np.float64 for k in kinds)).kind not in INTEGERS


def spans_little(npu: np.ndarray, bench: np.ndarray) -> bool:
    """Do squares of the smallest element survive beside those of the largest?  With both scaled into the middle of
    float64's exponents, two that are 2^480 apart do."""
    with np.errstate(all="ignore"):
        sizes = np.abs(np.concatenate([npu.ravel().astype("c16"), bench.ravel().astype("c16")]))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    return sizes.size == 0 or bool(np.log2(sizes.max()) - np.log2(sizes.min()) < 480)


@given(pairs(), st.sampled_from([1, 2, 1 << 16]))
@example(
    (np.array([0.0, 1.0]), np.array([0.0, 1e145])), 1
)  # a scale for the large side in which the small one vanished
@example((np.array([3.0, 1e5]), np.array([1e154, 0.0])), 1)
@example((np.array([1.23387897e-178]), np.array([2.3509887e-38], np.float32)), 1)  # squares of one side vanish
@example((np.array([1e-200, 0.0]), np.array([1e-100, 1.0]) * 1e-15), 1)
@example((np.array([1e-100]), np.array([1e43])), 1)
@example((np.array(1), np.array(0, np.uint64)), 1)
@settings(deadline=None, max_examples=400)
def test_every_number_is_what_its_definition_says(pair: tuple[np.ndarray, np.ndarray], block: int) -> None:
    npu, bench = pair
    assume(spans_little(npu, bench))
    if is_rounded(npu, bench):
        npu, bench = (  # of an array without dimensions, clip makes a number
            np.asarray(np.clip(npu, 0, 1000) if npu.dtype.kind in "iu" else npu),
            np.asarray(np.clip(bench, 0, 1000) if bench.dtype.kind in "iu" else bench),
        )
    with mpmath.workdps(60):
        found = measure(npu, bench, block=block)
        for name, value in reference(npu, bench).items():
            assert _is_near(getattr(found, name), value), (name, getattr(found, name), value)
    _check_places(found, npu, bench)


def _is_near(found: float | None, wanted: Any) -> bool:
    if found is None or wanted is None:
        return found is wanted
    if not math.isfinite(found):
        # Beyond float64 a number is infinite.
        return bool(wanted == found or abs(wanted) > mpmath.mpf(2) ** 1023)
    return bool(abs(found - wanted) <= mpmath.mpf(1e-11) * max(abs(wanted), mpmath.mpf(2) ** -1000))


def _check_places(found: TensorDistance, npu: np.ndarray, bench: np.ndarray) -> None:
    """The index of the largest difference is that of an element which differs by it."""
    if found.max_abs_err is None or not found.max_abs_err:
        assert found.max_abs_index is None
        return
    assert found.max_abs_index is not None
    place = np.unravel_index(found.max_abs_index, npu.shape)
    with mpmath.workdps(60):
        apart = abs(exact(npu[place], npu.dtype) - exact(bench[place], bench.dtype))
        assert _is_near(found.max_abs_err, apart)
    assert found.position(found.max_abs_index) == str(tuple(int(part) for part in place))


NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**63), st.floats())


@given(NUMBERS, NUMBERS)
def test_statistics_are_what_their_definitions_say(npu: float | None, bench: float | None) -> None:
    apart, percent = difference(npu, bench), relative_percent(npu, bench)
    if npu is None or bench is None:
        assert apart is percent is None
    elif math.isnan(npu) or math.isnan(bench):
        assert apart is not None
        assert percent is not None
        assert math.isnan(apart)
        assert math.isnan(percent)
    elif npu == bench:
        assert (apart, percent) == (0, 0)
    elif math.isfinite(npu) and math.isfinite(bench):
        assert apart is not None
        assert percent is not None
        with mpmath.workdps(60):
            wanted = mpmath.mpf(npu) - mpmath.mpf(bench)
            assert _is_near(float(apart), wanted)
            share = abs(wanted) / abs(mpmath.mpf(bench)) * 100 if bench else mpmath.inf
            tiny = bench and abs(bench) < 1e-300
            assert tiny or abs(wanted) > 1e306 or _is_near(percent, share)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)], ids=str)
def test_a_tensor_against_itself_shows_nothing(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    found = measure(array, array)
    assert found.max_abs_err == (0 if array.size else None)
    assert found.max_abs_index is None
    assert found.one_thousandth_ratio == (1 if array.size else None)
