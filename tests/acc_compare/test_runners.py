"""Whoever does the work, the results are those of this process, in their order; a killed worker costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare import compare
from acc_compare.runners import Here, cluster, processes
from dump.format.errors import ConfigError, DumpCorrupt, IncomparableError

ROOT = Path(__file__).parents[2]


def plus(shared: int, item: int) -> int:
    return shared + item


def stopped(shared: int, item: int) -> int:
    os._exit(shared)


def slowly(shared: float, item: int) -> int:
    time.sleep(shared)
    return item


def test_this_process_gives_results_in_order() -> None:
    assert list(Here().each(plus, 10, [3, 1, 2])) == [13, 11, 12]


@pytest.mark.slow
def test_processes_give_results_in_order_and_one_that_is_killed_is_told() -> None:
    with processes(2, 5) as runner:
        assert runner.cores == 2
        assert list(runner.each(plus, 10, [3, 1, 2])) == [13, 11, 12]
    with pytest.raises(IncomparableError, match="was killed"), processes(2, 2) as runner:
        list(runner.each(stopped, 9, [1, 2]))


def started(*words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def a_cluster(folder: Path, workers: int) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """The address of a real scheduler, and its workers by name."""
    file = folder / "scheduler.json"
    where = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    scheduler = started("scheduler", *where)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for _ in range(600):
            if file.exists() and file.stat().st_size:
                break
            time.sleep(0.1)

        address = json.loads(file.read_text(encoding="utf-8"))["address"]
        for number in range(workers):
            name = f"worker{number}"
            more = ("--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder))
            running[name] = started("worker", address, *more)
        yield address, running
    finally:
        for process in (*running.values(), scheduler):
            process.kill()
            process.wait()


def job(make: Any, folder: Path, ranks: int) -> tuple[Path, Path]:
    """Two jobs of two steps; gelu is off on rank 1 of the first."""
    for side in ("npu", "bench"):
        for place in (f"step{step}/rank{rank}" for step in (0, 1) for rank in range(ranks)):
            run = make.Run(world_size=ranks)
            x = make.normal(16, 16)
            a = make.off(np.tanh(x), 1e-2 if side == "npu" and place == "step0/rank1" else 0.0, seed=4)
            run.call("Functional.gelu.0.forward", [x], [a])
            run.call("Functional.relu.0.forward", [a], [np.maximum(a, 0)])
            run.write(folder / side / place)
    return folder / "npu", folder / "bench"


@pytest.mark.slow
def test_a_cluster_finds_what_this_process_finds(make: Any, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    sides = job(make, tmp_path, 6)
    alone = compare(*sides)
    assert [suspect.rank for suspect in alone.suspects] == [1]
    with a_cluster(tmp_path, 2) as (address, running):
        assert compare(*sides, scheduler=address) == alone
        running["worker0"].kill()
        assert compare(*sides, scheduler=address) == alone  # by the one that is left
        (sides[0] / "step1" / "rank1" / "dump.json").write_bytes(b"[]")
        with pytest.raises(DumpCorrupt, match="expected a JSON object"):
            compare(*sides, scheduler=address)


@pytest.mark.slow
def test_what_a_worker_held_when_it_was_killed_is_made_again(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with a_cluster(tmp_path, 2) as (address, running), cluster(address) as runner:
        client = distributed.Client(address, set_as_default=False)
        results = runner.each(slowly, 0.2, list(range(20)))
        found = [next(results)]
        names = {info["name"]: worker for worker, info in client.scheduler_info(n_workers=-1)["workers"].items()}
        while not client.processing([names["worker1"]])[names["worker1"]]:
            time.sleep(0.01)
        running["worker1"].send_signal(signal.SIGKILL)
        found += results
        client.close()
    assert found == list(range(20))


@pytest.mark.slow
def test_a_scheduler_that_cannot_help_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("acc_compare.runners._SECONDS_TO_CONNECT", 1)
    with pytest.raises(ConfigError, match="no scheduler can be reached"), cluster("tcp://127.0.0.1:9"):
        pass
    alone = a_cluster(tmp_path, 0)
    with alone as (address, _), pytest.raises(ConfigError, match="has no workers"), cluster(address):
        pass


def test_dask_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"acc-compare\[cluster\]"), cluster("tcp://127.0.0.1:8786"):
        pass
