"""The bounds, against what float32 does: an operator computed in float32 must stay within ten times its bound of the
same in float64, and a wrong one must not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from acc_compare.judge.expected import _BACKWARD, _FORWARD, expected_error
from acc_compare.judge.origins import SUSPICIOUS
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.measured.errors import TensorError
from acc_compare.metrics.distance import measure
from acc_compare.model import PairedCall
from acc_compare.operators import operator_class
from dump.format.names import parse
from dump.format.schema import CallRecord, TensorRecord

Array = Any
UNIT = 2.0**-24


def exact(make: Any, name: str, npu: Array, bench: Array) -> MeasuredArgument:
    """An argument measured from whole tensors, so that nothing but arithmetic is left in its bound."""
    ours, theirs = make.tensor(npu), make.tensor(bench)
    distance = measure(npu.astype(np.float64), bench.astype(np.float64))
    assert distance.live is not None
    live = distance.live
    return MeasuredArgument.of(name, ours, theirs, TensorError(live.euc_dist, live.norm_bench, live.rel_l2, "exact"))


def call(name: str, read: Sequence[MeasuredArgument], *wrote: MeasuredArgument) -> MeasuredCall:
    record = CallRecord(name, 0)
    return MeasuredCall(PairedCall(record, record, ()), parse(name), 0, tuple(read), wrote)


def forward(make: Any, api: str, inputs: Sequence[Array], npu: Array, bench: Array) -> tuple[float, float]:
    """(error, expected) of a forward call whose inputs are equal."""
    out = exact(make, "output.0", npu, bench)
    read = [exact(make, f"input.{place}", each, each) for place, each in enumerate(inputs)]
    return out.relative, expected_error(call(f"Torch.{api}.0.forward", read, out), out, None).relative


A, B = (np.random.default_rng(seed).standard_normal((64, 64)).astype("f4") for seed in (1, 2))
WIDE_A, WIDE_B = A.astype("f8"), B.astype("f8")
OPERATORS = {
    "add": ((A, B), A + B, WIDE_A + WIDE_B),
    "tanh": ((A,), np.tanh(A), np.tanh(WIDE_A)),
    "matmul": ((A, B), A @ B, WIDE_A @ WIDE_B),
    "sum": ((A,), A.sum(0), WIDE_A.sum(0)),
    "mean": ((A,), A.mean(), WIDE_A.mean()),
    "softmax": (
        (A,),
        np.exp(A) / np.exp(A).sum(1, keepdims=True),
        np.exp(WIDE_A) / np.exp(WIDE_A).sum(1, keepdims=True),
    ),
    "layer_norm": (
        (A,),
        (A - A.mean(1, keepdims=True)) / A.std(1, keepdims=True),
        (WIDE_A - WIDE_A.mean(1, keepdims=True)) / WIDE_A.std(1, keepdims=True),
    ),
    "nobody_knows_this": ((A, B), A * B + A, WIDE_A * WIDE_B + WIDE_A),
}


@pytest.mark.parametrize("api", OPERATORS)
def test_rounding_is_explained_and_a_thousandth_is_not(make: Any, api: str) -> None:
    inputs, single, double = OPERATORS[api]
    bench = np.asarray(double, "f4")
    error, expected = forward(make, api, inputs, np.asarray(single), bench)
    assert error <= SUSPICIOUS * expected
    wrong, expected = forward(make, api, inputs, np.asarray(single * np.float32(1.001)), bench)
    assert wrong > SUSPICIOUS * expected


@pytest.mark.parametrize("kind", [kind for kind in _FORWARD if kind != "exact"])
def test_no_bound_is_below_a_rounding(make: Any, kind: Any) -> None:
    api = next(name for name in (*OPERATORS, "gelu", "arange") if operator_class(name) == kind)
    _, expected = forward(make, api, (A, B), A, A)
    assert expected >= UNIT
    _, made_from_nothing = forward(make, api, (), A, A)
    assert made_from_nothing >= UNIT


def test_forward_and_backward_have_the_same_classes() -> None:
    assert set(_FORWARD) == set(_BACKWARD)


def test_copies_do_not_round(make: Any) -> None:
    _, expected = forward(make, "reshape", (A,), A.reshape(32, 128), A.reshape(32, 128))
    assert expected == 0


def test_a_copy_passes_on_what_it_read(make: Any) -> None:
    out = exact(make, "output.0", make.off(A, 1e-3), A)
    read = exact(make, "input.0", make.off(A, 1e-3), A)
    found = expected_error(call("Tensor.view.0.forward", [read], out), out, None)
    assert found.relative == pytest.approx(read.relative)


def test_a_cast_rounds_to_the_narrower_type(make: Any) -> None:
    half = A.astype("f2").astype("f4")
    out = exact(make, "output.0", half, A)
    narrow = MeasuredArgument.of("output.0", make.tensor(half, dtype="torch.float16"), out.bench, out.error)
    read = exact(make, "input.0", A, A)
    assert expected_error(call("Tensor.to.0.forward", [read], narrow), narrow, None).relative == 2.0**-11
    assert expected_error(call("Tensor.to.0.forward", [read], out), out, None).relative == 0


def test_one_side_in_bfloat16_is_judged_by_bfloat16(make: Any) -> None:
    read = exact(make, "input.0", A, A)
    out = exact(make, "output.0", A, A)
    narrow = MeasuredArgument.of("output.0", make.tensor(A, dtype="torch.bfloat16"), out.bench, out.error)
    found = expected_error(call("Functional.gelu.0.forward", [read], narrow), narrow, None)
    assert found.relative > 2.0**-8


def test_a_result_that_cancels_is_measured_against_its_terms(make: Any) -> None:
    """The gradient of a bias before a batch norm: 4,096 terms whose sum is 0 but for rounding."""
    terms = make.normal(4096, 8)
    terms -= terms.mean(0)
    bench, npu = make.normal(8, seed=3) * np.float32(1e-6), make.normal(8, seed=4) * np.float32(1e-6)
    gradient, out = exact(make, "input.0", terms, terms), exact(make, "output.2", npu, bench)
    weight = exact(make, "input.1", make.normal(8, 8), make.normal(8, 8))
    before = call("Functional.linear.0.forward", [exact(make, "input.0", terms, terms), weight], gradient)
    after = call("Functional.linear.0.backward", [gradient], out)
    assert out.relative > 0.5  # nothing of the two agrees
    assert out.relative <= SUSPICIOUS * expected_error(after, out, before).relative
    large, other = make.normal(8, seed=3) * np.float32(1e-2), make.normal(8, seed=4) * np.float32(1e-2)
    real = exact(make, "output.2", other, large)
    assert real.relative > SUSPICIOUS * expected_error(call(after.full_name, [gradient], real), real, before).relative


def test_a_matmul_that_cancels_is_measured_against_its_terms(make: Any) -> None:
    one = np.ones((4, 4096), "f4")
    alternating = np.tile(np.array([1, -1], "f4"), 2048)[:, None] * np.ones((1, 4), "f4")
    bench, npu = np.full((4, 4), 1e-6, "f4"), np.full((4, 4), -1e-6, "f4")
    error, expected = forward(make, "matmul", (one, alternating), npu, bench)
    assert error == pytest.approx(2)
    assert error <= SUSPICIOUS * expected


def test_a_large_mean_amplifies_what_a_normalisation_read(make: Any) -> None:
    def bound(shift: float) -> float:
        shifted = A + np.float32(shift)
        read = exact(make, "input.0", make.off(shifted, 1e-6), shifted)
        out = exact(make, "output.0", A, A)
        return expected_error(call("Functional.layer_norm.0.forward", [read], out), out, None).relative

    assert bound(1000) > 100 * bound(0)


def test_softmax_answers_to_the_absolute_error_of_its_logits(make: Any) -> None:
    def bound(scale: float) -> float:
        logits = A * np.float32(scale)
        read = exact(make, "input.0", make.off(logits, 1e-4), logits)
        out = exact(make, "output.0", A, A)
        return expected_error(call("Functional.softmax.0.forward", [read], out), out, None).relative

    assert bound(50) > 10 * bound(1)


@pytest.mark.parametrize(("api", "leaps"), [("relu", True), ("gelu", False)])
def test_a_derivative_that_jumps_changes_whole_elements(make: Any, api: str, leaps: bool) -> None:
    size = 1e-6
    read = exact(make, "input.0", make.off(A, size), A)
    before = call(f"Functional.{api}.0.forward", [read], exact(make, "output.0", make.off(A, size), A))
    gradient, out = exact(make, "input.0", B, B), exact(make, "output.0", B, B)
    found = expected_error(call(f"Functional.{api}.0.backward", [gradient], out), out, before).relative
    assert (found > math.sqrt(size)) is leaps


@pytest.mark.parametrize(("api", "leaps"), [("elu", False), ("max_pool2d", True)])
def test_no_element_of_few_crosses_a_threshold_by_a_rounding(make: Any, api: str, leaps: bool) -> None:
    """512 elements that are off by 1e-7 cross a threshold once in twenty thousand tensors; ties are another matter."""
    size = 1e-7
    read = exact(make, "input.0", make.off(A, size), A)
    before = call(f"Functional.{api}.0.forward", [read], exact(make, "output.0", make.off(A, size), A))
    gradient, out = exact(make, "input.0", B, B), exact(make, "output.0", B, B)
    found = expected_error(call(f"Functional.{api}.0.backward", [gradient], out), out, before).relative
    assert (found > math.sqrt(size)) is leaps


def test_the_derivative_of_equal_inputs_does_not_jump(make: Any) -> None:
    read = exact(make, "input.0", A, A)
    before = call("Functional.relu.0.forward", [read], read)
    gradient, out = exact(make, "input.0", B, B), exact(make, "output.0", B, B)
    assert expected_error(call("Functional.relu.0.backward", [gradient], out), out, before).relative == 0


def test_an_argmax_of_inputs_that_differ_may_differ(make: Any) -> None:
    read = exact(make, "input.0", make.off(A, 1e-4), A)
    out = exact(make, "output.0", np.arange(8), np.arange(8))
    assert expected_error(call("Torch.argmax.0.forward", [read], out), out, None).relative > 0.01


@pytest.mark.parametrize("api", ["max_pool2d", "pad"])
def test_backward_of_overlapping_windows_adds(make: Any, api: str) -> None:
    gradient, out = (
        exact(make, "input.0", A, A),
        exact(make, "output.0", np.zeros((128, 128), "f4") + 1, np.ones((128, 128), "f4")),
    )
    found = expected_error(call(f"Functional.{api}.0.backward", [gradient], out), out, None)
    assert 0 < found.relative < 1e-5


def test_backward_of_an_expansion_sums(make: Any) -> None:
    gradient = exact(make, "input.0", A, A)
    out = exact(make, "output.0", A[0], A[0])
    found = expected_error(call("Tensor.expand.0.backward", [gradient], out), out, None)
    assert found.relative >= 8 * UNIT  # sqrt of 64 terms


@pytest.mark.parametrize("kind", list(_BACKWARD))
def test_backward_inherits_what_its_gradient_shows(make: Any, kind: Any) -> None:
    api = next(name for name in (*OPERATORS, "gelu", "reshape") if operator_class(name) == kind)
    read = [exact(make, "input.0", A, A), exact(make, "input.1", B, B)]
    before = call(f"Torch.{api}.0.forward", read, exact(make, "output.0", A, A))
    out = exact(make, "output.0", A, A)

    def bound(size: float) -> float:
        gradient = exact(make, "input.0", make.off(B, size), B)
        return expected_error(call(f"Torch.{api}.0.backward", [gradient], out), out, before).relative

    assert bound(1e-2) > 0.9e-2
    assert bound(0) < 1e-4


def test_indices_that_differ_leave_nothing_to_say(make: Any) -> None:
    index = make.argument("input.0", np.arange(4), np.arange(4) + 1)
    out = exact(make, "output.0", A, B)
    found = expected_error(call("Functional.embedding.0.forward", [index], out), out, None)
    assert (found.relative, found.source) == (math.inf, "its indices or masks differ")


def test_inputs_of_unknown_distance_leave_nothing_to_say(make: Any) -> None:
    digest = TensorRecord("torch.float32", (4,), md5="a" * 32)
    read = MeasuredArgument.of("input.0", digest, digest, TensorError(math.nan, math.nan, math.inf, "digest"))
    out = exact(make, "output.0", A, B)
    assert math.isinf(expected_error(call("Functional.gelu.0.forward", [read], out), out, None).relative)


@pytest.mark.parametrize(("size", "says"), [(1e-7, True), (1e-2, False)])
def test_a_lower_bound_on_inputs_says_nothing_once_it_is_large(make: Any, size: float, says: bool) -> None:
    error = TensorError(size * 10, 10.0, size, "bound")
    read = MeasuredArgument.of("input.0", make.tensor(A), make.tensor(A), error)
    out = exact(make, "output.0", A, A)
    found = expected_error(call("Functional.gelu.0.forward", [read], out), out, None)
    assert math.isfinite(found.relative) is says


@pytest.mark.parametrize(("floor", "source"), [(0.5, "measured floor"), (1e-12, "arithmetic")])
def test_a_measured_floor_raises_and_never_lowers(make: Any, floor: float, source: str) -> None:
    read, out = exact(make, "input.0", A, A), exact(make, "output.0", A, A)
    one = call("Functional.gelu.0.forward", [read], out)
    found = expected_error(one, out, None, floor)
    assert found.source == source
    assert found.relative == max(floor, expected_error(one, out, None).relative)


def test_what_measuring_cannot_resolve_is_allowed(make: Any) -> None:
    out = make.argument("output.0", make.off(A, 1e-8), A)
    assert out.error.source == "sketch"
    read = make.argument("input.0", A, A)
    assert expected_error(call("Tensor.view.0.forward", [read], out), out, None).relative == pytest.approx(2e-7)
