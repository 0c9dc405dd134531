"""Tensor files: mapped into memory, not read, and written so that no tensor is ever short.

    .safetensors   one tensor a file: every dtype, no pickle
    .pack          ours, by default: such files behind one another in one (`packs`)
    .npy           for other people's tools; bfloat16 and float8 have no place in it and are widened
    .pt            what msprobe writes (`torch_archive`)

Another format is one reader (or writer) and one registration.  Nothing here imports torch.
"""

from __future__ import annotations

import ast
import functools
import io
import itertools
import json
import mmap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from dump.format.errors import ConfigError, refuse
from dump.format.mapped import inside, mapped, mapped_part
from dump.format.packs import ALIGNMENT, extent_of
from dump.format.tensor_bytes import Content, array_in, bytes_of, count, shape_of, span, write_whole
from dump.format.torch_archive import (
    LARGEST_VIEW,
    NUMPY_DTYPES,
    AnyArray,
    read_archive,
)

__all__ = [
    "NUMPY_DTYPES",
    "AnyArray",
    "head_of_length",
    "read_tensor",
    "readers",
    "register_reader",
    "register_writer",
    "safetensors_head",
    "write_npy",
    "write_tensor",
    "writers",
]

Reader: TypeAlias = "Callable[[mmap.mmap, Path], AnyArray]"


class Writer(Protocol):
    """Writes one tensor; returns the bytes that the file takes.

    `data` holds its elements in C order, or with `strides` (in elements) the memory in which they lie.
    """

    def __call__(
        self,
        path: Path,
        /,
        *,
        data: memoryview | bytes,
        dtype: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
    ) -> int: ...


_Registered = TypeVar("_Registered")

_READERS: dict[str, Reader] = {}
_WRITERS: dict[str, Writer] = {}
readers: Mapping[str, Reader] = MappingProxyType(_READERS)
writers: Mapping[str, Writer] = MappingProxyType(_WRITERS)

LARGEST_HEADER = 1 << 14
"""Bytes of a safetensors or npy header: one tensor needs about a hundred."""

_SAFETENSORS_NAMES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float8_e4m3fn": "F8_E4M3",
    "torch.float8_e4m3fnuz": "F8_E4M3FNUZ",
    "torch.float8_e5m2": "F8_E5M2",
    "torch.float8_e5m2fnuz": "F8_E5M2FNUZ",
    "torch.float8_e8m0fnu": "F8_E8M0",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint64": "U64",
    "torch.uint32": "U32",
    "torch.uint16": "U16",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
    "torch.complex64": "C64",
}
_TORCH_NAMES = {name: dtype for dtype, name in _SAFETENSORS_NAMES.items()}

_STORED_AS_PAIRS = {"torch.complex128": "torch.float64", "torch.complex32": "torch.float16"}
"""Dtypes safetensors lacks: stored as (real, imaginary) along one more dimension of extent 2, and named in
the header's metadata under "view".  numpy has no complex32 either: it is read as complex64."""

_SPREAD = "shape and strides"
"""The metadata of a tensor whose elements share memory: the file holds that memory (n,)."""

_LENGTH_BYTES = 8


def read_tensor(folder: Path, data_name: str) -> AnyArray:
    """The tensor in `folder/data_name`: read-only, in its shape and dtype, mapped where no byte must change.

    `data_name` comes from a dump and is not trusted: it must be the bare name of a regular file which, links
    followed, lies in `folder`, or such a name and an extent of a pack file.  Raises TensorFileError when it is not,
    when its suffix is unknown, or when the file is missing, short, damaged, or asks for more than data.
    """
    packed = extent_of(data_name)
    if packed is not None:
        path = inside(folder, packed.file)
        return _read_safetensors(mapped_part(path, packed), path.with_name(data_name))
    path = inside(folder, data_name)
    suffix = Path(data_name).suffix
    if suffix not in _READERS:
        known = ", ".join(sorted(_READERS))
        refuse(path, f"expected a tensor file ({known}), found the suffix {suffix!r}; convert it")
    return _READERS[suffix](mapped(path), path)


def register_reader(suffix: str) -> Callable[[Reader], Reader]:
    """Decorator: read files ending in `suffix` this way.  ValueError where the suffix is taken."""
    return _registration(_READERS, suffix)


def register_writer(suffix: str) -> Callable[[Writer], Writer]:
    """Decorator: write files ending in `suffix` this way.  ValueError where the suffix is taken."""
    return _registration(_WRITERS, suffix)


def _registration(table: dict[str, _Registered], suffix: str) -> Callable[[_Registered], _Registered]:
    def register(function: _Registered) -> _Registered:
        if suffix in table:
            raise ValueError(f"{suffix!r} is registered already, by {table[suffix]!r}")
        table[suffix] = function
        return function

    return register


register_reader(".pt")(read_archive)


def _read_safetensors(content: Content, path: Path) -> AnyArray:
    """https://huggingface.co/docs/safetensors: 8 bytes of little-endian length, a JSON header, the bytes."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or length > min(len(content) - _LENGTH_BYTES, LARGEST_HEADER):
        refuse(
            path,
            f"expected a safetensors header, found {length} bytes of it in {len(content)}; record again",
        )
    name, shape, size, metadata = _safetensors_header(bytes(content[8 : 8 + length]), path)
    dtype = NUMPY_DTYPES[name]
    if len(content) - 8 - length != size:
        refuse(path, f"expected {size} bytes of tensor, found {len(content) - 8 - length}; record again")
    array = array_in(content, path, dtype=dtype, shape=shape, offset=8 + length)
    view = metadata.get("view")
    if isinstance(view, str):
        if _STORED_AS_PAIRS.get(view) != name or shape[-1:] != (2,):
            refuse(path, f"expected pairs of numbers, found {view!r} in {name} of shape {shape}; record again")
        if view == "torch.complex32":
            array = array.astype(np.float32).view(np.complex64)[..., 0]
        else:
            array = array.view(NUMPY_DTYPES[view])[..., 0]
    return _spread(array, metadata[_SPREAD], path) if _SPREAD in metadata else array


register_reader(".safetensors")(_read_safetensors)


def _spread(memory: AnyArray, laid_out: object, path: Path) -> AnyArray:
    """The tensor whose memory (n,) a file holds, by the shape and strides that its metadata give."""
    try:
        shape, strides = json.loads(laid_out if isinstance(laid_out, str) else "")
        extents, steps = shape_of(shape, path), shape_of(strides, path)
        last = sum((extent - 1) * step for extent, step in zip(extents, steps, strict=True))
    except (ValueError, TypeError, RecursionError):
        refuse(path, f"expected a shape and its strides, found {laid_out!r:.80}; record again")
    if not 0 < count(extents) * memory.itemsize <= LARGEST_VIEW or last >= memory.size or memory.ndim != 1:
        refuse(path, f"expected memory of a tensor of {extents}, found {memory.size} elements; record again")
    spread: AnyArray = np.lib.stride_tricks.as_strided(
        memory, extents, [step * memory.itemsize for step in steps], writeable=False
    )
    return spread


def _safetensors_header(header: bytes, path: Path) -> tuple[str, tuple[int, ...], int, dict[str, object]]:
    """(torch dtype, shape, bytes, further keys) of the one tensor that a header describes."""
    try:
        fields = json.loads(header, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        refuse(path, f"expected a header in JSON, found {type(error).__name__}: {error}; record again")
    metadata = fields.pop("__metadata__", {}) if isinstance(fields, dict) else None
    if not isinstance(metadata, dict) or len(fields) != 1:
        refuse(path, "expected a header that describes one tensor, found another; keep one tensor a file")
    match next(iter(fields.values())):
        case {"dtype": str(kind), "shape": [*extents], "data_offsets": [0, int(size)]} if kind in _TORCH_NAMES:
            pass
        case found:
            refuse(path, f"expected dtype, shape and data_offsets from 0, found {found!r:.200}; record again")
    name = _TORCH_NAMES[kind]
    shape = shape_of(extents, path)
    if size != count(shape) * NUMPY_DTYPES[name].itemsize:
        refuse(path, f"expected the bytes of {kind} in shape {shape}, found {size}; record again")
    return name, shape, size, metadata


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice")
    return fields


@register_reader(".npy")
def _read_npy(content: mmap.mmap, path: Path) -> AnyArray:
    """numpy.lib.format, versions 1 to 3; object arrays (pickles) and structures are refused."""
    width = {1: 2, 2: 4, 3: 4}.get(content[6] if len(content) > 10 else 0)
    if content[:6] != b"\x93NUMPY" or width is None:
        refuse(path, f"expected a .npy file, found {content[:8]!r}; record again")
    offset = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    if offset > min(len(content), LARGEST_HEADER):
        refuse(path, f"expected a .npy header, found a length of {offset} in {len(content)} bytes; record again")
    try:
        header = ast.literal_eval(content[8 + width : offset].decode("utf-8").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        refuse(path, f"expected a .npy header, found {type(error).__name__}; record again")
    match header:
        case {"descr": str(descr), "fortran_order": bool(fortran), "shape": tuple(extents)} if descr in _NPY_DTYPES:
            pass
        case {"descr": descr}:
            refuse(path, f"expected numbers, found the dtype {descr!r:.80}; save it as numbers, not as objects")
        case _:
            refuse(path, "expected descr, fortran_order and shape, found another header; record again")
    dtype, shape = _NPY_DTYPES[descr], shape_of(extents, path)
    size = count(shape) * dtype.itemsize
    if len(content) - offset != size:
        refuse(path, f"expected {size} bytes for shape {shape}, found {len(content) - offset}; record again")
    return array_in(content, path, dtype=dtype, shape=shape, offset=offset, order="F" if fortran else "C")


_NPY_DTYPES = {
    ordered.str: ordered
    for dtype in NUMPY_DTYPES.values()
    if dtype.isbuiltin == 1
    for ordered in (dtype, dtype.newbyteorder(">"))
}
"""What numpy writes for torch's dtypes, and the same from a big-endian machine."""


@register_writer(".safetensors")
def write_tensor(
    path: Path,
    /,
    *,
    data: memoryview | bytes,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
) -> int:
    """Write one tensor, named "tensor", as safetensors; returns the bytes written.

    `data` holds the contiguous (C order) little-endian elements, `dtype` is torch's own name.  With `strides` it holds
    the memory in which the elements lie, which is written as it is.  The file appears under its name complete or not
    at all.  Raises ConfigError for a dtype that cannot be stored, OutputError where the disk refuses, ValueError where
    `data` is not as long as `shape` (or shape and strides) says.
    """
    head, size = safetensors_head(dtype, shape, strides)
    return write_whole(path, (head, bytes_of(data, size)))


@functools.lru_cache(maxsize=4096)
def safetensors_head(dtype: str, shape: tuple[int, ...], strides: tuple[int, ...] | None = None) -> tuple[bytes, int]:
    """What stands before the elements of one tensor, and how many bytes these are.

    Raises ConfigError for a dtype that cannot be stored.
    """
    stored = _STORED_AS_PAIRS.get(dtype, dtype)
    if stored not in _SAFETENSORS_NAMES:
        raise ConfigError(f"a tensor of {dtype} has no place in safetensors; leave it out of the scope")
    held = shape if strides is None else (span(shape, strides),)
    extents = (*held, 2) if stored != dtype else held
    size = count(extents) * NUMPY_DTYPES[stored].itemsize
    header: dict[str, object] = {
        "tensor": {"dtype": _SAFETENSORS_NAMES[stored], "shape": extents, "data_offsets": (0, size)}
    }
    metadata = {"view": dtype} if stored != dtype else {}
    if strides is not None:
        metadata[_SPREAD] = json.dumps([shape, strides])
    if metadata:
        header["__metadata__"] = metadata
    text = json.dumps(header, separators=(",", ":")).encode()
    # Spaces up to a multiple of 8, as the format asks: the elements are then aligned in the mapping.
    text += b" " * (-len(text) % ALIGNMENT)
    return _headed(text), size


def head_of_length(head: bytes, length: int) -> bytes:
    """The same head in so many bytes, which are no fewer: with spaces at its end, as the format allows."""
    return _headed(head[_LENGTH_BYTES:].ljust(length - _LENGTH_BYTES))


def _headed(text: bytes) -> bytes:
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


@register_writer(".npy")
def write_npy(
    path: Path,
    /,
    *,
    data: memoryview | bytes,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
) -> int:
    """Write one tensor as .npy; arguments, result and errors are those of `write_tensor`.

    npy cannot name bfloat16, float8 and complex32: they are widened to float32 and complex64, which changes
    no value and doubles (or more) the file; the dump's record keeps the true dtype.
    """
    element = NUMPY_DTYPES.get("torch.float16" if dtype == "torch.complex32" else dtype)
    if element is None:
        raise ConfigError(f"{path.name}: a tensor of {dtype} has no place in .npy; leave it out of the scope")
    if strides is not None:
        raise ConfigError(f"{path.name}: .npy would hold each shared element of an expanded tensor; use safetensors")
    elements = count(shape) * (2 if dtype == "torch.complex32" else 1)
    raw = bytes_of(data, elements * element.itemsize)
    widened = element.isbuiltin != 1 or dtype == "torch.complex32"
    described = np.dtype(np.complex64 if dtype == "torch.complex32" else np.float32 if widened else element)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": described.str, "fortran_order": False, "shape": shape})
    body = _widened(raw, element) if widened else (raw,)
    return write_whole(path, itertools.chain((header.getvalue(),), body))


def _widened(raw: memoryview, element: np.dtype[Any]) -> Iterator[memoryview]:
    """The elements as float32, a mebibyte at a time, so that a large tensor is never held twice."""
    for start in range(0, len(raw), 1 << 20):
        part = np.frombuffer(raw[start : start + (1 << 20)], element).astype(np.float32)
        yield part.data.cast("B")
