"""Ranks are ordered by what they gave each other, and results are judged by what all of them gave."""

from __future__ import annotations

from typing import Any

import pytest

from acc_compare.align.calls import align
from acc_compare.judge.ranks import REDUCES_GRADIENTS, Given, JobStep, given_by, ranges
from acc_compare.measured.pairs import measure_pairs
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


def _reduction(make: Any, hook: str | None) -> Any:
    runs = []
    for _ in (0, 1):
        run = make.Run()
        told = {} if hook is None else {"hook": hook}
        run.call("Distributed.ddp_all_reduce.0.forward", [], [make.normal(8)], kwargs=told)
        record = {"kind": REDUCES_GRADIENTS, "group": "0", "ranks": [0, 1], "order": 0}
        run.bodies["Distributed.ddp_all_reduce.0.forward"]["collectives"] = [record]
        runs.append(run)
    (part,) = make.measured(*runs)
    return part.call


@pytest.mark.parametrize(
    ("hook", "known"),
    [
        (None, 1),
        ("fp16_compress_hook", 1),
        ("powerSGD_hook", 0),
        ("fp16_compress_wrapper.<locals>.fp16_compress_wrapper_hook", 0),
    ],
)
def test_of_a_hook_that_reduces_otherwise_nobody_knows(make: Any, hook: str | None, known: int) -> None:
    call = _reduction(make, hook)
    collective = CollectiveRecord(REDUCES_GRADIENTS, "0", (0, 1), 0)
    job = JobStep.of({rank: [Given(rank, call.full_name, 0, (collective,), {})] for rank in (0, 1)})
    assert sum(len(part.wrote) for part in job.taken_in(call, 0)) == known


def test_a_second_reduction_inherits_what_the_first_left_in_the_gradient(make: Any) -> None:
    """Without zeroing in between, and where a rank that ran out of batches takes no part in the second."""
    runs = []
    for wrong in (1e-3, 0.0):
        run = make.Run()
        weight, reduced = run.parameter(make.normal(8)), [make.off(make.normal(8, seed=n), wrong) for n in (1, 2)]
        for number, gradient in enumerate(reduced):
            name = f"Distributed.ddp_all_reduce.{number}.forward"
            run.call(name, kwargs={"param": {"w": weight}})
            run.bodies[name]["output"] = [{"w": run._leaf(gradient)}]
            record = {"kind": REDUCES_GRADIENTS, "group": "0", "ranks": [0, 1], "order": number}
            run.bodies[name]["collectives"] = [record]
        runs.append(run.dump())
    alignment = align(*runs)
    first, second = given_by(0, alignment, measure_pairs(alignment, "statistics"))
    assert first.arguments["output.0.w"] == ()
    assert [round(a.relative, 4) > 0 for a in second.arguments["output.0.w"]] == [True]
