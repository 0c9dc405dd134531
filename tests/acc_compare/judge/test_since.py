"""Parameters that are not what the optimizer of the step before left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare import compare
from acc_compare.judge.since import left_by
from acc_compare.report.i18n import text


def steps(make: Any, *, changed: bool = False, noise: float = 0.0, mode: str = "statistics", by: str = "") -> list[Any]:
    """Two steps of training two parameters; what the first left of one is `changed` before the second, in a recorded
    call where `by` names one.  The first step's updates are off by `noise`."""
    gradient = make.normal(16, 16, seed=9)
    old = [make.normal(16, 16, seed=n) for n in (1, 2)]
    left = [w - make.off(gradient, noise, seed=n) / 10 for n, w in enumerate(old)]
    begun = [left[0].copy(), old[1] if changed else left[1].copy()]
    runs = []
    for weights, after in ((old, left), (begun, [w - gradient / 10 for w in begun])):
        runs.append(run := make.Run(mode=mode))
        named, wrote = ({f"{n}.weight": w for n, w in enumerate(some)} for some in (weights, after))
        if by and changed and weights is begun:
            run.call(by, [left[1].copy()], [weights[1]])
        x = make.normal(16, 16)
        for number, w in enumerate(weights):
            run.parameter(w)
            run.call(f"Functional.linear.{number}.forward", [x, w], [x @ w.T])
        run.call("Optimizer.SGD.0.forward", kwargs={"param": named, "grad": dict.fromkeys(named, gradient)})
        run.bodies["Optimizer.SGD.0.forward"]["output"] = [run._nested(wrote)]
    return runs


SIDES = ("NPU", "bench")


def judged(make: Any, ours: list[Any], theirs: list[Any]) -> Any:
    """The second step, by what the first left."""
    left = left_by(make.judged(ours[0], theirs[0]).rows)
    return make.judged(ours[1], theirs[1], step=1, previous="judged", left=left)


def accused(finding: Any) -> list[tuple[str, str]]:
    return [(suspect.kind, suspect.name) for suspect in finding.suspects]


@pytest.mark.parametrize("mode", ["statistics", "md5"])
@pytest.mark.parametrize("side", ["NPU", "bench"])
def test_an_update_that_one_side_lost(make: Any, side: str, mode: str) -> None:
    npu, bench = (steps(make, changed=side == name, mode=mode) for name in ("NPU", "bench"))
    finding = judged(make, npu, bench)
    assert accused(finding) == [("operator", "Functional.linear.1.forward")]
    said = text(finding.suspects[0].message)
    assert said.startswith("parameter 1.weight differs")
    assert f"on the {side} side it is no longer what Optimizer.SGD.0.forward left in the step before" in said


@pytest.mark.parametrize("side", ["NPU", "bench"])
def test_memory_that_calls_of_one_side_alone_wrote_behind_the_parameter(make: Any, side: str) -> None:
    """Averaging `parameter.data`, which moves no version of the parameter."""
    runs = {name: steps(make, changed=side == name) for name in SIDES}
    second = runs[side][1]
    forward = {name: second.bodies.pop(name) for name in list(second.bodies) if name.startswith("Functional")}
    weight = next(a for a in second._arrays if np.array_equal(a, make.normal(16, 16, seed=2)))
    for call in ("Distributed.all_reduce.0.forward", "Tensor.__itruediv__.0.forward"):
        behind = second.same_memory(make.normal(16, 16, seed=7), weight)
        second.call(call, [behind], [behind])
    second.bodies |= forward
    finding = judged(make, runs["NPU"], runs["bench"])
    assert accused(finding) == [("structure", "Distributed.all_reduce.0.forward")]
    (told,) = (part for part in finding.suspects[0].evidence if part.key == "evidence.writers")
    assert "Tensor.__itruediv__.0.forward" in text(told)


def test_a_step_is_told_what_the_one_before_it_left(make: Any, tmp_path: Path) -> None:
    for side, changed in (("npu", True), ("bench", False)):
        for number, run in enumerate(steps(make, changed=changed)):
            run.write(tmp_path / side / f"step{number}")
    found = compare(tmp_path / "npu", tmp_path / "bench")
    assert [(suspect.step, suspect.name) for suspect in found.suspects] == [(1, "Functional.linear.1.forward")]


HEALTHY = {"nothing": (False, False, 0.0), "by noise": (False, False, 1e-3), "on both sides": (True, True, 1e-3)}


@pytest.mark.parametrize(("npu", "bench", "noise"), HEALTHY.values(), ids=HEALTHY)
def test_what_changed_otherwise_is_no_matter(make: Any, npu: bool, bench: bool, noise: float) -> None:
    assert accused(judged(make, steps(make, changed=npu, noise=noise), steps(make, changed=bench))) == []


def test_what_a_recorded_call_changed_is_that_calls(make: Any) -> None:
    npu = steps(make, changed=True, by="Tensor.copy_.0.forward")
    assert accused(judged(make, npu, steps(make))) == [("structure", "Tensor.copy_.0.forward")]


def test_what_one_side_never_trained_was_not_changed_since(make: Any) -> None:
    """A reference model that is the policy itself on one side, and a frozen copy of how it began on the other."""
    npu, bench = steps(make), steps(make)
    begun, policy = make.normal(16, 16, seed=2), make.normal(16, 16, seed=2) - make.normal(16, 16, seed=9) / 10
    for run, w in ((npu[1], None), (bench[1], begun)):
        known = next(array for array in run._arrays if w is None and (array == policy).all()) if w is None else w
        x = make.normal(16, 16, seed=4)
        run.call("Functional.linear.2.forward", [x, known], [x @ known.T])
        run.bodies["Optimizer.SGD.0.forward"] = run.bodies.pop("Optimizer.SGD.0.forward")
    finding = judged(make, npu, bench)
    assert accused(finding) == [("input", "Functional.linear.2.forward")]
    assert text(finding.suspects[0].message).endswith("an optimizer moves it on the NPU side only")


def read_later(make: Any, *, fault: float = 0.0, late: float = 0.0, grad_fn: str | None = "AddBackward0") -> list[Any]:
    """Two steps: a call whose result is off by `fault`, and one that reads it, off by `late` more, behind another."""
    made = make.off(make.normal(16, 16), fault, seed=1)
    first, second = make.Run(), make.Run()
    first.call("Functional.linear.0.forward", [make.normal(16, 16, seed=3)], [made])
    metric = make.normal(8, 8, seed=4)
    second.call("Tensor.to.0.forward", [metric], [metric.copy()])
    read = make.off(made, late, seed=2)
    second.call("Tensor.argmax.0.forward", [second.mark(read, grad_fn=grad_fn)], [np.argmax(read, -1)])
    return [first, second]


@pytest.mark.parametrize("grad_fn", ["AddBackward0", None])
@pytest.mark.parametrize("previous", ["judged", "suspect"])
def test_what_the_step_before_held_was_judged_there(make: Any, previous: str, grad_fn: str | None) -> None:
    npu, bench = (read_later(make, fault=fault, grad_fn=grad_fn) for fault in (0.02, 0.0))
    left = left_by(make.judged(npu[0], bench[0]).rows)
    assert accused(make.judged(npu[1], bench[1], step=1, previous=previous, left=left)) == []


def test_what_was_changed_since_it_was_made_is_told(make: Any) -> None:
    npu, bench = read_later(make, fault=0.02, late=0.02), read_later(make)
    found = judged(make, npu, bench)
    assert accused(found) == [("operator", "Tensor.argmax.0.forward")]
    assert "an operator that was not recorded" in text(found.suspects[0].message)


@pytest.mark.parametrize("step", [0, 3])
def test_a_recording_that_begins_late_accuses_nobody_of_what_came_before(make: Any, step: int) -> None:
    """In the first step of a run nothing came before."""
    runs = [read_later(make, fault=fault)[1] for fault in (0.02, 0.0)]
    for number, run in enumerate(runs):
        x, w = make.normal(16, 16, seed=5), run.parameter(make.off(make.normal(16, 16, seed=6), number * 0.01, seed=7))
        run.call("Functional.linear.1.forward", [x, w], [x @ w.T])
    found = accused(make.judged(*runs, step=step, previous="none"))
    assert found[0] == (("input", "Functional.linear.1.forward") if step else ("operator", "Tensor.argmax.0.forward"))
    assert len(found) == (1 if step else 2)


def rolled(
    make: Any, *, by: tuple[str, ...] = (), seed: int | None = None, off: float = 0.0, mode: str = "statistics"
) -> list[Any]:
    """Two steps that read the same data; after the first the calls `by` move it, or what the bench never reads of that
    `seed`, one after the other; what the second reads is `off` by noise."""
    x, w = make.normal(16, 8, seed=1), make.normal(8, 8, seed=2)
    first, second = make.Run(mode=mode), make.Run(mode=mode)
    first.call("Functional.linear.0.forward", [x, w], [x @ w.T])
    read = x if seed is None else make.normal(16, 8, seed=seed)
    for call in by:
        first.call(call, [read], [read := np.roll(read, 1, axis=0)[: 15 if "getitem" in call else None]])
    read = make.off(read, off, seed=3)
    second.call("Functional.linear.0.forward", [read, w], [read @ w.T])
    second.call("Torch.mean.0.forward", [read], [read.mean(0)])
    return [first, second]


@pytest.mark.parametrize("mode", ["statistics", "md5"])
@pytest.mark.parametrize("side", ["NPU", "bench"])
def test_what_a_call_of_one_side_alone_made_in_the_step_before(make: Any, side: str, mode: str) -> None:
    npu, bench = (rolled(make, by=("Torch.roll.0.forward",) if side == name else (), mode=mode) for name in SIDES)
    finding = judged(make, npu, bench)
    assert accused(finding) == [("structure", "Torch.roll.0.forward")]
    said = text(finding.suspects[0].message)
    assert said.startswith(f"Torch.roll.0.forward ran in the step before on the {side} side only")


def test_of_several_such_calls_the_last_made_it(make: Any) -> None:
    npu = rolled(make, by=("Torch.roll.0.forward", "Torch.flip.0.forward"))
    assert accused(judged(make, npu, rolled(make))) == [("structure", "Torch.flip.0.forward")]


def test_what_such_a_call_made_may_have_another_shape(make: Any) -> None:
    finding = judged(make, rolled(make, by=("Tensor.__getitem__.0.forward",)), rolled(make))
    assert accused(finding) == [("structure", "Tensor.__getitem__.0.forward")]
    assert "has shape [15, 8] on the NPU side and [16, 8]" in text(finding.suspects[0].message)


def test_of_what_such_a_call_read_nobody_knows(make: Any) -> None:
    npu = rolled(make, by=("Torch.roll.0.forward",), seed=5)
    assert accused(judged(make, npu, rolled(make))) == [("input", "Functional.linear.0.forward")]


def test_what_is_no_longer_what_such_a_call_made(make: Any) -> None:
    npu = rolled(make, by=("Torch.roll.0.forward",), off=1e-3)
    assert accused(judged(make, npu, rolled(make))) == [("input", "Functional.linear.0.forward")]


def test_the_same_made_by_other_calls_is_no_matter(make: Any) -> None:
    """One side moves it in one call, the other in another."""
    npu, bench = (rolled(make, by=(call,)) for call in ("Torch.roll.0.forward", "Torch.cat.0.forward"))
    assert accused(judged(make, npu, bench)) == []


@pytest.mark.parametrize(("beyond", "is_told"), [(10.0, False), (100.0, True)])
def test_what_such_a_call_made_is_held_against_what_it_read(make: Any, beyond: float, is_told: bool) -> None:
    """Averages of parameters that noise has parted, by one call here and by another there."""
    runs = []
    for call, noise in (("Tensor.lerp_.0.forward", 1e-4), ("Tensor.add_.0.forward", 0.0)):
        x = make.normal(16, 8, seed=1)
        w = make.off(x, noise, seed=4)
        made = make.off(x, beyond * noise, seed=6)
        first, second = make.Run(), make.Run()
        first.call("Torch.mean.0.forward", [w], [w.mean(0)])
        first.call(call, [w], [made])
        second.call("Torch.mean.0.forward", [made], [made.mean(0)])
        runs.append([first, second])
    assert accused(judged(make, *runs)) == ([("structure", "Tensor.lerp_.0.forward")] if is_told else [])
