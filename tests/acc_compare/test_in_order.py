"""Waves of what ranks hold are compared where results are known to lie in one order."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from acc_compare.in_order import agree, with_waves_in_order
from dump.format import waves
from dump.format.schema import Argument, CallRecord, Dump, Header, TensorRecord

RNG = np.random.default_rng(0)
ROWS, RESULT, WEIGHT = RNG.normal(size=(8, 32)), RNG.normal(size=(8, 16)), RNG.normal(size=(16, 32))
LINEAR = "Functional.linear.0.forward"
DEALT_IN_TURN = [0, 4, 1, 5, 2, 6, 3, 7]


def _record(array: np.ndarray, *, whole: bool = False) -> TensorRecord:
    ends = float(array.max()), float(array.min()), float(array.mean()), float(np.linalg.norm(array))
    found = TensorRecord("torch.float32", array.shape, *ends)
    told = waves.to_bytes(waves.of(array.reshape(-1), array.shape))
    return msgspec.structs.replace(found, waves=told, sketch=np.full(16, ends[3], "<f4").tobytes() if whole else None)


def _call(name: str, read: list[TensorRecord], wrote: TensorRecord) -> CallRecord:
    inputs = tuple(Argument(f"input.{place}", leaf) for place, leaf in enumerate(read))
    return CallRecord(name, 0, inputs, (Argument("output.0", wrote),))


def _dump(*calls: CallRecord) -> Dump:
    return Dump(Path("root"), Header("statistics", "L1"), calls)


def _kept(ours: list[CallRecord], theirs: list[CallRecord]) -> list[str]:
    """The tensors that keep waves, of both sides the same."""
    sides = [
        [f"{call.name} {name}" for call in side.calls for name, leaf in call.tensors() if leaf.waves is not None]
        for side in with_waves_in_order(_dump(*ours), _dump(*theirs))
    ]
    assert sides[0] == sides[1]
    return sides[0]


@pytest.mark.parametrize(
    ("name", "read", "known"),
    [
        (LINEAR, ROWS, True),
        (LINEAR, ROWS[DEALT_IN_TURN], False),
        ("Tensor.__getitem__.0.forward", ROWS, False),
        ("Functional.dropout.0.forward", ROWS, False),
        ("Module.up.Linear.forward.0", ROWS, False),
    ],
)
def test_results_lie_in_order_where_what_is_read_does_and_the_call_leaves_each_place(
    name: str, read: np.ndarray, known: bool
) -> None:
    weight = _record(WEIGHT, whole=True)
    ours = _call(name, [_record(read), weight], _record(RESULT[DEALT_IN_TURN]))
    assert _kept([ours], [_call(name, [_record(ROWS), weight], _record(RESULT))]) == [f"{name} output.0"] * known


def test_what_no_rank_was_dealt_a_part_of_tells_of_no_order() -> None:
    calls = [_call(LINEAR, [_record(ROWS, whole=True)], _record(RESULT))]
    assert _kept(calls, calls) == []


def test_a_gradient_lies_as_what_the_forward_call_read() -> None:
    back = LINEAR.replace("forward", "backward")
    calls = [[_call(LINEAR, [_record(read)], _record(RESULT)), _call(back, [_record(RESULT)], _record(ROWS))]
             for read in (ROWS, ROWS[DEALT_IN_TURN])]  # fmt: skip
    assert _kept(calls[0], calls[0]) == [f"{LINEAR} output.0", f"{back} output.0"]
    assert _kept(calls[0], calls[1]) == []
    assert _kept(calls[0][1:], calls[0][1:]) == []


def test_tensors_agree_by_what_is_known_of_both() -> None:
    assert agree(_record(ROWS), _record(ROWS * (1 + 1e-3)))
    assert agree(_record(ROWS), _record(ROWS[DEALT_IN_TURN])) is False
    assert agree(_record(ROWS, whole=True), _record(ROWS[DEALT_IN_TURN], whole=True))
    assert agree(_record(ROWS), msgspec.structs.replace(_record(ROWS), waves=None)) is None
    assert agree(_record(ROWS), _record(RESULT)) is None
