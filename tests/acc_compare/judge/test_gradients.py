"""Gradients between the backward calls that made them and the optimizer that reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.messages import say
from acc_compare.report.i18n import text

STEP = "Optimizer.SGD.0.forward"


def run(
    make: Any,
    *,
    parts: int = 2,
    left_out: int | None = None,
    factor: float = 1.0,
    noise: float = 0.0,
    added: Any = None,
    doubled_by_call: bool = False,
    beside: bool = False,
    mode: str = "statistics",
) -> Any:
    """`parts` micro-batches through one linear, all but `left_out` backward too, then a step.

    The optimizer reads `factor` times the sum of what the backward calls wrote, plus `added`; `noise` is on what
    backward writes, `doubled_by_call` a recorded call, `beside` two calls that say nothing of the gradient.
    """
    one = make.Run(mode=mode)
    w = one.parameter(make.normal(32, 16, seed=1))
    total = np.zeros((32, 16))
    for part in range(parts):
        x = make.normal(8, 16, seed=10 + part)
        y = one.mark(x @ w.T, requires_grad=True)
        one.call(f"Functional.linear.{part}.forward", [x, w], [y])
        if part == left_out:
            continue
        gradient = make.off(make.normal(32, 16, seed=20 + part), noise, seed=30 + part)
        one.call(f"Functional.linear.{part}.backward", [make.normal(8, 32, seed=40 + part)], [None, gradient])
        total += gradient
    read = (factor * total + (0 if added is None else added)).astype(np.float32)
    if doubled_by_call:
        given, read = read, np.float32(2) * read
        one.call("Tensor.mul.0.forward", [given, 2.0], [read])
    if beside:
        one.call("Tensor.rsqrt.0.forward", [make.normal(4)], [make.normal(4, seed=3)])
        one.call("Tensor.clamp.0.forward", [make.normal(4)], [make.normal(4, seed=4)])
    one.call(STEP, kwargs={"grad": {"w": read}, "param": {"w": w}})
    return one


def suspects(finding: Any) -> list[tuple[str, str]]:
    return [(suspect.kind, suspect.name) for suspect in finding.suspects]


@pytest.mark.parametrize(
    ("npu", "bench", "told"),
    [
        (
            {"factor": 0.55},
            {"factor": 0.5},
            "an operator that was not recorded made the difference",
        ),  # unscaled wrongly
        ({"added": np.full((32, 16), 0.01)}, {}, "on the other there is more in it, or it was changed since"),
        ({"factor": 1 / 1024}, {}, "on the other there is more in it, or it was changed since"),
    ],
)
def test_what_happens_to_a_gradient_in_between_begins_at_the_optimizer(
    make: Any, npu: Any, bench: Any, told: str
) -> None:
    finding = make.judged(run(make, **npu), run(make, **bench))
    assert suspects(finding) == [("operator", STEP)]
    assert told in text(finding.suspects[0].message)


@pytest.mark.parametrize("npu", [True, False])
def test_a_parameter_that_one_side_alone_put_back_before_the_step(make: Any, npu: bool) -> None:
    def side(*, back: bool) -> Any:
        one = make.Run()
        w = one.parameter(make.normal(32, 16, seed=1))
        y = one.mark(make.normal(8, 16, seed=2) @ w.T, requires_grad=True)
        one.call("Functional.linear.0.forward", [make.normal(8, 16, seed=2), w], [y])
        gradient = make.normal(32, 16, seed=3)
        one.call("Functional.linear.0.backward", [make.normal(8, 32, seed=4)], [None, gradient])
        moved = one.same_memory(w + np.float32(0.1), w)
        one.call("Tensor.add_.0.forward", [w, 0.1], [moved])
        if back:
            one.call("Tensor.sub_.0.forward", [moved, 0.1], [moved := one.same_memory(moved - np.float32(0.1), w)])
        one.call(STEP, kwargs={"grad": {"w": gradient}, "param": {"w": moved}})
        return one

    finding = make.judged(side(back=npu), side(back=not npu))
    assert suspects(finding) == [("structure", "Tensor.sub_.0.forward")]
    assert f"where {STEP} reads it" in text(finding.suspects[0].message)


@pytest.mark.parametrize("factor", [1.0, 1 / 1024, 0.37])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-2])
def test_a_sum_of_contributions_times_one_factor_is_explained(make: Any, factor: float, noise: float) -> None:
    finding = make.judged(run(make, factor=factor, noise=noise), run(make, factor=factor))
    assert STEP not in [suspect.name for suspect in finding.suspects]


def test_error_that_backward_made_is_no_excuse_for_more(make: Any) -> None:
    finding = make.judged(run(make, noise=1e-3, factor=1.1), run(make))
    assert [name for _, name in suspects(finding)] == [
        "Functional.linear.0.backward",
        STEP,
    ]


def test_a_part_that_one_side_left_out(make: Any) -> None:
    finding = make.judged(run(make, parts=3, left_out=1), run(make, parts=3))
    assert suspects(finding) == [("structure", "Functional.linear.1.backward")]
    assert ("side", say("name.bench")) in finding.suspects[0].message.values


def test_a_call_on_one_side_that_changes_it(make: Any) -> None:
    finding = make.judged(run(make, doubled_by_call=True), run(make))
    assert suspects(finding) == [("structure", "Tensor.mul.0.forward")]


@pytest.mark.parametrize("factor", [0.4, 1.0])
def test_calls_of_one_side_after_backward_are_named_where_the_gradient_was_changed(make: Any, factor: float) -> None:
    """Clipping: what changes the gradient in place was not recorded, what leads up to it was."""
    finding = make.judged(run(make, beside=True, factor=factor), run(make))
    assert suspects(finding) == ([("structure", "Tensor.rsqrt.0.forward")] if factor != 1 else [])


def test_where_the_bench_says_no_factor_only_a_clean_record_accuses(make: Any) -> None:
    """Averaged over ranks: what the other rank added is not in this record."""
    other = make.normal(32, 16, seed=77)
    clean = make.judged(run(make, added=1.01 * other), run(make, added=other))
    assert suspects(clean) == [("operator", STEP)]
    noisy = make.judged(run(make, added=1.01 * other, noise=1e-3), run(make, added=other))
    assert STEP not in [name for _, name in suspects(noisy)]


@pytest.mark.parametrize(("factor", "accused"), [(0.5, True), (1.0, False)])
def test_digests_of_a_gradient_that_nobody_changed_are_equal(make: Any, factor: float, accused: bool) -> None:
    finding = make.judged(run(make, factor=factor, mode="md5"), run(make, mode="md5"))
    assert (suspects(finding) == [("operator", STEP)]) is accused


@pytest.mark.parametrize(("off", "accused"), [(1e-6, False), (1e-2, True)])
def test_what_cancels_in_the_sum_does_not_cancel_in_its_error(make: Any, off: float, accused: bool) -> None:
    """Two parts that are alike but for a thousandth, with opposite signs: their roundings are large beside the sum."""

    def side(size: float) -> Any:
        one = make.Run()
        w, part = one.parameter(make.normal(32, 16, seed=1)), make.normal(32, 16, seed=2)
        other = -part * np.float32(0.999)
        for n in range(2):
            y = one.mark(make.normal(8, 32, seed=9), requires_grad=True)
            one.call(f"Functional.linear.{n}.forward", [make.normal(8, 16, seed=10 + n), w], [y])
        for n, gradient in ((1, other), (0, part)):
            one.call(f"Functional.linear.{n}.backward", [make.normal(8, 32, seed=40 + n)], [None, gradient])
        total = make.off((part + other).astype("f4"), 1000 * size, seed=7)
        one.call(STEP, kwargs={"grad": {"w": total}, "param": {"w": w}})
        return one

    finding = make.judged(side(off), side(0.0))
    assert bool(suspects(finding)) is accused


@pytest.mark.parametrize(("off", "accused"), [(1e-3, False), (0.5, True)])
def test_gradients_that_a_call_reads_before_the_step_come_from_backward(make: Any, off: float, accused: bool) -> None:
    """As the norm for clipping does: no call wrote them, the optimizer says what they are."""

    def side(size: float) -> Any:
        one = make.Run()
        w = one.parameter(make.normal(32, 16, seed=1))
        x, y = make.normal(8, 16, seed=2), one.mark(make.normal(8, 32, seed=3), requires_grad=True)
        one.call("Functional.linear.0.forward", [x, w], [make.off(y, min(size, 1e-3), seed=5)])
        gradient = make.off(make.normal(32, 16, seed=4), size, seed=6)
        norm = np.asarray(np.linalg.norm(gradient), "f4")
        one.call("Torch._foreach_norm.0.forward", [gradient], [norm])
        clipped = one.same_memory(gradient * np.float32(0.5), gradient)
        one.call("Tensor.mul_.0.forward", [gradient, 0.5], [clipped])
        one.call(STEP, kwargs={"grad": {"w": clipped}, "param": {"w": w}})
        return one

    kinds = {kind for kind, _ in suspects(make.judged(side(off), side(0.0)))}
    assert ("input" in kinds) is accused


@pytest.mark.parametrize(
    ("world", "wrong", "left", "accused"),
    [
        (2, 5e-5, 1.0, False),  # sent in half the bits
        (2, 1e-2, 1.0, True),
        (1, 5e-5, 1.0, True),
        (2, 1e-2, 1e6, False),  # what ranks have cancels
    ],
)
def test_where_modules_alone_were_recorded_ranks_reduce_gradients_unseen(
    make: Any, world: int, wrong: float, left: float, accused: bool
) -> None:
    runs = []
    x, grad = make.normal(8, 16), make.normal(16, 16, seed=1)
    for is_npu in (True, False):
        run = make.Run(level="L0", world_size=world)
        weight, own = run.parameter(make.normal(16, 16, seed=2)), grad * np.float32(left)
        run.call("Module.a.Linear.forward.0", [x], [x @ weight.T], parameters={"weight": weight})
        run.call("Module.a.Linear.backward.0", [x], [x])
        run.bodies["Module.a.Linear.parameters_grad.0"] = {"weight": [run._leaf(own)]}
        read = make.off(grad, wrong * is_npu, seed=3)
        run.call("Optimizer.SGD.0.forward", kwargs={"param": {"a.weight": weight}, "grad": {"a.weight": read}})
        run.bodies["Optimizer.SGD.0.forward"]["output"] = [run._nested({"a.weight": weight - read})]
        runs.append(run)
    assert [suspect.kind for suspect in make.judged(*runs).suspects] == ["operator"] * accused
