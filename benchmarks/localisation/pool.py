"""A few forked processes at a time.  No threads: a process that forks must have none."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from time import monotonic
from typing import TypeVar

Job = TypeVar("Job")

# Idle threads of OpenMP spin by default, which starves the other processes where there are few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def run_each(
    jobs: Sequence[Job], act: Callable[[Job], None], told: Callable[[Job, int], None], *, workers: int, limit: float
) -> None:
    """Run `act(job)` in a process of its own for each job, `workers` at a time.

    `told(job, exit code)` hears of each that has ended; one that takes longer than `limit` seconds is ended.
    """
    context = multiprocessing.get_context("fork")
    waiting = list(reversed(jobs))
    running: dict[int, tuple[Job, multiprocessing.process.BaseProcess, float]] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            job = waiting.pop()
            process = context.Process(target=act, args=(job,))
            process.start()
            running[process.sentinel] = (job, process, monotonic())
        ready = wait(list(running), timeout=1.0)
        for sentinel, (job, process, began) in list(running.items()):
            if sentinel not in ready and monotonic() - began > limit:
                process.kill()
            elif sentinel not in ready:
                continue
            process.join()
            del running[sentinel]
            told(job, process.exitcode or 0)
