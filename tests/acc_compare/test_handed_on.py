"""What ranks handed on, told by the numbers that modules made and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acc_compare.comparison import compare
from acc_compare.handed_on import handed_on, readers
from acc_compare.stages import stages_of

FIRST, SECOND = "Module.0.Linear.forward.{}", "Module.0.FSDPLinear.forward.{}"


def _pipeline(make: Any, *, wrong: float = 0.0, batches: int = 2, level: str = "L0") -> list[Any]:
    """Two stages of a layer each, for micro-batches of two rows; the last result is off by `wrong`."""
    x, first, second = make.normal(4, 4), make.normal(6, 4, seed=1), make.normal(3, 6, seed=2)
    sides = [make.Run(level=level, world_size=2) for _ in range(2)]
    weights = sides[0].parameter(first), sides[1].parameter(second)
    for batch in range(batches):
        rows = x[2 * batch : 2 * batch + 2]
        between = rows @ first.T
        made = make.off(between @ second.T, wrong * (batch == batches - 1))
        sides[0].call(FIRST.format(batch), [rows], [between], parameters={"weight": weights[0]})
        read = sides[1].parameter(between.copy())
        sides[1].call(SECOND.format(batch), [read], [made], parameters={"weight": weights[1]})
    return sides


def _whole(make: Any) -> Any:
    x, first, second = make.normal(4, 4), make.normal(6, 4, seed=1), make.normal(3, 6, seed=2)
    run = make.Run(level="L0", world_size=1)
    between = x @ first.T
    run.call("Module.0.Linear.forward.0", [x], [between], parameters={"weight": run.parameter(first)})
    run.call("Module.1.Linear.forward.0", [between], [between @ second.T], parameters={"weight": run.parameter(second)})
    return run


def _dumps(sides: list[Any]) -> Any:
    return {rank: run.dump() for rank, run in enumerate(sides)}


def test_what_a_rank_reads_and_nobody_there_made_is_what_another_made(make: Any) -> None:
    dumps = _dumps(_pipeline(make))
    found = handed_on(dumps)
    assert [(rank, other) for (rank, _), (other, _) in found.items()] == [(1, 0)] * 2
    assert readers(dumps[1], [value for _, value in found]) == {SECOND.format(0), SECOND.format(1)}
    assert stages_of(dumps) == [[0], [1]]


def test_data_of_all_ranks_and_other_levels_tell_of_no_stages(make: Any) -> None:
    assert handed_on(_dumps(_pipeline(make, level="mix"))) == {}
    assert stages_of(_dumps([_whole(make), _whole(make)])) == [[0, 1]]
    assert stages_of(_dumps([_whole(make)])) == [[0]]


@pytest.mark.parametrize("wrong", [0.0, 0.05])
def test_a_pipeline_of_modules_is_compared_with_one_rank(make: Any, tmp_path: Path, wrong: float) -> None:
    """Whatever a module is called in its stage, and however fully_shard has named its class."""
    for rank, run in enumerate(_pipeline(make, wrong=wrong)):
        run.write(tmp_path / "npu" / "step0" / f"rank{rank}")
    _whole(make).write(tmp_path / "bench" / "step0" / "rank0")
    found = compare(tmp_path / "npu", tmp_path / "bench")
    assert found.verdict == ("different" if wrong else "same")
    assert [(s.name, s.rank) for s in found.suspects] == [(SECOND.format(1), 1)] * bool(wrong)
