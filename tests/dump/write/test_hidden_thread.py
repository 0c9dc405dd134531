"""Our threads and a script that waits for all that there are."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
import torch

from dump.config import DumpConfig
from dump.session import Session
from dump.write.hidden_thread import HiddenThread


def test_it_runs_beside_and_is_waited_for() -> None:
    go, done = threading.Event(), threading.Event()
    idents: list[int] = []

    def act() -> None:
        go.wait()
        idents.append(threading.get_ident())
        done.set()

    thread = HiddenThread(act)
    assert thread.is_alive()
    go.set()
    thread.join()
    assert done.is_set()
    assert not thread.is_alive()
    assert idents != [threading.get_ident()]


@pytest.mark.parametrize("task", ["statistics", "tensor"])
def test_a_script_may_wait_for_all_threads(config: DumpConfig, task: Any) -> None:
    session = Session(replace(config, task=task))
    before = set(threading.enumerate())
    session.start()
    large = torch.randn(600, 600)
    torch.mm(large, large).add_(1)
    found = set(threading.enumerate())
    for thread in found - before:
        thread.join()
    session.close()
    assert found == before
