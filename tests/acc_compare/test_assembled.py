"""The elements of wholes: from those of parts, in the order that fits, with the rank whose part is off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from acc_compare.assembled import Cut, Piece, Total, assemble, plans_in, rank_of_error
from acc_compare.joining import Joined, join, wholes
from acc_compare.judge.verdict import Setting
from acc_compare.one_pair import Task
from acc_compare.stages import renamed
from acc_compare.worlds import _compare_joined
from dump.format.errors import TensorFileError
from dump.format.layout import TENSOR_FOLDER
from dump.format.schema import Argument, CallRecord, Dump, Header, LayoutRecord, TensorRecord
from dump.format.tensors import AnyArray, read_tensor, safetensors_head, write_tensor

FORWARD, BACKWARD = "Functional.linear.0.forward", "Functional.linear.0.backward"


@pytest.fixture
def array() -> AnyArray:
    return np.random.default_rng(0).normal(1, 1, (6, 8)).astype(np.float32)


def _dump(folder: Path, array: AnyArray, name: str, *, world: int, layout: LayoutRecord | None = None) -> Dump:
    """What one rank recorded: one tensor, with its file.  Its sketch is linear, as a real one."""
    files = folder / TENSOR_FOLDER
    files.mkdir(parents=True)
    write_tensor(files / "a.safetensors", data=array.tobytes(), dtype="torch.float32", shape=array.shape)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (16, array.size)) / 4
    leaf = TensorRecord(
        "torch.float32",
        array.shape,
        max=float(array.max()),
        min=float(array.min()),
        mean=float(array.mean()),
        norm=float(np.linalg.norm(array)),
        sketch=(signs @ array.reshape(-1)).astype("<f4").tobytes(),
        data_name="a.safetensors",
        layout=layout,
    )
    call = CallRecord(name, 0, outputs=(Argument("output.0", leaf),))
    return Dump(folder, Header("tensor", "L1", world_size=world), (call,))


def _side(
    folder: Path, parts: list[AnyArray], name: str = FORWARD, layout: LayoutRecord | None = None
) -> dict[int, Dump]:
    return {
        rank: _dump(folder / f"rank{rank}", np.ascontiguousarray(part), name, world=len(parts), layout=layout)
        for rank, part in enumerate(parts)
    }


def _joined(npu: dict[int, Dump], bench: dict[int, Dump]) -> tuple[Joined, Joined]:
    return join(npu, len(npu), wholes(bench, len(bench))), join(bench, len(bench), wholes(npu, len(npu)))


def _elements(folder: Path, npu: dict[int, Dump], bench: dict[int, Dump]) -> tuple[AnyArray, AnyArray]:
    ours, theirs = (side.dump for side in _joined(npu, bench))
    found = []
    for side in assemble(ours, theirs, folder / "joined"):
        leaf = side.calls[0].outputs[0].leaf
        assert isinstance(leaf, TensorRecord)
        assert leaf.data_name is not None
        found.append(read_tensor(side.path / TENSOR_FOLDER, leaf.data_name))
    return found[0], found[1]


@pytest.mark.parametrize("dimension", [0, 1])
def test_parts_are_put_along_their_dimension(tmp_path: Path, array: AnyArray, dimension: int) -> None:
    npu = _side(tmp_path / "npu", np.array_split(array, 2, dimension))
    ours, theirs = _elements(tmp_path, npu, _side(tmp_path / "bench", [array]))
    assert np.array_equal(ours, array)
    assert np.array_equal(theirs, array)


def test_a_fused_projection_is_put_together_by_groups(tmp_path: Path, array: AnyArray) -> None:
    """Each of two ranks has its rows of q, of k and of v."""
    rows = np.split(array, 6, 0)
    parts = [np.concatenate(rows[rank::2], 0) for rank in (0, 1)]
    ours, _ = _elements(tmp_path, _side(tmp_path / "npu", parts), _side(tmp_path / "bench", [array]))
    assert np.array_equal(ours, array)


@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
def test_parts_of_a_mesh_are_put_together_in_the_order_that_fits(
    tmp_path: Path, array: AnyArray, groups: int, rows_first: bool
) -> None:
    """Rows dealt out among ranks along one dimension of a mesh, columns along the other, these by groups or not: no
    statistic tells which is which.  The rank that alone is off is told."""
    whole = np.concatenate([array, array + 3, array * 2], 1)
    runs = np.split(whole, 2 * groups, 1)
    columns = [np.concatenate(runs[turn::2], 1) for turn in (0, 1)]
    grid = [[np.split(column, 2, 0)[row] for column in columns] for row in (0, 1)]
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)] if rows_first else [(0, 0), (1, 0), (0, 1), (1, 1)]
    parts = [np.copy(grid[row][column]) for row, column in pairs]
    parts[2] *= np.float32(1.001)
    npu, bench = _side(tmp_path / "npu", parts), _side(tmp_path / "bench", [whole])
    meshes = ((2, 2),)
    ours = join(npu, 4, wholes(bench, 1), meshes=meshes)
    theirs = join(bench, 1, wholes(npu, 4, meshes=meshes))
    made = assemble(ours.dump, theirs.dump, tmp_path / "joined")[0]
    leaf = made.calls[0].outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    assert leaf.data_name is not None
    found = read_tensor(made.path / TENSOR_FOLDER, leaf.data_name)
    assert np.allclose(found, whole, rtol=2e-3)
    ((_, plan),) = plans_in(made)
    assert rank_of_error(plan, whole) == 2


@pytest.mark.parametrize("by", [1, 2])
def test_gradients_add_up_and_are_divided(tmp_path: Path, array: AnyArray, by: int) -> None:
    parts = [array * np.float32(0.25), array * np.float32(0.75)]
    whole = _side(tmp_path / "bench", [array / np.float32(by)], BACKWARD)
    ours, theirs = _elements(tmp_path, _side(tmp_path / "npu", parts, BACKWARD), whole)
    assert np.allclose(ours, theirs, rtol=1e-6)


def test_copies_are_linked_and_not_written_again(tmp_path: Path, array: AnyArray) -> None:
    _elements(tmp_path, _side(tmp_path / "npu", [array, array]), _side(tmp_path / "bench", [array]))
    (linked,) = (tmp_path / "joined" / "npu" / TENSOR_FOLDER).iterdir()
    assert linked.stat().st_ino == (tmp_path / "npu/rank0" / TENSOR_FOLDER / "a.safetensors").stat().st_ino


def test_a_pack_is_linked_once_for_all_its_tensors(tmp_path: Path, array: AnyArray) -> None:
    one, other = (_side(tmp_path / side, [array, array]) for side in ("npu", "bench"))
    head, size = safetensors_head("torch.float32", array.shape)
    for dump in (*one.values(), *other.values()):
        files = dump.path / TENSOR_FOLDER
        (files / "a.safetensors").rename(files / "tensors.pack")
    extent = f"tensors.pack#0-{len(head) + size}"

    def packed(dumps: dict[int, Dump]) -> dict[int, Dump]:
        leaf = msgspec.structs.replace(dumps[0].calls[0].outputs[0].leaf, data_name=extent)
        calls = tuple(CallRecord(f"Torch.{n}.0.forward", n, outputs=(Argument("output.0", leaf),)) for n in ("a", "b"))
        return {rank: replace(dump, calls=calls) for rank, dump in dumps.items()}

    ours, _ = _elements(tmp_path, packed(one), packed(other))
    assert np.array_equal(ours, array)
    (linked,) = (tmp_path / "joined" / "npu" / TENSOR_FOLDER).iterdir()
    assert linked.stat().st_ino == (tmp_path / "npu/rank0" / TENSOR_FOLDER / "tensors.pack").stat().st_ino


def test_a_file_outside_of_its_dump_is_refused(tmp_path: Path, array: AnyArray) -> None:
    npu, bench = _side(tmp_path / "npu", [array, array]), _side(tmp_path / "bench", [array])
    file = tmp_path / "npu/rank0" / TENSOR_FOLDER / "a.safetensors"
    file.rename(tmp_path / "secret.safetensors")
    file.symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(TensorFileError, match="found a link"):
        _elements(tmp_path, npu, bench)


@pytest.mark.parametrize(("off", "rank"), [((1,), 1), ((0, 1), None), ((), None)])
def test_the_rank_whose_part_alone_is_off(
    tmp_path: Path, array: AnyArray, off: tuple[int, ...], rank: int | None
) -> None:
    halves = [half * np.float32(1.01 if number in off else 1) for number, half in enumerate(np.split(array, 2, 0))]
    ours, _ = _joined(_side(tmp_path / "npu", halves), _side(tmp_path / "bench", [array]))
    ((_, plan),) = plans_in(ours.dump)
    assert isinstance(plan, Cut)
    assert rank_of_error(plan, array) == rank
    assert rank_of_error(Piece(0, tmp_path, "a.safetensors"), array) is None


def test_parts_in_an_order_that_is_not_known_have_no_elements(tmp_path: Path, array: AnyArray) -> None:
    layout = LayoutRecord(array.shape, (0, 1), (2,), ("_S(0, 2)",))
    npu = _side(tmp_path / "npu", np.split(array, 2, 0), layout=layout)
    ours, _ = _joined(npu, _side(tmp_path / "bench", [array]))
    assert list(plans_in(ours.dump)) == []


def test_what_several_ranks_made_is_read_from_where_each_of_them_has_it(tmp_path: Path, array: AnyArray) -> None:
    """The dump of a pipeline has the first stage's folder and the calls of all."""
    first, second = (_dump(tmp_path / name, array + n, FORWARD, world=2) for n, name in enumerate(("a", "b")))
    calls = [
        renamed(each.calls[0], f"Functional.linear.{n}.forward", n, (n, each), {})
        for n, each in enumerate((first, second))
    ]
    together = replace(first, calls=tuple(calls))
    joined = join({0: together}, 1, wholes({0: together}, 1)).dump
    plans = [plan for _, plan in plans_in(joined)]
    assert [plan.folder.parent.name for plan in plans if isinstance(plan, Piece)] == ["a", "b"]
    assert [float(plan.array().sum()) for plan in plans] == pytest.approx([array.sum(), (array + 1).sum()])


def test_of_parts_that_make_no_whole_no_rank_has_the_elements(tmp_path: Path, array: AnyArray) -> None:
    """Of experts, whose dumps know where their files are, the first rank's was read."""
    npu = _side(tmp_path / "npu", [array, array * np.float32(3) + 1])
    npu = {n: replace(d, calls=(renamed(d.calls[0], FORWARD, 0, (n, d), {}),)) for n, d in npu.items()}
    bench = _side(tmp_path / "bench", [array])
    ours, _ = _joined(npu, bench)
    assert [leaf.unrecorded for _, leaf in ours.dump.calls[0].tensors()] == ["parts.differ"]
    assert list(plans_in(ours.dump)) == []


@pytest.mark.parametrize("plan", [Cut, Total])
def test_parts_that_are_of_other_shapes_than_recorded_are_refused(tmp_path: Path, array: AnyArray, plan: type) -> None:
    folders = [_dump(tmp_path / str(n), part, FORWARD, world=2).path for n, part in enumerate((array, array[:, :3]))]
    parts = tuple(Piece(n, folder / TENSOR_FOLDER, "a.safetensors") for n, folder in enumerate(folders))
    with pytest.raises(TensorFileError, match=r"\[6, 8\], \[6, 3\]"):
        (Cut(0, parts) if plan is Cut else Total(parts)).array()


def test_nothing_is_advised_of_files_that_are_gone(tmp_path: Path, array: AnyArray) -> None:
    halves = [half * np.float32(1.5 if number else 1) for number, half in enumerate(np.split(array, 2, 0))]
    ours, theirs = _joined(_side(tmp_path / "npu", halves), _side(tmp_path / "bench", [array]))
    found = _compare_joined(ours, theirs, Setting(other_world=True), Task(), jobs=1)
    (suspect,) = found.suspects
    assert suspect.rank == 1
    assert "acc_joined" not in repr(suspect.advice)
