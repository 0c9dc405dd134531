"""Files that only grow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from dump.write.appending import GrowingFiles


def test_what_is_gathered_stands_behind_what_a_file_begins_with(tmp_path: Path) -> None:
    files = GrowingFiles()
    first, second = (files.open(tmp_path / name, start) for name, start in (("a", b"{"), ("b", b"")))
    for handle, data in ((first, b"1"), (second, b"2"), (first, b"3")):
        files.gather(handle, data)
    assert files.nbytes == 4
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"{", b"")
    files.flush()
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"{13", b"2")
    for handle in (first, second):
        handle.close()


class _Slow(io.BytesIO):
    """Takes three bytes at a time, as an unbuffered file may, and `room` in all."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: Any) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        taken = min(3, self.room, len(data))
        self.room -= taken
        return super().write(bytes(data[:taken]))


def test_a_file_that_takes_little_at_a_time_gets_all() -> None:
    files, slow = GrowingFiles(), _Slow(100)
    files.gather(slow, b"0123456789")
    files.flush()
    assert slow.getvalue() == b"0123456789"


def test_nothing_is_appended_behind_what_a_file_has_not_taken() -> None:
    files, slow, other = GrowingFiles(), _Slow(5), io.BytesIO()
    files.gather(slow, b"0123456789")
    with pytest.raises(OSError, match="No space"):
        files.flush()
    slow.room = 100
    for handle in (slow, other):
        files.gather(handle, b"later")
    files.flush()
    assert (slow.getvalue(), other.getvalue()) == (b"01234", b"")


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(FileExistsError):
        GrowingFiles().open(tmp_path / "a", b"{")
    assert (tmp_path / "a").read_text() == "mine"
