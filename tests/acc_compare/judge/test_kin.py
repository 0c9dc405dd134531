from __future__ import annotations

from typing import Any

import pytest

from acc_compare.judge.kin import FEWEST
from acc_compare.judge.origins import SUSPICIOUS

NAME = "Functional.gelu.{}.forward"
SMALL = 4e-6
"""An error of a float32 gelu that is more than arithmetic explains (8 roundings) and less than ten times that."""


def run(make: Any, sizes: list[float], *, shape: tuple[int, ...] = (16, 64), read: float = 0.0) -> Any:
    """A gelu for each size, whose result is off by it; all read something off by `read`."""
    one = make.Run()
    for n, size in enumerate(sizes):
        x = make.normal(*shape, seed=n)
        one.call(NAME.format(n), [make.off(x, read, seed=50 + n)], [make.off(x, size, seed=90 + n)])
    return one


def row(finding: Any, number: int) -> Any:
    return next(row for row in finding.rows if row.npu_name == NAME.format(number) + ".output.0")


def judged(make: Any, sizes: list[float], **of_both: Any) -> Any:
    return make.judged(run(make, sizes, **of_both), run(make, [0.0] * len(sizes), **{**of_both, "read": 0.0}))


def test_a_call_that_stands_out_from_its_kin_is_suspect(make: Any) -> None:
    sizes = [5e-8] * (FEWEST + 1)
    finding = judged(make, [*sizes, SMALL])
    (suspect,) = finding.suspects
    assert suspect.name == NAME.format(FEWEST + 1)
    found = row(finding, FEWEST + 1)
    assert found.expected_from == "kin"
    assert found.excess == pytest.approx(suspect.excess)
    assert suspect.excess > SUSPICIOUS
    assert row(finding, 0).expected_from == "arithmetic"


@pytest.mark.parametrize(
    "sizes",
    [
        [5e-8] * (FEWEST - 1) + [SMALL],  # too few kin
        [SMALL] * (FEWEST + 2),  # all do the same: the operator's way
        [5e-8] * (FEWEST + 1) + [4e-7],  # within what arithmetic explains
    ],
)
def test_without_kin_that_show_less_arithmetic_stands(make: Any, sizes: list[float]) -> None:
    finding = judged(make, sizes)
    assert finding.suspects == ()
    assert row(finding, len(sizes) - 1).expected_from == "arithmetic"


def test_kin_read_inputs_that_differ_about_as_much(make: Any) -> None:
    """What gelus show whose inputs agree says nothing of one whose input does not."""
    size = 1e-3
    one = run(make, [0.0] * (FEWEST + 1))
    theirs = run(make, [0.0] * (FEWEST + 1))
    number = FEWEST + 1
    for side, read, wrote in ((one, 1e-4, size), (theirs, 0.0, 0.0)):
        x = make.normal(16, 64, seed=77)
        given = make.off(x, read)
        side.call("Torch.tanh.0.forward", [x], [given])
        side.call(NAME.format(number), [given], [make.off(x, wrote, seed=5)])
    found = row(make.judged(one, theirs), number)
    assert found.excess > 1
    assert found.expected_from == "arithmetic"


@pytest.mark.parametrize("other", [{"shape": (8, 64)}])
def test_kin_have_the_same_shapes(make: Any, other: Any) -> None:
    npu, bench = run(make, [5e-8] * FEWEST), run(make, [0.0] * FEWEST)
    for side, size in ((npu, SMALL), (bench, 0.0)):
        x = make.normal(*other["shape"], seed=3)
        side.call(NAME.format(FEWEST), [x], [make.off(x, size)])
    assert make.judged(npu, bench).suspects == ()


def test_a_measured_floor_comes_before_kin(make: Any) -> None:
    number = FEWEST + 1
    sizes = [5e-8] * number + [SMALL]
    floor = {(NAME.format(number), "output.0"): 1e-6}
    finding = make.judged(run(make, sizes), run(make, [0.0] * len(sizes)), floor=floor)
    assert finding.suspects == ()
    found = row(finding, number)
    assert (found.expected, found.expected_from) == (1e-6, "measured floor")
