from __future__ import annotations

from typing import Any

import pytest

from acc_compare.judge.dataflow import Flow, Producer
from dump.format.schema import Dump, TensorRecord


def leaf(dump: Dump, call: str, argument: str) -> TensorRecord:
    record = next(each for each in dump.calls if each.name == call)
    found = dict(record.tensors())[argument]
    assert isinstance(found, TensorRecord)
    return found


def chain(make: Any, *, foreign: bool = False) -> Dump:
    run = make.Run(foreign=foreign)
    x, w, y, z = (make.normal(4, seed=seed) for seed in range(4))
    run.call("Functional.linear.0.forward", [x, w], [y])
    run.call("Functional.dropout.0.forward", [y], [y])  # in evaluation it gives back what it got
    run.call("Torch.add_.0.forward", [y, x], [run.same_memory(z, y)], written={"input.0": z})
    run.call("Functional.relu.0.forward", [z], [make.normal(4, seed=9)])
    return run.dump()  # type: ignore[no-any-return]


@pytest.mark.parametrize("foreign", [True, False])
def test_the_producer_is_the_first_call_that_wrote_the_value(make: Any, foreign: bool) -> None:
    dump = chain(make, foreign=foreign)
    flow = Flow(dump)
    assert flow.exact is not foreign
    y = leaf(dump, "Functional.dropout.0.forward", "input.0")
    assert flow.producer(y, 1) == Producer("Functional.linear.0.forward", "output.0", 0)
    assert flow.producer(y, 3) == Producer("Functional.linear.0.forward", "output.0", 0)
    assert flow.producer(y, 0) is None  # not before it ran
    assert flow.producer(leaf(dump, "Functional.linear.0.forward", "input.0"), 9) is None


def test_writers_of_a_tensors_memory_come_latest_first(make: Any) -> None:
    dump = chain(make)
    z = leaf(dump, "Functional.relu.0.forward", "input.0")
    names = [(writer.call, writer.argument) for writer in Flow(dump).writers(z, 3)]
    assert names == [
        ("Torch.add_.0.forward", "written.input.0"),
        ("Torch.add_.0.forward", "output.0"),
        ("Functional.dropout.0.forward", "output.0"),
        ("Functional.linear.0.forward", "output.0"),
    ]
    assert [writer.call for writer in Flow(dump).writers(z, 1)] == ["Functional.linear.0.forward"]


def test_a_foreign_dump_knows_no_memory(make: Any) -> None:
    dump = chain(make, foreign=True)
    assert Flow(dump).writers(leaf(dump, "Functional.relu.0.forward", "input.0"), 9) == []


def test_parameters_are_known_by_name(make: Any) -> None:
    run = make.Run()
    x, weight, scale = (make.normal(4, seed=seed) for seed in range(3))
    run.call("Module.net.fc.Linear.forward.0", [x], [make.normal(4, seed=8)], parameters={"weight": weight})
    run.call("Optimizer.SGD.0.forward", kwargs={"param": {"net.scale": scale, "net.fc.weight": weight}})
    dump = run.dump()
    flow = Flow(dump)
    assert flow.parameter(leaf(dump, "Module.net.fc.Linear.forward.0", "parameters.weight")) == "net.fc.weight"
    assert flow.parameter(leaf(dump, "Optimizer.SGD.0.forward", "input.param.net.scale")) == "net.scale"
    assert flow.parameter(leaf(dump, "Module.net.fc.Linear.forward.0", "input.0")) is None


@pytest.mark.parametrize(("direction", "known"), [("backward", True), ("forward", False)])
def test_a_backward_call_may_be_recorded_after_one_that_reads_from_it(make: Any, direction: str, known: bool) -> None:
    """A backward call of several nodes is recorded when the last has run; a forward call never makes what came before
    it."""
    run = make.Run()
    early, g = make.normal(4, seed=0), make.normal(4, seed=1)
    run.call("Functional.embedding.0.backward", [early], [g])
    run.call(f"VF.lstm.0.{direction}", [make.normal(4, seed=2)], [early])
    dump = run.dump()
    tensor = leaf(dump, "Functional.embedding.0.backward", "input.0")
    assert (Flow(dump).producer(tensor, 0) is not None) is known
