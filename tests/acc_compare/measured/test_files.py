from __future__ import annotations

import mmap
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.align.calls import align
from acc_compare.measured import files
from acc_compare.measured.files import file_distances
from acc_compare.metrics.distance import measure
from dump import native
from dump.format.errors import TensorFileError
from dump.format.tensors import write_tensor


def alignment(make: Any, folder: Path, *, tensors: int = 6, size: int = 500) -> Any:
    """Two dumps of `tensors` gelu calls, each off by its own amount."""
    sides = []
    for side in ("npu", "bench"):
        run = make.Run(mode="tensor")
        for number in range(tensors):
            x = make.normal(size + number, seed=number)
            off = number * 1e-3 if side == "npu" else 0.0
            run.call(f"Functional.gelu.{number}.forward", [x], [make.off(x, off)])
        sides.append(make.read(run.write(folder / side)))
    return align(*sides)


@pytest.mark.parametrize("by_core", [True, False])
@pytest.mark.parametrize(("large", "much"), [(1 << 40, 1 << 40), (1, 1 << 40), (1 << 40, 1), (5000, 1)])
def test_any_number_of_jobs_finds_the_same(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int, much: int, by_core: bool
) -> None:
    monkeypatch.setattr(files, "_LARGE", large)
    monkeypatch.setattr(files, "_MUCH", much)
    pair = alignment(make, tmp_path)
    if not by_core:
        monkeypatch.setattr(native, "core", None)
        monkeypatch.setenv(native.VARIABLE, "0")
    alone = file_distances(pair, jobs=1)
    assert len(alone) == 12
    assert sum(found is not None and bool(found.max_abs_err) for found in alone.values()) == 5
    for jobs in (2, 5):
        assert list(file_distances(pair, jobs=jobs).items()) == list(alone.items())


def test_progress_counts_bytes_of_both_sides(make: Any, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    file_distances(alignment(make, tmp_path, tensors=2), jobs=2, told=lambda *each: told.append(each))
    sizes = [4000, 4000, 4008, 4008]
    assert told == [(sum(sizes[: n + 1]), sum(sizes)) for n in range(4)]


def test_a_file_that_cannot_be_read_stops_the_others(make: Any, tmp_path: Path) -> None:
    pair = alignment(make, tmp_path)
    next((tmp_path / "npu" / "dump_tensor_data").glob("3.*")).unlink()
    before = set(threading.enumerate())
    with pytest.raises(TensorFileError):
        file_distances(pair, jobs=2)
    assert not set(threading.enumerate()) - before  # threads of earlier tests may have ended meanwhile


def test_a_large_tensor_is_measured_in_parts(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(0)
    bench = rng.standard_normal(300_000).astype(np.float32)
    npu = bench * np.float32(1 + 1e-6)
    npu[[7, 299_999]] = np.nan, 5
    with ThreadPoolExecutor(2) as pool:
        spread = files._over_threads(pool, 2)
        assert measure(npu, bench, block=1000, spread=spread) == measure(npu, bench, block=1000)


# Not getrusage: its peak includes the process that this one was forked from.
CODE = """
import re, sys
from acc_compare import compare
found = compare(sys.argv[1], sys.argv[2], jobs=2)
print(found.verdict, int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system cannot take pages back")
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the peak of memory")
def test_memory_does_not_grow_with_the_tensor(make: Any, tmp_path: Path) -> None:
    """A quarter of a gigabyte a side, in files with holes, so that the disk holds next to nothing."""
    elements = 1 << 26
    folders = [alignment(make, tmp_path, tensors=1).npu.path, tmp_path / "bench"]
    for folder in folders:
        dump = folder / "dump.json"
        dump.write_text(dump.read_text().replace('"shape":[500]', f'"shape":[{elements}]'))
        for file in (folder / "dump_tensor_data").iterdir():
            write_tensor(file, data=b"", dtype="torch.float32", shape=(0,))
            header = f'{{"tensor":{{"dtype":"F32","shape":[{elements}],"data_offsets":[0,{4 * elements}]}}}}'
            text = header.encode().ljust(-(-len(header) // 8) * 8)
            with file.open("wb") as out:
                out.write(len(text).to_bytes(8, "little") + text)
                out.truncate(8 + len(text) + 4 * elements)
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", CODE, *map(str, folders)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    verdict, megabytes = done.stdout.split()
    assert verdict == "same"
    assert int(megabytes) < 300
