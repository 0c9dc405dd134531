"""What leads from call to call in a profile, and where ranks meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from acc_compare.judge.job_graph import collective_calls, linked
from acc_compare.model import Meeting, RunProfile
from dump.format.schema import CollectiveRecord, Dump

LINEAR, GELU, REDUCE = "Functional.linear.0.forward", "Functional.gelu.0.forward", "Distributed.all_reduce.0.forward"
LAST = "Tensor.mul.0.forward"


def _profile(*calls: str, excess: dict[str, float] | None = None) -> RunProfile:
    none = (None,) * len(calls)
    known = excess or {}
    return RunProfile(calls, ("",) * len(calls), none, none, tuple(known.get(call) for call in calls))


def _with(dump: Dump, name: str, *collectives: CollectiveRecord) -> Dump:
    calls = [
        msgspec.structs.replace(call, collectives=collectives) if call.name == name else call for call in dump.calls
    ]
    return replace(dump, calls=tuple(calls))


@pytest.fixture
def chain(make: Any) -> Dump:
    """linear, gelu, a collective, and a call that reads its result and linear's."""
    a, b, c, d, e = (np.full(4, value, np.float32) for value in range(1, 6))
    run = make.Run()
    run.call(LINEAR, [a], [b])
    run.call(GELU, [b], [c])
    run.call(REDUCE, [c], [d])
    run.call(LAST, [d, b], [e])
    dump: Dump = run.dump()
    return dump


def test_a_call_knows_who_made_what_it_reads(chain: Dump) -> None:
    found = linked(_profile(LINEAR, GELU, REDUCE, LAST), chain)
    assert found.makers == ((), (0,), (1,), (0, 2))
    assert found.meetings == ((), (), (), ())


def test_calls_that_are_left_out_are_passed_through(chain: Dump) -> None:
    assert linked(_profile(LINEAR, LAST), chain).makers == ((), (0,))
    assert linked(_profile(GELU, LAST), chain).makers == ((), (0,))


def test_of_many_makers_those_furthest_off_are_kept(make: Any) -> None:
    arrays = [np.full(2, value, np.float32) for value in range(12)]
    run = make.Run()
    names = [f"Torch.randn.{number}.forward" for number in range(10)]
    for name, array in zip(names, arrays, strict=False):
        run.call(name, [], [array])
    run.call("Torch.cat.0.forward", arrays[:10], [arrays[10]])
    excess = {name: float(number % 5) for number, name in enumerate(names)}
    found = linked(_profile(*names, "Torch.cat.0.forward", excess=excess), run.dump())
    assert found.makers[10] == (2, 3, 4, 7, 8, 9)


def test_both_ends_of_a_message_and_all_of_a_collective_meet(chain: Dump) -> None:
    both = CollectiveRecord("all_reduce", "0", (0, 1), 3)
    dump = _with(chain, REDUCE, both)
    assert collective_calls(dump) == {REDUCE}
    assert linked(_profile(REDUCE), dump).meetings == ((Meeting("all_reduce", "0", 3, "0-1"),),)
    ends = [
        linked(_profile(REDUCE), _with(chain, REDUCE, CollectiveRecord(kind, "0 tag 0", (1, 0), 0))).meetings
        for kind in ("send", "recv")
    ]
    assert ends[0] == ends[1] == ((Meeting("message", "0 tag 0", 0, "0-1", (1, 0)),),)


def test_a_collective_of_one_rank_is_no_meeting(chain: Dump) -> None:
    dump = _with(chain, REDUCE, CollectiveRecord("all_reduce", "0", (0,), 0))
    assert collective_calls(dump) == frozenset()
    assert linked(_profile(REDUCE), dump).meetings == ((),)


def test_many_ranks_are_told_short(chain: Dump) -> None:
    dump = _with(chain, REDUCE, CollectiveRecord("all_reduce", "0", tuple(range(0, 2048, 8)), 0))
    ((meeting,),) = linked(_profile(REDUCE), dump).meetings
    assert meeting.ranks.startswith("0, 8, 16")
    assert meeting.ranks.endswith("… (256)")
    assert len(meeting.ranks) < 80


def test_the_gradients_of_an_optimizer_come_from_backward(make: Any) -> None:
    x, y, gradient = (np.full(3, value, np.float32) for value in (1, 2, 3))
    weight = np.full(3, 4, np.float32)
    run = make.Run()
    run.parameter(weight)
    run.call("Functional.linear.0.forward", [x, weight], [y])
    run.call("Functional.linear.0.backward", [np.full(3, 5, np.float32)], [np.full(3, 6, np.float32), gradient])
    step = "Optimizer.SGD.0.forward"
    run.call(step, [], [], kwargs={"param": {"w": weight}, "grad": {"w": np.full(3, 7, np.float32)}})
    found = linked(_profile("Functional.linear.0.forward", "Functional.linear.0.backward", step), run.dump())
    assert found.makers[2] == (1,)
