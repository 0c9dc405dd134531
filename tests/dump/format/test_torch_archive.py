"""`torch.save` files against torch itself, and against archives made to do harm."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_files import refused

from dump.format import torch_archive
from dump.format.errors import TensorFileError
from dump.format.tensors import read_tensor

VIEWS = {
    "slice": torch.arange(24.0).view(4, 6)[1:3, 2:5],
    "transposed": torch.arange(24.0).view(4, 6).t(),
    "expanded": torch.ones(1).expand(1000),
    "every other": torch.arange(9)[::2],
    "parameter": torch.nn.Parameter(torch.arange(3.0)),
    "requires grad": torch.arange(3.0, requires_grad=True),
    "conjugate": torch.complex(torch.ones(2), torch.ones(2)).conj(),
    "negated": torch.complex(torch.ones(2), torch.ones(2)).conj().imag,
    "float8 slice": torch.arange(8.0).to(torch.float8_e4m3fn)[3:6],
    "shares its storage": torch.arange(8, dtype=torch.int16)[4:],
}


@pytest.mark.parametrize("tensor", VIEWS.values(), ids=VIEWS)
def test_views_saved_by_torch(tensor: torch.Tensor, tmp_path: Path) -> None:
    torch.save(tensor, tmp_path / "t.pt")
    array = read_tensor(tmp_path, "t.pt")
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    truth = tensor.detach().to(wide).resolve_conj().resolve_neg().numpy()
    assert array.shape == truth.shape
    assert np.array_equal(array.astype(truth.dtype), truth)


class Payload:
    """What a hostile file would have us run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def archive(
    data_pkl: bytes,
    storage: bytes = bytes(8),
    *,
    byteorder: bytes | None = b"little",
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        target.writestr("t/data.pkl", data_pkl)
        if byteorder is not None:
            target.writestr("t/byteorder", byteorder)
        target.writestr("t/data/0", storage)
    return buffer.getvalue()


def pickled(
    *,
    offset: object = 0,
    shape: object = (2,),
    strides: object = (1,),
    key: object = "0",
    length: object = 2,
    kind: str = "FloatStorage",
    function: str = "torch._utils\n_rebuild_tensor_v2",
    extra: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """`torch.save`'s pickle of a tensor, opcode by opcode, so that each part can lie."""

    def value(item: object) -> bytes:
        return pickle.dumps(item, 2)[2:-1]

    storage = b"(" + value("storage") + f"ctorch\n{kind}\n".encode() + value(key) + value("cpu") + value(length)
    rest = b"".join(value(item) for item in (offset, shape, strides, False, {}))
    return b"\x80\x02" + f"c{function}\n".encode() + b"(" + storage + b"tQ" + rest + extra + b"tR" + after + b"."


def test_the_handmade_archive_without_a_lie(tmp_path: Path) -> None:
    for content in (archive(pickled()), archive(pickled(), byteorder=None)):
        (tmp_path / "t.pt").write_bytes(content)
        assert read_tensor(tmp_path, "t.pt").tolist() == [0, 0]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_any_pickle_protocol_is_read(protocol: int, tmp_path: Path) -> None:
    torch.save(torch.arange(3.0), tmp_path / "t.pt", pickle_protocol=protocol)
    assert read_tensor(tmp_path, "t.pt").tolist() == [0, 1, 2]


def test_a_tensor_saved_from_an_npu_is_read(tmp_path: Path) -> None:
    function = "torch_npu.utils.storage\n_rebuild_npu_tensor"
    enumerated = b"ctorch_npu.npu._format\nFormat\n" + pickle.dumps((2,), 2)[2:-1] + b"R"
    for extra in (pickle.dumps(29, 2)[2:-1], b"\x88", enumerated):
        (tmp_path / "t.pt").write_bytes(archive(pickled(function=function, extra=extra)))
        assert read_tensor(tmp_path, "t.pt").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("lie", "complaint"),
    [
        ({"offset": 1}, "expected 12 bytes"),
        ({"offset": -1}, "integers from 0"),
        ({"offset": True}, "integers from 0"),
        ({"shape": (3,)}, "expected 12 bytes"),
        ({"shape": (-1,)}, "integers from 0"),
        ({"shape": (1 << 64,)}, "integers from 0"),
        ({"shape": "ab"}, "integers from 0"),
        ({"strides": (2,)}, "expected 12 bytes"),
        ({"strides": (-1,), "offset": 1}, "integers from 0"),
        ({"strides": (1, 1)}, "1 extents with 2 strides"),
        ({"shape": (1 << 40,), "strides": (0,)}, "a view of"),
        ({"shape": (0, 1 << 62, 1 << 62), "strides": (1, 1, 1)}, "fits in memory"),
        ({"shape": (1,) * 65, "strides": (1,) * 65}, "65 extents"),
        ({"length": 3}, "expected 12 bytes of storage '0', found 8"),
        ({"length": -1}, "unknown form"),
        ({"length": "2"}, "unknown form"),
        ({"length": 1 << 60}, "bytes of storage '0', found 8"),
        ({"key": "1"}, "found none"),
        ({"key": "../../../etc/passwd"}, "found none"),
        ({"key": 0}, "unknown form"),
        ({"kind": "QInt8Storage"}, r"torch\.QInt8Storage"),
        ({"kind": "float32"}, "unknown form"),
        ({"kind": "UntypedStorage"}, "without a storage or a dtype"),
        ({"function": "os\nsystem"}, r"os\.system"),
        ({"function": "torch\nload"}, r"torch\.load"),
        ({"function": "torch._utils\n_rebuild_sparse_tensor"}, "never run"),
        ({"function": "collections\nOrderedDict"}, "found TypeError"),
        ({"extra": b"NNNN"}, "found TypeError"),
        ({"after": b"}(K\x01K\x02ub"}, "opcode BUILD"),
        ({"after": b"N"}, "found a NoneType"),
        ({"after": b")"}, "found a tuple"),
    ],
    ids=repr,
)
def test_archives_that_lie(lie: dict[str, object], complaint: str, tmp_path: Path) -> None:
    message = refused(tmp_path, "t.pt", archive(pickled(**lie)))  # type: ignore[arg-type]
    assert re.search(complaint, message)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (archive(pickled(), byteorder=b"big"), "little-endian"),
        (archive(pickled(), compression=zipfile.ZIP_DEFLATED), "compressed"),
        (archive(pickled() + b"\0" * (1 << 20)), "at most 1048576 bytes"),
        (archive(b""), "ValueError"),
        (archive(b"\x80\x02."), "found"),
        (archive(b"\x80\x02N0\x96" + struct.pack("<Q", 1 << 50)), "found"),
        (archive(b"\x80\x05C\x00\x96" + bytes(8) + b"."), "BINBYTES"),
        (archive(b"\x80\x05\x96" + bytes(8) + b"."), "BYTEARRAY8"),
        (archive(b"\x80\x02Nr\xff\xff\xff\xff."), "memo of 4294967295"),
        (archive(b"\x80\x02Ftwo\nI1\nlines\n."), "found ValueError"),
        (archive(b"\x80\x02" + b"(" * 100_000 + b"."), "found"),
    ],
)
def test_archives_of_another_make(content: bytes, complaint: str, tmp_path: Path) -> None:
    assert complaint in refused(tmp_path, "t.pt", content)


def test_a_malicious_pickle_is_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    torch.save(Payload(trace), tmp_path / "t.pt")
    with pytest.raises(TensorFileError, match=r"posix\.system"):
        read_tensor(tmp_path, "t.pt")
    refused(tmp_path, "t.pt", pickle.dumps(Payload(trace)))
    refused(tmp_path, "t.pt", archive(pickle.dumps([torch.ones, Payload(trace)])))
    assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists(), "the payload must be able to run, or this test shows nothing"


def test_a_pickle_cannot_alter_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # BUILD on each name that find_class hands out: no attribute may stick for the next file.
    state = pickle.dumps((None, {"function": 1, "dtype": 1, "__defaults__": ()}), 2)[2:-1]
    dtype_state = pickle.dumps((3, ">", None, None, None, -1, -1, 0), 2)[2:-1]
    for name in (
        "torch._utils\n_rebuild_tensor_v2",
        "torch\nfloat32",
        "torch\nFloatStorage",
        "collections\nOrderedDict",
        "torch_npu.npu._format\nFormat",
    ):
        for poison in (state, dtype_state):
            hostile = archive(b"\x80\x02" + f"c{name}\n".encode() + poison + b"b.")
            assert "BUILD" in refused(tmp_path, "t.pt", hostile)
            with monkeypatch.context() as patch:
                # The second wall, were the first to fall.
                patch.setattr(torch_archive, "_OPCODES", torch_archive._OPCODES | {"BUILD"})
                refused(tmp_path, "t.pt", hostile)
    (tmp_path / "t.pt").write_bytes(archive(pickled(), np.array([1, 2], np.float32).tobytes()))
    assert read_tensor(tmp_path, "t.pt").tolist() == [1, 2]
    assert np.dtype(np.float32).isnative


@pytest.mark.parametrize("saved", [{"a": 1}, [torch.ones(2)], 3.5, "text", None])
def test_what_is_not_one_tensor_is_refused(saved: object, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "t.pt")
    with pytest.raises(TensorFileError, match="expected one tensor"):
        read_tensor(tmp_path, "t.pt")


def test_sparse_and_legacy_tensors_are_refused(tmp_path: Path) -> None:
    torch.save(torch.eye(2).to_sparse(), tmp_path / "sparse.pt")
    with pytest.raises(TensorFileError, match="_rebuild_sparse_tensor"):
        read_tensor(tmp_path, "sparse.pt")
    torch.save(torch.ones(2), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(TensorFileError, match="old format"):
        read_tensor(tmp_path, "old.pt")
