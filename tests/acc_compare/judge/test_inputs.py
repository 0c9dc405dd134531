"""Error that enters the record from outside."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from acc_compare.messages import say
from acc_compare.report.i18n import text


def suspects(finding: Any) -> list[tuple[str, str]]:
    return [(suspect.kind, suspect.name) for suspect in finding.suspects]


def roles(finding: Any) -> dict[str, str]:
    return {row.npu_name: row.origin for row in finding.rows}


def test_other_data_are_an_input(network: Any) -> None:
    finding = network.compare(seed=5)
    assert suspects(finding) == [("input", "Functional.linear.0.forward")]
    assert text(finding.suspects[0].message).startswith("input.0 of Functional.linear.0.forward differs by")
    assert roles(finding)["Functional.linear.0.forward.input.0"] == "input"


def test_what_a_module_around_others_was_given_is_no_data_for_the_first_of_them(make: Any) -> None:
    """The record of the one around has the autograd node, and stands behind them."""

    def side(wrong: float) -> Any:
        one = make.Run(level="L0")
        y = make.off(make.normal(8, 8, seed=1), wrong, seed=2)
        one.call("Module.fc.Linear.forward.0", [make.normal(8, 8)], [y])
        z = one.mark(np.maximum(y, 0), requires_grad=True)
        inner = make.normal(8, 8, seed=3) @ z
        one.call("Module.dec.0.Linear.forward.0", [z], [inner])
        one.call("Module.dec.Sequential.forward.0", [one.mark(z, grad_fn="ViewBackward0")], [inner])
        return one

    assert suspects(make.judged(side(1e-2), side(0.0))) == [("operator", "Module.fc.Linear.forward.0")]


def run(make: Any, *, x: Any = None, w: Any = None, mode: str = "statistics", foreign: bool = False) -> Any:
    one = make.Run(mode=mode, foreign=foreign)
    x = make.normal(8, 8) if x is None else x
    w = one.parameter(make.normal(8, 8, seed=1) if w is None else w)
    one.call("Functional.linear.0.forward", [x, w], [y := x @ w.T])
    one.call("Functional.relu.0.forward", [y], [np.maximum(y, 0)])
    one.call("Optimizer.SGD.0.forward", kwargs={"param": {"fc.weight": w}, "grad": {"fc.weight": y}})
    return one


def test_other_initial_parameters_are_an_input_and_named(make: Any) -> None:
    finding = make.judged(run(make, w=make.normal(8, 8, seed=9)), run(make))
    assert suspects(finding) == [("input", "Functional.linear.0.forward")]
    assert text(finding.suspects[0].message).startswith("parameter fc.weight differs by")


def test_by_digests_it_is_not_the_same(make: Any) -> None:
    finding = make.judged(run(make, x=make.normal(8, 8, seed=9), mode="md5"), run(make, mode="md5"))
    assert suspects(finding) == [("input", "Functional.linear.0.forward")]
    assert "is not the same before any recorded operator touched it" in text(finding.suspects[0].message)


@pytest.mark.parametrize(("noise", "verdict"), [(3e-7, "same"), (1e-4, "different")])
def test_noise_on_the_data_is_none(make: Any, noise: float, verdict: str) -> None:
    assert make.judged(run(make, x=make.off(make.normal(8, 8), noise)), run(make)).verdict == verdict


def test_data_of_another_shape_are_an_input_once(make: Any) -> None:
    finding = make.judged(run(make, x=make.normal(4, 8)), run(make))
    assert suspects(finding) == [("input", "Functional.linear.0.forward")]
    assert "has shape [4, 8] on the NPU side and [8, 8] on the bench side" in text(finding.suspects[0].message)
    assert roles(finding)["Functional.relu.0.forward.output.0"] == "propagated"


def test_a_parameter_of_another_shape_is_named(make: Any) -> None:
    finding = make.judged(run(make, w=make.normal(4, 8, seed=1)), run(make))
    assert text(finding.suspects[0].message).startswith("parameter fc.weight has shape [4, 8]")


def hidden(
    make: Any, *, wrong: float = 0.0, noise: float = 0.0, backward: bool = False, node: str | None = "CatBackward0"
) -> Any:
    """gelu, then something that nobody recorded, then relu."""
    one = make.Run()
    x = make.normal(16, 16)
    y = make.off(x, noise)
    z = make.off(y, wrong, seed=7)
    direction = "backward" if backward else "forward"
    one.call(f"Functional.gelu.0.{direction}", [x], [y])
    if not backward:
        one.mark(z, grad_fn=node)
    one.call(f"Functional.relu.0.{direction}", [z], [np.maximum(z, 0)])
    return one


def test_an_operator_that_nobody_recorded(make: Any) -> None:
    finding = make.judged(hidden(make, wrong=1e-2), hidden(make))
    assert suspects(finding) == [("operator", "Functional.relu.0.forward")]
    message = text(finding.suspects[0].message)
    assert "(autograd node CatBackward)" in message
    assert "while all up to Functional.gelu.0.forward agrees" in message
    assert make.judged(hidden(make, wrong=1e-5, noise=1e-6), hidden(make)).verdict == "same"


def test_a_gradient_that_nobody_recorded(make: Any) -> None:
    finding = make.judged(hidden(make, wrong=1e-2, backward=True), hidden(make, backward=True))
    assert suspects(finding) == [("operator", "Functional.relu.0.backward")]
    assert "an operator that was not recorded" in text(finding.suspects[0].message)


def test_nan_that_came_unseen(make: Any) -> None:
    broken = hidden(make)
    z = make.normal(16, 16)
    z[0, 0] = math.nan
    npu = make.Run()
    x = make.normal(16, 16)
    npu.call("Functional.gelu.0.forward", [x], [make.off(x, 0)])
    npu.mark(z, grad_fn="CatBackward0")
    npu.call("Functional.relu.0.forward", [z], [np.maximum(z, 0)])
    assert suspects(make.judged(npu, broken)) == [("nan_inf", "Functional.relu.0.forward")]


def test_in_a_foreign_dump_gradients_are_never_unseen(make: Any) -> None:
    def one(wrong: float) -> Any:
        foreign = make.Run(foreign=True)
        gradient = make.off(make.normal(16, 16), wrong)
        foreign.call("Functional.relu.0.backward", [gradient], [np.maximum(gradient, 0)])
        return foreign

    assert make.judged(one(0.5), one(0)).verdict == "same"


def overwriting(make: Any, *, wrong: float = 0.0, noise: float = 0.0, writer: bool = True) -> Any:
    """y = gelu(x); somebody writes to y's memory; relu reads it."""
    one = make.Run()
    x = make.normal(16, 16)
    y = make.off(x, noise)
    z = make.off(y, wrong, seed=7)
    one.call("Functional.gelu.0.forward", [x], [y])
    one.same_memory(z, y if writer else z)
    one.call("Functional.relu.0.forward", [z], [np.maximum(z, 0)])
    return one


def test_a_result_that_was_overwritten(make: Any) -> None:
    finding = make.judged(overwriting(make, wrong=0.1), overwriting(make))
    assert suspects(finding) == [("operator", "Functional.relu.0.forward")]
    suspect = finding.suspects[0]
    assert "though Functional.gelu.0.forward made it alike on both sides" in text(suspect.message)
    assert "calls that wrote to that memory: Functional.gelu.0.forward" in list(map(text, suspect.evidence))


def gathered(make: Any, *, by: str = "", off: float = 0.0) -> Any:
    """A weight that a linear layer reads; `by` a call its memory was made by, before somebody filled it."""
    one = make.Run()
    blank, weight = make.normal(16, 16, seed=9), make.off(make.normal(16, 16), off)
    if by:
        one.call(by, [make.normal(256, seed=9)], [blank])
        one.same_memory(weight, blank)
    weight = one.parameter(weight)
    one.call("Functional.linear.0.forward", [make.normal(16, 16, seed=2), weight], [make.normal(16, 16, seed=3)])
    return one


@pytest.mark.parametrize(("theirs", "verdict"), [("", "same"), ("Tensor.view.0.forward", "different")])
def test_memory_that_a_call_of_one_side_alone_made_was_not_made_alike(make: Any, theirs: str, verdict: str) -> None:
    npu, bench = gathered(make, by="Tensor.view.0.forward", off=1e-5), gathered(make, by=theirs)
    assert make.judged(npu, bench, step=1).verdict == verdict


@pytest.mark.parametrize(("other_settings", "kinds"), [(True, ["operator"]), (False, ["input"])])
def test_running_statistics_that_one_side_alone_writes_follow_from_the_error_of_the_call(
    make: Any, other_settings: bool, kinds: list[str]
) -> None:
    def run(*, training: bool) -> Any:
        one = make.Run()
        x, mean = make.normal(8, 8), np.ones(8, "f4")
        moved = one.same_memory(make.normal(8, seed=1), mean) if training else mean
        told = {"training": training} if other_settings else {}
        y = make.off(x, 0.1 if other_settings and not training else 0.0)
        one.call(
            "Functional.batch_norm.0.forward",
            [x, mean],
            [y],
            kwargs=told,
            written={"input.1": moved} if training else None,
        )
        one.call("Functional.batch_norm.1.forward", [x, moved], [x])
        return one

    assert [suspect.kind for suspect in make.judged(run(training=False), run(training=True)).suspects] == kinds


def test_memory_written_after_error_began_only_carries_it(make: Any) -> None:
    finding = make.judged(overwriting(make, wrong=0.1, noise=0.05), overwriting(make))
    assert suspects(finding) == [("operator", "Functional.gelu.0.forward")]


def extra(make: Any, *, extra_call: bool, wrong: float = 0.0) -> Any:
    one = make.Run()
    x = make.normal(16, 16)
    one.call("Functional.gelu.0.forward", [x], [y := make.off(x, 0)])
    if extra_call:
        y = make.off(y, wrong)
        one.call("Torch.mul.0.forward", [y], [y])
    one.call("Functional.relu.0.forward", [y], [np.maximum(y, 0)])
    one.call("Torch.tanh.0.forward", [np.maximum(y, 0)], [np.tanh(y)])
    return one


@pytest.mark.parametrize("on_npu", [True, False])
def test_a_call_of_one_side_that_changed_something_is_structure(make: Any, on_npu: bool) -> None:
    longer, plain = extra(make, extra_call=True, wrong=0.05), extra(make, extra_call=False)
    finding = make.judged(longer, plain) if on_npu else make.judged(plain, longer)
    assert suspects(finding)[0] == ("structure", "Torch.mul.0.forward")
    first = finding.suspects[0]
    assert ("side", say("name.npu" if on_npu else "name.bench")) in first.message.values
    assert (first.tensor, first.row) == ("input.0", "Functional.relu.0.forward")
    assert next(row.npu_name for row in finding.rows if row.accused) == "Functional.relu.0.forward.input.0"


@pytest.mark.parametrize("on_npu", [True, False])
def test_it_is_told_where_that_call_stands_and_not_where_its_reader_does(make: Any, on_npu: bool) -> None:
    longer, plain = extra(make, extra_call=True, wrong=0.05).dump(), extra(make, extra_call=False).dump()
    stacks = {"Torch.mul.0.forward": ("File hook.py, line 6, in scale",), "Functional.relu.0.forward": ("File m.py",)}
    owners = {
        "Torch.mul.0.forward": "Module.a.fc.L.forward.0",
        "Functional.relu.0.forward": "Module.b.B.forward.0",
    }
    longer, plain = (replace(side, stacks=stacks, owners=owners) for side in (longer, plain))
    first = (make.judged(longer, plain) if on_npu else make.judged(plain, longer)).suspects[0]
    assert (first.module, first.stack) == ("a.fc", ("File hook.py, line 6, in scale",))


def test_a_call_of_one_side_that_changed_nothing_is_harmless(make: Any) -> None:
    finding = make.judged(extra(make, extra_call=True), extra(make, extra_call=False))
    assert finding.verdict == "same"
    assert finding.coverage.unmatched_npu == 1


def parted(make: Any, size: float, *, trained: bool = True) -> Any:
    one = make.Run()
    x, w = make.normal(16, 16), make.off(make.normal(16, 16, seed=1), size)
    if trained:
        one.parameter(w)
    one.call("Functional.linear.0.forward", [x, w], [x @ w.T])
    return one


@pytest.mark.parametrize(
    ("size", "trained", "setting", "kinds"),
    [
        (1e-4, True, {}, ["input"]),  # the first step begins alike
        (1e-4, True, {"step": 1}, []),  # a later one drifts
        (1e-2, True, {"step": 1}, ["input"]),
        (1e-2, True, {"step": 1, "previous": "judged"}, []),  # its optimizer was judged
        (1e-2, True, {"step": 1, "previous": "unjudged"}, ["optimizer"]),
        (1e-2, True, {"step": 1, "previous": "suspect"}, []),  # whatever follows may differ
        (1e-2, True, {"step": 1, "previous": "poisoned"}, []),
        (1e-2, False, {"step": 1}, []),  # a running mean
        (0.08, False, {"step": 1}, ["input"]),
        (0.08, False, {"step": 1, "drift": 0.05}, []),  # it had parted when the step before wrote it
        (0.3, False, {"step": 1, "drift": 0.05}, ["input"]),
        (0.8, False, {"step": 1, "drift": 0.7}, ["input"]),
        (0.3, False, {"step": 1}, ["input"]),
        (0.3, False, {"step": 1, "previous": "judged"}, ["input"]),
    ],
)
def test_drift(make: Any, size: float, trained: bool, setting: dict[str, Any], kinds: list[str]) -> None:
    finding = make.judged(parted(make, size, trained=trained), parted(make, 0, trained=trained), **setting)
    assert [suspect.kind for suspect in finding.suspects] == kinds


def reference_model(make: Any, size: float, *, trained: bool) -> Any:
    """A step of a model that is a copy of the one that is trained, or is that itself."""
    one = make.Run()
    x, moved = make.normal(8, 8), one.parameter(make.normal(8, 8, seed=1))
    w = moved if trained else make.off(make.normal(8, 8, seed=1), size)
    one.call("Functional.linear.0.forward", [x, w], [y := x @ w.T])
    one.call("Functional.linear.1.forward", [y, moved], [y @ moved.T])
    one.call("Optimizer.SGD.0.forward", kwargs={"param": {"fc.weight": moved}, "grad": {"fc.weight": y}})
    return one


@pytest.mark.parametrize(
    ("npu", "size", "setting", "side"),
    [
        (True, 1e-2, {"step": 1, "previous": "judged"}, "NPU"),
        (False, 1e-2, {"step": 1, "previous": "judged"}, "bench"),
        (True, 1e-2, {"step": 1, "previous": "suspect"}, ""),  # whatever follows may differ
        (True, 1e-6, {"step": 1, "previous": "judged"}, ""),
    ],
)
def test_a_parameter_that_one_side_alone_trains(
    make: Any, npu: bool, size: float, setting: dict[str, Any], side: str
) -> None:
    sides = reference_model(make, size, trained=npu), reference_model(make, size, trained=not npu)
    finding = make.judged(*sides, **setting)
    assert suspects(finding) == ([("input", "Functional.linear.0.forward")] if side else [])
    if side:
        assert text(finding.suspects[0].message).endswith(f"an optimizer moves it on the {side} side only")
        assert "requires_grad" in text(finding.suspects[0].advice[0])


@pytest.mark.parametrize(
    ("other", "size", "found"),
    [
        ("Optimizer.Adam.0.forward", 1e-2, [("structure", "Optimizer.Adam.0.forward")]),
        ("Optimizer.Adam.0.forward", 1e-4, []),  # as noise may drift
        ("Optimizer.SparseAdam.0.forward", 1e-2, []),  # it was judged
    ],
)
def test_a_parameter_that_other_optimizers_have_moved(
    make: Any, other: str, size: float, found: list[tuple[str, str]]
) -> None:
    """Beside one that both sides have, which was judged in the step before."""

    def side(optimizer: str, off: float) -> Any:
        one = make.Run()
        x, w = make.normal(8, 8), one.parameter(make.off(make.normal(8, 8, seed=1), off, seed=2))
        one.call("Functional.linear.0.forward", [x, w], [y := x @ w.T])
        one.call(optimizer, kwargs={"param": {"fc.weight": w}, "grad": {"fc.weight": y}})
        return one

    sides = side(other, size), side("Optimizer.SparseAdam.0.forward", 0.0)
    assert suspects(make.judged(*sides, step=1, previous="judged")) == found


def test_indices_that_differ_after_error_began_follow_from_it(make: Any) -> None:
    def one(wrong: float, place: int) -> Any:
        run = make.Run()
        x = make.normal(16)
        run.call("Functional.gelu.0.forward", [x], [y := make.off(x, wrong)])
        run.call("Tensor.__getitem__.0.forward", [y, np.array([place])], [y[[place]]])
        return run

    assert suspects(make.judged(one(1e-2, 3), one(0, 4))) == [("operator", "Functional.gelu.0.forward")]
    assert suspects(make.judged(one(0, 3), one(0, 4))) == [("input", "Tensor.__getitem__.0.forward")]


@pytest.mark.parametrize(("floor", "silent"), [(1e-3, True), (1e-5, False)])
def test_an_input_that_differs_between_two_bench_runs_is_no_suspect(make: Any, floor: float, silent: bool) -> None:
    def run(size: float) -> Any:
        one = make.Run()
        x = make.off(make.normal(16, 16), size)
        one.call("Functional.relu.0.forward", [x], [np.maximum(x, 0)])
        return one

    measured = {("Functional.relu.0.forward", name): floor for name in ("input.0", "output.0")}
    finding = make.judged(run(2e-3), run(0.0), floor=measured)
    assert (finding.suspects == ()) is silent
    row = next(row for row in finding.rows if row.npu_name.endswith("input.0"))
    assert (row.expected_from == "floor") is silent


def wired(make: Any, *, tanh_first: bool, noise: float = 0.0, mode: str = "statistics") -> Any:
    """x -> tanh -> times three, or the other way round, and a sum of the result."""
    one = make.Run(mode=mode)
    x = make.off(make.normal(16, 16), noise)
    one.call("Torch.abs.0.forward", [make.normal(16, 16)], [x])
    if tanh_first:
        one.call("Torch.tanh.0.forward", [x], [t := np.tanh(x)])
        one.call("Torch.mul.0.forward", [t, 3.0], [y := 3 * t])
    else:
        one.call("Torch.mul.0.forward", [x, 3.0], [t := 3 * x])
        one.call("Torch.tanh.0.forward", [t], [y := np.tanh(t)])
    one.call("Torch.sum.0.forward", [y], [np.float32([y.sum()])])
    return one


@pytest.mark.parametrize("mode", ["statistics", "md5"])
def test_the_same_calls_wired_in_another_way(make: Any, mode: str) -> None:
    finding = make.judged(wired(make, tanh_first=False, mode=mode), wired(make, tanh_first=True, mode=mode))
    assert suspects(finding)[0] == ("structure", "Torch.mul.0.forward")
    assert "comes from Torch.abs.0.forward on the NPU side and from Torch.tanh.0.forward on the bench side" in (
        text(finding.suspects[0].message)
    )


def test_of_two_caches_that_one_side_alone_wrote_neither_is_called_data(make: Any) -> None:
    def side(*, writes: bool) -> Any:
        one = make.Run()
        for number in range(2):
            cache = make.normal(16, 16, seed=number)
            written = make.off(cache, 0.4, seed=5)
            if writes:
                one.call(f"Tensor.__setitem__.{number}.forward", [cache], [written])
            read = written if writes else cache
            one.call(f"Tensor.abs.{number}.forward", [read], [np.abs(read)])
        return one

    finding = make.judged(side(writes=False), side(writes=True))
    assert finding.suspects
    assert {suspect.kind for suspect in finding.suspects} == {"structure"}


def test_a_gradient_that_a_custom_backward_reads_is_no_data(make: Any) -> None:
    def side(wrong: float) -> Any:
        one = make.Run()
        x, g = make.normal(16, 16), make.normal(16, 16, seed=1)
        one.call("Torch.abs.0.forward", [x], [make.off(np.abs(x), wrong)])
        given = make.off(g, 2 * wrong, seed=2)  # a sum that autograd made
        one.call("Tensor.mul.0.forward", [given, x], [y := given * x])
        one.call("Autograd.Mine.0.backward", [given], [y])
        return one

    finding = make.judged(side(1e-2), side(0.0))
    assert suspects(finding) == [("operator", "Torch.abs.0.forward")]


@pytest.mark.parametrize(("operator", "found"), [("Autograd.linear_backward", 1), ("Torch.linear_backward", 2)])
def test_a_gradient_that_autograd_summed_for_a_formula_of_its_own_is_no_data(
    make: Any, operator: str, found: int
) -> None:
    """Of a gradient of a gradient: no backward call reads it, and nobody asks for its own gradient."""

    def side(wrong: float) -> Any:
        one = make.Run()
        x, g, w = make.normal(16, 16), make.normal(16, 16, seed=1), one.parameter(make.normal(16, 16, seed=3))
        one.call("Torch.abs.0.forward", [x], [make.off(np.abs(x), wrong)])
        given = make.off(g, 2 * wrong, seed=2)
        one.call(f"{operator}.0.forward", [given, w], [given @ w])
        return one

    accused = suspects(make.judged(side(1e-2), side(0.0)))
    assert accused == [("operator", "Torch.abs.0.forward"), ("input", f"{operator}.0.forward")][:found]


def test_what_one_side_alone_made_in_a_custom_backward_is_told_where_it_is_read(make: Any) -> None:
    def side(*, wrong: bool) -> Any:
        one = make.Run()
        g = make.normal(16, 16)
        one.call("Autograd.Mine.0.forward", [g], [np.abs(g)])
        one.call("Torch.neg.0.forward", [g], [y := -g])
        if wrong:
            one.call("Tensor.mul.0.forward", [y, 1.01], [y := np.float32(1.01) * y])
        one.call("Autograd.Mine.0.backward", [g], [y])
        one.call("Torch.abs.0.forward", [y], [np.abs(y)])
        return one

    finding = make.judged(side(wrong=True), side(wrong=False))
    assert suspects(finding) == [("structure", "Tensor.mul.0.forward")]


def accumulated(make: Any, *, kept: bool) -> Any:
    """Two passes make gradients, the second adds to the first unless that was not kept, and somebody reads it."""
    one = make.Run()
    first, second = make.normal(16, 16, seed=1), make.normal(16, 16, seed=2)
    one.call("Functional.linear.0.backward", [make.normal(16, 16, seed=3)], [first])
    one.call("Functional.linear.1.backward", [make.normal(16, 16, seed=4)], [second])
    gradient = first + second if kept else second
    if kept:
        one.same_memory(gradient, first)
    one.call("Torch.abs.0.forward", [gradient], [np.abs(gradient)])
    return one


def test_a_gradient_that_one_side_alone_accumulated(make: Any) -> None:
    assert make.judged(accumulated(make, kept=True), accumulated(make, kept=True)).verdict == "same"
    finding = make.judged(accumulated(make, kept=False), accumulated(make, kept=True))
    assert suspects(finding) == [("structure", "Torch.abs.0.forward")]
    said = "comes from Functional.linear.1.backward on the NPU side and from Functional.linear.0.backward on the bench"
    assert said in text(finding.suspects[0].message)


def test_a_gradient_that_one_side_divides_only_after_it_was_read(make: Any) -> None:
    def side(*, early: bool) -> Any:
        one = make.Run()
        first, second = make.normal(16, 16, seed=1), make.normal(16, 16, seed=2)
        one.call("Functional.linear.0.backward", [make.normal(16, 16, seed=3)], [first])
        one.call("Functional.linear.1.backward", [make.normal(16, 16, seed=4)], [second])
        gradient = one.same_memory(first + second, first)
        divided = one.same_memory(gradient / 8, first)

        def divide() -> None:
            one.call("Torch.unscale.0.forward", [gradient], [], written={"input.0": divided})

        if early:
            divide()
        read = divided if early else gradient
        one.call("Torch.abs.0.forward", [read], [np.abs(read)])
        if not early:
            divide()
        return one

    finding = make.judged(side(early=False), side(early=True))
    assert suspects(finding)[0] == ("structure", "Torch.abs.0.forward")
    said = "comes from Functional.linear.0.backward on the NPU side and from Torch.unscale.0.forward on the bench"
    assert said in text(finding.suspects[0].message)


def halves(make: Any, *, swapped: bool) -> Any:
    one = make.Run()
    x = make.normal(16, 16)
    scale, shift = make.normal(16, 8, seed=1), make.normal(16, 8, seed=2)
    one.call("Functional.linear.0.forward", [make.normal(16, 4, seed=3)], [x])
    one.call("Tensor.chunk.0.forward", [x], [scale, shift])
    read = shift if swapped else scale
    one.call("Tensor.__add__.0.forward", [read], [read + 1])
    return one


def test_two_results_of_a_call_that_one_side_exchanged(make: Any) -> None:
    finding = make.judged(halves(make, swapped=True), halves(make, swapped=False))
    assert suspects(finding)[0] == ("structure", "Tensor.__add__.0.forward")
    assert (
        "input.0 comes from Tensor.chunk.0.forward.output.1 on the NPU side and from Tensor.chunk.0.forward.output.0 on"
    ) in text(finding.suspects[0].message)


def edges(make: Any, *, looped: bool) -> Any:
    """With `looped`, nodes beside the drawn edges are joined to them."""
    one = make.Run()
    index = np.arange(12) % 8
    one.call("Torch.randint.0.forward", [8], [index])
    if looped:
        index, drawn = np.concatenate([index, np.arange(8)]), index
        one.call("Torch.cat.0.forward", [drawn], [index])
    x = make.normal(8, 4)
    one.call("Tensor.__getitem__.0.forward", [x, index], [y := x[index]])
    one.call("Functional.relu.0.forward", [y], [np.maximum(y, 0)])
    one.call("Torch.tanh.0.forward", [y], [np.tanh(y)])
    return one


@pytest.mark.parametrize(("npu", "side"), [(False, "bench"), (True, "NPU")])
def test_what_has_another_shape_because_of_a_call_of_one_side(make: Any, npu: bool, side: str) -> None:
    finding = make.judged(edges(make, looped=npu), edges(make, looped=not npu))
    assert suspects(finding) == [("structure", "Torch.cat.0.forward")]
    said = f"Torch.cat.0.forward ran on the {side} side only, and input.1 of Tensor.__getitem__.0.forward has shape"
    assert text(finding.suspects[0].message).startswith(said)


@pytest.mark.parametrize(("previous", "found"), [("judged", ["input"]), ("suspect", [])])
def test_data_of_another_shape_after_a_suspect_follow_from_it(make: Any, previous: Any, found: list[str]) -> None:
    """What the step before made of it is in no record of this one."""
    sides = run(make, x=make.normal(4, 8)), run(make)
    finding = make.judged(*sides, step=1, previous=previous)
    assert [kind for kind, _ in suspects(finding)] == found


def test_what_one_side_alone_expands_is_no_suspect(make: Any) -> None:
    def side(*, expands: bool) -> Any:
        one = make.Run()
        x, y = make.normal(8, 4), make.normal(1, 4, seed=1)
        one.call("Torch.tanh.0.forward", [make.normal(1, 4, seed=2)], [y])
        read = y
        if expands:
            one.call("Tensor.expand.0.forward", [y], [read := np.repeat(y, 8, axis=0)])
        one.call("Tensor.__add__.0.forward", [x, read], [x + y])
        return one

    assert suspects(make.judged(side(expands=True), side(expands=False))) == []


def reparametrised(make: Any, *, given: tuple[bool, bool], ran: bool = True) -> Any:
    """Two calls read `mu`; both give a gradient to it, or one of them does not, or did not run backward at all."""
    one = make.Run()
    mu = make.normal(16, 16)
    noise = make.normal(16, 16, seed=1)
    one.call("Functional.linear.0.forward", [make.normal(16, 4, seed=2)], [mu])
    one.call("Tensor.__add__.0.forward", [mu, noise], [mu + noise])
    one.call("Tensor.pow.0.forward", [mu], [mu**2])
    come = make.normal(16, 16, seed=3), make.normal(16, 16, seed=4)
    left = come[0] * 1.0, come[1] * mu
    if ran:
        one.call("Tensor.__add__.0.backward", [come[0]], [left[0] if given[0] else None])
    one.call("Tensor.pow.0.backward", [come[1]], [left[1] if given[1] else None])
    parts = [part for part, is_given in zip(left, given, strict=True) if is_given]
    total = parts[0] + parts[1] if len(parts) > 1 else parts[0]
    one.call("Functional.linear.0.backward", [total], [total[:, :4] * 1.0])
    return one


@pytest.mark.parametrize("npu", [True, False])
def test_a_gradient_that_a_call_gives_on_one_side_alone(make: Any, npu: bool) -> None:
    sides = [reparametrised(make, given=(False, True)), reparametrised(make, given=(True, True))]
    finding = make.judged(*(sides[::-1] if npu else sides))
    assert suspects(finding) == [("structure", "Tensor.__add__.0.backward")]
    said = f"Tensor.__add__.0.backward gives a gradient as output.0 on the {'NPU' if npu else 'bench'} side only"
    assert text(finding.suspects[0].message).startswith(said)
    assert "detach" in text(finding.suspects[0].advice[0])


def test_a_part_of_a_gradient_whose_call_one_side_alone_ran(make: Any) -> None:
    sides = reparametrised(make, given=(False, True), ran=False), reparametrised(make, given=(True, True))
    finding = make.judged(*sides)
    assert suspects(finding) == [("structure", "Tensor.__add__.0.backward")]
    assert "ran on the bench side only" in text(finding.suspects[0].message)


def test_a_gradient_that_no_side_gives_is_no_suspect(make: Any) -> None:
    sides = reparametrised(make, given=(False, True)), reparametrised(make, given=(False, True))
    assert suspects(make.judged(*sides)) == []


def test_the_same_wiring_is_no_suspect_however_much_differs(make: Any) -> None:
    finding = make.judged(wired(make, tanh_first=True, noise=0.1), wired(make, tanh_first=True))
    assert suspects(finding) == [("operator", "Torch.abs.0.forward")]


@pytest.mark.parametrize(("foreign", "accused"), [(True, False), (False, True)])
def test_a_foreign_dump_may_leave_out_who_made_an_input(make: Any, foreign: bool, accused: bool) -> None:
    """A flatten that was not recorded stands between two calls; ours would say that the value is a result."""

    def side(noise: float) -> Any:
        one = make.Run(foreign=foreign)
        x, w = make.normal(8, 8), make.normal(8, 8, seed=1)
        y = make.off(np.maximum(x @ w.T, 0), noise, seed=3)
        one.call("Functional.linear.0.forward", [x, w], [y])
        flat = np.float32(2) * y
        one.call("Functional.linear.1.forward", [flat, w], [flat @ w.T])
        return one

    assert (("input", "Functional.linear.1.forward") in suspects(make.judged(side(3e-6), side(0.0)))) is accused


def in_pieces(make: Any, *, held: float, memory_is_trained: bool) -> Any:
    """Step 1 of a run that reads a parameter by a tensor of its own, as what holds it in pieces does."""
    one = make.Run()
    w = make.normal(16, seed=1)
    piece = make.off(w, held) if held else w.copy()
    if memory_is_trained:
        one.same_memory(piece, w)
    one.call("Torch.mul.0.forward", [piece, make.normal(16, seed=2)], [piece * make.normal(16, seed=2)])
    one.call("Optimizer.SGD.0.forward", kwargs={"param": {"fc.weight": w}, "grad": {"fc.weight": make.normal(16)}})
    return one


@pytest.mark.parametrize(("trained", "accused"), [(True, 0), (False, 1)], ids=["a parameter", "anything else"])
def test_pieces_of_parameters_part_by_the_steps_before(make: Any, trained: bool, accused: int) -> None:
    runs = [in_pieces(make, held=size, memory_is_trained=trained) for size in (0.2, 0.0)]
    finding = make.judged(*runs, step=1, previous="judged")
    assert len(finding.suspects) == accused


@pytest.mark.parametrize(
    ("wrong", "named"), [("lstm", "VF.lstm.0.backward"), ("what packs", "Functional.embedding.0.backward")]
)
def test_a_backward_of_several_nodes_stands_after_what_it_gave(make: Any, wrong: str, named: str) -> None:
    runs = []
    for off in (0.02, 0.0):
        run = make.Run()
        words, packed = make.normal(8, 16), make.normal(6, 16, seed=1)
        weights = [make.normal(16, 16, seed=n) for n in (2, 3)]
        run.call("Functional.embedding.0.forward", [make.normal(20, 16, seed=4)], [words])
        run.call("VF.lstm.0.forward", [packed, *weights], [y := make.normal(6, 16, seed=5)])
        gradient, back, given = (make.normal(6, 16, seed=6), make.normal(6, 16, seed=7), make.normal(8, 16, seed=8))
        given = make.off(given, off, seed=9)
        run.mark(given, grad_fn="PackPaddedSequenceBackward0")
        run.call("Functional.linear.0.forward", [y, weights[0]], [y @ weights[0].T])
        run.call("Functional.linear.0.backward", [make.normal(6, 16, seed=10)], [gradient])
        run.call("Functional.embedding.0.backward", [given], [make.off(make.normal(20, 16, seed=11), off, seed=9)])
        run.call("VF.lstm.0.backward", [gradient], [make.off(back, off if wrong == "lstm" else 0.0, seed=12)])
        runs.append(run)
    found = suspects(make.judged(*runs))
    assert found == [("operator", named)]


@pytest.mark.parametrize(
    ("is_parameter", "expected"), [(True, []), (False, [("operator", "Functional.relu.0.forward")])]
)
def test_a_parameter_drifts_under_a_view_that_nobody_recorded_too(make: Any, is_parameter: bool, expected: Any) -> None:
    """As the part of a DTensor that is made of it anew in each step."""

    def run(drift: float) -> Any:
        one = make.Run()
        w = make.off(make.normal(16, 16), drift, seed=5)
        one.mark(w, grad_fn="_FromTorchTensorBackward", requires_grad=True)
        one.call("Functional.relu.0.forward", [w], [np.maximum(w, 0)])
        if is_parameter:
            one.call("Optimizer.SGD.0.forward", kwargs={"param": {"w": w}, "grad": {"w": make.normal(16, 16)}})
        return one

    assert suspects(make.judged(run(7e-5), run(0.0), step=1, previous="unjudged")) == expected


def with_a_closure(
    make: Any, *, moved: float = 0.0, fault: float = 0.0, updated: float = 0.0, begins_with: int = 0
) -> Any:
    """An optimizer that runs its closure twice, the second time with a parameter that it has `moved`."""
    one = make.Run()
    x, w = make.normal(8, 8), one.parameter(make.normal(8, 8, seed=1))
    later = one.same_memory(one.parameter(make.off(make.normal(8, 8, seed=2), moved, seed=3)), w)
    for n, weight in enumerate((w, later)):
        one.call(f"Functional.linear.{n}.forward", [x, weight], [y := x @ weight.T])
        one.call(f"Functional.gelu.{n}.forward", [y], [make.off(np.tanh(y), fault, seed=4)])
    new = one.same_memory(make.off(make.normal(8, 8, seed=5), updated, seed=6), w)
    given = {"param": {"fc.weight": (w, later)[begins_with]}, "grad": {"fc.weight": make.normal(8, 8, seed=7)}}
    one.call("Optimizer.LBFGS.0.forward", kwargs=given)
    one.bodies["Optimizer.LBFGS.0.forward"]["output"] = [one._nested({"fc.weight": new})]
    return one


@pytest.mark.parametrize(
    ("faults", "found"),
    [
        ({"moved": 3e-7}, []),
        ({"moved": 1e-2}, [("optimizer", "Optimizer.LBFGS.0.forward")]),
        ({"fault": 3e-3, "moved": 1e-2, "updated": 1e-2}, [("operator", "Functional.gelu.0.forward")]),
        (
            {"fault": 3e-3, "moved": 0.5, "updated": 0.5},
            [("operator", "Functional.gelu.0.forward"), ("optimizer", "Optimizer.LBFGS.0.forward")],
        ),
        ({"updated": 1e-2}, [("optimizer", "Optimizer.LBFGS.0.forward")]),
        (
            {"moved": 1e-2, "begins_with": 1},
            [("input", "Functional.linear.1.forward"), ("optimizer", "Optimizer.LBFGS.0.forward")],
        ),
    ],
)
def test_a_parameter_that_an_optimizer_moves_between_closures_is_no_input(
    make: Any, faults: dict[str, float], found: list[tuple[str, str]]
) -> None:
    """Where it began with what is read, nobody is known to have moved it."""
    finding = make.judged(
        with_a_closure(make, **faults), with_a_closure(make, begins_with=faults.get("begins_with", 0))
    )
    assert suspects(finding) == found


@pytest.mark.parametrize(
    ("apart", "setting", "is_told"),
    [
        (3e-4, {"step": 5}, True),
        (3e-6, {"step": 5}, False),
        (3e-4, {"step": 5, "previous": "judged"}, False),
        (3e-4, {"step": 5, "other_world": True}, False),
    ],
)
def test_parameters_that_parted_before_the_recording_began_are_told(
    make: Any, apart: float, setting: dict[str, Any], is_told: bool
) -> None:
    def side(w: Any, fault: float) -> Any:
        one = run(make, w=w)
        one.call("Functional.gelu.0.forward", [h := make.normal(8, 8, seed=3)], [make.off(h, fault)])
        return one

    w = make.normal(8, 8, seed=1)
    finding = make.judged(side(make.off(w, apart), 1e-2), side(w, 0), **setting)
    assert ("note.parted" in [note.key for note in finding.notes]) is is_told
    (found,) = [suspect for suspect in finding.suspects if "gelu" in suspect.name]
    assert ("evidence.parted" in [part.key for part in found.evidence]) is is_told
    assert (found.advice[0].key == "advice.earlier") is is_told


@pytest.mark.parametrize(("npu", "bench", "accused"), [(1, 0, 1), (0, 0, 0), (1, 1, 0)])
def test_a_call_that_is_given_another_tensor_than_the_bench_is_no_other_data(
    make: Any, npu: int, bench: int, accused: int
) -> None:
    """Ends of edges that were exchanged: both were read before, and agreed."""
    runs = []
    for chosen in (npu, bench):
        run = make.Run()
        x, ends = make.normal(8, 4, seed=1), [np.random.default_rng(n).integers(0, 8, 32) for n in range(2)]
        for n, end in enumerate(ends):
            run.call(f"Tensor.__getitem__.{n}.forward", [x, end], [x[end]])
        total = np.zeros((8, 4), "f4")
        np.add.at(total, ends[chosen], x[ends[0]])
        run.call("Tensor.index_add.0.forward", [np.zeros((8, 4), "f4"), 0, ends[chosen], x[ends[0]]], [total])
        runs.append(run)
    found = make.judged(*runs).suspects
    assert [(each.kind, each.name) for each in found] == [("structure", "Tensor.index_add.0.forward")] * accused
    values = [dict(each.message.values) for each in found]
    ends = {"npu": "Tensor.__getitem__.1.forward.input.1", "bench": "Tensor.__getitem__.0.forward.input.1"}
    assert all(ends.items() <= each.items() for each in values)


@pytest.mark.parametrize(("npu", "bench", "named"), [(True, False, "npu"), (False, True, "bench"), (True, True, "")])
def test_what_one_side_alone_made_is_told_behind_a_view_that_no_call_made(
    make: Any, npu: bool, bench: bool, named: str
) -> None:
    """A weight that one side scales, and then reads as w.T."""
    runs = []
    for scales in (npu, bench):
        run = make.Run()
        x, w = make.normal(8, 4, seed=1), run.parameter(make.normal(16, 4, seed=2))
        if scales:
            run.call("Tensor.__mul__.0.forward", [w, 0.7], [made := run.mark(w * np.float32(0.7), requires_grad=True)])
        turned = run.same_memory(np.ascontiguousarray((made if scales else w).T), made if scales else w)
        run.mark(turned, requires_grad=True, grad_fn="PermuteBackward0")
        run.call("Torch.matmul.0.forward", [x, turned], [x @ turned])
        runs.append(run)
    found = make.judged(*runs).suspects
    assert [(each.kind, each.name) for each in found] == [("structure", "Tensor.__mul__.0.forward")] * bool(named)
