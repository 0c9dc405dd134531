"""Files that only grow: what is to be appended is gathered, and written many parts at a time.

Nothing written is ever rewritten, so a process killed at any moment loses at worst what was gathered, and the last
partial line.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TypeAlias

Gathered: TypeAlias = "dict[IO[bytes], list[bytes]]"
"""What is to be appended to each file."""


class GrowingFiles:
    """`waiting` are bytes gathered and not taken yet, `nbytes` all so far.

    Gathering and writing may be different threads' work: what one has taken the other writes, in that order.
    """

    def __init__(self) -> None:
        self.waiting = self.nbytes = 0
        self._gathered: Gathered = {}
        self._is_broken = False

    def open(self, path: Path, start: bytes) -> IO[bytes]:
        """A new file that begins with `start`.  Raises OSError."""
        handle = path.open("xb", buffering=0)
        self.write({handle: [start]})
        self.nbytes += len(start)
        return handle

    def gather(self, handle: IO[bytes], data: bytes) -> None:
        self._gathered.setdefault(handle, []).append(data)
        self.waiting += len(data)
        self.nbytes += len(data)

    def take(self) -> Gathered:
        """All that is gathered, to be written."""
        gathered, self._gathered, self.waiting = self._gathered, {}, 0
        return gathered

    def write(self, gathered: Gathered) -> None:
        """Append to each file what is its own: an unbuffered one may take less, and says how much.  Nothing is appended
        behind what a file has not taken.  Raises OSError."""
        if self._is_broken:
            return
        self._is_broken = True
        for handle, parts in gathered.items():
            rest = memoryview(b"".join(parts))
            while rest:
                taken = handle.write(rest)
                rest = rest[taken:]
        self._is_broken = False
