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
