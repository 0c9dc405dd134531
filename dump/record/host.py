"""A host tensor's memory as numpy sees it, leaving the tensor as it was."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch

_to_dlpack: Any = torch._C._to_dlpack
_from_dlpack: Any = torch._C._from_dlpack


def shared(tensor: torch.Tensor) -> torch.Tensor:
    """A second tensor on the memory of a detached host tensor.

    Its `.numpy()` leaves the first alone, whose own would forbid for good to resize the storage, as FSDP does with
    every parameter it has gathered.
    """
    second: torch.Tensor = _from_dlpack(_to_dlpack(tensor))
    return second


def as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The memory of a detached host tensor, of a dtype that numpy has, as an array."""
    array: npt.NDArray[Any] = shared(tensor).numpy()
    return array
