"""Files that only grow: what is to be appended is gathered, and written many parts at a time.

Nothing written is ever rewritten, so a process killed at any moment loses at worst what was gathered, and the last
partial line.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO


class GrowingFiles:
    """`nbytes` are all so far, gathered ones too."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._gathered: dict[IO[bytes], list[bytes]] = {}
        self._is_broken = False

    def open(self, path: Path, start: bytes) -> IO[bytes]:
        """A new file that begins with `start`.  Raises OSError."""
        handle = path.open("xb", buffering=0)
        self.gather(handle, start)
        self.flush()
        return handle

    def gather(self, handle: IO[bytes], data: bytes) -> None:
        """`data` to the end of a file, at the next `flush`."""
        self._gathered.setdefault(handle, []).append(data)
        self.nbytes += len(data)

    def flush(self) -> None:
        """Append to each file what is gathered for it: an unbuffered one may take less, and says how much.  Nothing is
        appended behind what a file has not taken.  Raises OSError."""
        gathered, self._gathered = self._gathered, {}
        if self._is_broken:
            return
        self._is_broken = True
        for handle, parts in gathered.items():
            rest = memoryview(b"".join(parts))
            while rest:
                taken = handle.write(rest)
                rest = rest[taken:]
        self._is_broken = False
