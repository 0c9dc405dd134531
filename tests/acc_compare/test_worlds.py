"""Jobs of as many ranks that are cut otherwise: told by their collectives, placements and shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from acc_compare.joining import shares_out_otherwise
from acc_compare.worlds import is_cut_otherwise
from dump.format.schema import Argument, CallRecord, CollectiveRecord, Dump, Header, LayoutRecord, TensorRecord

DDP, GATHER, SUM = "ddp_all_reduce", "all_gather_into_tensor", "all_reduce"
CUT = LayoutRecord((8, 6), (0, 1), (2,), ("S(0)",))


def _dump(*rows: int, kind: str, layout: LayoutRecord | None = None) -> Dump:
    """Calls that compute so many rows each, a view, and a collective of two ranks."""
    calls = [_call("linear", number, (extent, 6)) for number, extent in enumerate(rows)]
    moved = _call("view", 90, (3, 2), layout)
    together = CallRecord("Distributed.x.0.forward", 99, collectives=(CollectiveRecord(kind, "0", (0, 1), 0),))
    owners = {call.name: "Module.a.A.forward.0" for call in (*calls, moved)}
    return Dump(Path("root"), Header("statistics", "L1", world_size=2), (*calls, moved, together), owners)


def _call(name: str, number: int, shape: tuple[int, ...], layout: LayoutRecord | None = None) -> CallRecord:
    leaf = TensorRecord("torch.float32", shape, layout=layout)
    return CallRecord(f"Functional.{name}.{number}.forward", number, outputs=(Argument("output.0", leaf),))


@pytest.mark.parametrize(
    ("bench", "cut"),
    [
        (_dump(8, 8, 8, kind=SUM), False),  # as many rows
        (_dump(4, 8, 8, kind=SUM), True),  # two of three
        (_dump(4, 4, 4, kind=DDP), False),  # shared out alike: other data
        (_dump(8, 8, 8, kind=DDP, layout=CUT), False),
    ],
)
def test_other_shapes_are_other_parts_where_the_model_is_shared_out_otherwise(bench: Dump, cut: bool) -> None:
    assert is_cut_otherwise(_dump(8, 8, 8, kind=DDP), bench) is cut


@pytest.mark.parametrize(
    ("bench", "otherwise"),
    [
        (_dump(8, kind=DDP), False),
        (_dump(8, kind=GATHER), True),
        (_dump(8, kind=DDP, layout=CUT), True),
    ],
)
def test_reduction_of_gradients_and_placements_tell_how_a_model_is_shared_out(bench: Dump, otherwise: bool) -> None:
    assert shares_out_otherwise(_dump(8, kind=DDP), bench) is otherwise
