"""Jobs that are cut otherwise: told by collectives, placements and shapes, and put together as a file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from acc_compare.comparison import compare
from acc_compare.worlds import is_cut_otherwise
from dump.format.errors import IncomparableError
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


@pytest.mark.parametrize(("sent", "cut"), [(2, False), (4, True)])
def test_pipelines_of_other_numbers_of_chunks_are_cut_otherwise(sent: int, cut: bool) -> None:
    def sending(number: int) -> Dump:
        told = tuple(CollectiveRecord("send", "0", (0, 1), order) for order in range(number))
        calls = tuple(CallRecord(f"Distributed.send.{c.order}.forward", c.order, collectives=(c,)) for c in told)
        return Dump(Path("root"), Header("statistics", "L1", world_size=2), calls)

    assert is_cut_otherwise(sending(2), sending(sent)) is cut


A, B = (0, 1), (0, 2)


@pytest.mark.parametrize(
    ("theirs", "cut"),
    [
        ([A, B, A], False),
        ([B, A, B], True),  # a mesh in the other order
        ([A, A, A], False),  # one call in another group
        ([B, A, A], False),
        ([B, A], False),  # a call is missing
    ],
)
def test_meshes_in_another_order_are_cut_otherwise(theirs: list[tuple[int, int]], cut: bool) -> None:
    def joining(groups: list[tuple[int, int]]) -> Dump:
        told = [CollectiveRecord(SUM, "0", ranks, order) for order, ranks in enumerate(groups)]
        calls = tuple(CallRecord(f"Distributed.x.{c.order}.forward", c.order, collectives=(c,)) for c in told)
        return Dump(Path("root"), Header("statistics", "L1", world_size=4), calls)

    assert is_cut_otherwise(joining([A, B, A]), joining(theirs)) is cut


LAYOUT = """
npu:
  mesh: {tp: 2}
  tensors:
    Functional.gelu.0.forward.*: {tp: shard 1}
"""


def _two_against_one(make: Any, folder: Path, wrong: float = 0.0) -> tuple[Path, Path]:
    """A gelu that two ranks share out by its columns, the second off by a share `wrong`, and the same on one rank."""
    x = make.normal(8, 6)
    for rank, half in enumerate(np.split(x, 2, 1)):
        run = make.Run(world_size=2)
        run.call("Functional.gelu.0.forward", [half], [make.off(half * 2, wrong) if rank else half * 2])
        run.write(folder / "npu" / "step0" / f"rank{rank}")
    run = make.Run(world_size=1)
    run.call("Functional.gelu.0.forward", [x], [x * 2])
    run.write(folder / "bench" / "step0" / "rank0")
    return folder / "npu", folder / "bench"


@pytest.mark.parametrize(("wrong", "verdict"), [(0.0, "same"), (0.5, "different")])
def test_ranks_are_put_together_as_a_file_says(make: Any, tmp_path: Path, wrong: float, verdict: str) -> None:
    (tmp_path / "layout.yaml").write_text(LAYOUT)
    npu, bench = _two_against_one(make, tmp_path, wrong)
    found = compare(npu, bench, layout=tmp_path / "layout.yaml")
    assert found.verdict == verdict
    assert [suspect.name for suspect in found.suspects] == ["Functional.gelu.0.forward"] * (verdict == "different")
    (told,) = (note for note in found.overall.notes if note.key == "note.grounds")
    assert dict(told.values)["file"] == 2


def test_ranks_of_as_many_are_put_together_where_a_file_is_given(make: Any, tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text(LAYOUT)
    npu, _ = _two_against_one(make, tmp_path)
    found = compare(npu, npu, layout=tmp_path / "layout.yaml")
    assert found.overall.notes
    assert [note.key for note in found.overall.notes].count("note.grounds") == 2


def test_a_mesh_of_another_number_of_ranks_is_refused(make: Any, tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text(LAYOUT.replace("2", "4"))
    with pytest.raises(IncomparableError, match="a mesh of 4 ranks, but the job has 2"):
        compare(*_two_against_one(make, tmp_path), layout=tmp_path / "layout.yaml")


Wrong: TypeAlias = "float | tuple[float, float]"


def _accumulating(make: Any, folder: Path, parts: dict[int, list[list[int]]], wrong: Wrong = 0.0) -> Path:
    """A gelu of some rows of one batch for each micro-batch of each rank; the last is off by a share `wrong`, or begins
    with these elements."""
    x = make.normal(8, 6)
    for rank, batches in parts.items():
        run = make.Run(world_size=len(parts))
        for number, rows in enumerate(batches):
            y = 2 * x[rows]
            is_last = rank == max(parts) and rows is batches[-1]
            owner = f"Module.a.A.forward.{number}"
            if isinstance(wrong, float):
                y = make.off(y, wrong * is_last)
            elif is_last:
                y[0, :2] = wrong
            run.call(f"Functional.gelu.{number}.forward", [x[rows]], [y], owner=owner)
        run.write(folder / "step0" / f"rank{rank}")
    return folder


TWO_BY_TWO = {0: [[0, 1], [2, 3]], 1: [[4, 5], [6, 7]]}
ONE_BY_TWO, ONE_BY_FOUR = {0: [[0, 1, 2, 3], [4, 5, 6, 7]]}, {0: [[0, 1], [2, 3], [4, 5], [6, 7]]}
ONE_BY_ONE, EIGHT_BY_ONE = {0: [list(range(8))]}, {rank: [[rank]] for rank in range(8)}


@pytest.mark.parametrize("bench", [ONE_BY_TWO, ONE_BY_FOUR, ONE_BY_ONE, EIGHT_BY_ONE])
@pytest.mark.parametrize("wrong", [0.0, 0.5])
def test_micro_batches_that_are_dealt_out_otherwise_are_put_together(
    make: Any, tmp_path: Path, bench: dict[int, list[list[int]]], wrong: float
) -> None:
    sides = [_accumulating(make, tmp_path / "npu", TWO_BY_TWO, wrong), _accumulating(make, tmp_path / "bench", bench)]
    found = compare(*sides)
    assert found.verdict == ("different" if wrong else "same")
    told = [(suspect.kind, suspect.name, suspect.rank) for suspect in found.suspects]
    assert told == [("operator", "Functional.gelu.1.forward", 1)] * bool(wrong)


def test_where_it_is_not_known_which_micro_batch_it_is_all_are_told(make: Any, tmp_path: Path) -> None:
    """Two elements are off within what others hold; the other side has one batch of all, or each of them."""
    npu = _accumulating(make, tmp_path / "npu", TWO_BY_TWO, (0.3, -0.2))
    for bench, rank, told in ((ONE_BY_ONE, None, True), (ONE_BY_TWO, 1, True), (EIGHT_BY_ONE, 1, False)):
        found = compare(npu, _accumulating(make, tmp_path / f"bench{told}{rank}", bench))
        (suspect,) = found.suspects
        assert suspect.rank == rank
        assert ("evidence.one_of_batches" in [message.key for message in suspect.evidence]) is told


def test_micro_batches_of_the_same_data_are_compared_each(make: Any, tmp_path: Path) -> None:
    """Of the ranks' first micro-batches the other side has made its first one."""
    alike = {0: [[0, 1, 4, 5], [2, 3, 6, 7]]}
    sides = [_accumulating(make, tmp_path / "npu", TWO_BY_TWO, 0.5), _accumulating(make, tmp_path / "bench", alike)]
    assert [suspect.name for suspect in compare(*sides).suspects] == ["Functional.gelu.1.forward"]


@pytest.mark.parametrize("wrong", [0.0, 0.5])
def test_modules_that_a_wrapper_holds_are_those_of_the_other_side(make: Any, tmp_path: Path, wrong: float) -> None:
    x, weight = make.normal(8, 6), make.normal(4, 6, seed=1)
    for side, ranks, path in (("npu", 2, "module.up"), ("bench", 1, "up")):
        for rank, rows in enumerate(np.split(x, ranks)):
            run = make.Run(level="L0", world_size=ranks)
            held = run.parameter(weight.copy())
            y = make.off(rows @ weight.T, wrong * (side == "npu" and rank == 1))
            run.call(f"Module.{path}.Linear.forward.0", [rows], [y], parameters={"weight": held})
            run.write(tmp_path / side / "step0" / f"rank{rank}")
    found = compare(tmp_path / "npu", tmp_path / "bench")
    assert found.verdict == ("different" if wrong else "same")
