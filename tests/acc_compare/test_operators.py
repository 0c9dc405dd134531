from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from acc_compare import operators
from acc_compare.operators import (
    UNIT_ROUNDOFF,
    draws,
    growth,
    is_random_source,
    is_shaped_by_values,
    is_uninitialised,
    jumps,
    jumps_at_thresholds,
    known_spelling,
    moves_memory_only,
    operator_class,
    overwrites,
    plain_api,
    roundoff,
)


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        ("view", "exact"),
        ("relu", "exact"),
        ("__getitem__", "exact"),
        ("max_pool2d", "exact"),
        ("gelu", "elementwise"),
        ("__iadd__", "elementwise"),
        ("__rsub__", "elementwise"),
        ("__truediv__", "elementwise"),
        ("mul_", "elementwise"),
        ("arange", "elementwise"),  # start + i * step rounds
        ("linspace", "elementwise"),
        ("linear", "contraction"),
        ("__matmul__", "contraction"),
        ("scaled_dot_product_attention", "contraction"),
        ("mean", "reduction"),
        ("fold", "reduction"),  # adds up what overlaps
        ("linalg.norm", "reduction"),
        ("batch_norm", "normalisation"),
        ("softmax", "exponential"),
        ("cross_entropy", "exponential"),
        ("nobody_knows_this", "general"),
    ],
)
def test_operator_classes(api: str, expected: str) -> None:
    assert operator_class(api) == expected


def test_no_operator_is_in_two_classes() -> None:
    often = Counter(name for text in operators._CLASSES.values() for name in text.split())
    assert [name for name, count in often.items() if count > 1] == []


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        ("gelu", "gelu"),
        ("__add__", "add"),
        ("__iadd__", "add"),
        ("__radd__", "add"),
        ("__rsub__", "rsub"),
        ("__itruediv__", "div"),
        ("__imatmul__", "matmul"),
        ("__invert__", "invert"),
        ("__eq__", "eq"),
    ],
)
def test_plain_api(api: str, expected: str) -> None:
    assert plain_api(api) == expected


@pytest.mark.parametrize(("flat", "name"), [("layernorm", "layer_norm"), ("relu", "relu"), ("nothing", None)])
def test_known_spelling(flat: str, name: str | None) -> None:
    assert known_spelling(flat) == name


@pytest.mark.parametrize(
    ("ask", "yes", "no"),
    [
        (draws, "dropout", "gelu"),
        (draws, "bernoulli_", "softmax"),
        (is_random_source, "randn", "dropout"),
        (moves_memory_only, "empty_like", "clone"),
        (moves_memory_only, "__setitem__", "__getitem__"),
        (is_uninitialised, "new_empty", "new_zeros"),
        (overwrites, "copy_", "add_"),
        (overwrites, "normal_", "clone"),
        (is_shaped_by_values, "nonzero", "conv2d"),
        (lambda api: jumps(api, backward=True), "relu", "gelu"),
        (lambda api: jumps(api, backward=False), "argmax", "relu"),
        (jumps_at_thresholds, "leaky_relu_", "max_pool2d"),
    ],
)
def test_tables_say_yes_and_no(ask, yes: str, no: str) -> None:  # type: ignore[no-untyped-def]
    assert ask(yes)
    assert not ask(no)


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_unit_roundoffs_are_those_of_the_format(name: str) -> None:
    assert UNIT_ROUNDOFF[f"torch.{name}"] == float(np.finfo(name).eps) / 2


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (["torch.float32"], 2.0**-24),
        (["torch.float32", "torch.bfloat16"], 2.0**-8),
        (["torch.int64", "torch.bool"], 0.0),
        ([], 0.0),
    ],
)
def test_roundoff_is_that_of_the_shortest(dtypes: list[str], expected: float) -> None:
    assert roundoff(dtypes) == expected


@pytest.mark.parametrize("terms", [1, 100, 10_000])
def test_growth_is_that_of_real_sums(terms: int) -> None:
    """A float32 sum of K random terms, one after the other, stays below growth(K) unit roundoffs of |x|."""
    rng = np.random.default_rng(terms)
    values = rng.standard_normal(terms).astype(np.float32)
    one_by_one = np.add.accumulate(values, dtype=np.float32)[-1]
    error = abs(float(one_by_one) - math.fsum(map(float, values)))
    assert error <= growth(terms) * 2.0**-24 * float(np.linalg.norm(values))
    assert growth(terms) == 4 + math.sqrt(terms)
