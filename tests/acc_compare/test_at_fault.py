"""Which part is at fault: told by blocks that agree, by extremes, by what one part alone explains, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from acc_compare.at_fault import Grid, parts_at_fault
from tests.acc_compare.conftest import tensor

ROWS = np.random.default_rng(3).normal(0.5, 1, (8, 20)).astype(np.float32)


def _records(rows: np.ndarray, count: int, order: Sequence[int] | None = None) -> list[msgspec.Struct]:
    parts = [tensor(np.ascontiguousarray(part)) for part in np.split(rows, count)]
    return parts if order is None else [parts[number] for number in order]  # type: ignore[return-value]


def _wrong(rows: np.ndarray, number: int, count: int = 4) -> np.ndarray:
    """Part `number` of `count` with two elements that are off, within what others hold."""
    wrong = rows.copy()
    first = number * len(rows) // count
    wrong[first, :2] = (0.3, -0.2)
    return wrong


def _found(ours: object, theirs: object, *grids: Grid) -> tuple[int, ...]:
    return parts_at_fault(ours, theirs, grids)  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "count", "grid"), [(2, 8, (8, 1)), (1, 4, (1, 4)), (3, 4, (2, 2))])
def test_a_part_that_alone_is_not_that_of_the_other_side(number: int, count: int, grid: Grid) -> None:
    ours, theirs = _records(_wrong(ROWS, number), 4), _records(ROWS, count)
    assert _found(ours, theirs, (2, 2), grid) == (number,)
    assert _found(_records(ROWS, 4), theirs, (2, 2), grid) == (0, 1, 2, 3)


def test_a_block_of_parts_where_the_other_side_has_fewer() -> None:
    assert _found(_records(_wrong(ROWS, 2), 4), _records(ROWS, 2), (2, 2), (1, 2)) == (2, 3)
    assert _found(_records(_wrong(ROWS, 2), 4), _records(ROWS, 1), (2, 2), (1, 1)) == (0, 1, 2, 3)


def test_data_may_be_dealt_to_micro_batches_first() -> None:
    """Of two groups and two micro-batches: the parts of the batch in the order 0, 2 (first group), 1, 3."""
    ours = _records(_wrong(ROWS, 1), 4, (0, 2, 1, 3))
    assert _found(ours, _records(ROWS, 4), (2, 2), (4, 1)) == (2,)


def test_an_order_in_which_blocks_differ_by_little_is_not_the_right_one() -> None:
    """All agrees as data was dealt; in the other order one block is off by far more than the other."""
    rows = ROWS.copy()
    rows[4:6] = rows[2:4] + np.float32(2e-3)
    assert _found(_records(rows, 4), _records(rows, 2), (2, 2), (1, 2)) == (0, 1, 2, 3)
    rows[6:] *= 3
    assert _found(_records(rows, 4), _records(rows, 2), (2, 2), (1, 2)) == (0, 1, 2, 3)


def test_two_parts_that_are_off_are_not_told_apart() -> None:
    ours = _records(_wrong(_wrong(ROWS, 0), 2), 4)
    assert _found(ours, _records(ROWS, 4), (2, 2), (4, 1)) == (0, 1, 2, 3)


def test_gradients_may_be_larger_by_a_number_of_ranks() -> None:
    for ours, theirs in ((2 * _wrong(ROWS, 3), ROWS), (_wrong(ROWS, 3), 4 * ROWS)):
        assert _found(_records(ours, 4), _records(theirs, 4), (2, 2), (4, 1)) == (3,)


def test_an_extreme_that_the_other_side_has_nowhere_tells_which() -> None:
    wrong = ROWS.copy()
    wrong[5, 7] = 1.1 * ROWS.max()
    assert _found(_records(wrong, 4), _records(ROWS, 1), (1, 4), (1, 1)) == (2,)


def test_a_part_that_is_too_large_all_over_explains_norm_and_sum() -> None:
    wrong = ROWS.copy()
    peak = int(np.abs(ROWS).max(1).argmax()) // 2  # that part's extremes would tell
    number = (peak + 1) % 4
    wrong[2 * number : 2 * number + 2] *= np.float32(1.01)
    assert max(wrong.max(), -wrong.min()) == np.abs(ROWS).max()
    assert _found(_records(wrong, 4), _records(ROWS, 1), (1, 4), (1, 1)) == (number,)


def test_noise_has_no_part_that_is_at_fault() -> None:
    noisy = ROWS * (1 + 1e-7 * np.random.default_rng(4).normal(size=ROWS.shape)).astype(np.float32)
    noisy[2:4] *= np.float32(1 + 3e-7)
    assert _found(_records(noisy, 4), _records(ROWS, 1), (1, 4), (1, 1)) == (0, 1, 2, 3)


def test_copies_and_sums_have_no_part_that_is_at_fault() -> None:
    ours = [*_records(ROWS, 1), *_records(_wrong(ROWS, 0), 1)]
    assert _found(ours, _records(ROWS, 1), (2, 1), (1, 1)) == (0, 1)
    unknown = [msgspec.structs.replace(part, norm=None) for part in _records(_wrong(ROWS, 1), 4)]
    assert _found(unknown, _records(ROWS, 4), (4, 1), (4, 1)) == (0, 1, 2, 3)
