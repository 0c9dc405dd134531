"""Ranks are ordered by what they gave each other, and results are judged by what all of them gave."""

from __future__ import annotations

import pytest

from acc_compare.judge.ranks import Given, JobStep, ranges
from dump.format.schema import CollectiveRecord


def _all(order: int, *ranks: int, group: str = "0") -> CollectiveRecord:
    return CollectiveRecord("all_reduce", group, ranks, order)


def _message(kind: str, order: int, sender: int, receiver: int) -> CollectiveRecord:
    return CollectiveRecord(kind, "0 tag 0", (sender, receiver), order)


def _job(**calls: list[tuple[int, CollectiveRecord]]) -> JobStep:
    """`r0=[(order, collective), ...]`: what rank 0 took part in."""
    return JobStep.of(
        {
            int(name[1:]): [Given(int(name[1:]), f"c{order}", order, (collective,), {}) for order, collective in given]
            for name, given in calls.items()
        }
    )


def test_a_call_is_later_than_all_that_came_before_its_collective_on_any_rank() -> None:
    job = _job(r0=[(5, _all(0, 0, 1))], r1=[(2, _all(0, 0, 1)), (9, _all(1, 0, 1))])
    assert [job.clock(0, order) for order in (0, 5, 6)] == [0, 0, 1]
    assert [job.clock(1, order) for order in (2, 3, 10)] == [0, 1, 2]


def test_chains_run_through_groups() -> None:
    left, right, both = _all(0, 0, 1, group="a"), _all(0, 1, 2, group="b"), _all(0, 0, 1, 2)
    job = _job(r0=[(1, left), (2, both)], r1=[(1, left), (2, right), (3, both)], r2=[(1, right), (2, both)])
    assert [job.clock(rank, 9) for rank in range(3)] == [3, 3, 3]
    assert job.clock(2, 2) == 2


def test_a_message_does_not_hold_its_sender() -> None:
    job = _job(
        r0=[(1, _message("send", 0, 0, 1)), (2, _message("recv", 0, 1, 0))],
        r1=[(1, _message("send", 0, 1, 0)), (2, _message("recv", 0, 0, 1))],
    )
    assert [job.clock(rank, order) for rank in (0, 1) for order in (2, 3)] == [1, 2, 1, 2]


def test_what_never_happens_elsewhere_holds_nobody() -> None:
    job = _job(r0=[(1, _all(0, 0, 1)), (2, _all(1, 0, 1))], r1=[(1, _message("recv", 0, 0, 1))])
    assert job.clock(0, 9) == 2
    assert job.clock(1, 9) == 1


@pytest.mark.parametrize(
    ("ranks", "text"), [([0], "0"), ([1, 0], "0-1"), ([0, 1, 2, 5], "0-2, 5"), ([3, 7, 8], "3, 7-8")]
)
def test_ranks_are_said_short(ranks: list[int], text: str) -> None:
    assert ranges(ranks) == text
