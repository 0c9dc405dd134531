"""Tensor contents on their way to a digest or a file: bounded in bytes, in order, worked on by helpers.

The training thread puts jobs in; they are finished one by one in that order, so that a record is written only
after every file that it names.  Helpers work ahead of that order: hashing and writing take as long as a small
model's step, and release the interpreter lock.

Memory.  A job holds a copy of its tensor: whether anyone may still write to the original (an in-place call, an
optimizer's kernel, autograd adding up in a buffer, numpy, a collective) cannot be known, and a copy costs a tenth
of hashing it.  Copies that wait never take more than the budget.  Where there is no room the training thread
does the job at once, without a copy, instead of waiting for those who do the others.

A copy goes into memory that one before it no longer needs, where that is of its size: new memory is made of pages that
the system clears and maps one by one, which takes longer than the copy.

Together.  Many contents are digested faster than one after the other, MD5 of 64 in a fifth of the time: so nobody
begins before `together` of them wait, unless half of the budget is taken, a quarter of a second has gone by, or
somebody waits for all of them (`hurried`).  Files are written one by one, each as soon as may be.

Priority.  Where every core is busy with the step, a helper at the step's own priority holds up whichever of
torch's threads it shares a core with, and the others spin until that one arrives: in a profile of MD5 of a
ResNet-50's step on two cores a quarter of the processor time went there.  So helpers yield, but not altogether: on a
machine that is busy with other work a job that a helper has begun must come to its end.  Who only writes a pack
file does not: the disk takes what it is given by itself (`long_writes`), and waited for the next until a helper that
yields had been let in.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ..record.contents import Bytes, Contents
from ..record.entries import Measured
from .hidden_thread import HiddenThread
from .long_writes import aligned_memory

_MOST_HELPERS = 4
_NICENESS = 10
_IDLE_SHARE = 4
"""Idle memory takes no more than one part in so many of the budget, and room that no copy needs."""
_REUSED_FROM = 1 << 16
"""Bytes: what is smaller comes out of memory that the process has anyhow."""
_PATIENCE = 0.25
"""Seconds that a digest waits for others: a run that hangs wants its last records on disk."""
_SMALL = 1 << 18
"""Bytes below which a job is left to whoever finishes it: it is done before a helper would have woken up."""


def helpers_here() -> int:
    """How many threads work ahead: one a core, and four at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_HELPERS, cores)


class Job:
    """Contents to be written to a file named after `place`, or digested where that is None.

    `spot` is where they are to lie, `file` the same once they do; `failure` is what kept them from it; `written` are
    the bytes that they took, of `reserved` that they could have taken.
    """

    __slots__ = (
        "_claim",
        "counted",
        "done",
        "failure",
        "file",
        "measured",
        "memory",
        "nbytes",
        "payload",
        "place",
        "reserved",
        "spot",
        "written",
    )

    def __init__(self, measured: Measured, place: str | None, payload: Contents) -> None:
        self.measured = measured
        self.place = place
        self.payload: Contents | None = payload
        self.nbytes = payload.nbytes
        self.spot = ""
        self.file: str | None = None
        self.written = self.reserved = 0
        self.failure: Exception | None = None
        self.memory: Bytes | None = None
        self.counted = False
        self.done = False
        self._claim = threading.Lock()

    def claim(self) -> bool:
        """True for the first who asks."""
        return self._claim.acquire(blocking=False)


Work: TypeAlias = "Callable[[list[tuple[Job, Contents]]], None]"


class Backlog:
    """`work(jobs)` is called once for every job and its payload, on one of `helpers` threads or on the caller's."""

    def __init__(self, work: Work, *, budget: int, helpers: int, together: int = 1, yields: bool = True) -> None:
        self._work = work
        self._yields = yields
        self._budget = budget
        self._helpers = helpers
        self._together = together
        self._threads: list[HiddenThread] = []
        self._ahead: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._digests: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._hurrying = 0  # how many wait for all jobs
        self.nbytes = 0
        """Bytes of the copies that are kept now."""
        self._idle: dict[int, list[Bytes]] = {}
        self._idle_bytes = 0

    def add(self, job: Job, enqueue: Callable[[Job], None]) -> None:
        """Hand the job to `enqueue`, whose other end finishes it, after copying what is borrowed or, where there
        is no room for a copy, after doing it."""
        if not self._has_room(job):
            if job.claim():
                self._do_together(job)
            enqueue(job)
            return
        is_small = job.nbytes < _SMALL
        try:
            self._keep(job)
            if not is_small:
                self._start()
            enqueue(job)
        except BaseException:
            self._leave([job])
            raise
        if not is_small:
            self._ahead.put(job)
        if self._is_for_company(job):
            self._digests.put(job)
            if self._is_company():
                with self._changed:
                    self._changed.notify_all()

    def finish(self, job: Job) -> None:
        """Wait until the job is done.  Raises what its work raised."""
        if job.nbytes < _SMALL or not self._threads:
            self._wait_for_company(job)
            if job.claim():
                self._do_together(job)
        with self._changed:
            self._changed.wait_for(lambda: job.done)
        if job.failure is not None:
            raise job.failure

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Meanwhile nobody waits for others to work on together."""
        with self._changed:
            self._hurrying += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._hurrying -= 1

    def help(self) -> None:
        """Work on what waits, until nothing does."""
        while True:
            try:
                job = self._ahead.get_nowait()
            except queue.Empty:
                return
            if job is not None and job.claim():
                self._do_together(job)

    def close(self) -> None:
        """End the helpers, until there is a job again; every job must be finished."""
        for _ in self._threads:
            self._ahead.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        with self._changed:
            self._forget_idle()

    def _has_room(self, job: Job) -> bool:
        """Is there room for a copy?  Then it counts as kept, and has memory that is idle, if some is of its size."""
        with self._changed:
            job.counted = self.nbytes + job.nbytes <= self._budget
            if not job.counted:
                return False
            self.nbytes += job.nbytes
            if idle := self._idle.get(job.nbytes):
                job.memory = idle.pop()
                self._idle_bytes -= job.nbytes
            elif self.nbytes + self._idle_bytes > self._budget:
                self._forget_idle()
            return True

    def _forget_idle(self) -> None:
        self._idle.clear()
        self._idle_bytes = 0

    def _keep(self, job: Job) -> None:
        payload = job.payload
        if payload is None or payload.private:
            return
        if job.memory is None and job.nbytes >= _REUSED_FROM:
            job.memory = aligned_memory(job.nbytes)
        job.payload = payload.kept(job.memory)

    def _start(self) -> None:
        while len(self._threads) < self._helpers:
            self._threads.append(HiddenThread(self._run))

    def _run(self) -> None:
        if self._yields and sys.platform == "linux":  # elsewhere a thread has no priority that its process may lower
            own = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + _NICENESS)
        while (job := self._ahead.get()) is not None:
            self._wait_for_company(job)
            if job.claim():
                self._do_together(job)

    def _is_for_company(self, job: Job) -> bool:
        return self._together > 1 and job.place is None

    def _is_company(self) -> bool:
        return self._hurrying > 0 or self._digests.qsize() >= self._together or 2 * self.nbytes > self._budget

    def _wait_for_company(self, job: Job) -> None:
        if self._is_for_company(job) and not job.done:
            with self._changed:
                self._changed.wait_for(lambda: job.done or self._is_company(), _PATIENCE)

    def _do_together(self, job: Job) -> None:
        jobs = [job]
        while self._is_for_company(job) and len(jobs) < self._together:
            try:
                other = self._digests.get_nowait()
            except queue.Empty:
                break
            if other.claim():
                jobs.append(other)
        self._do(jobs)

    def _do(self, jobs: list[Job]) -> None:
        payloads = []
        for job in jobs:
            assert job.payload is not None
            payloads.append((job, job.payload))
            job.payload = None
        try:
            self._work(payloads)
        except Exception as error:  # told by `finish`, where the job's turn comes
            for job in jobs:
                job.failure = error
        finally:
            payloads.clear()
            self._leave(jobs)

    def _leave(self, jobs: list[Job]) -> None:
        with self._changed:
            for job in jobs:
                self.nbytes -= job.nbytes if job.counted else 0
                if job.memory is not None:
                    self._set_aside(job.memory)
                    job.memory = None
                job.done = True
            self._changed.notify_all()

    def _set_aside(self, memory: Bytes) -> None:
        if self._idle_bytes + memory.nbytes > self._budget // _IDLE_SHARE:  # of sizes that come no more, most likely
            self._forget_idle()
        self._idle.setdefault(memory.nbytes, []).append(memory)
        self._idle_bytes += memory.nbytes
