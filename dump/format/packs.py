"""Pack files: the tensors of a step behind one another, each byte for byte the safetensors file that it would be.

A dump calls such a tensor `tensors.pack#64-1200`: bytes 64 up to 1200 of `tensors.pack`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PACK_FILE = "tensors.pack"
ALIGNMENT = 8
"""Each tensor begins at a multiple of so many bytes, and so do its elements."""

_NAME = re.compile(r"([^#]+\.pack)#(\d{1,18})-(\d{1,18})", re.ASCII)


class Extent(NamedTuple):
    """Bytes `start` up to `end` of a file."""

    file: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.file}#{self.start}-{self.end}"


def extent_of(data_name: str) -> Extent | None:
    """Which bytes of which pack file a dump means; None where it means a whole file.

    >>> extent_of("tensors.pack#64-1200")
    Extent(file='tensors.pack', start=64, end=1200)
    >>> extent_of("Torch.add.0.forward.input.0.safetensors")
    """
    found = _NAME.fullmatch(data_name)
    return None if found is None else Extent(found[1], int(found[2]), int(found[3]))
