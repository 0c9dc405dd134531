"""Tensor files against torch, safetensors and numpy themselves, and against files made to do harm."""

from __future__ import annotations

import json
import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hostile_files import refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dump.format import tensor_bytes, tensors
from dump.format.errors import ConfigError, OutputError, TensorFileError
from dump.format.tensors import NUMPY_DTYPES, read_tensor, safetensors_head, write_npy, write_tensor

FLOATS = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
]
INTEGERS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
UNSIGNED = [torch.uint16, torch.uint32, torch.uint64]
COMPLEX = [torch.complex64, torch.complex128]
DTYPES = [*FLOATS, *INTEGERS, *UNSIGNED, torch.bool, *COMPLEX]
SHAPES: list[tuple[int, ...]] = [(), (1,), (3, 4), (0, 3), (2, 1, 5)]


def example(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    values = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(shape) - 2
    if dtype is torch.float8_e8m0fnu or dtype in UNSIGNED or dtype is torch.uint8:
        values = values.abs()
    if dtype is torch.bool:
        return values > 0
    if dtype.is_complex:
        return torch.complex(values, 3 - values).to(dtype)
    return values.to(dtype)


def raw(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().view(-1).view(torch.uint8).tolist()) if tensor.numel() else b""


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def expected(tensor: torch.Tensor) -> np.ndarray:
    if tensor.is_complex():
        return tensor.resolve_conj().to(torch.complex128).numpy()
    return tensor.to(torch.float64).resolve_neg().numpy()


def same(array: np.ndarray, tensor: torch.Tensor) -> bool:
    return array.shape == tuple(tensor.shape) and np.array_equal(wide(array), expected(tensor))


def mapping_of(array: np.ndarray) -> object:
    base = array.base
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
class TestRoundTrip:
    def test_safetensors(self, dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
        tensor = example(dtype, shape)
        file = tmp_path / "t.safetensors"
        written = write_tensor(file, data=raw(tensor), dtype=str(dtype), shape=shape)
        assert written == file.stat().st_size
        assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
        array = read_tensor(tmp_path, "t.safetensors")
        assert same(array, tensor)
        assert array.dtype == NUMPY_DTYPES[str(dtype)]
        stored = safetensors.torch.load_file(file)["tensor"]
        if dtype is torch.complex128:
            stored = torch.view_as_complex(stored)
        assert stored.dtype is dtype
        assert torch.equal(stored.view(-1).view(torch.uint8), tensor.view(-1).view(torch.uint8))

    def test_written_by_safetensors(self, dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
        if dtype is torch.complex128:
            return  # the library refuses it
        tensor = example(dtype, shape)
        safetensors.torch.save_file({"any name": tensor}, tmp_path / "t.safetensors")
        assert same(read_tensor(tmp_path, "t.safetensors"), tensor)

    def test_npy(self, dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
        tensor = example(dtype, shape)
        file = tmp_path / "t.npy"
        assert write_npy(file, data=raw(tensor), dtype=str(dtype), shape=shape) == file.stat().st_size
        array = read_tensor(tmp_path, "t.npy")
        assert same(array, tensor)
        theirs = np.load(file, allow_pickle=False)
        assert theirs.dtype == array.dtype
        assert np.array_equal(theirs, array)
        own = NUMPY_DTYPES[str(dtype)]
        assert array.dtype == (own if own.isbuiltin == 1 else np.float32)

    def test_torch_save(self, dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
        tensor = example(dtype, shape)
        torch.save(tensor, tmp_path / "t.pt")
        array = read_tensor(tmp_path, "t.pt")
        assert same(array, tensor)
        assert array.dtype == NUMPY_DTYPES[str(dtype)]


def test_complex32_has_no_numpy_dtype_and_is_widened(tmp_path: Path) -> None:
    halves = np.array([[1, -2], [0.5, 3]], np.float16)
    for name, write in (("t.safetensors", write_tensor), ("t.npy", write_npy)):
        write(tmp_path / name, data=halves.tobytes(), dtype="torch.complex32", shape=(2,))
        array = read_tensor(tmp_path, name)
        assert array.dtype == np.complex64
        assert array.tolist() == [1 - 2j, 0.5 + 3j]


def test_a_large_widened_npy_is_written_piece_by_piece(tmp_path: Path) -> None:
    tensor = torch.arange(1_200_000).to(torch.bfloat16)
    write_npy(
        tmp_path / "t.npy",
        data=tensor.view(torch.uint16).numpy().data,
        dtype="torch.bfloat16",
        shape=(1_200_000,),
    )
    assert np.array_equal(read_tensor(tmp_path, "t.npy"), tensor.float().numpy())


def test_read_arrays_are_mapped_and_read_only(tmp_path: Path) -> None:
    tensor = example(torch.float32, (3, 4))
    write_tensor(tmp_path / "a.safetensors", data=raw(tensor), dtype="torch.float32", shape=(3, 4))
    write_npy(tmp_path / "a.npy", data=raw(tensor), dtype="torch.float32", shape=(3, 4))
    torch.save(tensor, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.npy", "a.pt"):
        array = read_tensor(tmp_path, name)
        assert isinstance(mapping_of(array), mmap.mmap), name
        assert not array.flags.writeable


def test_fortran_order_and_big_endian_npy(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.save(tmp_path / "f.npy", values)
    np.save(tmp_path / "b.npy", values.astype(">f4"))
    assert np.array_equal(read_tensor(tmp_path, "f.npy"), values)
    assert np.array_equal(read_tensor(tmp_path, "b.npy"), values)


def test_unaligned_elements_are_read(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}).encode()
    header += b" " * ((3 - len(header)) % 8)
    body = struct.pack("<Q", len(header)) + header + np.array([1.5, -2.0]).tobytes()
    (tmp_path / "t.safetensors").write_bytes(body)
    assert read_tensor(tmp_path, "t.safetensors").tolist() == [1.5, -2.0]


@given(
    shape=st.lists(st.integers(0, 5), max_size=4).map(tuple),
    dtype=st.sampled_from(sorted(NUMPY_DTYPES)),
    data=st.data(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_survive(shape: tuple[int, ...], dtype: str, data: st.DataObject, tmp_path: Path) -> None:
    size = int(np.prod(shape)) * NUMPY_DTYPES[dtype].itemsize
    content = data.draw(st.binary(min_size=size, max_size=size))
    write_tensor(tmp_path / "t.safetensors", data=memoryview(content), dtype=dtype, shape=shape)
    assert read_tensor(tmp_path, "t.safetensors").tobytes() == content


# Writing


@pytest.mark.parametrize("write", [write_tensor, write_npy])
def test_a_dtype_without_a_place_is_refused(write: tensors.Writer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"torch\.qint8"):
        write(tmp_path / "t", data=b"\0", dtype="torch.qint8", shape=(1,))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [write_tensor, write_npy])
def test_data_of_another_length_is_refused(write: tensors.Writer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected 8 bytes of data, found 7"):
        write(tmp_path / "t", data=b"1234567", dtype="torch.float32", shape=(2,))


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        write_tensor(tmp_path / "none" / "t.safetensors", data=b"\0", dtype="torch.int8", shape=(1,))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    class FailingError(Exception):
        pass

    def parts():  # type: ignore[no-untyped-def]
        yield b"half"
        raise FailingError

    (tmp_path / "t").write_bytes(b"old")
    with pytest.raises(FailingError):
        tensor_bytes.write_whole(tmp_path / "t", parts())
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    assert (tmp_path / "t").read_bytes() == b"old"


def test_a_killed_process_leaves_no_short_file_under_the_name(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from dump.format import tensor_bytes\n"
        "def parts():\n    yield b'half'\n    os._exit(9)\n"
        "tensor_bytes.write_whole(Path(sys.argv[1]) / 't.safetensors', parts())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, check=False)
    assert done.returncode == 9
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    with pytest.raises(TensorFileError, match="found none"):
        read_tensor(tmp_path, "t.safetensors")


def test_duplicate_registration_raises() -> None:
    with pytest.raises(ValueError, match="registered already"):
        tensors.register_reader(".npy")(tensors.readers[".npy"])
    with pytest.raises(ValueError, match="registered already"):
        tensors.register_writer(".npy")(write_npy)
    assert sorted(tensors.readers) == [".npy", ".pt", ".safetensors"]
    assert dict(tensors.writers) == {".safetensors": write_tensor, ".npy": write_npy}


def test_reading_a_torch_file_imports_no_torch(tmp_path: Path) -> None:
    torch.save(torch.ones(2), tmp_path / "t.pt")
    script = (
        "import sys; from pathlib import Path; from dump.format.tensors import read_tensor\n"
        "assert read_tensor(Path(sys.argv[1]), 't.pt').tolist() == [1, 1]; assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, check=True)


# Paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dump_tensor_data"
    folder.mkdir()
    np.save(tmp_path / "secret.npy", np.ones(3))
    np.save(folder / "inside.npy", np.ones(3))
    (folder / "below").mkdir()
    np.save(folder / "below" / "t.npy", np.ones(3))
    (folder / "out.npy").symlink_to(tmp_path / "secret.npy")
    (folder / "link.npy").symlink_to("inside.npy")
    (folder / "loop.npy").symlink_to("loop.npy")
    os.mkfifo(folder / "pipe.npy")
    (folder / "folder.npy").mkdir()
    (folder / "empty.npy").touch()
    (folder / "t.bin").write_bytes(b"1234")
    return folder


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("../secret.npy", "bare name"),
        ("..", "bare name"),
        (".", "bare name"),
        ("", "bare name"),
        ("below/t.npy", "bare name"),
        ("below\\t.npy", "bare name"),
        ("/etc/passwd", "bare name"),
        ("inside.npy\0.pt", "bare name"),
        ("two\nlines.npy", "bare name"),
        ("out.npy", "link to"),
        ("loop.npy", "leads nowhere|found none"),
        ("x" * 5000 + ".npy", "and 4924 characters more"),
        ("absent.npy", "found none"),
        ("pipe.npy", "no regular file"),
        ("folder.npy", "no regular file"),
        ("empty.npy", "empty file"),
        ("t.bin", "suffix '.bin'"),
    ],
)
def test_names_that_are_refused(name: str, complaint: str, folder: Path) -> None:
    with pytest.raises(TensorFileError, match=complaint) as caught:
        read_tensor(folder, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["inside.npy", "link.npy"])
def test_names_that_are_read(name: str, folder: Path) -> None:
    assert read_tensor(folder, name).tolist() == [1, 1, 1]


def test_a_folder_reached_by_a_link_is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(folder)
    assert read_tensor(tmp_path / "alias", "inside.npy").tolist() == [1, 1, 1]


# Damaged and hostile files


def good(name: str, folder: Path) -> bytes:
    tensor = torch.arange(12, dtype=torch.int32).view(3, 4)
    file = folder / name
    if name.endswith(".pt"):
        torch.save(tensor, file)
    else:
        write = tensors.writers[file.suffix]
        write(file, data=raw(tensor), dtype="torch.int32", shape=(3, 4))
    return file.read_bytes()


@pytest.mark.parametrize("name", ["t.safetensors", "t.npy", "t.pt"])
def test_truncated_files_are_refused_wherever_they_end(name: str, tmp_path: Path) -> None:
    content = good(name, tmp_path)
    for end in range(0, len(content), 7):
        refused(tmp_path, name, content[:end])


@pytest.mark.parametrize("name", ["t.safetensors", "t.npy"])
def test_bytes_after_the_tensor_are_refused(name: str, tmp_path: Path) -> None:
    refused(tmp_path, name, good(name, tmp_path) + b"\0")


@pytest.mark.parametrize("name", ["t.safetensors", "t.npy", "t.pt"])
def test_foreign_bytes_are_refused(name: str, tmp_path: Path) -> None:
    for content in (
        b"\x7fELF",
        b"{}" * 40,
        b"\xff" * 200,
        b"PK\x03\x04" + b"\0" * 60,
        b"\x93NUMPY\x01\0\xff\xff",
    ):
        refused(tmp_path, name, content)


@pytest.mark.parametrize("name", ["t.safetensors", "t.npy", "t.pt"])
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_gives_an_array_or_one_clear_error(name: str, data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(good(name, tmp_path))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(bytes(content))
    try:
        array = read_tensor(tmp_path, name)
    except TensorFileError:
        return
    array.tobytes()


def safetensors_bytes(header: object, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({}, b""),
        ([], b""),
        (b"{", b""),
        (b"[" * 9000, b""),
        ({"a": F32, "b": F32}, b"8 bytes."),
        (b'{"a": %b, "a": %b}' % (json.dumps(F32).encode(), json.dumps(F32).encode()), b"8 bytes."),
        ({"a": {**F32, "dtype": "Q8"}}, b"8 bytes."),
        ({"a": {**F32, "dtype": ["F32"]}}, b"8 bytes."),
        ({"a": {**F32, "shape": [3]}}, b"8 bytes."),
        ({"a": {**F32, "shape": [-2]}}, b"8 bytes."),
        ({"a": {**F32, "shape": [-1, -2]}}, b"8 bytes."),
        ({"a": {**F32, "shape": [True, 2]}}, b"8 bytes."),
        ({"a": {**F32, "shape": [2.0]}}, b"8 bytes."),
        ({"a": {**F32, "shape": [1] * 65 + [2]}}, b"8 bytes."),
        ({"a": {**F32, "shape": [1 << 62, 1 << 62]}}, b"8 bytes."),
        ({"a": {**F32, "shape": [0, 1 << 62], "data_offsets": [0, 0]}}, b""),
        ({"a": {**F32, "data_offsets": [0, 9]}}, b"9 bytes.."),
        ({"a": {**F32, "data_offsets": [4, 12]}}, b"12 bytes...."),
        ({"a": {**F32, "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, b"8 bytes."),
        ({"a": F32, "__metadata__": 3}, b"8 bytes."),
        ({"a": F32, "__metadata__": {"view": "torch.complex128"}}, b"8 bytes."),
    ],
    ids=repr,
)
def test_safetensors_headers_that_lie(header: object, body: bytes, tmp_path: Path) -> None:
    refused(tmp_path, "t.safetensors", safetensors_bytes(header, body))


def test_the_safetensors_header_without_a_lie(tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(safetensors_bytes({"a": F32, "__metadata__": {"view": 1}}, bytes(8)))
    assert read_tensor(tmp_path, "t.safetensors").tolist() == [0, 0]


def npy_bytes(header: str, body: bytes, version: bytes = b"\1\0") -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + body


NPY = "{{'descr': {}, 'fortran_order': False, 'shape': {}}}"


@pytest.mark.parametrize(
    "header",
    [
        NPY.format("'<f4'", "(3,)"),
        NPY.format("'<f4'", "(1,)"),
        NPY.format("'<f4'", "(-2,)"),
        NPY.format("'<f4'", "(2.0,)"),
        NPY.format("'<f4'", "2"),
        NPY.format("'<f4'", "(4611686018427387904, 4)"),
        NPY.format("'|O'", "(1,)"),
        NPY.format("'|V4'", "(2,)"),
        NPY.format("'<U1'", "(2,)"),
        NPY.format("[('a', '<f4')]", "(2,)"),
        NPY.format("__import__('os').system('true')", "(2,)"),
        "{'descr': '<f4'}",
        "(" * 500,
        "-" * 9000 + "1",
        "[]",
    ],
)
def test_npy_headers_that_lie(header: str, tmp_path: Path) -> None:
    refused(tmp_path, "t.npy", npy_bytes(header, b"8 bytes."))


def test_the_npy_header_without_a_lie(tmp_path: Path) -> None:
    content = npy_bytes(NPY.format("'<f4'", "(2,)"), bytes(8))
    (tmp_path / "t.npy").write_bytes(content)
    assert read_tensor(tmp_path, "t.npy").tolist() == [0, 0]
    refused(tmp_path, "t.npy", content.replace(b"NUMPY\1", b"NUMPY\4"))


class Payload:
    """What a hostile file would have us run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """104 bytes before a tensor of three numbers, and 8 bytes behind it."""
    file = tmp_path / "tensors.pack"
    head, size = safetensors_head("torch.float32", (3,))
    file.write_bytes(bytes(104) + head + np.arange(3, dtype="f4").tobytes() + bytes(8))
    assert file.stat().st_size == 104 + len(head) + size + 8 == 196
    return file


def test_a_tensor_of_a_pack(pack: Path) -> None:
    found = read_tensor(pack.parent, "tensors.pack#104-188")
    assert (found.tolist(), found.flags.writeable) == ([0, 1, 2], False)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensors.pack", "suffix"),
        ("tensors.pack#104", "found none"),
        ("tensors.pack#104-", "found none"),
        ("tensors.pack#-104-188", "found none"),
        ("tensors.pack#104-188#104-188", "found none"),
        ("other.pack#104-188", "found none"),
        ("../tensors.pack#104-188", "bare name"),
        ("a/tensors.pack#104-188", "bare name"),
        ("\0.pack#104-188", "bare name"),
        ("..pack#104-188", "found none"),
        (f"{'x' * 300}.pack#0-8", "bare name"),
        ("tensors.pack#188-104", "found 188 up to 104"),
        ("tensors.pack#104-104", "found 104 up to 104"),
        ("tensors.pack#0-104", "header"),
        ("tensors.pack#104-187", "bytes of tensor"),
        ("tensors.pack#104-196", "bytes of tensor"),
        ("tensors.pack#104-109", "header"),
        ("tensors.pack#104-197", "shorter file"),
        ("tensors.pack#104-999999999999999999", "shorter file"),
        ("tensors.pack#999999999999999990-999999999999999999", "shorter file"),
        ("tensors.pack#104-1880000000000000000000", "found none"),
    ],
)
def test_a_name_that_lies_about_a_pack_is_refused(pack: Path, name: str, said: str) -> None:
    with pytest.raises(TensorFileError, match=said):
        read_tensor(pack.parent, name)


def test_a_pack_elsewhere_is_refused(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "dump_tensor_data").mkdir()
    (tmp_path / "dump_tensor_data" / "tensors.pack").symlink_to(pack)
    with pytest.raises(TensorFileError, match="found a link"):
        read_tensor(tmp_path / "dump_tensor_data", "tensors.pack#104-188")
    os.mkfifo(tmp_path / "dump_tensor_data" / "fifo.pack")
    with pytest.raises(TensorFileError, match="no regular file"):
        read_tensor(tmp_path / "dump_tensor_data", "fifo.pack#104-188")


def test_an_object_array_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([Payload(tmp_path / "ran")], object), allow_pickle=True)
    with pytest.raises(TensorFileError, match=r"'\|O'"):
        read_tensor(tmp_path, "t.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "laid_out",
    [
        "[[4], [2]]",
        "[[1099511627776, 1099511627776], [0, 0]]",
        "[[4], [-1]]",
        "[[4, 4], [1]]",
        "[[4]]",
        "7",
        "[" * 5000,
        '{"a": 1}',
    ],
)
def test_metadata_that_ask_for_more_than_the_memory_are_refused(tmp_path: Path, laid_out: str) -> None:
    head = {
        "tensor": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "__metadata__": {"shape and strides": laid_out},
    }
    text = json.dumps(head).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    with pytest.raises(TensorFileError, match="record again"):
        read_tensor(tmp_path, "x.safetensors")


def test_a_folder_that_is_a_link_out_of_the_dump_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "dump").mkdir()
    write_tensor(tmp_path / "elsewhere" / "a.safetensors", data=bytes(4), dtype="torch.float32", shape=(1,))
    (tmp_path / "dump" / "dump_tensor_data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TensorFileError, match="found a link to"):
        read_tensor(tmp_path / "dump" / "dump_tensor_data", "a.safetensors")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")  # a dump that is reached through a link is one
    (tmp_path / "elsewhere" / "dump_tensor_data").mkdir()
    os.rename(tmp_path / "elsewhere" / "a.safetensors", tmp_path / "elsewhere" / "dump_tensor_data" / "a.safetensors")
    assert read_tensor(tmp_path / "link" / "dump_tensor_data", "a.safetensors").tolist() == [0]
