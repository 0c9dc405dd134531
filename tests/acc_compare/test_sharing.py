"""How ranks share out a model: what two sides do otherwise, and what one of them leaves away."""

from __future__ import annotations

from pathlib import Path

import pytest

from acc_compare.sharing import shares_out_otherwise
from dump.format.schema import Argument, CallRecord, CollectiveRecord, Dump, Header, LayoutRecord, TensorRecord

CUT = LayoutRecord((8, 6), (0, 1), (2,), ("S(0)",))


def _giving(layout: LayoutRecord | None = None, **shapes: tuple[int, ...]) -> Dump:
    """A rank of two, whose collectives were given a tensor of these shapes, each by its kind."""
    calls = tuple(
        CallRecord(
            f"Distributed.{kind}.0.forward",
            number,
            inputs=(Argument("input.0", TensorRecord("torch.float32", shape, layout=layout)),),
            collectives=(CollectiveRecord(kind, "0", (0, 1), number),),
        )
        for number, (kind, shape) in enumerate(shapes.items())
    )
    return Dump(Path("root"), Header("statistics", "L1", world_size=2), calls)


@pytest.mark.parametrize(
    ("bench", "otherwise"),
    [
        (_giving(ddp_all_reduce=()), False),
        (_giving(all_gather_into_tensor=()), True),
        (_giving(CUT, ddp_all_reduce=()), True),
    ],
)
def test_reduction_of_gradients_and_placements_tell_how_a_model_is_shared_out(bench: Dump, otherwise: bool) -> None:
    assert shares_out_otherwise(_giving(ddp_all_reduce=()), bench) is otherwise


@pytest.mark.parametrize(
    ("given", "otherwise"),
    [
        ({"all_reduce": (6, 8)}, True),  # gradients, by hand
        ({"all_reduce": ()}, False),  # the loss alone
        ({}, False),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_side_that_leaves_the_reduction_away_shares_out_nothing(
    given: dict[str, tuple[int, ...]], otherwise: bool, swapped: bool
) -> None:
    sides = (_giving(ddp_all_reduce=(6, 8)), _giving(**given))
    assert shares_out_otherwise(*(sides[::-1] if swapped else sides)) is otherwise
