"""The command as a user runs it, in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from dump.format.tensors import write_tensor

_DTYPES = {"float32": "torch.float32", "bfloat16": "torch.bfloat16", "int64": "torch.int64"}


def looks(*files: Path) -> subprocess.CompletedProcess[str]:
    script = "import sys, runpy; runpy.run_module('acc_compare.error_patterns', run_name='__main__')"
    command = [sys.executable, "-c", script, *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def write(path: Path, values: Any) -> Path:
    data = np.ascontiguousarray(values)
    raw = data.view(np.uint8).reshape(-1) if data.size else data
    write_tensor(path, data=memoryview(raw.tobytes()), dtype=_DTYPES[data.dtype.name], shape=data.shape)
    return path


def test_it_says_how_two_files_differ(tmp_path: Path) -> None:
    bench = np.random.default_rng(0).standard_normal((8, 32)).astype("f4")
    npu = bench.copy()
    npu[:, -1] = 0
    ran = looks(write(tmp_path / "npu.safetensors", npu), write(tmp_path / "bench.safetensors", bench))
    assert (ran.returncode, ran.stderr) == (1, "")
    lines = ran.stdout.splitlines()
    assert lines[0] == "shape [8, 32], float32 against float32"
    assert lines[1].startswith("the last of the 32 columns of the tensor is off")
    worst = int(np.abs(bench[:, -1]).argmax())
    assert lines[3].split()[:3] == [f"[{worst},", "31]", "0"]
    assert len(lines) == 3 + 8 + 2  # heading, what it looks like, table's heading, ten elements


@pytest.mark.parametrize("dtype", ["f4", ml_dtypes.bfloat16, "i8"])
def test_files_that_agree(tmp_path: Path, dtype: Any) -> None:
    values = np.arange(6).astype(dtype)
    path = write(tmp_path / "x.safetensors", values)
    ran = looks(path, path)
    assert (ran.returncode, ran.stdout.splitlines()[1]) == (0, "all elements agree to rounding")


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    one, other = (
        write(tmp_path / "a.safetensors", np.ones(3, "f4")),
        write(tmp_path / "b.safetensors", np.ones(4, "f4")),
    )
    for files in ((one, other), (one, tmp_path / "none.safetensors")):
        ran = looks(*files)
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
        assert ran.stderr.startswith("acc: error: ")
