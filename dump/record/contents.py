"""The memory of a tensor on the host, as numpy sees it and as bytes: a copy, or a look at what the run may write to."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..torch_internals import from_dlpack, to_dlpack


@dataclass(frozen=True, slots=True)
class Contents:
    """A tensor's contiguous bytes, with what is needed to read them again.

    Unless `private`, they are the tensor's own memory: good until the run goes on.
    """

    data: memoryview
    dtype: str
    shape: tuple[int, ...]
    private: bool = True

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def kept(self) -> Contents:
        """The same, in memory that nobody else writes to."""
        if self.private:
            return self
        copied: npt.NDArray[np.uint8] = np.array(np.frombuffer(self.data, dtype=np.uint8))
        return replace(self, data=copied.data, private=True)


def borrow(tensor: torch.Tensor) -> Contents:
    """The contents of a dense tensor from any device, copied only where they do not lie in order on the host.

    On a device this waits for it.
    """
    source = tensor.detach()
    if source.is_conj() or source.is_neg():
        source = source.resolve_conj().resolve_neg()
    flat = source.cpu().contiguous().view(-1)
    raw: npt.NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
    if flat.numel():
        raw = as_array(flat.view(torch.uint8))
    is_own = bool(flat.numel()) and flat.data_ptr() == tensor.data_ptr()
    return Contents(raw.data, str(tensor.dtype), tuple(tensor.shape), private=not is_own)


def digest(contents: Contents, algorithm: str) -> str:
    """`md5`: 32 hex digits of MD5; `crc32`: the 8 hex digits that msprobe writes under the name of MD5."""
    if algorithm == "crc32":
        return f"{zlib.crc32(contents.data):08x}"
    return hashlib.md5(contents.data, usedforsecurity=False).hexdigest()


def shared(tensor: torch.Tensor) -> torch.Tensor:
    """A second tensor on the memory of a detached host tensor.

    Its `.numpy()` leaves the first alone, whose own would forbid for good to resize the storage, as FSDP does with
    every parameter it has gathered.
    """
    second: torch.Tensor = from_dlpack(to_dlpack(tensor))
    return second


def as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The memory of a detached host tensor, of a dtype that numpy has, as an array."""
    array: npt.NDArray[Any] = shared(tensor).numpy()
    return array
