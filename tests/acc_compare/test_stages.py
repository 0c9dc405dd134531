"""Pipelines: which rank is behind which, which calls are of which micro-batch and chunk, and how they are numbered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from acc_compare.stages import owned_alike, parameters_alike, staged, stages_of
from dump.format.schema import Argument, CallRecord, CollectiveRecord, Dump, Header, TensorRecord

FIRST, LAST = ("a",), ("b",)


class Rank:
    """Writes down what one rank does: `f` and `b` for forward and backward of a chunk's modules, messages between."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls: list[CallRecord] = [CallRecord("Torch.randn.0.forward", 0)]
        self.owners: dict[str, str | None] = {}
        self.count: dict[str, int] = {}
        self.messages: dict[tuple[int, int], int] = {}

    def _call(self, name: str, value: int = 0, **more: object) -> None:
        leaf = Argument("output.0", TensorRecord("torch.float32", (2,), value=value or len(self.calls) + 100))
        call = CallRecord(name, len(self.calls), outputs=(leaf,), **more)  # type: ignore[arg-type]
        self.calls.append(call)

    def f(self, batch: int, *modules: str, loss: bool = False) -> Rank:
        for module in modules:
            number = self.count["linear"] = self.count.get("linear", -1) + 1
            self._call(f"Functional.linear.{number}.forward")
            self.owners[self.calls[-1].name] = f"Module.{module}.Linear.forward.{batch}"
        if loss:
            self._call(f"Tensor.mean.{batch}.forward")
        return self

    def b(self, number: int, *, loss: int | None = None) -> Rank:
        if loss is not None:
            self._call(f"Tensor.mean.{loss}.backward")
        self._call(f"Functional.linear.{number}.backward")
        return self

    def message(self, sender: int, receiver: int, value: int) -> Rank:
        order = self.messages[sender, receiver] = self.messages.get((sender, receiver), -1) + 1
        kind = "send" if sender == self.number else "recv"
        told = CollectiveRecord(kind, "0", (sender, receiver), order)
        leaf = Argument("input.0" if kind == "send" else "output.0", TensorRecord("torch.float32", (2,), value=value))
        groups = {"inputs" if kind == "send" else "outputs": (leaf,)}
        name = f"Distributed.{kind}.{len(self.calls)}.forward"
        self.calls.append(CallRecord(name, len(self.calls), collectives=(told,), **groups))  # type: ignore[arg-type]
        return self

    def dump(self) -> Dump:
        self._call("Optimizer.AdamW.0.forward")
        path = Path(f"root/rank{self.number}")
        return Dump(path, Header("statistics", "L1", world_size=2), tuple(self.calls), self.owners)


def _pipeline() -> dict[int, Dump]:
    """Two stages of a module each, two micro-batches, one forward and one backward after the other."""
    first, last = Rank(0), Rank(1)
    first.f(0, "0").message(0, 1, 11).f(1, "0").message(0, 1, 12).message(1, 0, 13).b(0).message(1, 0, 14).b(1)
    last.message(0, 1, 21).f(0, "0", loss=True).b(0, loss=0).message(1, 0, 22)
    last.message(0, 1, 23).f(1, "0", loss=True).b(1, loss=1).message(1, 0, 24)
    return {0: first.dump(), 1: last.dump()}


def _names(dump: Dump) -> list[str]:
    return [call.name.split(".", 1)[1] for call in dump.calls]


def test_a_rank_that_is_sent_something_first_is_behind_the_sender() -> None:
    dumps = _pipeline()
    assert stages_of(dumps) == [[0], [1]]
    middle = Rank(2).message(1, 2, 1).f(0, "0").dump()
    assert stages_of({**dumps, 2: middle}) == [[0], [1], [2]]
    ring = {rank: Rank(rank).message(rank, 1 - rank, 1).message(1 - rank, rank, 2).dump() for rank in (0, 1)}
    assert stages_of(ring) == [[0, 1]]
    assert stages_of({rank: Rank(rank).f(0, "0").dump() for rank in (0, 1)}) == [[0, 1]]


def test_stages_lie_one_behind_the_other_for_each_micro_batch() -> None:
    dumps = _pipeline()
    found = staged(dumps, stages_of(dumps))
    assert found is not None
    assert (found.mesh, found.batches) == ((2,), 2)
    assert [names["Functional.linear.1.forward"] for names in found.names] == [
        f"Functional.linear.{n}.forward" for n in (0, 1)
    ]
    expected = [
        "randn.0.forward",
        "linear.0.forward",
        "linear.1.forward",
        "mean.0.forward",
        "mean.0.backward",
        "linear.1.backward",
        "linear.0.backward",
        "AdamW.0.forward",
    ]
    assert [_names(dump) for dump in found.dumps.values()] == [expected] * 2
    assert {name: list(ranks) for name, ranks in found.ranks.items() if "linear" in name and "forward" in name} == {
        "Functional.linear.0.forward": [0],
        "Functional.linear.1.forward": [1],
    }


def test_calls_that_a_function_of_its_own_makes_in_backward_are_of_its_micro_batch() -> None:
    """The last stage runs all forward and then all backward, and one of its functions sums up gradients."""
    first, last = Rank(0), Rank(1)
    first.f(0, "0").message(0, 1, 11).f(1, "0").message(0, 1, 12).message(1, 0, 13).b(0).message(1, 0, 14).b(1)
    last.message(0, 1, 21).f(0, "0", loss=True).message(0, 1, 23).f(1, "0", loss=True)
    for batch in (0, 1):
        last._call(f"Tensor.mean.{batch}.backward")
        last._call(f"Tensor.clone.{batch}.forward")
        last.b(batch).message(1, 0, 22 + 2 * batch)
    last._call("Tensor.clone.2.forward")  # after all of backward
    dumps = {0: first.dump(), 1: last.dump()}
    found = staged(dumps, stages_of(dumps))
    assert found is not None
    backward = ["mean.0.backward", "clone.0.forward", "linear.1.backward", "linear.0.backward", "AdamW.0.forward"]
    assert [_names(dump)[4:] for dump in found.dumps.values()] == [backward] * 2
    assert found.line is not None
    clones = [call.name for call in found.line.dump.calls if ".clone." in call.name]
    assert [found.line.names[name] for name in clones] == ["Tensor.clone.0.forward", "Tensor.clone.1.forward"]


def test_what_makes_a_micro_batch_ready_is_of_it_and_what_tells_of_it_too() -> None:
    """A slice of the data before each, the loss written down after each."""
    rank = Rank(0)
    rank.calls = [CallRecord("Torch.randn.0.forward", 0)]
    for batch in (0, 1):
        rank._call(f"Tensor.__getitem__.{batch}.forward", 500 + batch)
        rank.f(batch, "0", loss=True).b(batch, loss=batch)
        loss = next(call.outputs for call in rank.calls if call.name == f"Tensor.mean.{batch}.forward")
        rank._call(f"Tensor.detach.{batch}.forward")
        told = Argument("input.0", loss[0].leaf)
        rank.calls[-1] = msgspec.structs.replace(rank.calls[-1], inputs=(told,))
    found = staged({0: rank.dump()}, [[0]])
    assert found is not None
    forward = ["__getitem__.0.forward", "linear.0.forward", "mean.0.forward"]
    assert [_names(dump)[:4] for dump in found.dumps.values()] == [["randn.0.forward", *forward]] * 2
    slices = [next(c for c in dump.calls if "getitem" in c.name) for dump in found.dumps.values()]
    assert [call.outputs[0].leaf.value for call in slices] == [500, 501]  # type: ignore[union-attr]


def test_a_module_may_run_twice_for_a_micro_batch() -> None:
    rank = Rank(0)
    for batch in (0, 1):
        rank.f(batch, "0").f(2 * batch, "1").f(2 * batch + 1, "1")
    found = staged({0: rank.dump()}, [[0]])
    assert found is not None
    assert [_names(dump)[1:4] for dump in found.dumps.values()] == [[f"linear.{n}.forward" for n in range(3)]] * 2


def test_ranks_of_a_stage_lie_in_a_mesh_of_their_own() -> None:
    """Four ranks in each stage: pairs that add up, and pairs of these that share out the batch."""
    alone = _pipeline()
    dumps: dict[int, Dump] = {}
    for rank in range(8):
        stage, place = divmod(rank, 4)
        groups = [(stage * 4 + place // 2 * 2 + n for n in range(2)), (stage * 4 + place % 2 + 2 * n for n in range(2))]
        met = tuple(CollectiveRecord("all_reduce", "g", tuple(group), 0) for group in groups)
        *calls, last = alone[stage].calls
        dumps[rank] = replace(alone[stage], calls=(*calls, msgspec.structs.replace(last, collectives=met)))
    found = staged(dumps, [[0, 1, 2, 3], [4, 5, 6, 7]])
    assert found is not None
    assert (found.mesh, found.batches) == ((2, 2, 2), 2)


def test_what_was_sent_is_what_was_received() -> None:
    first, last = Rank(0), Rank(1)
    first._call("Functional.relu.0.forward", 7)
    first.owners["Functional.relu.0.forward"] = "Module.0.ReLU.forward.0"
    first.message(0, 1, 7)
    last.message(0, 1, 9)._call("Functional.relu.0.forward", 9)
    last.owners["Functional.relu.0.forward"] = "Module.0.ReLU.forward.0"
    found = staged({0: first.dump(), 1: last.dump()}, [[0], [1]])
    assert found is not None
    one, two = (c.outputs[0].leaf for c in found.dumps[0].calls if "relu" in c.name)
    assert isinstance(one, TensorRecord)
    assert isinstance(two, TensorRecord)
    assert one.value == two.value


@pytest.mark.parametrize(("shape", "same"), [((2,), True), ((3,), False)])
def test_what_was_received_before_the_step_began_is_what_the_first_module_reads(
    shape: tuple[int, ...], same: bool
) -> None:
    first, last = Rank(0), Rank(1)
    first.f(0, "0").message(0, 1, 11).f(1, "0").message(0, 1, 12)
    last.messages[0, 1] = 0  # of which there is no record
    last.f(0, "0").message(0, 1, 22).f(1, "0")
    dump = last.dump()
    read = (Argument("input.0", TensorRecord("torch.float32", shape, value=21)),)
    calls = tuple(msgspec.structs.replace(c, inputs=read) if "linear.0" in c.name else c for c in dump.calls)
    found = staged({0: first.dump(), 1: replace(dump, calls=calls)}, [[0], [1]])
    assert found is not None
    given = next(c.inputs[0].leaf for c in found.dumps[0].calls if "linear.1" in c.name)
    assert isinstance(given, TensorRecord)
    assert (given.value == 11) is same


def test_chunks_of_an_interleaved_pipeline_come_round_by_round() -> None:
    first, last = Rank(0), Rank(1)
    first.f(0, "0").message(0, 1, 1).message(1, 0, 2).f(0, "1", "2").message(0, 1, 3)
    last.message(0, 1, 1).f(0, "0", "1").message(1, 0, 2).message(0, 1, 3).f(0, "2")
    found = staged({0: first.dump(), 1: last.dump()}, [[0], [1]])
    assert found is not None
    ranks = [found.ranks[call.name][0] for call in found.dumps[0].calls if "linear" in call.name]
    assert ranks == [0, 1, 1, 0, 0, 1]
    assert _names(found.dumps[0])[1:7] == [f"linear.{number}.forward" for number in range(6)]


@pytest.mark.parametrize(
    "other",
    [
        Rank(1).message(0, 1, 1).f(0, "0"),  # fewer micro-batches
        Rank(1).message(0, 1, 1).f(0, "0").f(1, "0").f(1, "1"),  # a module ran for the second alone
        Rank(1).message(0, 1, 1),  # no modules
    ],
)
def test_stages_that_do_not_lie_so_are_none(other: Rank) -> None:
    assert staged({0: _pipeline()[0], 1: other.dump()}, [[0], [1]]) is None


def test_layers_have_the_numbers_of_the_other_side() -> None:
    name, lone = "Functional.linear.1.forward", "Functional.linear.2.forward"
    ours = replace(_pipeline()[0], owners={name: "Module.0.Linear.forward.0", lone: "Module.0.Linear.forward.0"})
    theirs = replace(ours, owners={name: "Module.2.Linear.forward.0", lone: "Module.2.Other.forward.0"})
    assert owned_alike(ours, theirs).owners == {name: "Module.2.Linear.forward.0", lone: "Module.0.Linear.forward.0"}


def test_micro_batches_of_one_group_are_a_line_by_the_names_that_ranks_recorded() -> None:
    dumps = _pipeline()
    found = staged(dumps, stages_of(dumps))
    assert found is not None
    assert found.line is not None
    assert _names(found.line.dump) == [
        "randn.0.forward",
        *("linear.0.forward", "linear.1.forward", "mean.0.forward"),
        *("mean.0.backward", "linear.1.backward", "linear.0.backward"),
        *("linear.2.forward", "linear.3.forward", "mean.1.forward"),
        *("mean.1.backward", "linear.3.backward", "linear.2.backward"),
        "AdamW.0.forward",
    ]
    name = "Functional.linear.3.forward"
    assert (found.line.ranks[name], found.line.names[name]) == (1, "Functional.linear.1.forward")


def test_ranks_that_hold_the_model_together_have_no_line() -> None:
    dumps = _pipeline()
    several = {**dumps, 2: dumps[0], 3: dumps[1]}
    found = staged(several, [[0, 2], [1, 3]])
    assert found is not None
    assert found.line is None


def _with_optimizer(dump: Dump, **parameters: int) -> Dump:
    """Its linear layers read weights of these values, which its optimizer updates."""
    weights = iter(parameters.values())
    calls = []
    for call in dump.calls:
        if "linear" in call.name and call.name.endswith("forward"):
            leaf = TensorRecord("torch.float32", (2,), value=next(weights, 0))
            call = msgspec.structs.replace(call, inputs=(Argument("input.1", leaf),))
        if call.name.startswith("Optimizer."):
            told = tuple(
                Argument(f"input.param.{name}", TensorRecord("torch.float32", (2,), value=value))
                for name, value in parameters.items()
            )
            call = msgspec.structs.replace(call, inputs=told)
        calls.append(call)
    return replace(dump, calls=tuple(calls))


def test_the_optimizers_of_all_stages_are_one_with_the_parameters_of_the_other_side() -> None:
    dumps = _pipeline()
    stages = {0: _with_optimizer(dumps[0], weight=101), 1: _with_optimizer(dumps[1], weight=201)}
    whole = Rank(0).f(0, "0", "1", loss=True).b(1, loss=0).b(0).f(1, "0", "1", loss=True).b(3, loss=1).b(2).dump()
    whole = _with_optimizer(whole, **{"first.weight": 301, "last.weight": 302})
    sides = [staged(stages, stages_of(stages)), staged({0: whole}, [[0]])]
    lines = [side.line for side in sides if side is not None and side.line is not None]
    found = parameters_alike(*lines)
    optimizer = next(call for call in found.dump.calls if call.name.startswith("Optimizer."))
    assert [argument.name for argument in optimizer.inputs] == ["input.param.first.weight", "input.param.last.weight"]
    assert found.owners == {"first.weight": 0, "last.weight": 1}
