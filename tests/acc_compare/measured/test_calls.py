from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from acc_compare.measured.calls import MeasuredArgument, MeasuredCall, is_output, place_of_gradient
from acc_compare.measured.errors import TensorError
from acc_compare.model import PairedCall
from dump.format.names import parse
from dump.format.schema import CallRecord, TensorRecord


def measured(error: TensorError | None) -> MeasuredArgument:
    record = TensorRecord("torch.float32", (2, 3), max=3.0, min=-5.0)
    return MeasuredArgument.of("output.0", record, record, error)


def test_an_unmeasured_argument_is_nothing() -> None:
    one = measured(None)
    assert (one.relative, one.norm, one.distance, one.count) == (0.0, 0.0, 0.0, 6)


@pytest.mark.parametrize(
    ("relative", "source", "expected"),
    [
        (0.0, "sketch", 0.0),
        (1e-9, "sketch", 2e-7),
        (1e-3, "sketch", 1e-3),
        (1e-9, "exact", 1e-9),
        (1e-9, "bound", 2e-6),
    ],
)
def test_no_error_but_none_is_below_what_can_be_resolved(relative: float, source: Any, expected: float) -> None:
    one = measured(TensorError(relative * 10.0, 10.0, relative, source))
    assert one.relative == expected
    assert one.distance == expected * 10.0


def test_an_unknown_norm_is_0() -> None:
    one = measured(TensorError(math.inf, math.nan, math.inf, "sketch"))
    assert (one.norm, one.relative, one.distance) == (0.0, math.inf, math.inf)


@pytest.mark.parametrize(
    ("high", "low", "largest"), [(3.0, -5.0, 5.0), (math.inf, -2.0, 2.0), (math.nan, math.nan, 0.0), (None, None, 0.0)]
)
def test_largest(high: float | None, low: float | None, largest: float) -> None:
    record = TensorRecord("torch.float32", (2,), max=high, min=low)
    assert MeasuredArgument.of("output.0", record, record, None).largest == largest


def call_of(name: str, *read: MeasuredArgument) -> MeasuredCall:
    record = CallRecord(name, 0)
    return MeasuredCall(PairedCall(record, record, ()), parse(name), 0, read, ())


@pytest.mark.parametrize(
    ("name", "operator", "is_backward"),
    [
        ("Functional.gelu.2.forward", "gelu", False),
        ("Tensor.__add__.0.backward", "__add__", True),
        ("Module.layer1.0.bn.BatchNorm2d.forward.0", "batch_norm", False),
        ("Module.fc.Linear.backward.0", "linear", True),
    ],
)
def test_operator(name: str, operator: str, is_backward: bool) -> None:
    call = call_of(name)
    assert (call.full_name, call.operator, call.is_backward) == (name, operator, is_backward)


@pytest.mark.parametrize("differs", [True, False])
def test_indices_that_differ(make: Any, differs: bool) -> None:
    bench = np.arange(6)
    npu = bench + 1 if differs else bench
    call = call_of("Functional.embedding.0.forward", make.argument("input.0", npu, bench))
    assert call.reads_other_integers() is differs
    assert list(call.floating_inputs()) == []


def test_floats_that_differ_are_no_indices(make: Any) -> None:
    bench = make.normal(6)
    call = call_of("Functional.embedding.0.forward", make.argument("input.0", make.off(bench, 0.1), bench))
    assert not call.reads_other_integers()
    assert len(list(call.floating_inputs())) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("output.0", True),
        ("written.input.0", True),
        ("parameters_grad.weight", True),
        ("input.0", False),
        ("parameters.weight", False),
    ],
)
def test_is_output(name: str, expected: bool) -> None:
    assert is_output(name) is expected


@pytest.mark.parametrize(
    ("name", "shape", "given", "place"),
    [
        ("output.0", (4, 3), [(4, 3), (8, 3), (8,)], 0),
        ("output.0", (8,), [(4, 3), (8, 3), (8,)], 2),  # addmm's own order
        ("output.2", (3, 8), [(4, 3), (8, 3), (8,)], 1),
        ("output.1", (3, 3), [(3, 3), (3, 3)], 1),
        ("output.2", (3, 3), [(3, 3), (3, 3), (3,)], None),  # either
        ("output.1", (2, 2), [(4, 3), (8, 3)], 1),
        ("output.5", (2, 2), [(4, 3), (8, 3)], None),
        ("output.grad", (8, 3), [(4, 3), (8, 3)], 1),
    ],
)
def test_a_gradient_is_of_what_has_its_shape(
    name: str, shape: tuple[int, ...], given: list[tuple[int, ...]], place: int | None
) -> None:
    assert place_of_gradient(name, shape, given) == place
