"""Ranks put together: the statistics of parts are those of the whole, and what does not combine says so."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from acc_compare.joining import concatenated, join, shapes
from dump.format.schema import Argument, CallRecord, Dump, Header, LayoutRecord, TensorRecord

NAME = "Functional.linear.0.forward"


def _record(array: np.ndarray, **more: object) -> TensorRecord:
    known = {"max": float(array.max()), "min": float(array.min()), "mean": float(array.mean())} if array.size else {}
    record = TensorRecord("torch.float32", array.shape, norm=float(np.linalg.norm(array)), sketch=bytes(64), **known)
    return msgspec.structs.replace(record, **more)


def _dump(leaf: TensorRecord, *, world: int, name: str = NAME, more: tuple[CallRecord, ...] = ()) -> Dump:
    call = CallRecord(name, 0, outputs=(Argument("output.0", leaf),))
    return Dump(Path("root/step0/rank0"), Header("statistics", "L1", world_size=world), (call, *more))


def _whole(parts: list[TensorRecord], other: dict[tuple[str, str], tuple[int, ...]] | None = None) -> TensorRecord:
    dumps = {rank: _dump(part, world=len(parts)) for rank, part in enumerate(parts)}
    leaf = join(dumps, len(parts), other or {}).calls[0].outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    return leaf


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


def test_partial_sums_do_not_combine(array: np.ndarray) -> None:
    layout = _layout(array, "P(sum)", extents=(2,))
    found = _whole([_record(array, layout=layout)] * 2)
    assert (found.unrecorded, found.norm, found.shape) == ("parts.placement", None, array.shape)


def test_a_plain_tensor_has_the_layout_that_its_value_has_elsewhere(array: np.ndarray) -> None:
    layout = _layout(array, "S(1)", extents=(2,))
    dumps = {}
    for rank, half in enumerate(np.split(array, 2, 1)):
        plain, part = _record(half, value=5), _record(half, value=5, layout=layout)
        other = CallRecord("Functional.gelu.0.forward", 1, inputs=(Argument("input.0", part),))
        dumps[rank] = _dump(plain, world=2, more=(other,))
    leaf = join(dumps, 2, {}).calls[0].outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    assert leaf.shape == array.shape


def test_a_batch_that_was_dealt_out_is_known_by_the_other_sides_shape(array: np.ndarray) -> None:
    parts = [_record(half) for half in np.split(array, 2, 0)]
    assert _whole(parts, {(NAME, "output.0"): (4, 6)}).norm == pytest.approx(np.linalg.norm(array))
    assert _whole(parts, {(NAME, "output.0"): (4, 12)}).unrecorded == "parts.differ"
    assert _whole(parts).unrecorded == "parts.differ"


def test_gradients_of_a_batch_that_was_dealt_out_are_of_another_loss(array: np.ndarray) -> None:
    name = "Functional.linear.0.backward"
    dumps = {rank: _dump(_record(half), world=2, name=name) for rank, half in enumerate(np.split(array, 2, 0))}
    leaf = join(dumps, 2, {(name, "output.0"): (4, 6)}).calls[0].outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    assert leaf.unrecorded == "parts.differ"


def test_of_one_rank_alone_nothing_is_whole_but_what_is_replicated(array: np.ndarray) -> None:
    layout = _layout(array, "R", extents=(2,))
    for leaf, reason in ((_record(array), "parts.elsewhere"), (_record(array, layout=layout), None)):
        found = join({0: _dump(leaf, world=2)}, 2, {}).calls[0].outputs[0].leaf
        assert isinstance(found, TensorRecord)
        assert found.unrecorded == reason


def test_a_call_that_not_every_rank_made_has_no_numbers(array: np.ndarray) -> None:
    lone = CallRecord("Torch.add.0.forward", 1, outputs=(Argument("output.0", _record(array)),))
    dumps = {0: _dump(_record(array), world=2, more=(lone,)), 1: _dump(_record(array), world=2)}
    found = join(dumps, 2, {}).calls[1].outputs[0].leaf
    assert isinstance(found, TensorRecord)
    assert found.unrecorded == "parts.calls"


def test_shapes_are_those_of_wholes(array: np.ndarray) -> None:
    part = _record(array, layout=LayoutRecord((8, 6), (0, 1), (2,), ("S(0)",)))
    assert shapes({0: _dump(part, world=2)}) == {(NAME, "output.0"): (8, 6)}
