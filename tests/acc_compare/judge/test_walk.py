"""The walk as a whole: what is judged, and memory that says nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.align.calls import align
from acc_compare.judge import walk
from acc_compare.judge.walk import judged_calls
from acc_compare.measured.pairs import measure_pairs
from acc_compare.report.i18n import text


def names(finding: Any) -> list[str]:
    return [suspect.name for suspect in finding.suspects]


@pytest.mark.parametrize("by_module", [True, False])
def test_modules_and_apis_are_judged_apart_and_optimizers_elsewhere(make: Any, by_module: bool) -> None:
    run = make.Run()
    x = make.normal(4)
    for name in (
        "Functional.gelu.0.forward",
        "Functional.gelu.0.backward",
        "Module.act.GELU.forward.0",
        "Module.act.GELU.parameters_grad.0",
        "Optimizer.SGD.0.forward",
    ):
        run.call(name, [x], [x])
    dump = run.dump()
    calls = [part.call for part in measure_pairs(align(dump, dump), "statistics") if part.call is not None]
    chosen = [call.full_name for call in judged_calls(calls, by_module=by_module)]
    expected = ["Functional.gelu.0.forward", "Functional.gelu.0.backward"]
    assert chosen == (["Module.act.GELU.forward.0"] if by_module else expected)


def garbage(make: Any, seed: int, *, filled: str = "", wrong: float = 0.0) -> Any:
    one = make.Run()
    memory = make.normal(8, 8, seed=seed) * np.float32(1e20)
    one.call("Torch.empty.0.forward", [8, 8], [memory])
    view = memory.reshape(64).copy()
    one.call("Tensor.view.0.forward", [memory], [one.same_memory(view, memory)])
    if filled:
        data = make.off(make.normal(64, seed=3), wrong)
        one.call(f"Tensor.{filled}.0.forward", [view, make.normal(64, seed=3)], [one.same_memory(data, memory)])
        one.call("Functional.relu.0.forward", [data], [np.maximum(data, 0)])
    return one


def test_memory_that_nobody_wrote_to_says_nothing(make: Any) -> None:
    finding = make.judged(garbage(make, 1), garbage(make, 2))
    assert (finding.verdict, finding.suspects) == ("same", ())
    assert {row.origin for row in finding.rows if "output" in row.npu_name} == {""}


def test_what_is_written_to_it_is_judged(make: Any) -> None:
    healthy = garbage(make, 2, filled="copy_")
    assert make.judged(garbage(make, 1, filled="copy_"), healthy).verdict == "same"
    finding = make.judged(garbage(make, 1, filled="copy_", wrong=1e-2), healthy)
    assert names(finding) == ["Tensor.copy_.0.forward"]


@pytest.mark.parametrize(("largest", "alike"), [(1.0, True), (1e30, False)])
def test_garbage_whose_largest_numbers_agree_need_not_agree(make: Any, largest: float, alike: bool) -> None:
    memory = make.normal(64)
    memory[0] = largest
    assert walk._agrees(make.argument("output.0", memory, memory.copy())) is alike


def test_garbage_that_is_taken_for_a_mask_agrees_where_its_extremes_do(make: Any) -> None:
    memory, other = make.normal(64), make.normal(64)
    memory[0], other[0] = -3.11e35, -3.17e35
    assert not walk._agrees(make.argument("output.0", memory, other))


@pytest.mark.parametrize(("operator", "expected"), [("copy_", []), ("mul_", ["Tensor.mul_.0.forward"])])
def test_what_is_filled_whole_may_have_held_anything_before(make: Any, operator: str, expected: list[str]) -> None:
    """New memory as another record of it, as where storage was freed and came back."""

    def run(seed: int) -> Any:
        one = make.Run()
        memory, data = make.normal(64, seed=seed) * np.float32(1e20), make.normal(64, seed=3)
        one.call(
            f"Tensor.{operator}.0.forward", [one.mark(memory, unwritten=True), data], [one.same_memory(data, memory)]
        )
        return one

    assert names(make.judged(run(1), run(2))) == expected


@pytest.mark.parametrize(("operator", "expected"), [("normal_", []), ("mul_", ["Tensor.mul_.0.forward"])])
def test_what_memory_held_that_is_filled_is_no_data(make: Any, operator: str, expected: list[str]) -> None:
    """Whose making nobody recorded (`new_empty`)."""

    def run(seed: int) -> Any:
        one = make.Run()
        memory, data = make.normal(64, seed=seed), make.normal(64, seed=3)
        one.call(f"Tensor.{operator}.0.forward", [memory, 0.5], [one.same_memory(data, memory)])
        return one

    assert names(make.judged(run(1), run(2))) == expected


def test_new_memory_with_contents_is_judged(make: Any) -> None:
    def run(seed: int) -> Any:
        one = make.Run()
        one.call("Torch.full.0.forward", [8, 8], [make.normal(8, 8, seed=seed)])
        return one

    assert names(make.judged(run(1), run(2))) == ["Torch.full.0.forward"]


def test_after_nan_nothing_begins_anew(make: Any) -> None:
    def run(*, broken: bool) -> Any:
        one = make.Run()
        x, other = make.normal(8), make.normal(8, seed=1)
        y = make.off(x, 0)
        if broken:
            y[0] = np.nan
        one.call("Torch.log.0.forward", [x], [y])
        one.call("Functional.gelu.0.forward", [other], [make.off(other, 0.1 if broken else 0)])
        return one

    assert names(make.judged(run(broken=True), run(broken=False))) == ["Torch.log.0.forward"]


def test_of_a_call_with_two_wrong_outputs_the_worse_is_told(make: Any) -> None:
    def run(*sizes: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Torch.frexp.0.forward", [x], [make.off(x, size) for size in sizes])
        return one

    finding = make.judged(run(1e-3, 0.1), run(0, 0))
    assert [suspect.tensor for suspect in finding.suspects] == ["output.1"]


def foreign(make: Any, *sizes: float) -> Any:
    """Without sketches: only max, min, mean and norm."""
    one = make.Run(foreign=True)
    x = make.normal(32, 32)
    for n, size in enumerate(sizes):
        y = make.off(np.tanh(x), size, seed=n)
        one.call(f"Torch.tanh.{n}.forward", [x], [y])
        x = y
    return one


def test_statistics_alone_name_the_first_that_differs(make: Any) -> None:
    finding = make.judged(foreign(make, 0, 0.1, 0, 0.2), foreign(make, 0, 0, 0, 0))
    assert names(finding) == ["Torch.tanh.1.forward"]
    assert "the dump has no sketch: the true difference is at least this large" in list(
        map(text, finding.suspects[0].evidence)
    )
    assert make.judged(foreign(make, 0, 0), foreign(make, 0, 0)).verdict == "same"


def test_statistics_alone_accuse_nobody_once_something_differed(make: Any) -> None:
    def run(size: float) -> Any:
        one = make.Run(foreign=True)
        x, other = make.normal(32, 32), make.normal(16, 16, seed=1)
        one.call("Torch.tanh.0.forward", [x], [make.off(x, size)])
        one.call("Torch.exp.0.forward", [other], [make.off(other, size)])  # its input agrees, perhaps by chance
        return one

    assert names(make.judged(run(0.2), run(0))) == ["Torch.tanh.0.forward"]


def test_the_setting_of_an_earlier_step_is_normal_in_the_next(make: Any) -> None:
    """Where weights differ already, no product stands out by itself."""
    runs = []
    for is_npu in (True, False):
        one = make.Run()
        for n in range(4):
            x, w = make.normal(16, 32, seed=n), make.normal(8, 32, seed=20 + n)
            given = [make.off(a, 1e-4, seed=50 + n) if is_npu else a for a in (x, w)]
            product = (given[0].astype("f8") @ given[1].T.astype("f8")).astype("f4")
            one.call(f"Functional.linear.{n}.forward", given, [product])
        runs.append(one)
    plain, knowing = (make.judged(*runs, previous="judged", step=1, lowered=known) for known in ("", "tf32"))
    assert (plain.lowered, knowing.lowered) == ("", "tf32")
    allowed = [
        max(row.expected for row in finding.rows if row.expected is not None and ".output" in row.npu_name)
        for finding in (plain, knowing)
    ]
    assert allowed[1] > 1.1 * allowed[0] > 0, allowed


@pytest.mark.parametrize(("wrong", "accused"), [(0.0, []), (0.5, ["Functional.gelu.0.forward"])])
def test_what_is_gathered_by_an_order_that_was_written_to_new_memory_is_judged(
    make: Any, wrong: float, accused: list[str]
) -> None:
    """As experts put tokens back: the order is turned around in memory that nobody had written to.  It differs, since a
    token went elsewhere, and is not garbage for that; nor is anything that is computed later."""
    runs = []
    for is_npu in (True, False):
        one = make.Run()
        x, order = make.normal(16, 64), np.arange(16)
        if is_npu:
            x, order[[2, 3]] = make.off(x, 1e-4, seed=1), order[[3, 2]]
        memory = (make.normal(16, seed=3 + is_npu) * 1e6).astype("i8")
        turned = np.argsort(order)
        one.same_memory(turned, memory)
        one.call("Torch.argsort.0.forward", [x[:, 0].copy()], [order])
        one.call("Tensor.__getitem__.0.forward", [x, order], [ordered := x[order]])
        one.call("Torch.empty_like.0.forward", [order], [memory])
        one.call("Tensor.__setitem__.0.forward", [memory, order, np.arange(16)], written={"input.0": turned})
        one.call("Tensor.__getitem__.1.forward", [ordered, turned], [gathered := ordered[turned]])
        one.call("Functional.linear.0.forward", [gathered, np.eye(64, dtype="f4")], [y := gathered.copy()])
        one.call("Functional.gelu.0.forward", [y], [make.off(np.tanh(y), wrong if is_npu else 0.0, seed=5)])
        runs.append(one)
    finding = make.judged(*runs, step=1, previous="judged")
    assert names(finding) == accused
    roles = {row.npu_name: row.origin for row in finding.rows}
    assert roles["Tensor.__setitem__.0.forward.written.input.0"] == ""
    assert roles["Functional.gelu.0.forward.output.0"] == ("introduced" if accused else "propagated")
