"""Bytes past the page cache and through it: the same file, whichever way they go and wherever the first one ends."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dump.format.layout import TENSOR_FOLDER
from dump.format.packs import extent_of
from dump.format.tensors import read_tensor
from dump.record.contents import Contents
from dump.write import long_writes
from dump.write.long_writes import BLOCK, LongWrites, aligned_memory
from dump.write.tensor_files import PackFile

BLOCKS = 2050  # more than are moved at a time
DATA = np.random.default_rng(0).integers(0, 256, BLOCKS * BLOCK, np.uint8)


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_writes, "_choices", {})


@pytest.fixture
def writes(tmp_path: Path) -> Iterator[LongWrites]:
    with (tmp_path / "file").open("xb", buffering=0) as cached:
        found = LongWrites(tmp_path / "file", cached)
        yield found
        found.close()


def takes_direct(folder: Path) -> bool:
    try:
        os.close(os.open(folder / "probe", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except (OSError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("shift", [0, 8], ids=["aligned", "staged"])
def test_blocks_arrive_where_they_belong(shift: int, writes: LongWrites, tmp_path: Path) -> None:
    memory = aligned_memory(DATA.nbytes + shift)[shift:]
    memory[:] = DATA
    for at in (BLOCK, BLOCK + DATA.nbytes):  # past the cache, then through it
        writes.write(memory.data, at)
    content = (tmp_path / "file").read_bytes()
    assert content == bytes(BLOCK) + 2 * DATA.tobytes()


def test_aligned_memory_begins_with_a_block() -> None:
    for nbytes in (1, BLOCK, 3 * BLOCK + 8):
        memory = aligned_memory(nbytes)
        assert (memory.nbytes, memory.ctypes.data % BLOCK) == (nbytes, 0)


@pytest.mark.parametrize("failure", [errno.EINVAL, errno.ENOSPC])
def test_what_one_way_refuses_goes_the_other(
    failure: int, writes: LongWrites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.pwrite, itertools.count()

    def refusing(file: int, part: memoryview, at: int) -> int:
        if next(calls) == 0:
            return real(file, part[:BLOCK], at)
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(os, "pwrite", refusing)
    for at in (0, DATA.nbytes):
        writes.write(DATA.data, at)
    assert (tmp_path / "file").read_bytes() == 2 * DATA.tobytes()
    assert next(calls) <= 2  # it is not asked again


def test_without_such_a_way_all_goes_through_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    with (tmp_path / "file").open("xb", buffering=0) as cached:
        monkeypatch.setattr(os, "open", refused)
        writes = LongWrites(tmp_path / "file", cached)
        writes.write(DATA.data, 0)
        writes.close()
    assert (tmp_path / "file").read_bytes() == DATA.tobytes()


@pytest.mark.parametrize(("direct", "cached"), [(1.0, 5.0), (5.0, 1.0)], ids=["disk", "cache"])
def test_the_faster_way_is_taken_and_the_other_tried_again(
    direct: float, cached: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not takes_direct(tmp_path):
        pytest.skip("the file system has one way only")
    now, ways, real = [0.0], [], os.pwrite

    def timed_direct(file: int, part: memoryview, at: int) -> int:
        now[0] += direct
        ways[-1] = "direct"
        return real(file, part, at)

    def timed_cached(*_: object) -> None:
        now[0] += cached

    monkeypatch.setattr(os, "pwrite", timed_direct)
    monkeypatch.setattr(long_writes.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(long_writes, "write_parts", timed_cached)
    for step in range(3):
        with (tmp_path / f"file{step}").open("xb", buffering=0) as file:
            writes = LongWrites(tmp_path / f"file{step}", file)
            for _ in range(22):
                ways.append("cached")
                writes.write(aligned_memory(BLOCK).data, 0)
            writes.close()
    faster, slower = ("direct", "cached") if direct < cached else ("cached", "direct")
    assert set(ways[:2]) == {"direct", "cached"}
    assert [number for number, way in enumerate(ways[2:], 1) if way == slower] == [16, 32, 64]
    assert ways.count(faster) == 66 - 4


@pytest.mark.parametrize("private", [False, True])
def test_long_tensors_of_a_pack(private: bool, tmp_path: Path) -> None:
    """Their elements begin with a block, whatever lies before them, and each is a safetensors file by itself."""
    pack = PackFile(tmp_path)
    pack.make()
    payloads = []
    for count in (3, (1 << 18) + 5, 1 << 18, 7, (1 << 19) + 1):
        values = np.arange(count, dtype=np.float32)
        payloads.append(Contents(values.data.cast("B"), "torch.float32", (count,), private))
    names = [pack.reserve(payload) for payload in payloads]
    order = [4, 0, 1, 3, 2]
    written = {at: pack.write(names[at], payloads[at]) for at in order}
    pack.close()
    for at, (name, payload) in enumerate(zip(names, payloads, strict=True)):
        extent = extent_of(name)
        assert extent is not None
        assert written[at] <= pack.most_bytes(payload)
        if payload.nbytes >= 1 << 20:
            assert (extent.end - payload.nbytes) % BLOCK == 0
        read = read_tensor(tmp_path / TENSOR_FOLDER, name)
        assert read.tobytes() == bytes(payload.data)
    assert sum(written.values()) == (tmp_path / TENSOR_FOLDER / "tensors.pack").stat().st_size
