"""Limits that a user sets: what fits is kept and whole, what does not is left out, and both are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dump.config import DumpConfig
from dump.format.reader import read_dump
from dump.format.tensors import read_tensor
from dump.intercept.points import release
from dump.record.contents import Contents
from dump.session import Session
from dump.write.limits import RESERVE, Limits, Room, amounts_text, size_text
from dump.write.tensor_files import tensor_store


def _train(session: Session, steps: int, *, size: int = 2_000) -> list[float]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(size, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(steps):
        session.start([model], rank_id=0)
        loss = model(torch.ones(2, size)).square().mean()
        loss.backward()
        optimizer.step()
        session.stop()
        session.step()
        losses.append(loss.item())
    session.close()
    return losses


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


CUT: list[dict[str, Any]] = [
    {"task": "tensor"},
    {"task": "tensor", "file_format": "npy", "async_dump": True},
    {"task": "tensor", "file_format": "pt", "buffer_mb": 0},
    {"level": "mix", "extra_info": True},
    {"summary_mode": "md5"},
]


@pytest.mark.parametrize("settings", CUT, ids=[str(row) for row in CUT])
def test_max_bytes_keeps_what_fits_and_marks_the_step_that_it_cuts(
    config: DumpConfig, settings: dict[str, Any]
) -> None:
    said: list[str] = []
    limit = 140_000
    session = Session(replace(config, max_bytes=limit, **settings), say=said.append)
    losses = _train(session, 60)
    root = Path(config.dump_path)
    assert limit - 2 * RESERVE - 10_000 < _size(root) <= limit  # with async_dump two steps have a reserve
    assert losses == _train(Session(replace(config, dump_path=root / "other", max_steps=1)), 60)
    *whole, cut = [read_dump(part.folder) for part in session.written]
    assert all(dump.incomplete is None for dump in whole)
    if session.written[-1].is_cut:
        assert cut.incomplete is not None
        assert (cut.incomplete.kind, cut.incomplete.limit) == ("by_limit", "max_bytes (140.0 kB)")
        assert json.loads((cut.path / "dump.json").read_bytes())["complete"] is False
        expected = f"recording ended within step {len(whole)}, which is cut short: max_bytes is 140.0 kB"
    else:
        assert cut.incomplete is None
        expected = (
            f"recording ended after step {len(whole)}, which is whole: max_bytes, 140.0 kB, has no room for another"
        )
    assert said == [expected]
    assert session.ended_by_limit() == expected
    for dump in (*whole, cut):
        for call in dump.calls:
            for _, tensor in call.tensors():
                if tensor.data_name is not None:
                    assert read_tensor(dump.path / "dump_tensor_data", tensor.data_name).shape == tensor.shape
    assert not list(root.rglob(".*"))


def test_a_limit_that_is_not_met_changes_nothing(config: DumpConfig) -> None:
    said: list[str] = []
    session = Session(replace(config, max_bytes=10**9, max_steps=3), say=said.append)
    _train(session, 2)
    assert [part.is_cut for part in session.written] == [False, False]
    assert (said, session.ended_by_limit()) == ([], "")


def test_torch_is_put_back_once_max_steps_is_reached(config: DumpConfig) -> None:
    before = torch.nn.functional.relu.__code__
    said: list[str] = []
    session = Session(replace(config, max_steps=2), say=said.append)
    for number in range(4):
        session.start(rank_id=0)
        assert (torch.nn.functional.relu.__code__ is before) == (number >= 2)
        torch.ones(1)
        session.step()
    assert [part.folder.parent.name for part in session.written] == ["step0", "step1"]
    assert said == ["recording ended after step 1, which is whole: max_steps is 2"]
    session.close()


@pytest.mark.parametrize(("step", "news"), [((), True), ((0, 1, 2), True), ((0, 1), False)])
def test_max_steps_is_told_where_it_leaves_something_out(step: tuple[int, ...], news: bool) -> None:
    config = DumpConfig(max_steps=2, step=frozenset(step))
    limits = Limits()
    limits.count(0)
    assert not limits.reached(config)
    limits.count(1)
    assert limits.reached(config)
    assert [bool(limits.news(config)), bool(limits.news(config))] == [news, False]


def test_a_larger_limit_lets_recording_go_on() -> None:
    room = Room(100)
    assert [room.take(60), room.take(60), room.full] == [True, False, True]
    room.allow(100)
    assert room.full
    room.allow(200)
    assert [room.full, room.take(60), room.used] == [False, True, 120]
    room.give_back(20)
    assert [room.take(100), room.take(1)] == [True, False]


@pytest.mark.parametrize("file_format", ["pack", "safetensors", "npy", "pt"])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float8_e5m2", "complex32", "complex128", "bool"])
def test_no_tensor_file_takes_more_than_is_reserved_for_it(tmp_path: Path, file_format: str, dtype: str) -> None:
    if file_format == "pt" and dtype in ("float8_e5m2", "complex32") and release(torch.__version__) < (2, 2):
        pytest.skip("torch.save of torch 2.1 stores no such dtype")
    files = tensor_store(tmp_path, file_format)
    files.make()
    shape = (64, *(1 for _ in range(60)))
    nbytes = 64 * getattr(torch, dtype).itemsize
    payload = Contents(memoryview(bytearray(nbytes)), f"torch.{dtype}", shape)
    written = files.write(files.reserve(payload), payload)
    (path,) = (tmp_path / "dump_tensor_data").iterdir()
    assert nbytes <= path.stat().st_size == written <= files.most_bytes(payload)
    files.close()


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (25 * 10**11, "2500.0 GB")])
def test_size_text(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize("size", [1, 7, 4_000])
def test_what_waits_for_the_one_file_of_a_step_takes_no_room_from_the_records(tmp_path: Path, size: int) -> None:
    files = tensor_store(tmp_path / "tensors", "pack")
    files.make()
    payload = Contents(memoryview(bytes(4 * size)), "torch.float32", (size,))
    written = files.write(files.reserve(payload), payload)
    assert written <= files.most_bytes(payload) <= written + 16
    files.close()


def test_one_of_a_kind_is_no_several() -> None:
    assert amounts_text(1, 1, 900) == "1 call, 1 tensor, 900 B"
    assert amounts_text(1200, 2, 1_500_000) == "1,200 calls, 2 tensors, 1.5 MB"
