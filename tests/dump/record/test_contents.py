from __future__ import annotations

import ctypes
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dump import native
from dump.format.errors import ConfigError
from dump.format.tensors import read_tensor
from dump.record.contents import Contents, as_array, as_it_lies, borrow, digest, digests
from dump.record.statistics import measure
from dump.write.tensor_files import TensorFiles, tensor_store

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    *(getattr(torch, name) for name in ("uint16", "uint32", "uint64") if hasattr(torch, name)),
    torch.bool,
    torch.complex128,
    torch.complex64,
    torch.complex32,
]


def _bytes(tensor: torch.Tensor) -> bytes:
    """By another way than the code's: what lies at the address of a clone."""
    clone = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return ctypes.string_at(clone.data_ptr(), clone.nbytes)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.randint(0, 2, shape).to(dtype)
    copied = borrow(tensor)
    assert bytes(copied.data) == _bytes(tensor)
    assert (copied.dtype, copied.shape) == (str(dtype), shape)
    assert copied.nbytes == tensor.numel() * tensor.element_size()


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "transposed": lambda x: x.t(),
    "every other": lambda x: x[:, ::2],
    "expanded": lambda x: x[:1].expand(3, 6),
    "conjugated": lambda x: x.to(torch.complex64).conj(),
    "negated": lambda x: x.to(torch.complex64).conj().imag,
    "needs a gradient": lambda x: x.clone().requires_grad_(),
}


@pytest.mark.parametrize("change", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensor = change(torch.randn(4, 6))
    assert bytes(borrow(tensor).data) == _bytes(tensor)


@pytest.mark.parametrize("change", [lambda x: x, *LAYOUTS.values()], ids=["plain", *LAYOUTS])
def test_the_copy_is_private(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    base = torch.randn(4, 6)
    tensor = change(base)
    copied = borrow(tensor).kept()
    before = bytes(copied.data)
    base.zero_()
    tensor.detach().resolve_conj().resolve_neg()
    with torch.no_grad():
        if tensor.shape[0] != 3:  # an expanded tensor cannot be written
            tensor.zero_()
    assert bytes(copied.data) == before


def test_only_memory_in_order_is_borrowed() -> None:
    tensor = torch.randn(4, 6)
    borrowed, copied = borrow(tensor[1:]), borrow(tensor.t())
    assert (borrowed.private, copied.private) == (False, True)
    assert copied.kept() is copied
    kept = borrowed.kept()
    tensor.zero_()
    assert bytes(borrowed.data) == bytes(72)
    assert bytes(kept.data) != bytes(72)


@pytest.mark.parametrize("payload", [b"", b"a", bytes(range(256)) * 33])
def test_digests(payload: bytes) -> None:
    contents = Contents(memoryview(payload), "torch.uint8", (len(payload),))
    assert digest(contents, "md5") == hashlib.md5(payload).hexdigest()
    assert digest(contents, "crc32") == f"{zlib.crc32(payload):08x}"
    assert len(digest(contents, "crc32")) == 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
def test_it_is_the_tensors_own_memory(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.ones(shape, dtype=dtype)
    array = as_array(tensor)
    tensor.fill_(3)
    assert array.shape == shape
    assert np.all(array == 3)


@pytest.mark.parametrize("look", [measure, borrow, as_array])
@pytest.mark.parametrize("count", [8, 200_000])
def test_whoever_owns_the_storage_may_still_resize_it(look: Callable[[torch.Tensor], object], count: int) -> None:
    """As FSDP does with parameters that it has gathered."""
    tensor = torch.ones(count)
    look(tensor)
    tensor.untyped_storage().resize_(0)
    assert tensor.untyped_storage().nbytes() == 0


REPEATED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "expanded": lambda x: x[:, :1].expand(40, 700),
    "expanded, of every other": lambda x: x[:1, ::2].expand(300, 250),
    "overlapping windows": lambda x: x.reshape(-1)[:500].unfold(0, 300, 1),
    "conjugated": lambda x: x.to(torch.complex64).conj()[:1].expand(60, 500),
}


@pytest.mark.parametrize("suffix", ["pack", "safetensors", "pt"])
@pytest.mark.parametrize("change", REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex128, torch.bool], ids=str)
def test_a_tensor_whose_elements_share_memory_is_never_made_dense(
    tmp_path: Path, dtype: torch.dtype, change: Callable[[torch.Tensor], torch.Tensor], suffix: str
) -> None:
    tensor = change(torch.randn(40, 500).to(dtype))
    dense = tensor.contiguous().resolve_conj()
    copied = borrow(tensor)
    assert 2 * copied.nbytes <= dense.nbytes
    assert digest(copied, "md5") == hashlib.md5(_bytes(tensor)).hexdigest()
    assert digest(copied, "crc32") == f"{zlib.crc32(_bytes(tensor)):08x}"
    files = tensor_store(tmp_path, suffix)
    files.make()
    name = files.reserve(copied)
    nbytes = files.write(name, copied.kept())
    folder = tmp_path / "dump_tensor_data"
    assert nbytes == next(folder.iterdir()).stat().st_size <= files.most_bytes(copied)
    found = read_tensor(folder, name)
    files.close()
    assert found.shape == tensor.shape
    kind = np.float64 if dense.dtype is torch.bfloat16 else found.dtype
    assert np.array_equal(found.astype(kind), (dense.double() if dense.dtype is torch.bfloat16 else dense).numpy())


@pytest.mark.parametrize(
    ("tensor", "lies"),
    [
        (torch.randn(3, 4), True),
        (torch.randn(3, 4)[1:], True),
        (torch.tensor(2.5), True),
        (torch.arange(5).to(torch.bfloat16), True),
        (torch.randn(2, dtype=torch.complex64), True),
        (torch.randn(3, requires_grad=True), True),
        (torch.nn.Parameter(torch.randn(2)), True),
        (torch.randn(3, 4).T, False),
        (torch.randn(1).expand(1 << 15), False),
        (torch.randn(2, dtype=torch.complex64).conj(), False),
        (torch.randn(2, dtype=torch.complex64).conj().imag, False),
        (torch.empty(0, 3), False),
        (torch.empty(3, device="meta"), False),
    ],
)
def test_what_lies_in_order_is_taken_as_it_lies(tensor: torch.Tensor, lies: bool) -> None:
    before = tensor._version
    found = as_it_lies(tensor)
    assert (found is not None) == lies
    if found is not None:
        known = borrow(tensor)
        assert (found.dtype, found.shape, found.private, found.strides) == (known.dtype, known.shape, False, None)
        assert (found.data.tobytes(), found.nbytes, found.data.format) == (known.data.tobytes(), known.nbytes, "B")
        kept = found.kept()
        tensor.data.zero_()
        assert (kept.data.tobytes(), kept.private) != (found.data.tobytes(), False)
        memory = np.ones(found.nbytes, np.uint8)
        assert found.kept(memory).data.obj is memory
        assert not memory.any()
    assert tensor._version == before


@pytest.mark.parametrize("with_core", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 40])
def test_digests_of_many_are_those_of_each(monkeypatch: pytest.MonkeyPatch, count: int, with_core: bool) -> None:
    if not with_core:
        monkeypatch.setattr(native, "core", None)
    tensors = [torch.arange(number * number, dtype=torch.uint8) for number in range(count)]
    tensors[5:5] = [torch.randn(1).expand(1 << 16), torch.randn(4, 1 << 14)[:, ::2]][: count // 20]
    found = digests([borrow(tensor) for tensor in tensors], "md5")
    assert found == [hashlib.md5(_bytes(tensor)).hexdigest() for tensor in tensors]
    assert digests([borrow(tensor) for tensor in tensors], "crc32") == [
        f"{zlib.crc32(_bytes(tensor)):08x}" for tensor in tensors
    ]


def test_npy_has_no_place_for_shared_memory(tmp_path: Path) -> None:
    files = TensorFiles(tmp_path, "npy")
    files.make()
    with pytest.raises(ConfigError, match="safetensors"):
        files.write("a.npy", borrow(torch.zeros(1).expand(1 << 20)))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 1000])
def test_xor_is_that_of_words_of_eight_bytes(count: int) -> None:
    tensor = torch.arange(count, dtype=torch.float32)
    raw = tensor.numpy().tobytes() + bytes(-4 * count % 8)
    expected = 0
    for start in range(0, len(raw), 8):
        expected ^= int.from_bytes(raw[start : start + 8], "little")
    assert digest(borrow(tensor), "xor") == f"{expected:016x}"
    assert digest(borrow(tensor.repeat(2, 1).T), "xor") == digest(borrow(tensor.repeat(2, 1).T.contiguous()), "xor")
