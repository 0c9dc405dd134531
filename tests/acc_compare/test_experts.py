"""Experts of several ranks, one behind the other; what is no expert stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from acc_compare.experts import unrolled
from dump.format.schema import Argument, CallRecord, CollectiveRecord, Dump, Header, TensorRecord

EXPERT, LEAVE, ENTER = "Functional.linear.1.forward", "Functional.linear.2.forward", "Functional.linear.0.forward"


def _tensor(rows: int, norm: float = 1.0, *, trained: bool = False, value: int = 0) -> TensorRecord:
    return TensorRecord(
        "torch.float32", (rows, 4), max=norm, min=0.0, norm=norm, sketch=bytes(64), requires_grad=trained, value=value
    )


def _exchange(number: int, rows: int, dtype: str = "torch.float32", group: int = 0) -> CallRecord:
    told = CollectiveRecord("all_to_all_single", str(group), (2 * group, 2 * group + 1), number)
    leaf = TensorRecord(dtype, (rows, 4), value=50 + number)
    name = f"Distributed.all_to_all_single.{number}.forward"
    return CallRecord(name, 0, outputs=(Argument("output.0", leaf),), collectives=(told,))


def _linear(name: str, rows: int, weight: float) -> CallRecord:
    read = (Argument("input.0", _tensor(rows, value=60)), Argument("input.1", _tensor(8, weight, trained=True)))
    return CallRecord(name, 0, inputs=read, outputs=(Argument("output.0", _tensor(rows, value=61)),))


def _side(*, weights: Sequence[float] = (1.0, 2.0), dtype: str = "torch.float32") -> dict[int, Dump]:
    """A layer, an expert between two exchanges of two ranks, a layer and what backward makes of the expert."""
    found = {}
    for rank, weight in enumerate(weights):
        rows = 3 + rank
        back = CallRecord(EXPERT.replace("forward", "backward"), 0, outputs=(Argument("output.0", _tensor(rows)),))
        calls = (
            _linear(ENTER, 5, 7.0),
            _exchange(0, 2, "torch.int64", rank // 2),  # how many tokens
            _exchange(1, rows, dtype, rank // 2),
            _linear(EXPERT, rows, weight),
            _exchange(2, 5, dtype, rank // 2),
            _linear(LEAVE, 5, 7.0),
            _exchange(3, rows, dtype, rank // 2),
            back,
            _exchange(4, 5, dtype, rank // 2),
        )
        owners: dict[str, str | None] = {name: f"Module.{name}.Linear.forward.0" for name in (ENTER, EXPERT, LEAVE)}
        found[rank] = Dump(Path(f"rank{rank}"), Header("statistics", "L1", world_size=2), calls, owners)
    return found


def test_the_experts_of_all_ranks_run_on_each() -> None:
    found = unrolled(_side())
    for dump in found.dumps.values():
        linear = [call.name.split(".", 1)[1] for call in dump.calls if "linear" in call.name]
        assert linear == [*(f"linear.{n}.forward" for n in range(4)), "linear.1.backward", "linear.2.backward"]
        weights = [call.inputs[1].leaf.norm for call in dump.calls if "linear" in call.name and call.inputs]  # type: ignore[union-attr]
        assert weights == [7.0, 1.0, 2.0, 7.0]
        assert dump.owners["Functional.linear.2.forward"] == f"Module.{EXPERT}.Linear.forward.0"
    assert found.names["Functional.linear.2.forward"] == EXPERT
    told = {name: rank for name, rank in found.ranks.items() if "linear" in name}
    forward = {"Functional.linear.1.forward": (0,), "Functional.linear.2.forward": (1,)}
    assert told == forward | {name.replace("forward", "backward"): rank for name, rank in forward.items()}


def test_each_group_of_ranks_that_exchange_tokens_has_all_experts() -> None:
    found = unrolled(_side(weights=(1.0, 2.0, 1.0, 2.0)))
    for dump in found.dumps.values():
        weights = [call.inputs[1].leaf.norm for call in dump.calls if "linear" in call.name and call.inputs]  # type: ignore[union-attr]
        assert weights == [7.0, 1.0, 2.0, 7.0]
    assert [found.ranks[f"Functional.linear.{n}.forward"] for n in (1, 2)] == [(0, 2), (1, 3)]
    assert found.groups == [(0, 1), (2, 3)]
    assert len(found.parts("Functional.linear.2.forward")) == 2


def test_what_has_a_row_for_each_token_has_no_sketch() -> None:
    (call,) = (call for call in unrolled(_side()).dumps[0].calls if call.name == "Functional.linear.2.forward")
    sketched = {a.name: isinstance(a.leaf, TensorRecord) and a.leaf.sketch is not None for a in call.inputs}
    assert sketched == {"input.0": False, "input.1": True}


def test_values_of_other_ranks_are_numbered_apart() -> None:
    (dump, _) = unrolled(_side()).dumps.values()
    values = [call.outputs[0].leaf.value for call in dump.calls if call.name.startswith("Functional.linear")]  # type: ignore[union-attr]
    assert values[1] != values[2]
    assert values[0] == values[1]  # of one rank, as recorded


def _heads(*, made: bool) -> dict[int, Dump]:
    """Attention between two exchanges, that of keys recorded or handed on by a view that nobody recorded."""
    found = {}
    for rank in range(2):
        keys = msgspec.structs.replace(
            _tensor(8, 1.0 + rank, trained=True, value=70), grad_fn=None if made else "ViewBackward0"
        )
        read = (Argument("input.0", _tensor(8, value=60)), Argument("input.1", keys))
        writer = CallRecord("Tensor.unbind.0.forward", 0, outputs=(Argument("output.0", keys),))
        attention = CallRecord("Functional.scaled_dot_product_attention.0.forward", 0, inputs=read)
        calls = (_exchange(0, 8), *((writer,) if made else ()), attention, _exchange(1, 8))
        found[rank] = Dump(Path(f"rank{rank}"), Header("statistics", "L1", world_size=2), calls)
    return found


def test_a_slice_of_weights_is_a_weight() -> None:
    """One tensor for all experts of a rank, of which each is a slice."""
    side = _side()
    for rank, dump in side.items():
        of_all, own = (_tensor(8, 1.0 + rank, trained=True, value=value) for value in (80, 81))
        chosen = Argument("output.0", msgspec.structs.replace(own, grad_fn="SelectBackward0"))
        slicing = CallRecord("Tensor.__getitem__.0.forward", 0, (Argument("input.0", of_all),), (chosen,))
        inputs = (Argument("input.0", _tensor(3 + rank, value=60)), Argument("input.1", chosen.leaf))
        calls = [msgspec.structs.replace(c, inputs=inputs) if c.name == EXPERT else c for c in dump.calls]
        side[rank] = replace(dump, calls=(*calls[:3], slicing, *calls[3:]))
    assert unrolled(side).ranks


@pytest.mark.parametrize(
    "side",
    [
        _heads(made=True),
        _heads(made=False),
        _side(weights=(1.0, 1.0)),  # tensors of all ranks between exchanges, as where heads are dealt out
        _side(dtype="torch.int64"),  # no tokens are exchanged
        {0: _side()[0]},
    ],
)
def test_what_is_no_expert_stays_as_it_is(side: dict[int, Dump]) -> None:
    found = unrolled(side)
    assert found.dumps is side
    assert found.ranks == {}
