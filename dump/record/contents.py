"""The memory of a tensor on the host, as numpy sees it and as bytes: a copy, or a look at what the run may write to."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from .. import native
from ..config import Digest
from ..torch_internals import from_dlpack, to_dlpack
from . import reading

_LEAST_REPEATED = 1 << 14
"""Elements below which a tensor is copied, whatever its memory."""

_MOST_READ = 1 << 31
"""Elements of an expanded tensor that are read one by one, which takes some two seconds."""

_BLOCK = 1 << 16
_WRITABLE = 0x200  # which torch asks for; nobody writes
_memory_at: Callable[[int, int, int], memoryview] = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
)(("PyMemoryView_FromMemory", ctypes.pythonapi))
_FEWEST_TOGETHER = 4  # below, one after the other is as fast
_AT_MEMORY_SPEED: frozenset[Digest] = frozenset(("xxh3", "xor"))
_SMALL = 1 << 11
"""Bytes up to which any digest takes less time than to hand them to another thread."""

_LONG = 1 << 21
"""Bytes from which on torch's threads help with a copy."""

_MOST_BETWEEN = 8
"""A tensor whose elements lie further apart, so many times its own size, is put in order where it lies."""


Bytes: TypeAlias = "npt.NDArray[np.uint8]"


class Contents(msgspec.Struct, frozen=True):
    """A tensor's contiguous bytes, with what is needed to read them again.

    Unless `private`, they are the tensor's own memory: good until the run goes on.  With `strides`, in elements, they
    are the memory of a tensor whose elements share it (an expanded one, overlapping windows), and fewer than it has.
    """

    data: memoryview
    dtype: str
    shape: tuple[int, ...]
    private: bool = True
    strides: tuple[int, ...] | None = None

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def kept(self, memory: Bytes | None = None) -> Contents:
        """The same, in memory that nobody else writes to: `memory`, uint8 (nbytes), where it is given."""
        if self.private:
            return self
        copied = np.empty(self.nbytes, np.uint8) if memory is None else memory
        if self.nbytes:
            _copy(copied, np.frombuffer(self.data, np.uint8))
        return Contents(copied.data, self.dtype, self.shape, True, self.strides)


def start_of(memory: Bytes) -> int:
    """Its address."""
    return int(memory.__array_interface__["data"][0])


_copy_long = getattr(native.core, "copy", None)  # a core that was built before it was written has none


def _copy(to: Bytes, source: Bytes) -> None:
    if _copy_long is None or to.nbytes < _LONG:
        to[:] = source
    else:
        _copy_long(start_of(to), start_of(source), to.nbytes)


def as_it_lies(tensor: torch.Tensor, facts: reading.Facts | None = None) -> Contents | None:
    """What `borrow` gives of a tensor that lies in order on the host, where that takes no operator of torch's; the
    tensor must be held as long as the contents are.  None for any other tensor.  `facts` are its, where they were read.
    """
    facts = reading.facts_of(tensor) if facts is None else facts
    if facts is None:
        return None
    _, _, _, _, dtype, shape, is_dense, count, _, is_on_host = facts
    if not (is_dense and is_on_host and count):
        return None
    data = _memory_at(reading.address_of(tensor), count * reading.bytes_of_one(tensor), _WRITABLE)
    return Contents(data, _name_of(dtype), shape, False)


_name_of: Callable[[torch.dtype], str] = functools.cache(str)


def borrow(tensor: torch.Tensor) -> Contents:
    """The contents of a dense tensor from any device, copied only where they do not lie in order on the host.

    On a device this waits for it.
    """
    source = reading.detached(tensor)
    strides = None
    if is_repeated(source):
        source, strides = memory_of(source)
    flat = reading.viewed(reading.in_order(on_host(reading.resolved(source))), -1)
    raw: npt.NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
    count = reading.count_of(flat)
    if count:
        raw = as_array(reading.viewed(flat, torch.uint8))
    is_own = bool(count) and reading.address_of(flat) == reading.address_of(tensor)
    return Contents(raw.data, str(reading.dtype_of(tensor)), tuple(reading.shape_of(tensor)), not is_own, strides)


def on_host(tensor: torch.Tensor) -> torch.Tensor:
    """A detached tensor on the host.  One whose elements do not lie in order on a device is fetched as it lies, and put
    in order here: the device's kernel that would do so may be what is looked for.  This waits for the device."""
    laid_out = as_laid_out(tensor)
    if laid_out is None:
        return reading.fetched(tensor)
    return reading.laid_out(reading.fetched(laid_out), reading.shape_of(tensor), reading.strides_of(tensor))


def as_laid_out(tensor: torch.Tensor) -> torch.Tensor | None:
    """All memory (n,) between the first and the last element of a detached tensor on a device, in the order in which it
    lies; None where its elements lie in order, or so far apart that this is many times as much."""
    if reading.is_on_host(tensor) or reading.is_contiguous(tensor) or reading.is_lazily_changed(tensor):
        return None
    span = _span(tensor)
    if span > _MOST_BETWEEN * reading.count_of(tensor):
        return None
    return reading.laid_out(tensor, (span,), (1,), reading.offset_of(tensor))


def is_repeated(tensor: torch.Tensor) -> bool:
    """Does a tensor of some size have twice as many elements as its memory, or more?"""
    count = reading.count_of(tensor)
    if count <= _LEAST_REPEATED or reading.is_contiguous(tensor):
        return False
    extents = [
        extent for extent, step in zip(reading.shape_of(tensor), reading.strides_of(tensor), strict=True) if step
    ]
    return 2 * min(math.prod(extents), _span(tensor)) <= count


def is_too_long(tensor: torch.Tensor) -> bool:
    """Is it an expanded tensor of more elements than can be read one by one?  A mask of 4 kB may stand for 10^12."""
    if reading.count_of(tensor) <= _MOST_READ:
        return False
    return any(
        not step and extent > 1
        for extent, step in zip(reading.shape_of(tensor), reading.strides_of(tensor), strict=True)
    )


def refuse_too_long(tensor: torch.Tensor) -> None:
    """Raises ValueError for such a tensor."""
    if is_too_long(tensor):
        raise ValueError(f"an expanded tensor of {reading.count_of(tensor):,} elements, too many for a digest")


def real_contiguous(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` contiguous, without graph and lazy bits; a complex one as its real pairs (*shape, 2).

    A large one of elements that share memory stays so, on the host: a mask of 4 bytes may stand for gigabytes.
    """
    found = reading.detached(tensor)
    if is_repeated(found):
        memory, strides = memory_of(found)
        memory = reading.fetched(reading.resolved(memory))
        found = reading.laid_out(memory, reading.shape_of(found), strides, reading.offset_of(memory))
    else:
        found = reading.in_order(reading.resolved(found))
    return torch.view_as_real(found) if reading.dtype_of(found).is_complex else found


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """What elements are summed in: float32, or float64 for what float32 does not hold exactly."""
    if dtype.is_floating_point:
        return torch.float64 if dtype is torch.float64 else torch.float32
    return torch.float32 if dtype.itemsize <= 2 else torch.float64


def each_once(tensor: torch.Tensor) -> torch.Tensor:
    """The part of an expanded tensor that the rest repeats."""
    for dimension, step in enumerate(reading.strides_of(tensor)):
        if not step:
            tensor = reading.narrowed(tensor, dimension, 0, 1)
    return tensor


def memory_of(tensor: torch.Tensor) -> tuple[torch.Tensor, tuple[int, ...]]:
    """The memory (n,) of a detached tensor whose elements share it, and the strides by which they lie there."""
    steps = reading.strides_of(tensor)
    tensor = each_once(tensor)
    if _span(tensor) < reading.count_of(tensor):  # windows that overlap
        return reading.laid_out(tensor, (_span(tensor),), (1,), reading.offset_of(tensor)), steps
    tensor = reading.in_order(tensor if reading.is_contiguous(tensor) else on_host(tensor))
    flat = reading.laid_out(tensor, (reading.count_of(tensor),), (1,), reading.offset_of(tensor))
    return flat, tuple(mine if step else 0 for mine, step in zip(reading.strides_of(tensor), steps, strict=True))


def _span(tensor: torch.Tensor) -> int:
    return 1 + sum(
        (extent - 1) * step for extent, step in zip(reading.shape_of(tensor), reading.strides_of(tensor), strict=True)
    )


def digest(contents: Contents, algorithm: Digest) -> str:
    """`md5`: 32 hex digits of MD5; `xxh3`: as many of XXH3 with 128 bits, 20 times as fast and as good at telling equal
    from not; `crc32`: the 8 hex digits that msprobe writes under the name of MD5; `xor`: the 16 of the exclusive or of
    all words of 8 bytes, little-endian, the last filled up with zeros."""
    if algorithm == "xor":
        return f"{_xor(contents):016x}"
    if algorithm == "crc32":
        checksum = 0
        for block in _in_order(contents):
            checksum = zlib.crc32(block, checksum)
        return f"{checksum:08x}"
    sums = _xxh3() if algorithm == "xxh3" else hashlib.md5(usedforsecurity=False)
    for block in _in_order(contents):
        sums.update(block)
    return str(sums.hexdigest())


def is_cheaper_than_a_copy(contents: Contents, algorithm: Digest) -> bool:
    """Is it best digested where it lies?  Of 4 MB in memory XXH3 takes 0.16 ms where a copy takes 0.29."""
    return algorithm in _AT_MEMORY_SPEED or contents.nbytes <= _SMALL


def digests(many: Sequence[Contents], algorithm: Digest) -> list[str]:
    """The `digest` of each.  MD5 of several is left to the native core, which works on all of them at once: together
    they take a fifth of the time."""
    md5 = getattr(native.core, "md5", None)  # a core that was built before it was written has none
    if algorithm != "md5" or md5 is None or len(many) < _FEWEST_TOGETHER:
        return [digest(each, algorithm) for each in many]
    in_order = [each if each.strides is None else None for each in many]
    together = sorted((each.nbytes, number) for number, each in enumerate(in_order) if each is not None)[::-1]
    held = [np.frombuffer(many[number].data, np.uint8) if nbytes else None for nbytes, number in together]
    memories = [(0, 0) if raw is None else (int(raw.ctypes.data), raw.nbytes) for raw in held]
    found = dict(zip((number for _, number in together), md5(memories), strict=True))
    return [found[n].hex() if n in found else digest(each, algorithm) for n, each in enumerate(many)]


def _xxh3() -> Any:
    import xxhash  # nobody else needs it

    return xxhash.xxh3_128()


def _xor(contents: Contents) -> int:
    word, rest = 0, b""
    for block in _in_order(contents):
        data = rest + bytes(block) if rest else block
        whole = len(data) // 8 * 8
        word ^= int(np.bitwise_xor.reduce(np.frombuffer(data[:whole], dtype="<u8"), initial=0))
        rest = bytes(data[whole:])
    return word ^ int.from_bytes(rest, "little")


def _in_order(contents: Contents) -> Iterator[memoryview]:
    """All bytes in the order of the tensor's elements; a block at a time where that is not the order of its memory."""
    if contents.strides is None:
        yield contents.data
        return
    size = getattr(torch, contents.dtype.removeprefix("torch.")).itemsize
    steps = (*(step * size for step in contents.strides), 1)
    elements: npt.NDArray[np.uint8] = np.ndarray((*contents.shape, size), np.uint8, contents.data, strides=steps)
    walk = np.nditer(
        [elements],
        flags=["external_loop", "buffered"],
        op_flags=[["readonly"]],
        order="C",
        buffersize=_BLOCK,
    )
    with walk:
        for block in walk:
            yield np.ascontiguousarray(block).data


def shared(tensor: torch.Tensor) -> torch.Tensor:
    """A second tensor on the memory of a detached host tensor.

    Its `.numpy()` leaves the first alone, whose own would forbid for good to resize the storage, as FSDP does with
    every parameter it has gathered.
    """
    second: torch.Tensor = from_dlpack(to_dlpack(tensor))
    return second


def as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The memory of a detached host tensor, of a dtype that numpy has, as an array."""
    array: npt.NDArray[Any] = reading.as_numpy(shared(tensor))
    return array
