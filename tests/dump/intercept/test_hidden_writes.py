"""Writes that torch keeps from the version counter: the value is the one that was written, and measured."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.grad_mode import _unsafe_preserve_version_counter as kept

from dump.config import DumpConfig
from dump.session import Session

fill_unseen = torch.ops.aten.fill_.Scalar


def test_what_a_recorded_call_wrote_is_what_is_read_afterwards(record: Any) -> None:
    def act() -> None:
        memory = torch.zeros(8)
        memory.add(1)
        with kept(memory):
            torch.arange(8.0, out=memory)
        memory.add(1)
        memory[:4].add(1)
        with kept((memory,)):
            memory.mul_(2)
        memory.add(1)

    dump = record(act)
    wrote = dump.leaf("Torch.arange.0.forward", "output.0")
    assert dump.leaf("Tensor.add.1.forward", "input.0").value == wrote.value
    doubled = dump.leaf("Tensor.mul_.0.forward", "output.0")
    assert dump.leaf("Tensor.add.3.forward", "input.0").value == doubled.value != wrote.value
    assert [dump.leaf(f"Tensor.add.{n}.forward", "input.0").max for n in range(4)] == [0.0, 7.0, 3.0, 14.0]


def test_what_nobody_saw_written_is_measured_when_it_is_read(record: Any) -> None:
    def act() -> None:
        memory = torch.zeros(8)
        view = memory[:4]
        memory.add(1), view.add(1)
        with kept(memory):
            fill_unseen(memory, 3.0)
        memory.add(1), view.add(1)

    dump = record(act)
    read = [dump.leaf(f"Tensor.add.{n}.forward", "input.0") for n in range(4)]
    assert [leaf.max for leaf in read] == [0.0, 0.0, 3.0, 3.0]
    assert len({leaf.value for leaf in read}) == 4


def test_a_block_that_writes_nothing_leaves_the_value_what_it_was(record: Any) -> None:
    def act() -> None:
        memory = torch.zeros(8)
        memory.add(1)
        with kept(memory):
            memory.add(1)
        memory.add(1)

    dump = record(act)
    assert len({dump.leaf(f"Tensor.add.{n}.forward", "input.0").value for n in range(3)}) == 1


def test_versions_and_errors_are_what_they_are_alone(config: DumpConfig) -> None:
    def act() -> object:
        memory = torch.zeros(8)
        try:
            with kept(memory):
                memory.add_(1)
                memory.add_(torch.ones(3))
        except RuntimeError as error:
            return memory._version, str(error), memory.tolist()
        return None

    alone = act()
    session = Session(config)
    session.start(())
    try:
        assert act() == alone is not None
    finally:
        session.close()
        session.remove()
