"""Long contents to disk past the page cache (O_DIRECT), where that is the faster way.

Through the cache every byte is copied once more, by a processor that the step wants, into pages that the script's own
files lay in; where memory is handed out as it is touched, as on many virtual machines, that took five times as long as
the disk did.  A slow disk, or one across a network, is slower than the cache as long as the cache has room.  So both
ways are timed, the faster one is taken, and the other is tried again after 16, 32, 64, ... writes to that file system.

Not every file system has it (tmpfs of old kernels, some of FUSE); there all goes through the cache.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from ..format.tensor_bytes import write_parts
from ..record.contents import Bytes, start_of

BLOCK = 4096
"""Bytes: places in the file, lengths and addresses must be multiples of a disk's block, which is no larger."""

_STAGED = 4 << 20
"""Bytes that are moved at a time to where they may be written from."""

_TRIED_AGAIN = 16


def aligned_memory(nbytes: int) -> Bytes:
    """Memory uint8 (nbytes) that contents can be written from without being moved."""
    whole = np.empty(nbytes + BLOCK, np.uint8)
    start = -start_of(whole) % BLOCK
    return whole[start : start + nbytes]


@dataclass
class _Choice:
    """Between the ways into one file system; `pace`: seconds a byte of either, past the cache or through it."""

    pace: dict[bool, float] = field(default_factory=dict)
    count: int = 0
    next_trial: int = _TRIED_AGAIN

    def goes_direct(self) -> bool:
        if len(self.pace) < 2:
            return not self.pace
        is_faster = self.pace[True] <= self.pace[False]
        self.count += 1
        if self.count < self.next_trial:
            return is_faster
        self.next_trial *= 2
        return not is_faster

    def took(self, is_direct: bool, pace: float) -> None:
        self.pace[is_direct] = (self.pace.get(is_direct, pace) + pace) / 2


_choices: dict[int, _Choice] = {}
"""By the number of the file system: a run opens a file for each step."""


class LongWrites:
    """Whole blocks into the file `path`, which is open as `cached` too: unbuffered, and for all that is no whole block.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(buffering=0) as cached:
    ...     writes = LongWrites(Path(cached.name), cached)
    ...     writes.write(aligned_memory(1 << 20).data, 1 << 12)
    ...     writes.close()
    ...     Path(cached.name).stat().st_size
    1052672
    """

    def __init__(self, path: Path, cached: IO[bytes]) -> None:
        self._cached = cached
        self._direct: int | None = None
        try:
            if hasattr(os, "O_DIRECT"):
                self._direct = os.open(path, os.O_WRONLY | os.O_DIRECT | getattr(os, "O_CLOEXEC", 0))
        except OSError:  # the file system has no such way
            pass
        self._choice = _choices.setdefault(os.fstat(cached.fileno()).st_dev, _Choice())
        self._staging: Bytes | None = None

    def write(self, data: memoryview, at: int) -> None:
        """Bytes of whole blocks, at a place that is a multiple of one.  Raises OSError."""
        is_direct = self._direct is not None and self._choice.goes_direct()
        begin = time.perf_counter()
        done = self._past_the_cache(data, at) if is_direct else 0
        if done < len(data):
            self._cached.seek(at + done)
            write_parts(self._cached, (data[done:],))
        self._choice.took(is_direct, (time.perf_counter() - begin) / len(data))

    def close(self) -> None:
        """Raises OSError."""
        if self._direct is not None:
            direct, self._direct = self._direct, None
            os.close(direct)

    def _past_the_cache(self, data: memoryview, at: int) -> int:
        """How many of the bytes went this way: all, or what there was before the first failure, which is the last."""
        assert self._direct is not None
        given = np.frombuffer(data, np.uint8)
        is_aligned = start_of(given) % BLOCK == 0
        if not is_aligned and self._staging is None:
            self._staging = aligned_memory(_STAGED)
        done = 0
        try:
            while done < len(data):
                part = data[done:]
                if not is_aligned:
                    assert self._staging is not None
                    length = min(_STAGED, len(part))
                    self._staging[:length] = given[done : done + length]
                    part = self._staging.data[:length]
                written = os.pwrite(self._direct, part, at + done)
                done += written
                if written % BLOCK:
                    break  # a disk that is full: the cached file says so
        except OSError:
            self.close()
        return done
