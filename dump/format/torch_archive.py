"""Tensors that `torch.save` wrote, read without torch and without running what the pickle asks for.

A file of `torch.save(tensor, path)` is a zip archive of stored members: `<root>/data.pkl` says how the tensor
is cut out of its storage, `<root>/data/<key>` holds the storage's bytes, `<root>/byteorder` their order
(absent before torch 2.1, little-endian then).  The pickle names functions of torch to call.  Here a name
outside a short list is refused, and a name inside it stands for an inert description: nothing is imported,
and the objects a pickle can reach are immutable, so that a hostile file cannot leave anything behind either.
Opcodes are checked first: those that a plain tensor never needs set attributes, or allocate what they claim.

Sources: torch/serialization.py (`_save`, persistent ids), torch/_utils.py (`_rebuild_tensor_v2`, `_v3`,
`_rebuild_parameter`), torch_npu/utils/storage.py (`_rebuild_npu_tensor`, which stores a CPU copy).
"""

from __future__ import annotations

import functools
import io
import mmap
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from dump.format.errors import TensorFileError, refuse

AnyArray: TypeAlias = npt.NDArray[Any]

NUMPY_DTYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        f"torch.{name}": np.dtype(kind)
        for name, kind in {
            "float64": np.float64,
            "float32": np.float32,
            "float16": np.float16,
            "bfloat16": ml_dtypes.bfloat16,
            "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
            "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
            "float8_e5m2": ml_dtypes.float8_e5m2,
            "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
            "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
            "int64": np.int64,
            "int32": np.int32,
            "int16": np.int16,
            "int8": np.int8,
            "uint64": np.uint64,
            "uint32": np.uint32,
            "uint16": np.uint16,
            "uint8": np.uint8,
            "bool": np.bool_,
            "complex64": np.complex64,
            "complex128": np.complex128,
        }.items()
    }
)
"""torch's name of a dtype -> numpy's.  A dtype that is absent (complex32, quantised, sub-byte) has no numpy
counterpart."""

LARGEST_PICKLE = 1 << 20
"""Bytes of `data.pkl`: one tensor needs a few hundred."""

_USUAL_PICKLE = 1 << 12

LARGEST_VIEW = 1 << 40
"""Bytes a view may claim.  Strides of zero let a few stored bytes stand for any number of elements, as the
gradient of a sum rightly does; more than a tebibyte is no tensor that a device ever held."""

LARGEST_EXTENT = (1 << 63) - 1
MOST_DIMENSIONS = 64
"""What torch itself can hold of a shape."""

_STORAGES = {
    "DoubleStorage": "torch.float64",
    "FloatStorage": "torch.float32",
    "HalfStorage": "torch.float16",
    "BFloat16Storage": "torch.bfloat16",
    "LongStorage": "torch.int64",
    "IntStorage": "torch.int32",
    "ShortStorage": "torch.int16",
    "CharStorage": "torch.int8",
    "ByteStorage": "torch.uint8",
    "BoolStorage": "torch.bool",
    "ComplexFloatStorage": "torch.complex64",
    "ComplexDoubleStorage": "torch.complex128",
}

_PLAIN_OPCODES = """
    PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BINPERSID
    BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE
    TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
"""
_OPCODES = frozenset(_PLAIN_OPCODES.split())

_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What bytes that are no pickle of a tensor make `pickle` raise."""


class _StorageKind(NamedTuple):
    """A storage class of torch; `dtype` is None for the untyped one, whose length counts bytes."""

    dtype: np.dtype[Any] | None


class _Dtype(NamedTuple):
    """A dtype of torch.  Wrapped, because numpy's own objects can be rewritten (`__setstate__`)."""

    dtype: np.dtype[Any]


class _Storage(NamedTuple):
    """The storage of a key, and how many of its bytes are the tensor's to use."""

    dtype: np.dtype[Any] | None
    key: str
    size: int


class _TensorView(NamedTuple):
    """A tensor as the pickle describes it; offset and strides count elements."""

    storage: _Storage
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conjugated: bool
    negated: bool


class _Rebuild(NamedTuple):
    """An allowed function.  A tuple, like all that a pickle can reach: there is no attribute to set."""

    function: Callable[..., object]

    def __call__(self, *args: object) -> object:
        return self.function(*args)


def read_archive(content: mmap.mmap, path: Path) -> AnyArray:
    """The one tensor of a `torch.save` file, as a read-only view of `content`, the file's own mapping.

    The result has the stored shape, strides and dtype; only a tensor saved with its lazy conjugation or
    negation bit set is copied.  Raises TensorFileError for anything but a zip archive of one plain tensor
    (or parameter) in uncompressed little-endian storage.  The storage's CRC is not checked: that would read
    it all.
    """
    if not content[:4].startswith(b"PK"):
        found = "a pickle of torch's old format" if content[:1] == b"\x80" else "other bytes"
        refuse(path, f"expected a zip archive written by torch.save, found {found}; save it with torch >= 1.6")
    try:
        with zipfile.ZipFile(content) as archive:  # type: ignore[call-overload]  # a mapping reads, seeks and tells
            members = _Members(content, path, archive)
        pickled = members.text("data.pkl", limit=LARGEST_PICKLE)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, struct.error, ValueError) as error:
        refuse(path, f"expected a zip archive written by torch.save, found a damaged one ({error}); record again")
    try:
        described = _described_again(pickled) if len(pickled) <= _USUAL_PICKLE else _described(pickled)
    except _Refusal as refusal:
        # From None: what matters is the refusal, not the dictionary behind it.
        raise TensorFileError(f"{path}: {refusal}") from None
    except _UNPICKLING_ERRORS as error:
        refuse(path, f"expected the pickle of one tensor, found {type(error).__name__}: {error}; record again")
    if not isinstance(described, _TensorView):
        refuse(path, f"expected one tensor, found a {type(described).__name__}; save the tensor by itself")
    return _cut_out(described, members)


def _described(pickled: bytes) -> object:
    """What a pickle describes.  Raises _Refusal, or one of `_UNPICKLING_ERRORS`."""
    _check_opcodes(pickled)
    return _TensorUnpickler(io.BytesIO(pickled)).load()


_described_again = functools.lru_cache(maxsize=1024)(_described)
"""The same of pickles of usual length: those of tensors of one shape are alike to the byte."""


class _Members:
    """The members of an archive, and where their bytes start in the file."""

    def __init__(self, content: mmap.mmap, path: Path, archive: zipfile.ZipFile) -> None:
        self.content = content
        self.path = path
        self.archive = archive
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1 or len(set(names)) != len(names):
            refuse(path, f"expected one data.pkl in a torch.save archive, found {len(pickles)}; record again")
        self.root = pickles[0].removesuffix("data.pkl")
        if f"{self.root}byteorder" in names:
            order = self.text("byteorder", limit=16)
            if order != b"little":
                refuse(path, f"expected little-endian bytes, found {order!r}; save it on a little-endian machine")

    def text(self, name: str, *, limit: int) -> bytes:
        """The bytes of a small member, checked against their sum."""
        start, size = self.locate(name)
        if size > limit:
            refuse(self.path, f"expected at most {limit} bytes of {name}, found {size}; record again")
        found = self.content[start : start + size]
        if zlib.crc32(found) != self.archive.getinfo(self.root + name).CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for {name!r}")
        return found

    def locate(self, name: str) -> tuple[int, int]:
        """(start, size) of a stored member's bytes within the file."""
        try:
            info = self.archive.getinfo(self.root + name)
        except KeyError:
            refuse(self.path, f"expected {name!r} in the archive, found none; record again")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            refuse(
                self.path,
                f"expected {name!r} stored as it is, found it compressed or encrypted; save it anew",
            )
        header = self.content[info.header_offset : info.header_offset + 30]
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            refuse(self.path, f"expected a member header before {name!r}, found other bytes; record again")
        name_length, extra_length = struct.unpack_from("<HH", header, 26)
        start = info.header_offset + 30 + name_length + extra_length
        if start + info.file_size > len(self.content):
            refuse(
                self.path,
                f"expected {info.file_size} bytes of {name!r}, found fewer; record again",
            )
        return start, info.file_size


class _Refusal(Exception):
    """A pickle asks for what is never run; the text is for the user, after the file's name."""


class _TensorUnpickler(pickle.Unpickler):
    """Builds descriptions of tensors, and nothing else."""

    def find_class(self, module: str, name: str, /) -> object:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refusal(
                f"expected a plain tensor, found a pickle that asks for {f'{module}.{name}'!r}, which is never run;"
                " save the tensor by itself, detached and dense"
            ) from None

    def persistent_load(self, pid: object, /) -> _Storage:
        """A storage, from torch's id ("storage", class, key, device, length)."""
        match pid:
            case ("storage", _StorageKind(dtype=dtype), str(key), _, int(length)) if length >= 0:
                pass
            case _:
                raise pickle.UnpicklingError("a storage's description has an unknown form")
        return _Storage(dtype, key, length * (1 if dtype is None else dtype.itemsize))


def _check_opcodes(pickled: bytes) -> None:
    """UnpicklingError (ValueError for what is no pickle) before any opcode has had its way."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"the opcode {opcode.name}, which no plain tensor needs")
        # The memo grows up to the index that is asked for.
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > len(pickled):
            raise pickle.UnpicklingError(f"a memo of {argument} entries in {len(pickled)} bytes")


def _rebuild_v2(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object = False,
    hooks: object = None,
    metadata: object = None,
) -> _TensorView:
    dtype = None
    if isinstance(storage, _Storage) and storage.dtype is not None:
        dtype = _Dtype(storage.dtype)
    return _describe(storage, dtype, offset=offset, shape=shape, strides=strides, metadata=metadata)


def _rebuild_v3(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object,
    hooks: object,
    dtype: object,
    metadata: object = None,
) -> _TensorView:
    return _describe(storage, dtype, offset=offset, shape=shape, strides=strides, metadata=metadata)


def _rebuild_npu(*args: object) -> _TensorView:
    """torch_npu's variant: the seventh argument is a memory format of the device, not of the stored copy."""
    return _rebuild_v2(*args[:6])


def _rebuild_parameter(data: object, requires_grad: object = True, hooks: object = None) -> object:
    return data


def _describe(
    storage: object, dtype: object, *, offset: object, shape: object, strides: object, metadata: object
) -> _TensorView:
    if not isinstance(storage, _Storage) or not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("a tensor without a storage or a dtype")
    flags = metadata if isinstance(metadata, dict) else {}
    extents, steps = _naturals(shape), _naturals(strides)
    if len(extents) != len(steps) or len(extents) > MOST_DIMENSIONS:
        raise pickle.UnpicklingError(f"{len(extents)} extents with {len(steps)} strides")
    (first,) = _naturals((offset,))
    return _TensorView(
        storage,
        dtype.dtype,
        first,
        extents,
        steps,
        conjugated=bool(flags.get("conj")),
        negated=bool(flags.get("neg")),
    )


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or any(
        type(value) is not int or not 0 <= value <= LARGEST_EXTENT for value in values
    ):
        raise pickle.UnpicklingError("sizes, strides and offsets must be integers from 0 to 2**63 - 1")
    return values


def _cut_out(view: _TensorView, members: _Members) -> AnyArray:
    path, storage, itemsize = members.path, view.storage, view.dtype.itemsize
    start, held = members.locate(f"data/{storage.key}") if storage.size else (0, 0)
    if held < storage.size:
        refuse(path, f"expected {storage.size} bytes of storage {storage.key!r}, found {held}; record again")
    elements = 1
    for extent in view.shape:
        elements *= extent
    last = view.offset + sum((n - 1) * step for n, step in zip(view.shape, view.strides, strict=True))
    if elements and (last + 1) * itemsize > storage.size:
        refuse(
            path,
            f"expected {(last + 1) * itemsize} bytes of storage for shape {view.shape} and strides "
            f"{view.strides}, found {storage.size}; record again",
        )
    if elements * itemsize > LARGEST_VIEW:
        refuse(
            path,
            f"expected at most {LARGEST_VIEW} bytes, found a view of {elements * itemsize}; record again",
        )
    try:
        if not elements:
            return np.zeros(view.shape, view.dtype)
        array: AnyArray = np.ndarray(
            view.shape,
            view.dtype,
            buffer=members.content,
            offset=start + view.offset * itemsize,
            strides=tuple(step * itemsize for step in view.strides),
        )
    except (ValueError, OverflowError) as error:
        refuse(path, f"expected a tensor that fits in memory, found shape {view.shape} ({error}); record again")
    if view.conjugated:
        array = np.conj(array)
    return np.negative(array) if view.negated else array


_ALLOWED: Mapping[tuple[str, str], object] = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(_rebuild_v2),
    ("torch._utils", "_rebuild_tensor_v3"): _Rebuild(_rebuild_v3),
    ("torch._utils", "_rebuild_parameter"): _Rebuild(_rebuild_parameter),
    ("torch_npu.utils.storage", "_rebuild_npu_tensor"): _Rebuild(_rebuild_npu),
    ("torch_npu.npu._format", "Format"): int,
    ("torch.storage", "UntypedStorage"): _StorageKind(None),
    ("torch", "UntypedStorage"): _StorageKind(None),
    **{("torch", name): _StorageKind(NUMPY_DTYPES[dtype]) for name, dtype in _STORAGES.items()},
    **{tuple(name.split(".", 1)): _Dtype(dtype) for name, dtype in NUMPY_DTYPES.items()},  # type: ignore[misc]
}
