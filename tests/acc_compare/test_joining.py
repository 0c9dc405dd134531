"""Ranks put together: the statistics of parts are those of the whole, and what does not combine says so."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from acc_compare.combined import are_alike, concatenated, divided, summed
from acc_compare.declared import Layout
from acc_compare.joining import Wholes, join, wholes
from acc_compare.metrics.sketches import sketch_vector
from acc_compare.odd_copies import odd_one
from acc_compare.wholes import Way, Whole, candidates, chosen, meshes_of
from dump.format import waves
from dump.format.schema import Argument, CallRecord, CollectiveRecord, Dump, Header, LayoutRecord, TensorRecord

NAME = "Functional.linear.0.forward"


def _record(array: np.ndarray, **more: object) -> TensorRecord:
    known = {"max": float(array.max()), "min": float(array.min()), "mean": float(array.mean())} if array.size else {}
    record = TensorRecord("torch.float32", array.shape, norm=float(np.linalg.norm(array)), sketch=bytes(64), **known)
    return msgspec.structs.replace(record, **more)


def _dump(leaf: TensorRecord, *, world: int, name: str = NAME, more: tuple[CallRecord, ...] = ()) -> Dump:
    call = CallRecord(name, 0, outputs=(Argument("output.0", leaf),))
    return Dump(Path("root/step0/rank0"), Header("statistics", "L1", world_size=world), (call, *more))


def _whole(parts: list[TensorRecord], other: Wholes | None = None, *, name: str = NAME) -> TensorRecord:
    dumps = {rank: _dump(part, world=len(parts), name=name) for rank, part in enumerate(parts)}
    leaf = join(dumps, len(parts), other or {}).dump.calls[0].outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    return leaf


def _sketch(value: float) -> bytes:
    return np.full(16, value, dtype="<f4").tobytes()


def _alone(array: np.ndarray) -> list[Whole]:
    """What one rank holds that has all."""
    return candidates([_record(array)], scaled=True)


def _layout(whole: np.ndarray, *placements: str, extents: tuple[int, ...]) -> LayoutRecord:
    return LayoutRecord(whole.shape, tuple(range(math.prod(extents))), extents, placements)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).normal(3, 1, (4, 6))


@pytest.mark.parametrize(("dimension", "cuts"), [(0, [1, 3]), (1, [2]), (0, [0, 4])])
def test_parts_combine_to_the_statistics_of_the_whole(array: np.ndarray, dimension: int, cuts: list[int]) -> None:
    joined = concatenated([_record(part) for part in np.split(array, cuts, dimension)], dimension)
    expected = _record(array)
    assert joined.shape == expected.shape
    for name in ("max", "min", "mean", "norm"):
        assert getattr(joined, name) == pytest.approx(getattr(expected, name), rel=1e-12)
    assert joined.sketch is None


def test_what_is_not_finite_is_counted() -> None:
    parts = [TensorRecord("torch.float32", (2,), math.nan, math.nan, math.nan, math.nan, nan=1), _record(np.ones(2))]
    joined = concatenated(parts, 0)
    assert joined.nan == 1
    assert joined.max is not None
    assert math.isnan(joined.max)


def test_a_mesh_of_two_dimensions(array: np.ndarray) -> None:
    layout = _layout(array, "S(0)", "S(1)", extents=(2, 3))
    parts = [_record(cell, layout=layout) for row in np.split(array, 2, 0) for cell in np.split(row, 3, 1)]
    joined = _whole(parts)
    assert joined.shape == array.shape
    assert joined.norm == pytest.approx(np.linalg.norm(array))
    assert joined.layout is None


def test_replicas_are_one_tensor_and_replicas_that_differ_are_none(array: np.ndarray) -> None:
    layout = _layout(array, "R", extents=(2,))
    same, other = _record(array, layout=layout), _record(array * 1.01, layout=layout)
    assert _whole([same, same]).norm == same.norm
    assert _whole([same, other]).unrecorded == "parts.differ"


def test_sketches_and_means_of_partial_sums_add_up(array: np.ndarray) -> None:
    layout = _layout(array, "P(sum)", extents=(2,))
    parts = [_record(array, layout=layout, sketch=_sketch(n)) for n in (1.0, 2.5)]
    found = _whole(parts)
    assert found.sketch is not None
    assert sketch_vector(found.sketch).tolist() == [3.5] * 16
    assert (found.mean, found.norm, found.max) == (pytest.approx(2 * array.mean()), None, None)


def test_partial_sums_without_sketches_do_not_combine(array: np.ndarray) -> None:
    layout = _layout(array, "P(sum)", extents=(2,))
    found = _whole([_record(array, layout=layout, sketch=None)] * 2)
    assert (found.unrecorded, found.norm, found.shape) == ("parts.placement", None, array.shape)


def test_a_plain_tensor_has_the_layout_that_its_value_has_elsewhere(array: np.ndarray) -> None:
    layout = _layout(array, "S(1)", extents=(2,))
    dumps = {}
    for rank, half in enumerate(np.split(array, 2, 1)):
        plain, part = _record(half, value=5), _record(half, value=5, layout=layout)
        other = CallRecord("Functional.gelu.0.forward", 1, inputs=(Argument("input.0", part),))
        dumps[rank] = _dump(plain, world=2, more=(other,))
    leaf = join(dumps, 2, {}).dump.calls[0].outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    assert leaf.shape == array.shape


def test_a_batch_that_was_dealt_out_is_known_by_the_other_sides_shape(array: np.ndarray) -> None:
    """However much differs, in a forward call."""
    parts = [_record(half) for half in np.split(array, 2, 0)]
    key = (NAME, "output.0")
    assert _whole(parts, {key: _alone(array * 3)}).norm == pytest.approx(np.linalg.norm(array))
    assert _whole(parts, {key: _alone(np.ones((4, 12)))}).unrecorded == "parts.differ"
    assert _whole(parts).unrecorded == "parts.differ"


@pytest.mark.parametrize(("times", "norm"), [(0.5, 0.5), (1.0, 1.0), (0.7, None)])
def test_gradients_of_a_batch_that_was_dealt_out_may_be_larger_by_the_number_of_ranks(
    array: np.ndarray, times: float, norm: float | None
) -> None:
    name = "Functional.linear.0.backward"
    parts = [_record(half) for half in np.split(array, 2, 0)]
    found = _whole(parts, {(name, "output.0"): _alone(array * times)}, name=name)
    if norm is None:
        assert found.unrecorded == "parts.differ"
    else:
        assert found.norm == pytest.approx(norm * np.linalg.norm(array))


@pytest.mark.parametrize("wrong", [0.5, 0.0, 1.5])
@pytest.mark.parametrize("by", [1, 2])
def test_rows_of_a_gradient_that_are_wrong_leave_the_one_way_in_which_it_is_made(
    array: np.ndarray, wrong: float, by: int
) -> None:
    """The number that it is divided by is the one that leaves it nearest in size, if one does so clearly."""
    rows = by * array
    rows[3] *= wrong
    name = "Functional.linear.0.backward"
    parts = [_record(half) for half in np.split(rows, 2, 0)]
    leaf = _whole(parts, {(name, "output.0"): _alone(array)}, name=name)
    assert leaf.unrecorded is None
    assert leaf.norm == pytest.approx(np.linalg.norm(rows) / by)


def test_a_sum_is_known_by_its_sketch(array: np.ndarray) -> None:
    """The parts agree with the other side in shape, and with the sum in what it is."""
    one, two = _record(array, sketch=_sketch(1.0)), _record(array * 2, sketch=_sketch(2.0))
    norm = float(np.linalg.norm(np.full(16, 3.0)))
    right = _record(array, mean=3 * float(array.mean()), norm=norm, sketch=_sketch(3.0), max=None, min=None)
    found = chosen(candidates([one, two], scaled=True), [Whole.of(right)], forward=True)
    assert found is not None
    whole = found.whole
    assert (whole.how, whole.scaled, whole.record.sketch) == ("summed", False, right.sketch)
    assert found.fit == pytest.approx(0, abs=1e-6)
    assert found.other is not None
    assert found.other > 0.4
    assert summed([one, _record(np.ones(3))]) is None


def test_sides_of_four_and_of_two_ranks_make_the_same_whole(array: np.ndarray) -> None:
    sides = {
        world: {rank: _dump(_record(part), world=world) for rank, part in enumerate(np.split(array, world, 0))}
        for world in (4, 2)
    }
    joined = [join(sides[4], 4, wholes(sides[2], 2)), join(sides[2], 2, wholes(sides[4], 4))]
    norms = [side.dump.calls[0].outputs[0].leaf.norm for side in joined]  # type: ignore[union-attr]
    assert norms == pytest.approx([float(np.linalg.norm(array))] * 2)


def test_of_one_rank_alone_nothing_is_whole_but_what_is_replicated(array: np.ndarray) -> None:
    layout = _layout(array, "R", extents=(2,))
    for leaf, reason in ((_record(array), "parts.elsewhere"), (_record(array, layout=layout), None)):
        found = join({0: _dump(leaf, world=2)}, 2, {}).dump.calls[0].outputs[0].leaf
        assert isinstance(found, TensorRecord)
        assert found.unrecorded == reason


def test_a_call_that_not_every_rank_made_has_no_numbers(array: np.ndarray) -> None:
    lone = CallRecord("Torch.add.0.forward", 1, outputs=(Argument("output.0", _record(array)),))
    dumps = {0: _dump(_record(array), world=2, more=(lone,)), 1: _dump(_record(array), world=2)}
    found = join(dumps, 2, {}).dump.calls[1].outputs[0].leaf
    assert isinstance(found, TensorRecord)
    assert found.unrecorded == "parts.calls"


def test_wholes_of_parts_with_a_layout_are_what_the_layout_says(array: np.ndarray) -> None:
    layout = LayoutRecord((4, 6), (0, 1), (2,), ("S(0)",))
    dumps = {rank: _dump(_record(half, layout=layout), world=2) for rank, half in enumerate(np.split(array, 2, 0))}
    (whole,) = wholes(dumps, 2)[(NAME, "output.0")]
    assert (whole.record.shape, whole.how) == ((4, 6), "same")


def _job(parts: list[TensorRecord], *groups: tuple[int, ...]) -> dict[int, Dump]:
    """One call of each rank, and a collective of each group."""
    given = CallRecord("Distributed.all_reduce.0.forward", 1, collectives=())
    dumps = {}
    for rank, part in enumerate(parts):
        taking = tuple(CollectiveRecord("all_reduce", str(group), group, 0) for group in groups if rank in group)
        dumps[rank] = _dump(part, world=len(parts), more=(msgspec.structs.replace(given, collectives=taking),))
    return dumps


def _made(dumps: dict[int, Dump], theirs: list[Whole]) -> TensorRecord:
    leaf = join(dumps, len(dumps), {(NAME, "output.0"): theirs}).dump.calls[0].outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    return leaf


@pytest.mark.parametrize("cut", ["copied", "columns"])
def test_data_and_tensors_dealt_out_among_different_groups(array: np.ndarray, cut: str) -> None:
    """Rows of the batch among two replicas, in each of them a tensor that is copied or cut along its columns."""
    rows = np.split(array, 2, 0)
    parts = [_record(part) for row in rows for part in ([row, row] if cut == "copied" else np.split(row, 2, 1))]
    dumps = _job(parts, (0, 1), (2, 3))
    found = _made(dumps, _alone(array * 1.5))
    assert (found.shape, found.norm) == (array.shape, pytest.approx(np.linalg.norm(array)))
    flat = _made(_job(parts), _alone(array * 1.5))
    assert (flat.unrecorded, flat.norm) == ("parts.differ", None)  # nothing says that ranks lie so


def test_modules_alone_tell_of_no_group_so_that_any_mesh_may_be(array: np.ndarray) -> None:
    parts = [_record(part) for row in np.split(array, 2, 0) for part in np.split(row, 2, 1)]
    dumps = {rank: replace(dump, header=Header("statistics", "L0", world_size=4)) for rank, dump in _job(parts).items()}
    found = _made(dumps, _alone(array))
    assert (found.shape, found.norm) == (array.shape, pytest.approx(np.linalg.norm(array)))


def test_copies_are_not_dealt_out_where_they_fit_as_they_are(array: np.ndarray) -> None:
    dumps = _job([_record(array)] * 2)
    both = wholes(dumps, 2)[(NAME, "output.0")]
    found = _made(_job([_record(half) for half in np.split(array, 2, 0) for _ in range(2)], (0, 1), (2, 3)), list(both))
    assert found.shape == array.shape


def test_the_rank_whose_copy_is_another_is_told(array: np.ndarray) -> None:
    dumps = _job([_record(array), _record(array), _record(array * 1.01), _record(array)])
    joined = join(dumps, 4, {(NAME, "output.0"): _alone(array)})
    leaf = joined.dump.calls[0].outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    assert leaf.norm == pytest.approx(1.01 * np.linalg.norm(array))
    assert joined.odd == {(NAME, "output.0"): 2}
    assert join(dumps, 4, {(NAME, "output.0"): _alone(array * 2)}).odd == {}


def test_each_mesh_holds_a_whole_and_the_meshes_make_one(array: np.ndarray) -> None:
    parts = []
    for start, half in zip((0, 2), np.split(array, 2, 0), strict=True):
        layout = LayoutRecord(half.shape, (start, start + 1), (2,), ("S(1)",))
        parts += [_record(cell, layout=layout) for cell in np.split(half, 2, 1)]
    found = _made(_job(parts), _alone(array))
    assert (found.shape, found.norm) == (array.shape, pytest.approx(np.linalg.norm(array)))


def test_a_dimension_that_is_cut_twice_in_any_order(array: np.ndarray) -> None:
    layout = _layout(array, "_S(0, 2)", "S(0)", extents=(2, 2))
    parts = [_record(array[row : row + 1], layout=layout) for row in (0, 2, 1, 3)]
    assert _whole(parts).norm == pytest.approx(np.linalg.norm(array))


@pytest.mark.parametrize(
    ("groups", "meshes"),
    [
        ([(0, 1)], [(4, 2)]),
        ([(0, 4), (1, 5)], [(2, 4)]),
        ([(1, 3, 5, 7)], [(4, 2)]),
        ([(0, 2)], [(2, 2, 2)]),
        ([(0, 1), (0, 1, 2, 3), (0, 2, 4, 6)], [(2, 2, 2)]),
        ([(0, 1, 3)], []),
        ([(0,), range(8)], []),
    ],
)
def test_the_mesh_that_groups_of_eight_ranks_are_lines_of(groups: list[Any], meshes: list[tuple[int, ...]]) -> None:
    assert list(meshes_of(groups, 8)) == meshes


def test_groups_of_no_one_mesh_have_one_each() -> None:
    assert meshes_of([(0, 1), (0, 3)], 6) == ((3, 2), (2, 3))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_ranks_in_three_dimensions_are_put_together(array: np.ndarray, order: tuple[int, int, int]) -> None:
    """Copies, parts of the batch and parts of the features: each along another dimension of the mesh."""
    whole = np.stack([array * (n + 1) for n in range(4)])
    halves = [np.split(half, 2, 1) for half in np.split(whole, 2, 0)]
    grid = np.empty((2, 2, 2), object)
    for copy, row, column in product(range(2), repeat=3):
        grid[copy, row, column] = halves[row][column]
    parts = [_record(part) for part in grid.transpose(order).reshape(-1)]
    found = candidates(parts, scaled=False, meshes=[(2, 2, 2)])
    chosen_one = chosen(found, [Whole.of(_record(whole))], forward=True)
    assert chosen_one is not None
    assert chosen_one.fit == pytest.approx(0, abs=1e-6)
    assert chosen_one.whole.record.norm == pytest.approx(np.linalg.norm(whole))


def test_the_grounds_are_told(array: np.ndarray) -> None:
    halves = [_record(half) for half in np.split(array, 2, 0)]
    fitted = join(_job(halves), 2, {(NAME, "output.0"): _alone(array * 1.001)}).grounds
    assert (fitted.fitted, fitted.shape, fitted.off) == (1, 0, pytest.approx(1e-3, rel=0.1))
    shaped = join(_job(halves), 2, {(NAME, "output.0"): _alone(array * 3)}).grounds
    assert (shaped.fitted, shaped.shape) == (0, 1)
    copied = join(_job([_record(array)] * 2), 2, {(NAME, "output.0"): _alone(array)}).grounds
    assert (copied.copies, copied.fitted) == (1, 0)
    layout = _layout(array, "S(0)", extents=(2,))
    placed = [_record(half, layout=layout) for half in np.split(array, 2, 0)]
    assert join(_job(placed), 2, {}).grounds.layout == 1


def test_a_parameter_that_says_how_it_is_cut_needs_no_other_side(array: np.ndarray) -> None:
    halves = [_record(half, partition=(1, 2)) for half in np.split(array, 2, 1)]
    found = join(_job(halves), 2, {})
    (leaf,) = (argument.leaf for argument in found.dump.calls[0].outputs)
    assert isinstance(leaf, TensorRecord)
    assert (leaf.shape, leaf.norm) == (array.shape, pytest.approx(np.linalg.norm(array)))
    assert (found.grounds.attributes, found.grounds.fitted) == (1, 0)


def test_a_value_is_cut_as_the_parameter_that_it_is(array: np.ndarray) -> None:
    dumps = {}
    for rank, half in enumerate(np.split(array, 2, 0)):
        told = _record(half, partition=(0, 1), value=7)
        calls = (
            CallRecord("Functional.linear.0.forward", 0, inputs=(Argument("input.1", told),)),
            CallRecord("Tensor.detach.0.forward", 1, inputs=(Argument("input.0", _record(half, value=7)),)),
        )
        dumps[rank] = Dump(Path(f"root/rank{rank}"), Header("statistics", "L1", world_size=2), calls)
    found = join(dumps, 2, {})
    assert [leaf.shape for call in found.dump.calls for _, leaf in call.tensors()] == [array.shape] * 2
    assert found.grounds.attributes == 2


def test_of_copies_that_are_cut_otherwise_along_the_mesh_each_counts_once(array: np.ndarray) -> None:
    halves = [_record(half, partition=(0, 1)) for half in np.split(array, 2, 0)]
    met = CollectiveRecord("all_reduce", "g", (0, 1), 0)
    dumps = _job([halves[0], halves[1], halves[0], halves[1]])
    calls = {rank: tuple(msgspec.structs.replace(c, collectives=(met,)) for c in d.calls) for rank, d in dumps.items()}
    found = join({rank: replace(dump, calls=calls[rank]) for rank, dump in dumps.items()}, 4, {})
    assert [leaf.shape for _, leaf in found.dump.calls[0].tensors()] == [array.shape]


@pytest.mark.parametrize(
    ("way", "parts", "norm"),
    [
        (Way("dealt", 1), lambda a: np.split(a, 2, 1), 1.0),
        (Way("same"), lambda a: [a, a], 1.0),
        (Way("same"), lambda a: [a, 2 * a], None),
        (Way("dealt", 5), lambda a: np.split(a, 2, 1), None),
    ],
)
def test_a_file_says_how_parts_are_put_together(array: np.ndarray, way: Way, parts: Any, norm: float | None) -> None:
    said = Layout("layout.yaml", (2,), (("*.output.0", (way,)),))
    found = join(_job([_record(part) for part in parts(array)]), 2, {}, declared=said)
    ((_, leaf),) = found.dump.calls[0].tensors()
    if norm is None:
        assert (leaf.norm, leaf.unrecorded, found.grounds.file) == (None, "parts.file", 0)
    else:
        assert (leaf.norm, found.grounds.file) == (pytest.approx(norm * np.linalg.norm(array)), 1)


def test_a_sum_that_a_file_says_is_one_or_a_mean(array: np.ndarray) -> None:
    for way, factor in ((Way("summed"), 3.0), (Way("summed", mean=True), 1.5)):
        said = Layout("layout.yaml", (2,), (("nothing.*", (Way("same"),)), ("*.output.?", (way,))))
        sketch = np.arange(1, 17, dtype="<f4")
        parts = [_record(n * array, sketch=(n * sketch).tobytes()) for n in (1, 2)]
        ((_, leaf),) = join(_job(parts), 2, {}, declared=said).dump.calls[0].tensors()
        assert leaf.sketch is not None
        assert sketch_vector(leaf.sketch) == pytest.approx(factor * sketch, rel=1e-5)


def test_means_that_are_near_the_whole_by_chance_are_no_copies() -> None:
    """The loss of a rank's own part of the batch beside the loss of all."""
    parts = [_record(np.float32([4.0 + off])) for off in (-3e-3, 3e-3)]
    parts = [msgspec.structs.replace(part, sketch=np.full(16, part.mean, "<f4").tobytes(), shape=()) for part in parts]
    whole = msgspec.structs.replace(
        parts[0], max=4.0, min=4.0, mean=4.0, norm=4.0, sketch=np.full(16, 4.0, "<f4").tobytes()
    )
    name = "Functional.cross_entropy.0.forward"
    other = {(name, "output.0"): [Whole.of(whole)]}
    found = join({rank: _dump(part, world=2, name=name) for rank, part in enumerate(parts)}, 2, other)
    ((_, leaf),) = found.dump.calls[0].tensors()
    assert (found.odd, leaf.mean) == ({}, pytest.approx(4.0))
    copies = {rank: _dump(part, world=2, name=name) for rank, part in enumerate([parts[0], whole])}
    assert join(copies, 2, other).odd == {(name, "output.0"): 0}


def test_of_sums_of_parts_of_a_batch_the_mean_tells(array: np.ndarray) -> None:
    """Rows are shared out along one dimension of the mesh, and added up along the other."""
    sketch = np.ones(16, "<f4").tobytes()
    halves = np.split(array, 2, 0)
    parts = [_record(half * share, sketch=sketch) for half in halves for share in (0.25, 0.75)]
    found = candidates(parts, scaled=False, meshes=[(2, 2)])
    choice = chosen(found, [Whole.of(_record(array))], forward=True)
    assert choice is not None
    assert choice.whole.vague
    assert choice.whole.record.mean == pytest.approx(float(array.mean()))
    assert choice.whole.record.norm is None
    centred = array - array.mean()
    parts = [_record(half * share, sketch=sketch) for half in np.split(centred, 2, 0) for share in (0.25, 0.75)]
    assert chosen(candidates(parts, scaled=False, meshes=[(2, 2)]), [Whole.of(_record(centred))], forward=False) is None


@pytest.mark.parametrize("forward", [True, False])
def test_two_ranks_that_read_one_batch_have_read_it_twice(array: np.ndarray, forward: bool) -> None:
    """The other side has another batch beside it."""
    first, second = np.split(array, 2, 0)
    found = candidates([_record(first), _record(first)], scaled=False)
    other = [Whole.of(_record(np.concatenate([first, -9 * second])))]
    choice = chosen(found, other, forward=forward)
    assert (choice is not None) is forward
    assert chosen(found, other, forward=forward, may_repeat=False) is None
    if choice is not None:
        assert (choice.whole.shape, choice.whole.repeats) == ((4, 6), True)


def _dealt(array: np.ndarray, count: int, scale: float) -> list[Whole]:
    """A gradient of so many ranks of two micro-batches each, larger by `scale`."""
    parts = [_record(scale * part, sketch=bytes(64)) for part in np.split(array, 2 * count, 0)]
    return candidates(parts, scaled=True, meshes=[(count, 2)])


def test_what_one_part_is_off_by_leaves_the_way_that_parts_were_dealt_out() -> None:
    """Means over all parts fit however these are put together, and so do both sides divided by twice as many ranks."""
    right = np.random.default_rng(1).normal(1, 1, (8, 6))
    wrong = right.copy()
    wrong[3] += 0.02 * np.resize([1, -1], 6) * np.abs(right).max()
    for array in (right, wrong):
        ours, theirs = _dealt(array, 4, 2.0), _dealt(right, 2, 1.0)
        choices = (chosen(ours, theirs, forward=False), chosen(theirs, ours, forward=False))
        assert [choice is not None and choice.whole.vague for choice in choices] == [False, False]
        one, two = (choice.whole.record for choice in choices if choice is not None)
        assert one.shape == two.shape
        assert one.norm == pytest.approx(two.norm, rel=1e-2)
        assert (one.norm == pytest.approx(two.norm, rel=1e-6)) is (array is right)


def test_the_same_elements_in_another_order_are_no_copies(array: np.ndarray) -> None:
    """Rank 1 reads the rows the other way round: the same norm and extremes, another sketch."""
    sides = [_record(array, sketch=_sketch(value)) for value in (2.0, 2.0, -2.0)]
    assert are_alike(sides[:2])
    assert not are_alike(sides[1:])
    known = {(NAME, "input.0"): [Whole.of(sides[0])]}
    dumps = {}
    for rank, leaf in enumerate(sides[1:]):
        call = CallRecord(NAME, 0, (Argument("input.0", leaf),))
        dumps[rank] = replace(_dump(leaf, world=2), calls=(call,), owners={NAME: "Module.a.A.forward.0"})
    assert join(dumps, 2, known).odd == {(NAME, "input.0"): 1}


@pytest.mark.parametrize("is_data", [True, False])
def test_what_is_far_off_is_another_tensor_unless_all_should_have_read_it(array: np.ndarray, is_data: bool) -> None:
    parts = [_record(array), _record(-2 * array)]
    assert (odd_one(parts, [Whole.of(_record(array))], is_data=is_data) is not None) is is_data


def test_a_part_is_no_copy_of_what_is_known_by_its_mean_alone(array: np.ndarray) -> None:
    parts = [_record(array), _record(array + 0.1 * np.sign(array))]
    known = Whole.of(_record(array))
    assert odd_one(parts, [known]) is not None
    assert odd_one(parts, [replace(known, vague=True)]) is None


@pytest.mark.parametrize("swapped", [False, True])
def test_both_sides_choose_the_same_pair_of_wholes(array: np.ndarray, swapped: bool) -> None:
    """Of four ranks and of two, whose gradients are larger by two: either side may be divided, by many numbers."""
    sides = [
        candidates([_record(n * part) for part in np.split(array, count, 0)], scaled=True, meshes=meshes)
        for n, count, meshes in ((1.0, 4, [(2, 2)]), (2.0, 2, []))
    ]
    ours, theirs = reversed(sides) if swapped else sides
    one, two = chosen(ours, theirs, forward=False), chosen(theirs, ours, forward=False)
    assert one is not None
    assert two is not None
    assert one.whole.record.norm == pytest.approx(two.whole.record.norm)
    assert sorted((one.whole.by, two.whole.by)) == [1, 2]


def test_copies_one_behind_the_other_are_no_other_way(array: np.ndarray) -> None:
    """A gradient that all ranks hold, in another order and with noise: its copies put in line fit as it does."""
    four, two = ([_record(part, sketch=None)] * n for n, part in ((4, 4 * array), (2, 2.00004 * array)))
    ours, theirs = candidates(four, scaled=True, meshes=[(2, 2)]), candidates(two, scaled=True)
    choice = chosen(ours, theirs, forward=False)
    assert choice is not None
    assert (choice.whole.how, choice.whole.by) == ("same", 4)


def test_both_sides_choose_one_shape_where_parts_may_be_dealt_out_along_any_dimension(array: np.ndarray) -> None:
    grid = [np.split(half, 2, 1) for half in np.split(array, 2, 0)]
    ours = candidates([_record(part) for row in grid for part in row], scaled=False, meshes=[(2, 2)])
    theirs = candidates([_record(half) for half in np.split(array, 2, 1)], scaled=False)
    one, two = chosen(ours, list(reversed(theirs)), forward=False), chosen(theirs, ours, forward=False)
    assert one is not None
    assert two is not None
    assert one.whole.shape == two.whole.shape


@pytest.mark.parametrize(("kind", "odd"), [("all_reduce", {"output.0": 1}), ("all_to_all", {})])
def test_what_a_collective_leaves_alike_names_the_rank_that_holds_another(
    array: np.ndarray, kind: str, odd: dict[str, int]
) -> None:
    """A sum of two ranks beside the mean on one: the second rank has half as much again."""
    sketch = np.arange(1, 17, dtype="<f4")
    told = (CollectiveRecord(kind, "0", (0, 1), 0),)
    dumps = {}
    for rank, factor in enumerate((2.0, 3.0)):
        part = _record(factor * array, sketch=(factor * sketch).tobytes())
        (call,) = _dump(part, world=2).calls
        dumps[rank] = replace(_dump(part, world=2), calls=(msgspec.structs.replace(call, collectives=told),))
    found = join(dumps, 2, {(NAME, "output.0"): [Whole.of(_record(array, sketch=sketch.tobytes()))]})
    assert {name: rank for (_, name), rank in found.odd.items()} == odd
    if odd:
        ((_, leaf),) = found.dump.calls[0].tensors()
        assert leaf.norm == pytest.approx(1.5 * np.linalg.norm(array))


def _waves(array: np.ndarray) -> bytes:
    return waves.to_bytes(waves.of(array.reshape(-1), array.shape))


@pytest.mark.parametrize(("dimension", "cuts"), [(0, [1, 3]), (1, [2]), (0, [0, 4])])
def test_waves_of_parts_combine_to_those_of_the_whole(array: np.ndarray, dimension: int, cuts: list[int]) -> None:
    parts = [_record(p, waves=_waves(p) if p.size else None) for p in np.split(array, cuts, dimension)]
    found = concatenated(parts, dimension).waves
    assert found is not None
    assert waves.from_bytes(found) == pytest.approx(waves.from_bytes(_waves(array)), abs=1e-5)
    assert concatenated(parts, dimension, groups=2).waves is None
    assert concatenated([*parts, _record(array)], dimension).waves is None


def test_waves_of_partial_sums_add_up_and_are_divided(array: np.ndarray) -> None:
    total = summed([_record(part, waves=_waves(part)) for part in (array, 2 * array)])
    assert total is not None
    found = divided(total, 3).waves
    assert found is not None
    assert waves.from_bytes(found) == pytest.approx(waves.from_bytes(_waves(array)), abs=1e-5)
