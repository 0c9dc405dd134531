"""Sides of different numbers of ranks: what differs with that number is no fault, and nothing goes missing by it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from acc_compare.judge.worlds import first_of, is_bookkeeping
from acc_compare.model import PairedArgument
from dump.format.schema import CallRecord, CollectiveRecord, ScalarRecord

TOGETHER = CollectiveRecord("all_reduce", "0", (0, 1), 0)
FOUR, TWO = ScalarRecord("int", 4), ScalarRecord("int", 2)


@pytest.mark.parametrize(
    ("call", "moves"),
    [
        (CallRecord("Tensor.view.0.forward", 0), True),
        (CallRecord("Torch.empty.0.forward", 0), True),
        (CallRecord("Torch.fsdp.all_gather_copy_in.0.forward", 0), True),
        (CallRecord("Distributed.all_reduce.0.forward", 0, collectives=(TOGETHER,)), True),
        (CallRecord("Functional.linear.0.forward", 0), False),
        (CallRecord("Functional.gelu.0.backward", 0), False),
    ],
)
def test_what_only_moves_memory_is_bookkeeping(call: CallRecord, moves: bool) -> None:
    assert is_bookkeeping(call) is moves


def _origin(order: int, operator: str, **more: Any) -> Any:
    pair = SimpleNamespace(arguments=more.pop("arguments", ()))
    call = SimpleNamespace(order=order, operator=operator, owner=more.pop("owner", "Module.a.A.forward.0"), pair=pair)
    argument = SimpleNamespace(name=more.pop("argument", "output.0"), is_floating=more.pop("is_floating", True))
    return SimpleNamespace(
        call=call, judged=SimpleNamespace(argument=argument), **{"kind": "operator", "reshaped": False, **more}
    )


def test_the_first_in_order_of_execution_is_named() -> None:
    late, early = _origin(7, "linear", kind="dtype"), _origin(3, "gelu")
    assert first_of([late, early]) == [early]


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "structure"},
        {"reshaped": True},
        {"is_floating": False},
        {"argument": "input.0", "owner": None},
        {"arguments": (PairedArgument("input.1", FOUR, TWO),)},
        {"arguments": (PairedArgument("output.1", FOUR, None),)},
    ],
)
def test_what_the_number_of_ranks_makes_is_not_named(more: dict[str, Any]) -> None:
    assert first_of([_origin(1, "view", **more)]) == []


@pytest.mark.parametrize("operator", ["view", "gelu"])
def test_what_is_cut_alike_or_computes_is_named(operator: str) -> None:
    arguments = (PairedArgument("input.1", FOUR, FOUR if operator == "view" else TWO),)
    assert len(first_of([_origin(1, operator, arguments=arguments)])) == 1
