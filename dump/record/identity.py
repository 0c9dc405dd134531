"""Which tensors of a step hold the same bytes of memory at the same version.

A value is keyed by storage, offset, shape, stride, dtype and version counter.  Three things come of it: the
dataflow graph, one measurement for each distinct value, and one file for each distinct value.

An address alone will not do: an allocator hands the same address out again.  So the step holds a weak reference
to each storage it has met, which keeps torch from reusing the storage object (not its memory) before the step
ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

_UntypedStorage = torch.UntypedStorage


@dataclass(frozen=True, slots=True)
class Identity:
    """`value` numbers a distinct value, `storage` the memory it lies in; `fresh` at the first sight of the value.
    `content` equals that of every tensor whose flattened contents are the same bytes, whatever its shape."""

    value: int
    storage: int
    content: tuple[Any, ...]
    fresh: bool


class Identities:
    """The values met in one step.  Close it to let the storages go."""

    def __init__(self) -> None:
        self._storages: dict[int, int] = {}
        self._weak: list[int] = []
        self._epochs: dict[int, int] = {}
        self._values: dict[tuple[Any, ...], int] = {}

    def identify(self, tensor: torch.Tensor) -> Identity | None:
        """None for a tensor without storage of its own: sparse, nested, a wrapper subclass."""
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):
            return None
        cdata: int = storage._cdata
        number = self._storages.get(cdata)
        if number is None:
            number = self._storages[cdata] = len(self._storages)
            self._weak.append(storage._weak_ref())
        version = -1 if tensor.is_inference() else tensor._version
        bytes_of = (number, tensor.storage_offset(), tensor.dtype, version, self._epochs.get(number, 0))
        # A conjugated or negated view differs from its base by a lazy bit alone.
        lazy = tensor.is_conj() or tensor.is_neg()
        shape, stride = tensor.shape, tensor.stride()
        key = (*bytes_of, shape, stride, lazy)
        value = self._values.get(key)
        fresh = value is None
        if value is None:
            value = self._values[key] = len(self._values)
        dense = tensor.is_contiguous() and not lazy
        content = (*bytes_of, shape.numel()) if dense else key
        return Identity(value, number, content, fresh)

    def touch(self, tensor: torch.Tensor) -> None:
        """Declare the memory of `tensor` written by something that leaves the version counter alone: a
        collective, an in-place call on an inference tensor or on `.data`."""
        try:
            number = self._storages.get(tensor.untyped_storage()._cdata)
        except (NotImplementedError, RuntimeError):
            return
        if number is not None:
            self._epochs[number] = self._epochs.get(number, 0) + 1

    def close(self) -> None:
        for reference in self._weak:
            _UntypedStorage._free_weak_ref(reference)
        self._weak.clear()
        self._storages.clear()
        self._values.clear()
