"""What the readers and writers of tensor files share: arrays in mapped memory, and files that are whole or absent."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from dump.format.errors import OutputError, refuse
from dump.format.torch_archive import LARGEST_EXTENT, MOST_DIMENSIONS, AnyArray

Content: TypeAlias = "mmap.mmap | memoryview"
"""The bytes of one tensor file."""


def array_in(
    content: Content,
    path: Path,
    *,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    offset: int,
    order: str = "C",
) -> AnyArray:
    try:
        if not count(shape):
            return np.zeros(shape, dtype)
        array: AnyArray = np.ndarray(shape, dtype, buffer=content, offset=offset, order="F" if order == "F" else "C")
        return array
    except (ValueError, OverflowError, MemoryError) as error:
        refuse(path, f"expected a shape that numpy can hold, found {shape} ({error}); record again")


def shape_of(extents: Sequence[object], path: Path) -> tuple[int, ...]:
    shape = tuple(n for n in extents if type(n) is int and 0 <= n <= LARGEST_EXTENT)
    if len(shape) != len(extents) or len(shape) > MOST_DIMENSIONS:
        refuse(path, f"expected up to {MOST_DIMENSIONS} extents from 0 on, found another shape; record again")
    return shape


def count(shape: tuple[int, ...]) -> int:
    elements = 1
    for extent in shape:
        elements *= extent
    return elements


def span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return 1 + sum((extent - 1) * step for extent, step in zip(shape, strides, strict=True))


def bytes_of(data: memoryview | bytes, expected: int) -> memoryview:
    view = memoryview(data)
    # A view with a zero in its shape cannot be cast.
    raw = view.cast("B") if view.nbytes else memoryview(b"")
    if len(raw) != expected:
        raise ValueError(f"expected {expected} bytes of data, found {len(raw)}")
    return raw


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> int:
    """Write under a name that nobody looks for, then rename: a killed process leaves no short file behind.
    (Not synced: after a power cut the file may be short, and reading says so.)"""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        try:
            with unfinished.open("wb", buffering=0) as file:
                written = write_parts(file, parts)
            os.replace(unfinished, path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritten(path, error) from error
    return written


def write_parts(file: IO[bytes], parts: Iterable[bytes | memoryview]) -> int:
    """All of them, to an unbuffered file, which may take less at once; returns the bytes written.  Raises OSError."""
    written = 0
    for part in parts:
        left = memoryview(part)
        while left:
            done = file.write(left)
            written += done
            left = left[done:]
    return written


def unwritten(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: expected to write a tensor, found {error.strerror or error}; make room there")
