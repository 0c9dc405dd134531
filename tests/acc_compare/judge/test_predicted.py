"""Predictions against errors that are made: each class of operator computed twice, with rounding of a known size."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest

from acc_compare.judge.predicted import autocast_roundoff, predict
from acc_compare.operators import OPERATORS as OPERATORS_KNOWN
from acc_compare.operators import OperatorClass

SIZE = 1e-3
"""Relative error that the inputs are given: far above the rounding of float32."""

OPERATORS = {
    "Torch.add.0.forward": lambda a, b: a + b,
    "Torch.mul.0.forward": lambda a, b: a * b,
    "Torch.matmul.0.forward": lambda a, b: a @ b.T,
    "Functional.gelu.0.forward": lambda a, b: a * (1 + np.tanh(0.8 * (a + 0.045 * a**3))) / 2,
    "Torch.cat.0.forward": lambda a, b: np.concatenate([a, b]),
    "Torch.softmax.0.forward": lambda a, b: np.exp(a) / np.exp(a).sum(-1, keepdims=True),
    "Functional.layer_norm.0.forward": lambda a, b: (a - a.mean(-1, keepdims=True)) / a.std(-1, keepdims=True),
}
UNARY = ("gelu", "softmax", "layer_norm")


def measured(make: Any, name: str, *, size: float = SIZE, seed: int = 0) -> Any:
    """A call on inputs that are off by `size`, without rounding of its own."""
    function = OPERATORS[name]
    bench = [make.normal(48, 64, seed=seed), make.normal(48, 64, seed=seed + 1)]
    npu = [make.off(x, size, seed=seed + 10 + n) for n, x in enumerate(bench)]
    given = 1 if any(part in name for part in UNARY) else 2
    runs = []
    for side in (npu, bench):
        run = make.Run()
        run.call(name, [x.astype("f4") for x in side[:given]], [function(*side).astype("f4")])
        runs.append(run)
    (part,) = make.measured(*runs)
    return part.call


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_inherited_error_is_of_the_predicted_size(make: Any, name: str) -> None:
    call = measured(make, name)
    (out,) = call.wrote
    found = predict(call, out)
    assert found is not None
    assert found.fresh < 1e-5
    assert math.log(out.relative / found.relative) == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_equal_inputs_leave_rounding_alone(make: Any, name: str) -> None:
    call = measured(make, name, size=0.0)
    found = predict(call, call.wrote[0])
    assert found is not None
    assert found.inherited == 0.0
    assert found.fresh <= 2.0**-20


def test_a_copy_does_not_round(make: Any) -> None:
    found = predict(measured(make, "Torch.cat.0.forward", size=0.0), measured(make, "Torch.cat.0.forward").wrote[0])
    assert found is not None
    assert found.relative == 0.0


def test_a_mean_amplifies_what_a_normalisation_reads(make: Any) -> None:
    def gain(mean: float) -> float:
        runs = []
        for size in (SIZE, 0.0):
            x = make.off(make.normal(16, 64) + np.float32(mean), size)
            run = make.Run()
            run.call("Functional.layer_norm.0.forward", [x.astype("f4")], [make.normal(16, 64, seed=3)])
            runs.append(run)
        (part,) = make.measured(*runs)
        found = predict(part.call, part.call.wrote[0])
        assert found is not None
        return found.inherited

    assert gain(20.0) > 10 * gain(0.0)


def test_flips_go_with_the_root_of_the_error(make: Any) -> None:
    call = measured(make, "Functional.gelu.0.forward")
    runs = []
    for size in (SIZE, 0.0):
        x = make.off(make.normal(48, 64), size)
        run = make.Run()
        run.call("Torch.relu.0.forward", [x], [np.maximum(x, 0)])
        gradient = make.normal(48, 64, seed=5)
        run.call("Torch.relu.0.backward", [gradient], [gradient * (x > 0)])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    found = predict(backward, backward.wrote[0], forward)
    assert found is not None
    assert found.inherited == pytest.approx(math.sqrt(0.8 * forward.read[0].relative), rel=0.7)
    smooth = predict(call, call.wrote[0])
    assert smooth is not None
    assert found.inherited > 5 * smooth.inherited


def test_nothing_is_said_of_zeros_and_of_what_is_off_by_nobody_knows_how_much(make: Any) -> None:
    runs = []
    for bad in (np.inf, 1.0):
        x = make.normal(8, 8)
        x[0, 0] = bad
        run = make.Run()
        run.call("Torch.abs.0.forward", [x], [np.zeros((8, 8), "f4")])
        run.call("Torch.exp.0.forward", [x], [make.normal(8, 8, seed=2)])
        runs.append(run)
    for part in make.measured(*runs):
        assert predict(part.call, part.call.wrote[0]) is None


def test_products_of_lowered_operands_are_off_by_their_rounding(make: Any) -> None:
    call = measured(make, "Torch.matmul.0.forward", size=0.0)
    plain, lowered = predict(call, call.wrote[0]), predict(call, call.wrote[0], lowered=2.0**-11)
    assert plain is not None
    assert lowered is not None
    assert lowered.fresh == pytest.approx(0.6 * 2.0**-11, rel=0.2)
    assert plain.fresh < 1e-5
    other = measured(make, "Torch.mul.0.forward", size=0.0)
    assert predict(other, other.wrote[0], lowered=2.0**-11) == predict(other, other.wrote[0])


def test_autocast_is_told_by_a_product_narrower_than_its_operands(make: Any) -> None:
    def calls(dtype: str) -> Any:
        runs = []
        for _ in range(2):
            run = make.Run()
            run.call(
                "Torch.matmul.0.forward", [make.normal(8, 8), make.normal(8, 8)], [make.normal(8, 8).astype(dtype)]
            )
            runs.append(run)
        return [part.call for part in make.measured(*runs)]

    assert autocast_roundoff(calls("f4")) == 0.0
    assert autocast_roundoff(calls("f2")) == 2.0**-11


@pytest.mark.parametrize("kind", sorted(get_args(OperatorClass)))
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_something_is_predicted_for_every_class(make: Any, kind: str, direction: str) -> None:
    api = next((name for name, row in OPERATORS_KNOWN.items() if row.kind == kind), "nobody_knows_this")
    values = make.normal(8, 8)
    npu, bench = make.Run(), make.Run()
    for run, off in ((npu, SIZE), (bench, 0.0)):
        run.call(f"Torch.{api}.0.{direction}", [make.off(values, off, seed=1)], [values * np.float32(1 + off)])
    (part,) = make.measured(npu, bench)
    assert predict(part.call, part.call.wrote[0]) is not None
