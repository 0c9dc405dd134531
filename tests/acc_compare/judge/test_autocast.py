"""What autocast does to a comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.judge.autocast import autocast_roundoff, shared_casts
from acc_compare.judge.noise import Noise


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


def under_autocast(make: Any, readers: int, wrong: float = 0.0, cancelling: bool = False) -> Any:
    """Linear layers that share one weight, rounded to bfloat16 once; the first one's backward, which runs last, hands
    back the sum of all their gradients."""
    runs = []
    for is_npu in (True, False):
        run, unit = make.Run(), 2.0**-8 if is_npu else 0.0
        w = run.parameter(make.normal(8, 16))
        xs = [make.normal(32, 16, seed=n) for n in range(readers)]
        gradients = [make.normal(32, 8, seed=50 + n) for n in range(readers)]
        if cancelling:
            xs[1:], gradients[1:] = [xs[0]], [-np.float32(0.99) * gradients[0]]
        for n, x in enumerate(xs):
            run.call(f"Functional.linear.{n}.forward", [x, w], [run.mark(x @ w.T, dtype="torch.bfloat16")])
        total = np.zeros_like(w)
        for n in reversed(range(readers)):
            read, back = (run.mark(each, dtype="torch.bfloat16") for each in (xs[n], gradients[n]))
            total = total + make.off(back.T @ read, unit / 2, seed=n)
            handed = make.off(total, wrong if is_npu else 0.0, seed=9) if n == 0 else None
            run.call(f"Functional.linear.{n}.backward", [back], [make.off(back @ w, unit / 2, seed=n), handed])
        runs.append(run)
    return [part.call for part in make.measured(*runs)]


@pytest.mark.parametrize("readers", [1, 2])
def test_the_calls_that_share_a_cast_are_found(make: Any, readers: int) -> None:
    names = [(f"Functional.linear.{n}.forward", "1") for n in range(readers)]
    found = shared_casts(under_autocast(make, readers))
    assert found == ({("Functional.linear.0.backward", "output.1"): names} if readers > 1 else {})


@pytest.mark.parametrize(
    ("wrong", "cancelling", "is_accused"), [(0, False, False), (0.3, False, True), (0, True, False)]
)
def test_gradients_of_a_shared_cast_are_judged_by_all_their_parts(
    make: Any, wrong: float, cancelling: bool, is_accused: bool
) -> None:
    noise = Noise(under_autocast(make, 2, wrong, cancelling))
    assert not noise.shared
    found = noise.expectation("Functional.linear.0.backward", "output.1")
    assert found is not None
    assert found.is_too_large is is_accused


def test_gradients_of_a_shared_cast_of_which_a_part_is_not_on_record_are_nobodys_result(make: Any) -> None:
    calls = [call for call in under_autocast(make, 2, 0.3) if call.full_name != "Functional.linear.1.backward"]
    assert Noise(calls).shared == {("Functional.linear.0.backward", "output.1")}


@pytest.mark.parametrize("cast", [True, False])
def test_of_what_one_side_alone_rounds_once_a_sum_answers_to_a_part(make: Any, cast: bool) -> None:
    """Two calls that share a weight, under autocast on the NPU side, and in full precision on the bench's."""
    runs = []
    for narrow in (cast, False):
        run, dtype = make.Run(), "torch.bfloat16" if narrow else "torch.float32"
        w = run.parameter(make.normal(8, 16))
        xs, gradients = ([make.normal(32, size, seed=size + n) for n in range(2)] for size in (16, 8))
        for n, x in enumerate(xs):
            run.call(f"Functional.linear.{n}.forward", [x, w], [run.mark(x @ w.T, dtype=dtype)])
        parts = [back.T @ x for back, x in zip(gradients, xs, strict=True)]
        handed = [parts[0] + parts[1], None] if narrow or not cast else parts
        for n in (1, 0):
            back = run.mark(gradients[n], dtype=dtype)
            run.call(f"Functional.linear.{n}.backward", [back], [back @ w, handed[n]])
        runs.append(run)
    assert make.judged(*runs).suspects == ()
