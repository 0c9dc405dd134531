"""Jobs of as many ranks that lie in another order, of which modules alone were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from acc_compare.comparison import compare
from acc_compare.load import pair_worlds
from acc_compare.other_order import order_of

Place = tuple[int, int]
"""The part of the data and the part of the weights that a rank has."""
STRAIGHT, TURNED = [(0, 0), (0, 1), (1, 0), (1, 1)], [(0, 0), (1, 0), (0, 1), (1, 1)]


def _side(make: Any, folder: Path, ranks: Sequence[Place], *, wrong: float = 0.0, level: str = "L0") -> Path:
    """A layer of which each rank has a part; what the last one makes is off by `wrong`."""
    for rank, (data, part) in enumerate(ranks):
        run = make.Run(level=level, world_size=len(ranks))
        x, weight = make.normal(8, 4, seed=data), make.normal(8, 4, seed=10 + part)
        y = make.off(x @ weight.T, wrong * (rank == len(ranks) - 1))
        run.call("Module.up.Linear.forward.0", [x], [y], parameters={"weight": run.parameter(weight)})
        run.write(folder / "step0" / f"rank{rank}")
    return folder


def _order(npu: Path, bench: Path) -> Any:
    (step,) = pair_worlds(npu, bench, as_many=True)
    return order_of(step)


@pytest.mark.parametrize("wrong", [0.0, 0.05])
def test_ranks_are_compared_with_those_that_hold_and_read_the_same(make: Any, tmp_path: Path, wrong: float) -> None:
    npu = _side(make, tmp_path / "npu", STRAIGHT, wrong=wrong)
    found = compare(npu, _side(make, tmp_path / "bench", TURNED))
    assert found.verdict == ("different" if wrong else "same")
    assert [(s.name, s.rank) for s in found.suspects] == [("Module.up.Linear.forward.0", 3)] * bool(wrong)
    (told,) = (note for note in found.overall.notes if note.key == "note.order")
    assert dict(told.values)["number"] == 2


@pytest.mark.parametrize(
    ("bench", "order"),
    [
        (STRAIGHT, None),
        (TURNED, {0: 0, 1: 2, 2: 1, 3: 3}),
        ([(1, 0), (0, 1), (0, 0), (1, 1)], None),  # other data by the same weights are other data
        ([(0, 0), (0, 0), (1, 0), (1, 1)], None),  # a part is nowhere
    ],
)
def test_an_order_is_another_where_weights_are_elsewhere(make: Any, tmp_path: Path, bench: Any, order: Any) -> None:
    assert _order(_side(make, tmp_path / "npu", STRAIGHT), _side(make, tmp_path / "bench", bench)) == order


def test_groups_tell_the_order_where_more_than_modules_was_recorded(make: Any, tmp_path: Path) -> None:
    sides = [_side(make, tmp_path / name, r, level="mix") for name, r in (("npu", STRAIGHT), ("bench", TURNED))]
    assert _order(*sides) is None
