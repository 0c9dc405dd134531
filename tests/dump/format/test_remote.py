"""Dumps at URLs: read as those on disk are, a file at a time, with one line for what is not there."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dump.format.errors import AccError, ConfigError, DumpNotFound, TensorFileError
from dump.format.layout import find_dumps
from dump.format.paths import from_home
from dump.format.reader import read_dump
from dump.format.remote import RemotePath
from dump.format.tensors import read_tensor

fsspec = pytest.importorskip("fsspec")
SAMPLES = Path(__file__).parents[3] / "sample_dumps"
STEP = "step0/rank0"


@pytest.fixture
def place() -> Iterator[str]:
    """A URL in memory with two sample dumps, of statistics and of tensors."""
    memory: Any = fsspec.filesystem("memory")
    for name in ("bench_statistics", "bench_tensor"):
        for file in (SAMPLES / name).rglob("*"):
            if file.is_file():
                memory.pipe_file(f"/runs/{name}/{file.relative_to(SAMPLES / name).as_posix()}", file.read_bytes())
    yield "memory://runs"
    memory.rm("/runs", recursive=True)


def test_a_dump_at_a_url_is_the_dump(place: str) -> None:
    (found,) = find_dumps(from_home(f"{place}/bench_statistics"))
    (here,) = find_dumps(SAMPLES / "bench_statistics")
    assert (found.step, found.rank) == (here.step, here.rank) == (0, 0)
    there, ours = read_dump(found.path), read_dump(here.path)
    assert (there.calls, there.owners, there.stacks, there.header) == (
        ours.calls,
        ours.owners,
        ours.stacks,
        ours.header,
    )
    assert str(there.path) == f"{place}/bench_statistics/{STEP}"


@pytest.mark.parametrize("below", ["", "/step0", f"/{STEP}", f"/{STEP}/dump.json"])
def test_any_folder_on_the_way_may_be_given(place: str, below: str) -> None:
    (found,) = find_dumps(Path(f"{place}/bench_statistics{below}"))  # pathlib takes one of the two slashes away
    assert isinstance(found.path, RemotePath)
    assert (found.step, found.rank) == (0, 0)


def test_tensors_are_read_by_ranges(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dump.format.remote._BLOCK", 100)
    below = f"bench_tensor/{STEP}/dump_tensor_data"
    name = max((SAMPLES / below).iterdir(), key=lambda file: file.stat().st_size).name
    found, here = read_tensor(from_home(f"{place}/{below}"), name), read_tensor(SAMPLES / below, name)
    assert found.nbytes > 100
    assert np.array_equal(found, here)
    part = f"part.pack#24-{24 + (SAMPLES / below / name).stat().st_size}"
    packed = bytes(24) + (SAMPLES / below / name).read_bytes() + bytes(8)
    fsspec.filesystem("memory").pipe_file(f"/runs/{below}/part.pack", packed)
    assert np.array_equal(read_tensor(from_home(f"{place}/{below}"), part), here)
    with pytest.raises(TensorFileError, match="shorter file"):
        read_tensor(from_home(f"{place}/{below}"), f"part.pack#24-{len(packed) + 1}")
    with pytest.raises(TensorFileError, match="found none"):
        read_tensor(from_home(f"{place}/{below}"), "missing.safetensors")
    with pytest.raises(TensorFileError, match="bare name"):
        read_tensor(from_home(f"{place}/{below}"), "../dump.json")
    fsspec.filesystem("memory").pipe_file(f"/runs/{below}/empty.npy", b"")
    with pytest.raises(TensorFileError, match="empty file"):
        read_tensor(from_home(f"{place}/{below}"), "empty.npy")


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("memory://runs/nothing", DumpNotFound, "no such file or folder"),
        ("memory://runs", DumpNotFound, "memory://runs/bench_statistics does"),
        ("nowhere://runs", ConfigError, "no place that fsspec knows"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(place: str, url: str, error: type[AccError], words: str) -> None:
    with pytest.raises(error, match=words):
        find_dumps(from_home(url))


class _Machine(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]
    """Files in memory that are reached as those of a machine are: by its name; its files do not say where they are when
    they are told to go, and it hands out whole files alone at once."""

    protocol = "machine"

    def __init__(self, host: str, **options: Any) -> None:
        super().__init__(**options)
        self.host = host

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.partition("://")[2].partition("/")[2] if "://" in path else path

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"host": path.partition("://")[2].partition("/")[0]}

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        return _Silent(self.store[path].getvalue())

    def cat_file(self, path: str, **_: Any) -> bytes:
        return bytes(self.store[path].getvalue())


class _Silent(io.BytesIO):
    def seek(self, offset: int, whence: int = 0, /) -> None:  # type: ignore[override]
        super().seek(offset, whence)


def test_a_machine_is_reached_by_its_name(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("machine", _Machine, clobber=True)
    monkeypatch.setattr("dump.format.remote._BLOCK", 100)
    far, here = f"machine://one/runs/bench_tensor/{STEP}", SAMPLES / "bench_tensor" / STEP
    assert read_dump(from_home(far)).calls == read_dump(here).calls
    name = next(t.data_name for call in read_dump(here).calls for _, t in call.tensors() if t.data_name)
    tensors = "dump_tensor_data"
    assert np.array_equal(read_tensor(from_home(far) / tensors, name), read_tensor(here / tensors, name))


def test_a_path_goes_to_other_processes_and_is_not_written(place: str) -> None:
    path = from_home(f"{place}/bench_statistics") / STEP / "dump.json"
    assert str(pickle.loads(pickle.dumps(path))) == f"{place}/bench_statistics/{STEP}/dump.json"
    assert path.stat().st_size == (SAMPLES / "bench_statistics" / STEP / "dump.json").stat().st_size
    with pytest.raises(OSError, match="only read"):
        path.open("w")


def test_a_file_of_that_very_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory:").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not isinstance(from_home("memory:/"), RemotePath)
    assert isinstance(from_home("memory://x"), RemotePath)
    assert not isinstance(from_home("C:/x"), RemotePath)
