"""The tensor files of one step: under which names they stand, and how each is written.

A pack file by default: to make, to rename and to close a file took longer than to write what small tensors hold, here
by a factor of four and on the file systems that clusters share by more.  One file a tensor is for other people's tools.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import threading
from pathlib import Path
from typing import IO, Protocol

import torch

from ..format import tensors
from ..format.errors import ConfigError, OutputError
from ..format.layout import TENSOR_FOLDER
from ..format.packs import ALIGNMENT, PACK_FILE, Extent, extent_of
from ..format.tensor_bytes import bytes_of, unwritten, write_parts
from ..record import reading
from ..record.contents import Contents
from .long_writes import BLOCK, LongWrites

_MOST_AROUND = 4096
"""Bytes of a tensor file beside its elements: 2 KB in `.pt`, less in the others, and more with many dimensions."""
_WIDENED = {"torch.bfloat16": 2, "torch.complex32": 2}
_LONGEST_STEM = 150  # characters: with our suffixes, and the name while it is written, within the usual 255
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_SMALL = 1 << 16
"""Bytes that are copied so that they go out in one write."""
_LONG = 1 << 20
"""Bytes from which on elements begin with a block of the disk, for `LongWrites`."""


class TensorStore(Protocol):
    """What `dump_tensor_data` of a step holds.  `reserve` and `write` may be called on any thread, the rest on one."""

    def make(self) -> None:
        """Make the folder.  Raises OSError."""

    def most_bytes(self, payload: Contents) -> int:
        """Bytes that these contents take on disk at most."""

    def reserve(self, payload: Contents) -> str:
        """Where contents are to lie: a name that nobody looks for yet.  Raises ConfigError for a dtype that has no
        place there."""

    def write(self, name: str, payload: Contents) -> int:
        """Write contents where they are to lie; returns the bytes that they take.

        Raises ConfigError for a dtype that has no place there, OutputError where the disk refuses.
        """

    def show(self, name: str, place: str) -> str:
        """What records are to call what was written, first mentioned at `place`."""

    def name_for(self, name: str, place: str) -> str:
        """What the record of its mention at `place` is to call it."""

    def close(self) -> None:
        """Close what is open.  Raises OSError."""

    def tidy(self) -> None:
        """Remove what got no name.  Raises OSError."""


def tensor_store(folder: Path, file_format: str) -> TensorStore:
    """That of the step in `folder`: one pack file, or a file of `file_format` for each tensor."""
    return PackFile(folder) if file_format == "pack" else TensorFiles(folder, file_format)


class PackFile:
    """One file for all tensors.  Where each lies follows from the order in which they are reserved, so that two
    recordings of one run are alike whatever their threads do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / TENSOR_FOLDER
        self._file: IO[bytes] | None = None
        self._long: LongWrites | None = None
        self._end = 0
        self._reserving = threading.Lock()
        self._writing = threading.Lock()

    def make(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def most_bytes(self, payload: Contents) -> int:
        """Exact but for the alignment: what small tensors that wait do not need would be missing to the records."""
        try:
            head, size = tensors.safetensors_head(payload.dtype, payload.shape, payload.strides)
        except ConfigError:  # `reserve` raises it
            return payload.nbytes + _MOST_AROUND
        return len(head) + size + (ALIGNMENT if size < _LONG else BLOCK)

    def reserve(self, payload: Contents) -> str:
        head, size = tensors.safetensors_head(payload.dtype, payload.shape, payload.strides)
        with self._reserving:
            start = self._end
            end = start + len(head) + size
            if size >= _LONG:
                end += -(start + len(head)) % BLOCK  # spaces in the head
            self._end = end + -end % ALIGNMENT
        return str(Extent(PACK_FILE, start, end))

    def write(self, name: str, payload: Contents) -> int:
        extent = extent_of(name)
        assert extent is not None
        head, size = tensors.safetensors_head(payload.dtype, payload.shape, payload.strides)
        data, rest = bytes_of(payload.data, size), bytes(-size % ALIGNMENT)
        try:
            with self._writing:  # they would wait for each other in the kernel, and burn processor time there
                if self._file is None:
                    self._file = (self._folder / PACK_FILE).open("xb", buffering=0)
                self._file.seek(extent.start)
                if size < _LONG:
                    parts = (head, data, rest)
                    return write_parts(self._file, (b"".join(parts),) if size < _SMALL else parts)
                if self._long is None:
                    self._long = LongWrites(self._folder / PACK_FILE, self._file)
                begin, blocks = extent.end - size, size - size % BLOCK
                written = write_parts(self._file, (tensors.head_of_length(head, begin - extent.start),))
                self._long.write(data[:blocks], begin)
                self._file.seek(begin + blocks)
                return written + blocks + write_parts(self._file, (data[blocks:], rest))
        except OSError as error:
            raise unwritten(self._folder / PACK_FILE, error) from error

    def show(self, name: str, place: str) -> str:
        return name

    def name_for(self, name: str, place: str) -> str:
        return name

    def close(self) -> None:
        if self._long is not None:
            self._long.close()
        if self._file is not None:
            self._file.close()

    def tidy(self) -> None:
        if not any(self._folder.iterdir()):
            self._folder.rmdir()


class TensorFiles:
    """A file for each tensor, hidden until its turn comes."""

    def __init__(self, folder: Path, file_format: str) -> None:
        self._folder = folder / TENSOR_FOLDER
        self._suffix = f".{file_format}"
        self._numbers = itertools.count()
        self._names: set[str] = set()

    def make(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def reserve(self, payload: Contents) -> str:
        return f".{next(self._numbers)}{self._suffix}"

    def write(self, name: str, payload: Contents) -> int:
        write = _WRITERS[self._suffix]
        return write(
            self._folder / name, data=payload.data, dtype=payload.dtype, shape=payload.shape, strides=payload.strides
        )

    def most_bytes(self, payload: Contents) -> int:
        """Bytes that a file of these contents takes at most: `.npy` widens what numpy has no dtype for."""
        times = 1
        if self._suffix == ".npy":
            times = 4 if payload.dtype.startswith("torch.float8") else _WIDENED.get(payload.dtype, 1)
        return times * payload.nbytes + _MOST_AROUND

    def show(self, hidden: str, place: str) -> str:
        """Give a hidden file its name, after `place`: a name that no other tensor of this step has, on file
        systems that ignore case either (gradients that a step accumulates come under one place)."""
        stem = name = file_stem(place)
        number = 1
        while name.casefold() in self._names:
            number += 1
            name = f"{stem}~{number}"
        self._names.add(name.casefold())
        shown = f"{name}{self._suffix}"
        os.rename(self._folder / hidden, self._folder / shown)
        return shown

    def name_for(self, name: str, place: str) -> str:
        """The name of the file `name` for its mention at `place`.

        msprobe's compare takes the names of its rows from the names of the files, so those that it reads
        (`.pt`) get a further name, not a further copy, for each mention of a value.
        """
        if self._suffix != ".pt":
            return name
        stem = file_stem(place.removesuffix(".0") if ".parameters_grad." in place else place)
        own = f"{stem}{self._suffix}"
        if own == name or stem.casefold() in self._names:
            return name
        self._names.add(stem.casefold())
        try:
            os.link(self._folder / name, self._folder / own)
        except OSError:  # a file system without hard links
            shutil.copyfile(self._folder / name, self._folder / own)
        return own

    def close(self) -> None:
        """None is left open."""

    def tidy(self) -> None:
        """Remove hidden files that got no name, and an empty folder.  Raises OSError."""
        for path in self._folder.glob(".*"):
            path.unlink()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()


def file_stem(place: str) -> str:
    """A file name for `Torch.add.0.forward.input.0`; a long or unsafe one ends in a hash of the whole."""
    safe = _UNSAFE.sub("_", place)
    if safe == place and len(safe) <= _LONGEST_STEM:
        return safe
    return f"{safe[:_LONGEST_STEM]}-{hashlib.sha256(place.encode(errors='replace')).hexdigest()[:12]}"


def _write_pt(
    path: Path,
    /,
    *,
    data: memoryview | bytes,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
) -> int:
    """As msprobe stores tensors: torch.save of one tensor.  Slower to write and to read than the others."""
    kind = getattr(torch, dtype.removeprefix("torch."))
    flat = torch.frombuffer(data, dtype=kind) if len(data) else torch.empty(0, dtype=kind, device="cpu")
    tensor = reading.viewed(flat, shape) if strides is None else reading.laid_out(flat, shape, strides)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            torch.save(tensor, file)
        os.replace(unfinished, path)
    except RuntimeError as error:  # torch's word for a write that failed
        raise OutputError(f"{path}: torch.save could not write it ({_first_line(error)}); make room there") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return path.stat().st_size


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


_WRITERS: dict[str, tensors.Writer] = {**tensors.writers, ".pt": _write_pt}
