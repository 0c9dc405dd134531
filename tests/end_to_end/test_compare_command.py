"""`acc compare` as users run it: a new process, files on a disk, an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dump.format import encode
from dump.format.tensors import write_tensor

ROOT = Path(__file__).parents[2]
GPU_DUMP = ROOT.parent / "shared" / "data" / "resnet50_gpu_dump"
RUN = "import sys; from acc_compare.cli import main; sys.exit(main())"


def acc(*arguments: object, code: str = RUN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "compare", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def tensor(values: Any, **fields: object) -> dict[str, object]:
    return {
        "type": "torch.Tensor",
        "dtype": "torch.float32",
        "shape": list(values.shape),
        "Max": float(values.max()),
        "Min": float(values.min()),
        "Mean": float(values.mean()),
        "Norm": float(np.linalg.norm(values)),
        "requires_grad": False,
        **fields,
    }


def write(folder: Path, *, off: float = 1.0, tensors: bool = False, closed: bool = True) -> Path:
    """A dump of three relus in `folder`, the first result times `off`; with tensor files where asked."""
    folder.mkdir(parents=True, exist_ok=True)
    head = {"task": "tensor" if tensors else "statistics", "level": "L1", "format_version": 1, "device": "cpu"}
    lines = [encode.opening(head)]
    for n in range(3):
        x = np.random.default_rng(n).random((4, 8), np.float32) + 1
        named = {"x": x, "y": (x * (off if n == 0 else 1)).astype(np.float32)}
        leaves = {}
        for name, values in named.items():
            file = f"{name}{n}.safetensors"
            leaves[name] = tensor(values, **({"data_name": file} if tensors else {}))
            if tensors:
                (folder / "dump_tensor_data").mkdir(exist_ok=True)
                path = folder / "dump_tensor_data" / file
                write_tensor(path, data=values.data, dtype="torch.float32", shape=values.shape)
        body = {"input_args": [leaves["x"]], "input_kwargs": {}, "output": [leaves["y"]]}
        lines.append(encode.record(f"Functional.relu.{n}.forward", body, first=n == 0))
    if closed:
        lines.append(encode.closing({"complete": True}))
    (folder / "dump.json").write_bytes(b"".join(lines))
    return folder


def refused(done: subprocess.CompletedProcess[str], out: Path) -> str:
    """The one line of an input that cannot be compared; nothing was written."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("acc: error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.rglob("*")) if out.is_dir() else not out.exists() or out.is_file()
    return done.stderr


@pytest.mark.parametrize(("off", "code", "verdict"), [(1.0, 0, "same"), (1.5, 1, "different")])
def test_exit_codes_and_reports(tmp_path: Path, off: float, code: int, verdict: str) -> None:
    done = acc(write(tmp_path / "n", off=off), write(tmp_path / "b"), "-o", tmp_path / "out")
    assert (done.returncode, done.stderr) == (code, "")
    folder = tmp_path / "out" / "accuracy_compare"
    assert len(list(folder.glob("compare_result_*.xlsx"))) == 1
    (told,) = folder.glob("advisor_*.json")
    assert json.loads(told.read_bytes())["verdict"] == verdict
    (text,) = folder.glob("advisor_*.txt")
    assert done.stdout.startswith(text.read_text().splitlines()[0])


def test_comparing_imports_no_torch_and_no_pandas(tmp_path: Path) -> None:
    npu, bench = write(tmp_path / "n", off=1.5, tensors=True), write(tmp_path / "b", tensors=True)
    code = RUN.replace("sys.exit(main())", "code = main(); print(sorted({'torch', 'pandas'} & set(sys.modules)), code)")
    done = acc(npu, bench, "-q", "-o", tmp_path / "out", "--format", "xlsx,csv", code=code)
    assert done.stdout.splitlines()[-1] == "[] 1", done.stderr


def test_a_dump_that_cannot_be_read(tmp_path: Path) -> None:
    npu, bench = write(tmp_path / "n"), write(tmp_path / "b")
    (npu / "dump.json").write_bytes(bytes(range(256)))
    says = refused(acc(npu, bench, "-o", tmp_path / "out"), tmp_path / "out")
    assert str(npu / "dump.json") in says


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    done = acc(tmp_path / "nowhere", write(tmp_path / "b"), "-o", tmp_path / "out")
    assert "nowhere: no such file or folder" in refused(done, tmp_path / "out")


def test_two_modes(tmp_path: Path) -> None:
    done = acc(write(tmp_path / "n", tensors=True), write(tmp_path / "b"), "-o", tmp_path / "out")
    assert "was recorded as task tensor" in refused(done, tmp_path / "out")


def test_a_tensor_file_that_is_missing(tmp_path: Path) -> None:
    npu, bench = write(tmp_path / "n", tensors=True), write(tmp_path / "b", tensors=True)
    (npu / "dump_tensor_data" / "y1.safetensors").unlink()
    assert "y1.safetensors" in refused(acc(npu, bench, "-o", tmp_path / "out"), tmp_path / "out")


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(acc(write(tmp_path / "n"), write(tmp_path / "b"), "-o", tmp_path / "file"), tmp_path / "nothing")
    assert (tmp_path / "file").read_text() == "mine"


def test_wrong_usage(tmp_path: Path) -> None:
    refused(acc(tmp_path, "--nothing", "-o", tmp_path / "out"), tmp_path / "out")


def test_a_dump_of_ours_that_was_cut_still_compares(tmp_path: Path) -> None:
    npu = write(tmp_path / "n", off=1.5, closed=False)
    file = npu / "dump.json"
    file.write_bytes(file.read_bytes()[:-40])
    done = acc(npu, write(tmp_path / "b"), "-o", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "has no end" in " ".join(done.stdout.split())


@pytest.mark.skipif(not GPU_DUMP.is_dir(), reason="the shared dump is not here")
def test_a_real_dump_is_the_same_as_itself(tmp_path: Path) -> None:
    done = acc(GPU_DUMP, GPU_DUMP, "-o", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("SAME: 760 calls compared")


@pytest.mark.parametrize(("off", "status"), [(1.0, 0), (2.0, 1)])
def test_the_exit_code_is_the_verdict_where_nobody_reads_what_is_printed(
    tmp_path: Path, off: float, status: int
) -> None:
    read, written = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, "compare", write(tmp_path / "npu", off=off), write(tmp_path / "b")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=written,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(written)
    assert (ran.returncode, ran.stderr) == (status, "")
    assert len(list(tmp_path.glob("compare_result/*/*.xlsx"))) == 1
