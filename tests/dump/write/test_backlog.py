from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from dump.record.contents import Contents, borrow, digest
from dump.record.entries import Measured
from dump.write import backlog as module
from dump.write.backlog import Backlog, Job


@pytest.fixture(autouse=True)
def _nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors take the way of large ones, through the helpers."""
    monkeypatch.setattr(module, "_SMALL", 0)


def _digest(jobs: list[tuple[Job, Contents]]) -> None:
    for job, payload in jobs:
        job.measured.md5 = digest(payload, "md5")


def _job(tensor: torch.Tensor) -> Job:
    return Job(Measured(), None, borrow(tensor))


def _add(backlog: Backlog, tensor: torch.Tensor) -> Job:
    job = _job(tensor)
    backlog.add(job, lambda _: None)
    return job


def _md5(tensor: torch.Tensor) -> str:
    return hashlib.md5(tensor.contiguous().numpy().tobytes()).hexdigest()


OVERWRITES: dict[str, Callable[[torch.Tensor], object]] = {
    "in place": lambda x: x.add_(1),
    "out=": lambda x: torch.mul(x, 3, out=x),
    "a view": lambda x: x.view(-1)[2:].fill_(7),
    "past the version counter": lambda x: x.data.zero_(),
    "numpy": lambda x: x.numpy().fill(5),
    "an optimizer's kernel": lambda x: torch._foreach_add_([x], 1.0),
    "storage": lambda x: x.untyped_storage().fill_(0),
}


@pytest.mark.parametrize("budget", [1 << 20, 0], ids=["a copy waits", "no room"])
@pytest.mark.parametrize("overwrite", OVERWRITES.values(), ids=OVERWRITES)
def test_what_was_added_is_digested_whoever_writes_after_it(
    overwrite: Callable[[torch.Tensor], object], budget: int
) -> None:
    go = threading.Event()

    def late(jobs: list[tuple[Job, Contents]]) -> None:
        if budget:
            go.wait(20)
        _digest(jobs)

    backlog = Backlog(late, budget=budget, helpers=2)
    tensor = torch.arange(12.0).view(3, 4)
    expected = _md5(tensor)
    job = _add(backlog, tensor)
    overwrite(tensor)
    go.set()
    backlog.finish(job)
    backlog.close()
    assert job.measured.md5 == expected


@pytest.mark.parametrize("together", [1, 4, 100])
def test_copies_never_take_more_than_the_budget(together: int) -> None:
    most = largest = 0

    def slow(jobs: list[tuple[Job, Contents]]) -> None:
        nonlocal most, largest
        most, largest = max(most, backlog.nbytes), max(largest, len(jobs))
        time.sleep(0.001)
        _digest(jobs)

    backlog = Backlog(slow, budget=1000, helpers=2, together=together)
    tensors = [torch.full((size,), float(size)) for size in (10, 100, 300, 5, 240, 0) * 10]
    jobs = [_add(backlog, tensor) for tensor in tensors]
    for job in jobs:
        backlog.finish(job)
    backlog.close()
    assert [job.measured.md5 for job in jobs] == [_md5(tensor) for tensor in tensors]
    assert 0 < most <= 1000
    assert 1 <= largest <= together
    assert backlog.nbytes == 0


def test_without_room_nothing_is_copied_and_nobody_waits() -> None:
    seen: list[tuple[bool, int]] = []
    backlog = Backlog(lambda jobs: seen.append((jobs[0][1].private, threading.get_ident())), budget=16, helpers=1)
    _add(backlog, torch.ones(100))
    assert seen == [(False, threading.get_ident())]


def test_memory_of_a_copy_is_used_again_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REUSED_FROM", 0)
    addresses: list[int] = []

    def noted(jobs: list[tuple[Job, Contents]]) -> None:
        addresses.extend(np.frombuffer(payload.data, np.uint8).ctypes.data for _, payload in jobs)
        _digest(jobs)

    backlog = Backlog(noted, budget=8000, helpers=0)
    kept = []
    for number in range(5):  # the same memory each time, for other contents
        tensor = torch.full((100,), float(number))
        job = _add(backlog, tensor)
        backlog.finish(job)
        kept.append((job.measured.md5, _md5(tensor)))
    assert all(found == expected for found, expected in kept)
    assert len(set(addresses)) == 1
    for count in range(101, 110):  # sizes that come once
        backlog.finish(_add(backlog, torch.ones(count)))
        assert backlog._idle_bytes == sum(each.nbytes for many in backlog._idle.values() for each in many) <= 2000
    two = [_add(backlog, torch.full((109,), float(number))) for number in range(2)]
    assert [job.memory is None for job in two] == [False, False]
    assert two[0].memory is not two[1].memory
    for job in two:
        backlog.finish(job)
    large = _add(backlog, torch.ones(1990))
    assert (backlog.nbytes, backlog._idle_bytes) == (7960, 0)
    backlog.finish(large)
    backlog.close()
    assert (backlog.nbytes, backlog._idle_bytes, backlog._idle) == (0, 0, {})


def test_a_failure_is_told_where_the_jobs_turn_comes() -> None:
    def fails(jobs: list[tuple[Job, Contents]]) -> None:
        raise OSError("full")

    backlog = Backlog(fails, budget=100, helpers=1)
    small, large = _add(backlog, torch.ones(1)), _add(backlog, torch.ones(1000))
    for job in (small, large):
        with pytest.raises(OSError, match="full"):
            backlog.finish(job)
    assert backlog.nbytes == 0
    backlog.close()


def test_no_room_is_lost_where_a_job_cannot_be_handed_on() -> None:
    def interrupted(job: Job) -> None:
        raise KeyboardInterrupt

    backlog = Backlog(_digest, budget=100, helpers=0)
    with pytest.raises(KeyboardInterrupt):
        backlog.add(_job(torch.ones(3)), interrupted)
    assert backlog.nbytes == 0


def test_the_caller_helps_at_the_end() -> None:
    backlog = Backlog(_digest, budget=1000, helpers=0)
    jobs = [_add(backlog, torch.full((3,), float(number))) for number in range(3)]
    assert not any(job.done for job in jobs)
    backlog.help()
    assert all(job.done for job in jobs)


def test_small_jobs_are_left_to_whoever_finishes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL", 1000)
    threads: list[int] = []
    backlog = Backlog(lambda _: threads.append(threading.get_ident()), budget=1 << 20, helpers=1)
    small, large = _add(backlog, torch.ones(249)), _add(backlog, torch.ones(250))
    backlog.finish(small)
    backlog.finish(large)
    backlog.close()
    assert len(threads) == 2
    assert [ident == threading.get_ident() for ident in threads].count(True) == 1


@pytest.mark.parametrize("small", [0, 1000])
def test_who_works_on_a_job_takes_what_waits_beside_it(monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(module, "_SMALL", small)
    sizes: list[int] = []

    def counted(jobs: list[tuple[Job, Contents]]) -> None:
        sizes.append(len(jobs))
        _digest(jobs)

    backlog = Backlog(counted, budget=1 << 20, helpers=0, together=4)
    tensors = [torch.full((3,), float(number)) for number in range(10)]
    jobs = [_add(backlog, tensor) for tensor in tensors]
    for job in jobs:
        backlog.finish(job)
    backlog.close()
    assert sizes == [4, 4, 2] if small else sum(sizes) == 10
    assert [job.measured.md5 for job in jobs] == [_md5(tensor) for tensor in tensors]


def test_a_job_without_room_takes_what_waits_along() -> None:
    done: list[list[int]] = []
    backlog = Backlog(
        lambda jobs: done.append([payload.nbytes for _, payload in jobs]), budget=1000, helpers=0, together=3
    )
    for count in (100, 101, 102):  # the third has no room
        _add(backlog, torch.ones(count))
    assert done == [[408, 400, 404]]
    assert backlog.nbytes == 0


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
@pytest.mark.parametrize(("yields", "apart"), [(True, 10), (False, 0)])
def test_helpers_yield_to_the_step_and_the_step_keeps_its_priority(yields: bool, apart: int) -> None:
    found: list[int] = []
    backlog = Backlog(
        lambda _: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())),
        budget=1000,
        helpers=1,
        yields=yields,
    )
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    job = _add(backlog, torch.ones(3))
    while not job.done:
        time.sleep(0.001)
    backlog.close()
    assert found == [min(before + apart, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def _groups(monkeypatch: pytest.MonkeyPatch, patience: float, *, budget: int = 1 << 20) -> tuple[Backlog, list[int]]:
    monkeypatch.setattr(module, "_PATIENCE", patience)
    sizes: list[int] = []

    def noted(jobs: list[tuple[Job, Contents]]) -> None:
        sizes.append(len(jobs))
        _digest(jobs)

    return Backlog(noted, budget=budget, helpers=1, together=4), sizes


def _soon(is_so: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not is_so() and time.monotonic() < end:
        time.sleep(0.001)
    return is_so()


def test_digests_wait_until_many_are_made_together(monkeypatch: pytest.MonkeyPatch) -> None:
    backlog, sizes = _groups(monkeypatch, 60)
    jobs = [_add(backlog, torch.ones(10)) for _ in range(3)]
    time.sleep(0.05)
    assert sizes == []
    jobs.append(_add(backlog, torch.ones(10)))
    assert _soon(lambda: all(job.done for job in jobs))
    assert sizes == [4]
    backlog.close()


@pytest.mark.parametrize("why", ["somebody waits for all", "half of the budget is taken", "time has gone by"])
def test_few_digests_are_made_where(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    patience = 0.05 if why == "time has gone by" else 60
    backlog, sizes = _groups(monkeypatch, patience, budget=150 if why == "half of the budget is taken" else 1 << 20)
    jobs = [_add(backlog, torch.ones(10)) for _ in range(2)]
    if why == "somebody waits for all":
        with backlog.hurried():
            for job in jobs:
                backlog.finish(job)
    assert _soon(lambda: all(job.done for job in jobs))
    assert sum(sizes) == 2
    assert [job.measured.md5 for job in jobs] == [_md5(torch.ones(10))] * 2
    backlog.close()
