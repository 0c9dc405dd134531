"""What optimizers did to experts between which tokens are exchanged, as one step of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from acc_compare.exchanged_updates import with_updates
from acc_compare.experts import unrolled
from dump.format.schema import Argument, CallRecord, CollectiveRecord, Dump, Header, TensorRecord


def _tensor(norm: float, value: int) -> TensorRecord:
    return TensorRecord("torch.float32", (8, 4), max=norm, norm=norm, sketch=bytes(64), requires_grad=True, value=value)


def _linear(number: int, weight: TensorRecord) -> CallRecord:
    token = TensorRecord("torch.float32", (3, 4), value=900)
    read = (Argument("input.0", token), Argument("input.1", weight))
    return CallRecord(f"Functional.linear.{number}.forward", 0, read, (Argument("output.0", token),))


def _exchange(number: int) -> CallRecord:
    told = CollectiveRecord("all_to_all_single", "0", (0, 1), number)
    made = (Argument("output.0", TensorRecord("torch.float32", (3, 4), value=800 + number)),)
    return CallRecord(f"Distributed.all_to_all_single.{number}.forward", 0, outputs=made, collectives=(told,))


def _step(weights: dict[str, TensorRecord], scale: float = 1.0) -> CallRecord:
    read = [Argument(f"input.param.{name}", weight) for name, weight in weights.items()]
    read += [
        Argument(f"input.grad.{name}", _tensor((weight.norm or 0.0) * scale, 500 + n))
        for n, (name, weight) in enumerate(weights.items())
    ]
    made = [Argument(f"output.0.{name}", _tensor(1.0, 600 + n)) for n, name in enumerate(weights)]
    return CallRecord("Optimizer.AdamW.0.forward", 0, tuple(read), tuple(made))


def _ranks(scale: float = 1.0) -> dict[int, Dump]:
    """Two ranks with an expert each, and a layer that both have."""
    found = {}
    for rank in range(2):
        enter, own = _tensor(7.0, 1), _tensor(1.0 + rank, 2)
        calls = (_linear(0, enter), _exchange(0), _linear(1, own), _exchange(1))
        step = _step({"enter.weight": enter, "expert.weight": own}, scale)
        found[rank] = Dump(Path(f"rank{rank}"), Header("statistics", "L1", world_size=2), (*calls, step))
    return found


def _alone() -> dict[int, Dump]:
    enter, *experts = _tensor(7.0, 1), _tensor(1.0, 2), _tensor(2.0, 3)
    calls = [_linear(number, weight) for number, weight in enumerate((enter, *experts))]
    step = _step({"enter.weight": enter, "experts.0.weight": experts[0], "experts.1.weight": experts[1]})
    return {0: Dump(Path("rank0"), Header("statistics", "L1", world_size=1), (*calls, step))}


@pytest.mark.parametrize(("scale", "joined"), [(1.0, True), (2.0, False)])
def test_a_step_has_the_experts_of_all_ranks_where_gradients_are_as_large(scale: float, joined: bool) -> None:
    sides = _ranks(scale), _alone()
    ours, theirs = with_updates(unrolled(sides[0]), unrolled(sides[1]), sides)
    experts = ["experts.0.weight", "experts.1.weight"]
    assert ours.owners == ({name: (rank,) for rank, name in enumerate(experts)} if joined else {})
    for side, others in ((ours, ["expert.weight"]), (theirs, experts)):
        for dump in side.dumps.values():
            (step,) = (call for call in dump.calls if call.name.startswith("Optimizer"))
            named = [a.name.removeprefix("output.0.") for a in step.outputs]
            assert named == ["enter.weight", *(experts if joined else others)]
            assert len({a.name for a in (*step.inputs, *step.outputs)}) == 3 * len(named)


def test_sides_without_experts_stay_as_they_are() -> None:
    sides = _alone(), _alone()
    ours, theirs = (unrolled(side) for side in sides)
    assert with_updates(ours, theirs, sides) == (ours, theirs)
