"""The tensor files of one step: under which names they stand, and how each is written."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from pathlib import Path

import torch

from ..format import tensors
from ..format.errors import OutputError
from ..format.layout import TENSOR_FOLDER
from ..record.contents import Contents

_MOST_AROUND = 4096
"""Bytes of a tensor file beside its elements: 2 KB in `.pt`, less in the others, and more with many dimensions."""
_WIDENED = {"torch.bfloat16": 2, "torch.complex32": 2}
_LONGEST_STEM = 150  # characters: with our suffixes, and the name while it is written, within the usual 255


class TensorFiles:
    """The files in one `dump_tensor_data`.  `write` may be called on any thread, the rest on one."""

    def __init__(self, folder: Path, file_format: str) -> None:
        self._folder = folder / TENSOR_FOLDER
        self._suffix = f".{file_format}"
        self._numbers = itertools.count()
        self._names: set[str] = set()

    def make(self) -> None:
        """Make the folder.  Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, payload: Contents) -> tuple[Path, int]:
        """Write contents under a hidden name; that, and the bytes that the file takes.

        Raises ConfigError for a dtype that the format cannot hold, OutputError where the disk refuses.
        """
        hidden = self._folder / f".{next(self._numbers)}{self._suffix}"
        write = _WRITERS[self._suffix]
        return hidden, write(
            hidden, data=payload.data, dtype=payload.dtype, shape=payload.shape, strides=payload.strides
        )

    def most_bytes(self, payload: Contents) -> int:
        """Bytes that a file of these contents takes at most: `.npy` widens what numpy has no dtype for."""
        times = 1
        if self._suffix == ".npy":
            times = 4 if payload.dtype.startswith("torch.float8") else _WIDENED.get(payload.dtype, 1)
        return times * payload.nbytes + _MOST_AROUND

    def show(self, hidden: Path, place: str) -> str:
        """Give a hidden file its name, after `place`: a name that no other tensor of this step has, on file
        systems that ignore case either (gradients that a step accumulates come under one place)."""
        stem = name = file_stem(place)
        number = 1
        while name.casefold() in self._names:
            number += 1
            name = f"{stem}~{number}"
        self._names.add(name.casefold())
        shown = f"{name}{self._suffix}"
        os.rename(hidden, self._folder / shown)
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

    def tidy(self) -> None:
        """Remove hidden files that got no name, and an empty folder.  Raises OSError."""
        for path in self._folder.glob(".*"):
            path.unlink()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()


def file_stem(place: str) -> str:
    """A file name for `Torch.add.0.forward.input.0`; a long or unsafe one ends in a hash of the whole."""
    safe = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "_" for sign in place)
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
    tensor = flat.view(shape) if strides is None else flat.as_strided(shape, strides)
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
