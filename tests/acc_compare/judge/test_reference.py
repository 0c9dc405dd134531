from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acc_compare.judge.reference import reference_errors, told_of, told_of_all
from acc_compare.measured.errors import Source, TensorError
from acc_compare.model import ReferenceErrors, Side


def error(relative: float, source: Source = "exact") -> TensorError:
    return TensorError(relative, 1.0, relative, source)


def beside(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], source: Source = "exact") -> ReferenceErrors:
    """What is found of two sides that add `ours` and `theirs` to a reference of norm 1."""
    sizes = [float(np.linalg.norm(added)) for added in (ours, theirs, ours - theirs)]
    return reference_errors(*(error(size, source) for size in sizes))


@pytest.mark.parametrize(
    ("ours", "theirs", "common", "source", "side"),
    [
        (0.1, 0.01, 0.0, "exact", "npu"),
        (0.01, 0.1, 0.0, "exact", "bench"),
        (0.02, 0.02, 0.0, "exact", "both"),
        (0.02, 0.02, 0.2, "exact", "both"),
        (0.1, 0.01, 0.0, "sketch", "npu"),
        (0.02, 0.02, 0.0, "sketch", "both"),
        (0.02, 0.02, 0.2, "sketch", "unclear"),  # what both have in common hides it
        (0.1, 0.01, 0.0, "bound", "unclear"),
    ],
)
def test_whose_a_difference_is(ours: float, theirs: float, common: float, source: Source, side: Side) -> None:
    random = np.random.default_rng(0)
    first, second, shared = (part / np.linalg.norm(part) for part in random.standard_normal((3, 10_000)))
    found = beside(ours * first + common * shared, theirs * second + common * shared, source)
    assert found.side == side
    assert found.npu == pytest.approx(math.hypot(ours, common), rel=0.05)


@pytest.mark.parametrize(
    ("ours", "theirs", "apart", "side"),
    [
        (math.inf, 0.1, math.inf, "npu"),
        (0.1, math.inf, math.inf, "bench"),
        (math.inf, math.inf, 0.1, "unclear"),
        (0.1, 0.1, math.inf, "unclear"),
        (0.1, 0.1, 0.0, "both"),
        (0.0, 0.0, 0.0, "both"),
    ],
)
def test_what_is_not_finite_or_equal(ours: float, theirs: float, apart: float, side: Side) -> None:
    assert reference_errors(error(ours), error(theirs), error(apart)).side == side


@given(
    *(st.floats(0, 1e3) for _ in range(3)),
    st.sampled_from(("exact", "sketch")),
)
def test_the_sides_exchanged_are_the_answer_exchanged(ours: float, theirs: float, apart: float, source: Source) -> None:
    one = reference_errors(error(ours, source), error(theirs, source), error(apart, source))
    other = reference_errors(error(theirs, source), error(ours, source), error(apart, source))
    assert (one.npu, one.bench) == (other.bench, other.npu)
    assert other.side == {"npu": "bench", "bench": "npu"}.get(one.side, one.side)


@pytest.mark.parametrize("side", ["npu", "bench", "both", "unclear"])
def test_each_answer_is_told_by_a_key_of_its_own(side: Side) -> None:
    found = told_of(ReferenceErrors(0.1, 0.2, side))
    assert (found.key, dict(found.values)) == (
        f"evidence.reference_{side}",
        {"npu": 0.1, "bench": 0.2},
    )


def run(make: Any, off: float) -> Any:
    one = make.Run()
    x = make.normal(32, 32)
    one.call("Functional.gelu.0.forward", [x], [make.off(np.tanh(x), off, seed=5)])
    return one


@pytest.mark.parametrize(
    ("found", "kinds", "basis"),
    [
        (None, ["operator"], "prior"),
        (ReferenceErrors(1e-3, 1e-3, "both"), [], "reference"),
        (ReferenceErrors(1e-3, 1e-6, "npu"), ["operator"], "prior"),
        (ReferenceErrors(1e-6, 1e-3, "bench"), ["operator"], "prior"),
        (ReferenceErrors(1e-3, 1e-3, "unclear"), ["operator"], "prior"),
    ],
)
def test_what_both_sides_are_off_by_alike_is_no_suspect(
    make: Any, found: ReferenceErrors | None, kinds: list[str], basis: str
) -> None:
    key = ("Functional.gelu.0.forward", "output.0")
    finding = make.judged(run(make, 1e-3), run(make, 0.0), references=None if found is None else {key: found})
    assert [suspect.kind for suspect in finding.suspects] == kinds
    assert [suspect.reference for suspect in finding.suspects] == [found] * len(kinds)
    row = next(row for row in finding.rows if row.npu_name.endswith("output.0"))
    assert (row.expected_from, row.reference) == (basis, found)


def test_how_often_which_side_is_further_off(make: Any) -> None:
    call = make.measured(run(make, 1e-3), run(make, 0.0))[0].call
    both = {("Functional.gelu.0.forward", "output.0"): ReferenceErrors(1e-3, 1e-3, "both")}
    numbers = dict(told_of_all(both, [call]).values)
    assert {name: numbers[name] for name in ("npu", "bench", "both", "unclear")} == {
        "npu": 0,
        "bench": 0,
        "both": 1,
        "unclear": 0,
    }
    assert told_of_all({}, [call]).key == "note.no_reference"
