"""One call between its beginning and its end: what it read is taken before it can be written to."""

from __future__ import annotations

import gc
from typing import Any

import torch


def test_inputs_are_those_before_the_call(record: Any) -> None:
    """An argument that is written and not returned is recorded twice: as it was, and as it is."""

    def act() -> None:
        torch.nn.functional.batch_norm(torch.arange(6.0).view(3, 2), mean, torch.ones(2), training=True)

    mean = torch.zeros(2)
    recorded = record(act, task="tensor")
    name = "Functional.batch_norm.0.forward"
    assert recorded.tensor(name, "input.1").tolist() == [0, 0]
    assert torch.equal(recorded.tensor(name, "written.input.1"), mean)
    assert mean.tolist() != [0, 0]


def test_what_is_returned_is_no_written_argument(record: Any) -> None:
    recorded = record(lambda: torch.ones(3).add_(1), task="tensor")
    call = recorded["Tensor.add_.0.forward"]
    assert call.written == ()
    assert recorded.tensor("Tensor.add_.0.forward", "input.0").tolist() == [1, 1, 1]
    assert recorded.tensor("Tensor.add_.0.forward", "output.0").tolist() == [2, 2, 2]


def test_out_is_not_read(record: Any) -> None:
    """It may hold uninitialised memory."""
    recorded = record(lambda: torch.add(torch.ones(3), 1, out=torch.empty(3)))
    call = recorded["Torch.add.0.forward"]
    assert [argument.name for argument in call.inputs] == ["input.0", "input.1"]
    assert recorded.value(call.name, "output.0") != recorded.value(call.name, "input.0")


def test_data_mode_chooses_directions_and_sides(record: Any) -> None:
    def act() -> None:
        torch.ones(3, requires_grad=True).exp().sum().backward()

    outputs = record(act, data_mode=("forward", "output"))
    assert outputs["Tensor.exp.0.forward"].inputs == ()
    assert len(outputs["Tensor.exp.0.forward"].outputs) == 1
    assert not [name for name in outputs.names if name.endswith("backward")]
    gradients = record(act, data_mode=("backward",))
    assert {name.rpartition(".")[2] for name in gradients.names} == {"backward"}


def test_a_call_that_raises_leaves_no_record(record: Any) -> None:
    def act() -> None:
        try:
            torch.ones(2, 3).matmul(torch.ones(2, 3))
        except RuntimeError:
            torch.ones(3).neg()

    recorded = record(act)
    assert "Tensor.matmul.0.forward" not in recorded
    assert "Tensor.neg.0.forward" in recorded


def test_what_waits_for_backward_is_nothing_that_the_collector_goes_through(record: Any) -> None:
    """Thousands of calls wait for it, and a collection that went through what is kept of them would take longer than
    recording them: torch's dict of hooks and its storages are all that a call adds."""
    tracked: list[int] = []

    def act() -> None:
        y = x = torch.ones(4, requires_grad=True)
        torch.tanh(x)
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(200):
            y = torch.tanh(y)
        for _ in range(3):  # of a tuple within a tuple the inner one may be dropped first
            gc.collect()
        tracked.append(len(gc.get_objects()) - before)
        y.sum().backward()

    act()
    recorded = record(act)
    assert "Torch.tanh.200.backward" in recorded.names
    alone, while_recorded = tracked
    assert (while_recorded - alone) / 200 <= 5
