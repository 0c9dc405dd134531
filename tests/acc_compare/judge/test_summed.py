"""Gradients that other calls than optimizers read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.report.i18n import text

NORM = "Torch._foreach_norm.0.forward"


def run(
    make: Any,
    *,
    cleared: bool = True,
    left: float = 0.0,
    wrong: float = 0.0,
    scale: float = 1.0,
    mode: str = "statistics",
) -> Any:
    """Two passes through one linear; the norm is that of what both gave, or, `cleared`, of what the second did.

    The step before has `left` something in it; `wrong` is what the second backward call is off by.
    """
    one = make.Run(mode=mode)
    w = one.parameter(make.normal(32, 16, seed=1))
    given = []
    for part in range(2):
        x = make.normal(8, 16, seed=10 + part)
        one.call(f"Functional.linear.{part}.forward", [x, w], [one.mark(x @ w.T, requires_grad=True)])
        gradient = make.off(make.normal(32, 16, seed=20 + part), wrong if part else 0.0, seed=30)
        one.call(f"Functional.linear.{part}.backward", [make.normal(8, 32, seed=40 + part)], [None, gradient])
        given.append(gradient)
    read = (given[1] if cleared else given[0] + given[1]) * scale + left * make.normal(32, 16, seed=50)
    read = read.astype(np.float32)
    one.call(NORM, [read], [np.float32([np.linalg.norm(read)])])
    return one


def suspects(finding: Any) -> list[tuple[str, str]]:
    return [(suspect.kind, suspect.name) for suspect in finding.suspects]


@pytest.mark.parametrize("npu", [True, False])
def test_what_one_side_did_not_clear_is_told_with_the_calls(make: Any, npu: bool) -> None:
    finding = make.judged(run(make, cleared=npu), run(make, cleared=not npu))
    assert suspects(finding) == [("operator", NORM)]
    both = "Functional.linear.0.backward, Functional.linear.1.backward"
    ours, theirs = ("Functional.linear.1.backward", both) if npu else (both, "Functional.linear.1.backward")
    said = f"on the NPU side it is the sum of what {ours} gave, on the bench side of what {theirs} gave"
    assert said in text(finding.suspects[0].message)
    assert "zero_grad" in text(finding.suspects[0].advice[0])


@pytest.mark.parametrize(("npu", "side"), [(True, "bench"), (False, "NPU")])
def test_what_the_step_before_left_is_told(make: Any, npu: bool, side: str) -> None:
    finding = make.judged(run(make, left=npu * 1.0), run(make, left=(not npu) * 1.0))
    assert suspects(finding) == [("operator", NORM)]
    said = f"on the {side} side it is what Functional.linear.1.backward gave, on the other there is more in it"
    assert said in text(finding.suspects[0].message)


@pytest.mark.parametrize("cleared", [True, False])
def test_the_error_of_what_backward_gave_is_inherited(make: Any, cleared: bool) -> None:
    finding = make.judged(run(make, cleared=cleared, wrong=0.3), run(make, cleared=cleared))
    assert suspects(finding) == [("operator", "Functional.linear.1.backward")]


@pytest.mark.parametrize(
    ("npu", "bench"),
    [
        ({"scale": 0.5}, {"scale": 0.3}),  # no sum on either side
        ({"cleared": False, "mode": "md5"}, {"mode": "md5"}),  # nothing can be added up
    ],
)
def test_what_is_no_sum_is_other_data(make: Any, npu: Any, bench: Any) -> None:
    finding = make.judged(run(make, **npu), run(make, **bench))
    assert suspects(finding) == [("input", NORM)]


@pytest.mark.parametrize(("more", "found"), [(1.0, 1), (0.0, 0)])
def test_a_gradient_that_is_more_than_one_call_gave_on_the_bench_alone_is_told(
    make: Any, more: float, found: int
) -> None:
    """As that of a step which another gradient went through (`create_graph`)."""
    runs = []
    for size in (0.0, more):
        one = make.Run()
        w, step = one.parameter(make.normal(32, 16, seed=1)), one.parameter(make.normal(32, 16, seed=2))
        moved, x = one.mark(w - step, requires_grad=True), make.normal(8, 16, seed=3)
        one.call("Tensor.__sub__.0.forward", [w, step], [moved])
        one.call("Functional.linear.0.forward", [x, moved], [one.mark(x @ moved.T, requires_grad=True)])
        gradient = make.normal(32, 16, seed=4)
        one.call("Functional.linear.0.backward", [make.normal(8, 32, seed=5)], [None, gradient])
        read = gradient + np.float32(size) * make.normal(32, 16, seed=6) if size else gradient
        one.call("Tensor.__sub__.0.backward", [read], [read, -read])
        runs.append(one)
    finding = make.judged(*runs)
    assert suspects(finding) == [("operator", "Tensor.__sub__.0.backward")] * found
    said = "on the NPU side it is what Functional.linear.0.backward gave, on the other there is more in it"
    assert all(said in text(suspect.message) for suspect in finding.suspects)


@pytest.mark.parametrize(("more", "found"), [(0.0, 0), (0.1, 1)])
def test_a_sum_of_gradients_that_cancels_is_off_by_the_errors_of_what_is_added_up(
    make: Any, more: float, found: int
) -> None:
    """That of a maximum which is taken away again, as in a stable softmax."""
    runs = []
    for size in (1e-6, 0.0):
        one = make.Run()
        a, b = (one.parameter(make.normal(32, 16, seed=n)) for n in range(2))
        most = one.mark(np.maximum(a, b), requires_grad=True)
        one.call("Torch.maximum.0.forward", [a, b], [most])
        for n, term in enumerate((a, b)):
            one.call(f"Tensor.__sub__.{n}.forward", [term, most], [one.mark(term - most, requires_grad=True)])
        gradient = make.normal(32, 16, seed=3)
        for n, sign in enumerate((1, -1)):
            back = make.off(np.float32(sign) * gradient, size, seed=4 + n)
            one.call(f"Tensor.__sub__.{n}.backward", [back], [back, -back])
        left = make.normal(32, 16, seed=6 + bool(size)) * np.float32(1e-7 if size else 1.1e-7)
        left = (left + np.float32(more * bool(size)) * gradient).astype("f4")
        one.call("Torch.maximum.0.backward", [left], [left, None])
        runs.append(one)
    assert len(make.judged(*runs).suspects) == found
