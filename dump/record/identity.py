"""Which tensors of a step hold the same bytes of memory at the same version.

A value is keyed by storage, offset, shape, stride, dtype and version counter.  Three things come of it: the
dataflow graph, one measurement for each distinct value, and one file for each distinct value.

An address alone will not do: an allocator hands the same address out again.  So the step holds a weak
reference to each storage it has met, which keeps torch from reusing the storage object (not its memory)
before the step ends.  Nor will a version alone do: `tensor.data` counts its own writes, from 0, beside the
tensor's.  A version that falls shows two counters over one memory, and from there on nothing known of that
memory is believed.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import torch

from ..environment import device
from ..torch_internals import free_weak_storage, storage_address, version, weak_storage, without_dispatch
from . import contents
from .reading import (
    Facts,
    count_of,
    dtype_of,
    is_conjugated,
    is_contiguous,
    is_lazily_changed,
    is_negated,
    is_on_host,
    layout_of,
    offset_of,
    requires_grad,
    shape_of,
    storage_of,
    strides_of,
)

_UNCOUNTED = -1  # the version of an inference tensor, whose writes nobody counts
_UNSEEN = -2  # the version of memory of which no tensor was seen yet


class Identity(msgspec.Struct, frozen=True, gc=False):
    """`value` numbers a distinct value, `storage` the memory it lies in; `fresh` at the first sight of the
    value. `content` equals that of every tensor whose flattened contents are the same bytes, whatever its
    shape.
    """

    value: int
    storage: int
    content: tuple[Any, ...]
    fresh: bool
    blank: bool = False


class _Memory(msgspec.Struct, gc=False, eq=False):
    """A storage met in this step: its number, the last version seen and the highest, and how often its versions lost
    their meaning; `blank` while nothing has been written to it, `settled` once a recorded collective has written it.
    """

    number: int
    version: int
    highest: int
    epoch: int = 0
    blank: bool = False
    settled: bool = False


class Identities:
    """The values met in one step.  Close it to let the storages go.

    `overwritten` counts values found changed past the version counter, where somebody looks (`CheckedIdentities`).
    """

    def __init__(self) -> None:
        self.overwritten = 0
        self._memories: dict[int, _Memory] = {}
        self._weak: list[int] = []
        self._values: dict[tuple[Any, ...], int] = {}

    def identify(self, tensor: torch.Tensor, facts: Facts | None = None) -> Identity | None:
        """None for a tensor without storage of its own: sparse, nested, a wrapper subclass.  `facts` are the tensor's,
        where they were read."""
        if facts is None:
            found = _facts_of(tensor)
            if found is None:
                return None
            facts = found
        _, storage, now, offset, dtype, shape, is_dense, count, _, _ = facts
        address = storage_address(storage)
        memory = self._memories.get(address)
        if memory is None:
            memory = self._memories[address] = _Memory(len(self._memories), now, now)
            self._weak.append(weak_storage(storage))
        elif now != memory.version:
            if memory.version != _UNSEEN:
                # Below the highest it may be another counter over the same memory, which tells of no write.
                memory.blank = memory.blank and now <= memory.highest
                memory.epoch += now < memory.version
            memory.version, memory.highest = now, max(now, memory.highest)
        place = (memory.number, offset, dtype, now, memory.epoch)
        key: tuple[Any, ...] = (place, shape)
        if not is_dense:  # a conjugated or negated view differs from its base by a lazy bit alone
            key = (*key, strides_of(tensor), is_conjugated(tensor), is_negated(tensor))
        value = self._values.get(key)
        fresh = value is None
        if value is None:
            value = self._values[key] = len(self._values)
        return Identity(value, memory.number, (place, count) if is_dense else key, fresh, memory.blank)

    def touch(self, tensor: torch.Tensor) -> None:
        """Declare the memory of `tensor` written by something that leaves the version counter alone: a
        collective, an in-place call on an inference tensor or on `.data`.
        """
        storage = _storage_of(tensor)
        memory = None if storage is None else self._memories.get(storage_address(storage))
        if memory is not None:
            memory.epoch += 1
            memory.blank = False

    def put_back(self, tensor: torch.Tensor, was: int) -> None:
        """The version counter of `tensor` was put back from `was`: what was written before, by a call that is known,
        lies there still; where nobody saw the last write, what lies there is new.
        """
        storage = _storage_of(tensor)
        memory = None if storage is None else self._memories.get(storage_address(storage))
        now = version_of(tensor)
        if memory is None or now == was:
            return
        before, seen = memory.epoch, memory.version == was
        memory.epoch, memory.version, memory.blank = before + 1, now, False
        if not seen:
            return
        for key, value in list(self._values.items()):
            number, offset, dtype, version, epoch = key[0]
            if (number, version, epoch) == (memory.number, was, before):
                place = (number, offset, dtype, now, memory.epoch)
                moved = (place, *key[1:])
                self._values[moved] = value

    def settle(self, tensor: torch.Tensor) -> None:
        """A recorded collective has written the memory of `tensor`: nobody does so unseen from here on."""
        storage = _storage_of(tensor)
        memory = None if storage is None else self._memories.get(storage_address(storage))
        if memory is not None:
            memory.settled = True

    def is_settled(self, tensor: torch.Tensor) -> bool:
        storage = _storage_of(tensor)
        memory = None if storage is None else self._memories.get(storage_address(storage))
        return memory is not None and memory.settled

    def emptied(self, storage: torch.UntypedStorage) -> None:
        """`storage` has got new memory, to which nothing was written yet."""
        address = storage_address(storage)
        memory = self._memories.get(address)
        if memory is None:
            memory = self._memories[address] = _Memory(len(self._memories), _UNSEEN, _UNSEEN)
            self._weak.append(weak_storage(storage))
        memory.epoch += 1
        memory.blank, memory.settled = True, False

    def close(self) -> None:
        for reference in self._weak:
            free_weak_storage(reference)
        self._weak.clear()
        self._memories.clear()
        self._values.clear()


class CheckedIdentities(Identities):
    """The values met in one step, told apart by their bytes at every mention.

    For memory that is written past torch's version counter: a numpy view, a raw pointer, a kernel that writes into
    somebody else's memory.  None moves the version, so the identity of a value would stay what it was and its first
    measurement be believed.  Where a digest differs from the one before, what lies there is a new value that no
    recorded call made.  A digest reads the whole tensor, and waits for a device: for a run that looks for such a fault.
    """

    def __init__(self) -> None:
        super().__init__()
        self._digests: dict[int, str] = {}

    def identify(self, tensor: torch.Tensor, facts: Facts | None = None) -> Identity | None:
        identity = super().identify(tensor, facts)
        if identity is None:
            return None
        with device.measuring(), without_dispatch():
            digest = hashlib.md5(contents.borrow(tensor).data, usedforsecurity=False).hexdigest()
        known = self._digests.setdefault(identity.value, digest)
        if known == digest:
            return identity
        self.overwritten += 1
        self.touch(tensor)
        renewed = self.identify(tensor)
        # Not fresh: its autograd node made what lay there before.
        return None if renewed is None else msgspec.structs.replace(renewed, fresh=False)


def _facts_of(tensor: torch.Tensor) -> Facts | None:
    """Those of any tensor with storage; what lies there conjugated or negated does not lie in order."""
    storage = _storage_of(tensor)
    if storage is None:
        return None
    is_dense = is_contiguous(tensor) and not is_lazily_changed(tensor)
    return (
        *(layout_of(tensor), storage, version_of(tensor), offset_of(tensor), dtype_of(tensor), tuple(shape_of(tensor))),
        *(is_dense, count_of(tensor), requires_grad(tensor), is_on_host(tensor)),
    )


def version_of(tensor: torch.Tensor) -> int:
    """The version counter; -1 for an inference tensor, which has none.  Asking first would take as long again."""
    try:
        counted: int = version(tensor)
        return counted
    except RuntimeError:
        return _UNCOUNTED


def _storage_of(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    try:
        return storage_of(tensor)
    except RuntimeError:  # NotImplementedError is one too
        return None
