"""Blocks: every layout is walked in C order, in the dtype that keeps its elements."""

from __future__ import annotations

import mmap
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from acc_compare.metrics.blocks import paired_blocks, parts, release, wide_dtype
from dump.format.tensors import read_tensor, safetensors_head

BASE = np.arange(24.0).reshape(4, 6)
LAYOUTS = {
    "contiguous": BASE,
    "transposed": BASE.T,
    "sliced": BASE[1:, ::2],
    "reversed": BASE[::-1, ::-1],
    "expanded": np.broadcast_to(np.float32(2.0), (3, 5)),
    "0-d": np.array(3.0),
    "40 dimensions": np.arange(3.0).reshape((1,) * 30 + (3,)),
    "bfloat16": BASE.T.astype(ml_dtypes.bfloat16),
    "float8": BASE.astype(ml_dtypes.float8_e5m2),
    "big-endian": BASE.astype(">f4"),
    "complex": (BASE + 1j * BASE).astype(np.complex64).T,
    "bool": BASE > 3,
    "strided float64": np.arange(20.0)[::2],
    "strided complex128": (np.arange(20.0) + 1j)[::2],
}


@pytest.mark.parametrize("block", [1, 5, 1 << 10])
@pytest.mark.parametrize("array", LAYOUTS.values(), ids=LAYOUTS)
def test_blocks_join_to_the_array_in_c_order(array: np.ndarray, block: int) -> None:
    assert all(n.flags.contiguous and b.flags.contiguous for n, b in paired_blocks(array, array, block=block))
    parts = [(n.copy(), b.copy()) for n, b in paired_blocks(array, array.copy(), block=block)]
    wide = wide_dtype(array.dtype, array.dtype)
    for side in (0, 1):
        joined = np.concatenate([part[side].reshape(-1) for part in parts])
        assert joined.dtype == wide
        assert np.array_equal(joined, array.astype(wide).reshape(-1))
    assert max(len(n) for n, _ in parts) <= block


def test_an_empty_array_has_no_blocks() -> None:
    assert list(paired_blocks(np.empty((0, 3)), np.empty((0, 3)))) == []


def test_another_shape_raises() -> None:
    with pytest.raises(ValueError, match=r"found \(2,\) and \(1, 2\)"):
        next(paired_blocks(np.zeros(2), np.zeros((1, 2))))


@pytest.mark.parametrize(
    ("npu", "bench", "wide"),
    [
        ("f4", "f2", "f8"),
        ("i4", "u4", "i8"),
        ("u1", "?", "f8"),
        ("i4", "i4", "f8"),
        ("i8", "i4", "i8"),
        ("i8", "?", "i8"),
        ("u8", "u8", "u8"),
        ("u8", "i8", "f8"),
        ("i8", "f4", "f8"),
        ("c8", "i8", "c16"),
    ],
)
def test_wide_dtype(npu: str, bench: str, wide: str) -> None:
    assert wide_dtype(np.dtype(npu), np.dtype(bench)) == np.dtype(wide)
    assert wide_dtype(np.dtype(bench), np.dtype(npu)) == np.dtype(wide)


def test_memory_is_bounded_by_the_block(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1000, 1000), np.float32))
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    tracemalloc.start()
    for _ in paired_blocks(array.T, array, block=1 << 12):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * (1 << 12)


def test_parts_are_the_whole_in_order() -> None:
    values = np.arange(24.0).reshape(2, 12)
    found = list(parts(values, values, size=10))
    assert [(part.start, part.npu.tolist()) for part in found] == [
        (start, values.reshape(-1)[start : start + 10].tolist()) for start in (0, 10, 20)
    ]
    assert all(np.shares_memory(part.npu, values) for part in found)


@pytest.mark.parametrize("order", ["F", "short"])
def test_what_cannot_be_cut_or_need_not_is_one_part(order: str) -> None:
    values = np.zeros((4, 6), order="F" if order == "F" else "C")
    (part,) = parts(values, values, size=10 if order == "F" else 24)
    assert part.npu is values


def test_parts_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        list(parts(np.zeros(3), np.zeros(4), size=2))


def test_released_pages_keep_their_content(tmp_path: Path) -> None:
    file = tmp_path / "a"
    values = np.random.default_rng(0).standard_normal(1 << 14)
    file.write_bytes(values.tobytes())
    with file.open("rb") as stream:
        mapped = np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), np.float64)
    for array in (mapped, mapped[100:5000], mapped[3:4], values):
        release(array)
    assert np.array_equal(mapped, values)


def test_pages_of_one_tensor_of_a_pack_are_released(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(1 << 16)
    (tmp_path / "tensors.pack").write_bytes(bytes(4096))
    head, _ = safetensors_head("torch.float64", values.shape)
    with (tmp_path / "tensors.pack").open("ab") as file:
        file.write(head + values.tobytes())
    read = read_tensor(tmp_path, f"tensors.pack#4096-{4096 + len(head) + values.nbytes}")
    before = resident()
    assert np.array_equal(read, values)
    touched = resident()
    release(read)
    assert resident() < touched - values.nbytes // 2 < before + values.nbytes
    assert np.array_equal(read, values)


def resident() -> int:
    """Bytes of mapped files in memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))
