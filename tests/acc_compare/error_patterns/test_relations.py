from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acc_compare.error_patterns.relations import RELATIONS, Pair, _detector, relation_of

NOISE = 2.0**-22


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def pair(npu: Any, bench: Any, **fields: Any) -> Pair:
    return Pair(np.asarray(npu, "f8"), np.asarray(bench, "f8"), NOISE, 1.0, **fields)


def jittered(values: Any) -> Any:
    """With this device's own rounding."""
    return (values * (1 + 2.0**-24 * normal(*values.shape, seed=9).astype("f8"))).astype("f4")


def narrow(values: Any, dtype: Any) -> Any:
    return values.astype(dtype).astype("f4")


def permuted(values: Any) -> Any:
    found = values.copy()
    found[[2, 9]] = found[[9, 2]]
    return found


X = normal(32, 24)
NHWC = normal(4, 5, 6, 7)
CASES = [
    ("zero", X, lambda x: x * 0, 0.0, ()),
    ("sign", X, lambda x: -x, 0.0, ()),
    ("transposed", X, lambda x: np.ascontiguousarray(x.T).reshape(x.shape), 0.0, (0, 1)),
    (
        "transposed",
        NHWC,
        lambda x: np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(x.shape),
        0.0,
        (1, 2),
    ),
    ("shifted", X, lambda x: np.roll(x, 1, axis=1), 1.0, (1,)),
    ("shifted", X, lambda x: np.roll(x, -1, axis=0), -1.0, (0,)),
    ("permuted", X, permuted, 2.0, (0,)),
    ("permuted", X, lambda x: x[:, ::-1], 24.0, (1,)),
    ("bfloat16", X, lambda x: narrow(x, ml_dtypes.bfloat16), 1.0, ()),
    ("bfloat16", X, lambda x: narrow(narrow(x * 1.01, ml_dtypes.bfloat16) * 1.01, ml_dtypes.bfloat16), 0.0, ()),
    ("float16", X, lambda x: narrow(x, np.float16), 1.0, ()),
    ("factor", X, lambda x: x * np.float32(1.001), 1.001, ()),
    ("factor", X, lambda x: x * np.float32(0.125), 0.125, ()),
    ("offset", X, lambda x: x + np.float32(0.01), 0.01, ()),
]


@pytest.mark.parametrize(("name", "bench", "change", "value", "axes"), CASES)
def test_fires(name: str, bench: Any, change: Any, value: float, axes: tuple[int, ...]) -> None:
    # Rounding of its own would hide what a narrow type left behind.
    npu = change(bench) if name in ("bfloat16", "float16") else jittered(change(bench))
    found = relation_of(pair(npu, bench))
    assert found is not None
    assert (found.name, found.axes) == (name, axes)
    assert found.value == pytest.approx(value, rel=1e-4)


def test_every_detector_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(RELATIONS)


@pytest.mark.parametrize(
    ("npu", "bench"),
    [
        (X, X),  # nothing is off
        (X + np.float32(0.01) * normal(32, 24, seed=3), X),  # noise
        (X * (1 + np.float32(0.01) * normal(32, 24, seed=3)), X),
        (normal(32, 24, seed=5), X),  # another draw
        (np.ones((32, 24)) * 1.5, np.ones((32, 24))),  # a factor and an offset alike
        (X[:3, :4] * 2, X[:3, :4]),  # too few to tell
        (np.where(X > 2, np.float32(np.nan), X), X),
        (narrow(X, ml_dtypes.bfloat16) + np.float32(1), narrow(X, ml_dtypes.bfloat16) * np.float32(1.1)),
        (np.where(X > 2, X * 2, X), X),  # a factor for a few elements only
        (np.sort(X.ravel()), np.sort(X.ravel()) + np.float32(0.01) * normal(768, seed=4)),  # close by order alone
    ],
)
def test_stays_silent(npu: Any, bench: Any) -> None:
    assert relation_of(pair(npu, bench)) is None


def test_one_large_element_does_not_speak_for_all() -> None:
    bench = normal(32, 24)
    bench[0, 0] = 1e6
    npu = bench.copy()
    npu[0, 0] *= 2
    npu[1:] += np.float32(0.1) * normal(31, 24, seed=2)
    assert relation_of(pair(npu, bench)) is None


def test_a_narrow_bench_shows_no_rounding() -> None:
    """Flags and small integers are bfloat16 numbers on both sides."""
    bench = np.arange(64.0).reshape(8, 8)
    npu = bench.copy()
    npu[::3] += np.array([1, 2, 0, 1, 2, 0, 2, 1])
    found = relation_of(pair(npu, bench))
    assert found is None or found.name not in ("bfloat16", "float16")


def test_slices_that_were_left_out_are_no_neighbours() -> None:
    rolled, swapped = np.roll(X, 1, axis=0), np.ascontiguousarray(X.T).reshape(X.shape)
    assert relation_of(pair(rolled, X, thin=frozenset({0}))) is None
    assert relation_of(pair(swapped, X, thin=frozenset({0}))) is None
    found = relation_of(pair(np.roll(X, 1, axis=1), X, thin=frozenset({0})))
    assert found is not None
    assert found.axes == (1,)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.5, 2.0).filter(lambda r: abs(r - 1) > 1e-4), st.integers(0, 1000))
def test_any_factor_is_found_to_its_digits(r: float, seed: int) -> None:
    bench = normal(8, 16, seed=seed)
    found = relation_of(pair((bench.astype("f8") * r).astype("f4"), bench))
    assert found is not None
    assert found.name == "factor"
    assert found.value == pytest.approx(r, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.permutations(list(range(12))).filter(lambda order: order != list(range(12))), st.integers(0, 1000))
def test_any_order_of_rows_is_found(order: list[int], seed: int) -> None:
    bench = normal(12, 16, seed=seed)
    found = relation_of(pair(bench[order], bench))
    assert found is not None
    if found.name == "permuted":
        assert found.value == sum(i != j for i, j in enumerate(order))
    else:  # moved on by one is said first
        assert found.name == "shifted"


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        _detector("sign")(lambda _: None)
