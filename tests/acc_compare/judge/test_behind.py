"""What reads the error of a fault is no second fault, unless it adds more than that explains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.judge.behind import behind
from acc_compare.judge.dataflow import Flow
from acc_compare.judge.origins import Judged, Origin


def two_branches(make: Any) -> tuple[Any, list[Any]]:
    """x -> gelu -> tanh -> add, and x -> relu -> add; and backward through both."""
    run = make.Run()
    x, a, b, c, d = (run.parameter(make.normal(8, 8, seed=n)) for n in range(5))
    g, ga, gb = (make.normal(8, 8, seed=n) for n in range(5, 8))
    run.call("Functional.gelu.0.forward", [x], [a])
    run.call("Functional.relu.0.forward", [x], [b])
    run.call("Torch.tanh.0.forward", [a], [c])
    run.call("Tensor.add.0.forward", [c, b], [d])
    run.call("Functional.relu.0.backward", [g], [gb])
    run.call("Torch.tanh.0.backward", [g], [ga])
    run.call("Functional.gelu.0.backward", [make.normal(8, 8, seed=9)], [make.normal(8, 8, seed=10)])
    return Flow(run.dump()), [part.call for part in make.measured(run, run)]


def origin(calls: list[Any], name: str, kind: Any = "operator") -> Origin:
    call = next(call for call in calls if call.full_name == name)
    return Origin(kind, call, Judged(call.wrote[0], "introduced"), 0.0)


def test_behind_a_fault_is_what_reads_it_and_its_own_backward(make: Any) -> None:
    flow, calls = two_branches(make)
    found = behind([origin(calls, "Functional.gelu.0.forward")], calls, flow)
    assert found == {
        "Torch.tanh.0.forward",
        "Tensor.add.0.forward",
        "Torch.tanh.0.backward",
        "Functional.gelu.0.backward",
    }


def test_behind_what_a_call_read_is_the_call_itself(make: Any) -> None:
    flow, calls = two_branches(make)
    reader = next(call for call in calls if call.full_name == "Torch.tanh.0.forward")
    found = behind([Origin("structure", reader, Judged(reader.read[0], "introduced"), 0.0)], calls, flow)
    assert {"Torch.tanh.0.forward", "Tensor.add.0.forward"} <= found


def test_views_that_no_call_made_and_sums_that_autograd_made_lead_on(make: Any) -> None:
    """w -> tanh -> t, of which t.T is read; what tanh made is read twice, and its gradients are summed."""
    run = make.Run()
    w, t, other, y, z = (run.parameter(make.normal(8, 8, seed=n)) for n in range(5))
    turned = run.same_memory(np.ascontiguousarray(t.T), t)
    run.call("Torch.tanh.0.forward", [w], [t])
    run.call("Torch.matmul.0.forward", [other, turned], [y])
    run.call("Functional.relu.0.forward", [t], [z])
    run.call("Functional.relu.0.backward", [make.normal(8, 8, seed=5)], [make.normal(8, 8, seed=6)])
    run.call("Torch.matmul.0.backward", [make.normal(8, 8, seed=7)], [None, make.normal(8, 8, seed=8)])
    run.call("Torch.tanh.0.backward", [make.normal(8, 8, seed=9)], [make.normal(8, 8, seed=10)])
    flow, calls = Flow(run.dump()), [part.call for part in make.measured(run, run)]
    assert "Torch.matmul.0.forward" in behind([origin(calls, "Torch.tanh.0.forward")], calls, flow)
    assert "Torch.tanh.0.backward" in behind([origin(calls, "Functional.relu.0.backward")], calls, flow)


def test_a_type_that_products_are_computed_in_has_nothing_behind_it(make: Any) -> None:
    flow, calls = two_branches(make)
    assert behind([origin(calls, "Functional.gelu.0.forward", "dtype")], calls, flow) == frozenset()


def test_a_logarithm_of_what_another_bound_cut_is_off_by_the_bounds(make: Any) -> None:
    """The error of a fault may lie in the few elements that the next operator moves most."""
    runs = []
    for least in (1e-2, 1e-5):
        run = make.Run()
        x = np.abs(make.normal(64, 64, seed=1)) ** 3 + np.float32(1e-9)
        cut = np.maximum(x, np.float32(least))
        run.call("Torch.clamp.0.forward", [x], [cut], kwargs={"min": least})
        run.call("Torch.log.0.forward", [cut], [np.log(cut)])
        runs.append(run)
    assert [suspect.name for suspect in make.judged(*runs).suspects] == ["Torch.clamp.0.forward"]


@pytest.mark.parametrize(("second", "faults"), [(0.02, 1), (0.5, 2)])
def test_behind_a_fault_another_is_told_where_it_adds_far_more(make: Any, second: float, faults: int) -> None:
    runs = []
    for size in (1.0, 0.0):
        run = make.Run()
        x, weight = make.normal(64, 64, seed=1), make.normal(64, 64, seed=2)
        y = make.off(np.tanh(x), 0.01 * size)
        z = make.off(y @ weight, second * size, seed=5)
        run.call("Torch.tanh.0.forward", [x], [y])
        run.call("Torch.matmul.0.forward", [y, weight], [z])
        runs.append(run)
    assert len(make.judged(*runs).suspects) == faults


def test_beside_a_fault_another_is_told_however_small(make: Any) -> None:
    """What does not read the first one's error is held to the noise."""
    runs = []
    for size in (1.0, 0.0):
        run = make.Run()
        x, y, weight = (make.normal(64, 64, seed=n) for n in (1, 2, 3))
        run.call("Torch.tanh.0.forward", [x], [wrong := make.off(np.tanh(x), 0.1 * size)])
        run.call("Torch.matmul.0.forward", [wrong, weight], [make.off(wrong @ weight, 0.5 * size)])
        run.call("Torch.tanh.1.forward", [y], [other := make.off(np.tanh(y), 1e-4 * size)])
        run.call("Torch.matmul.1.forward", [other, weight], [make.off(other @ weight, 1e-2 * size)])
        runs.append(run)
    names = [name for suspect in make.judged(*runs).suspects for name in (suspect.name, *suspect.others)]
    assert set(names) == {f"Torch.{name}.{n}.forward" for name in ("tanh", "matmul") for n in (0, 1)} - {
        "Torch.matmul.0.forward"
    }


@pytest.mark.parametrize(("previous", "is_told"), [("judged", True), ("suspect", False)])
def test_a_step_that_starts_from_what_a_fault_left_is_behind_it(make: Any, previous: str, is_told: bool) -> None:
    runs = []
    for size in (1.0, 0.0):
        run = make.Run()
        x, weight = make.normal(64, 64, seed=1), make.normal(64, 64, seed=2)
        run.call("Torch.matmul.0.forward", [x, read := make.off(weight, 0.01 * size)], [y := x @ read])
        run.call("Torch.tanh.0.forward", [y], [make.off(np.tanh(y), 0.04 * size)])
        runs.append(run)
    found = make.judged(*runs, step=1, previous=previous, parted=1.0).suspects
    assert ("Torch.tanh.0.forward" in [suspect.name for suspect in found]) is is_told
