"""The bytes of a tensor, copied at once so that the run may go on writing to it."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, slots=True)
class Contents:
    """A private copy of a tensor's contiguous bytes, with what is needed to read them again."""

    data: memoryview
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return self.data.nbytes


def copy_contents(tensor: torch.Tensor) -> Contents:
    """Copy a dense tensor from any device; on a device this waits for it."""
    source = tensor.detach()
    if source.is_conj() or source.is_neg():
        source = source.resolve_conj().resolve_neg()
    flat = source.cpu().contiguous().view(-1)
    raw: npt.NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
    if flat.numel():
        raw = flat.view(torch.uint8).numpy()
    if flat.data_ptr() == tensor.data_ptr():  # nothing on the way here has made a copy
        raw = raw.copy()
    return Contents(raw.data, str(tensor.dtype), tuple(tensor.shape))


def digest(contents: Contents, algorithm: str) -> str:
    """`md5`: 32 hex digits of MD5; `crc32`: the 8 hex digits that msprobe writes under the name of MD5."""
    if algorithm == "crc32":
        return f"{zlib.crc32(contents.data):08x}"
    return hashlib.md5(contents.data, usedforsecurity=False).hexdigest()
