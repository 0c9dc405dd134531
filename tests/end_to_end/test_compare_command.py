"""`acc compare` as users run it: a new process, files on a disk, an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
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


def write(
    folder: Path,
    *,
    off: float = 1.0,
    calls: int = 3,
    tensors: bool = False,
    md5: Sequence[str] = (),
    closed: bool = True,
) -> Path:
    """A dump of `calls` relus in `folder`, the first result times `off`; with tensor files or digests where asked."""
    folder.mkdir(parents=True, exist_ok=True)
    head: dict[str, object] = {"task": "tensor" if tensors else "statistics", "level": "L1", "framework": "pytorch"}
    head |= {"summary_mode": "md5", "hash": md5[0]} if md5 else {}
    lines = [encode.opening({**head, "format_version": 1, "device": "cpu"})]
    for n in range(calls):
        x = np.random.default_rng(n).random((4, 8), np.float32) + 1
        y = (x * (off if n == 0 else 1)).astype(np.float32)
        x_fields: dict[str, object] = {"md5": md5[1]} if md5 else {}
        y_fields = dict(x_fields)
        if tensors:
            for name, values, fields in (("x", x, x_fields), ("y", y, y_fields)):
                fields["data_name"] = f"{name}{n}.safetensors"
                (folder / "dump_tensor_data").mkdir(exist_ok=True)
                path = folder / "dump_tensor_data" / f"{name}{n}.safetensors"
                write_tensor(path, data=values.data, dtype="torch.float32", shape=values.shape)
        body = {"input_args": [tensor(x, **x_fields)], "input_kwargs": {}, "output": [tensor(y, **y_fields)]}
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


Damage = Callable[[Path], object]


def _dump_json(content: bytes) -> Damage:
    return lambda folder: (folder / "dump.json").write_bytes(content)


BAD: dict[str, tuple[Damage, str]] = {
    "empty": (_dump_json(b""), "the file is empty"),
    "binary": (_dump_json(bytes(range(256)) * 8), "bytes of another kind"),
    "a list": (_dump_json(b"[1, 2]"), "expected a JSON object"),
    "another schema": (_dump_json(b'{"epochs": 3}'), "lacks the key 'data'"),
    "data of the wrong type": (_dump_json(b'{"task": "statistics", "level": "L1", "data": 3}'), "'data'"),
    "a record of the wrong type": (
        _dump_json(b'{"task": "statistics", "level": "L1", "data": {"Torch.add.0.forward": 3}}'),
        "Torch.add.0.forward",
    ),
    "cut in a foreign layout": (_dump_json(b'{\n "task": "statistics",\n "data": {\n  "Torch.a'), "ends at byte"),
    "of a later version": (
        _dump_json(b'{"task": "statistics", "level": "L1", "format_version": 99, "data": {}}'),
        "Upgrade this package",
    ),
    "a folder without a dump": (lambda folder: (folder / "dump.json").unlink(), "the folder is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_dump_that_cannot_be_read(tmp_path: Path, case: str) -> None:
    damage, says = BAD[case]
    npu, bench = write(tmp_path / "n"), write(tmp_path / "b")
    damage(npu)
    assert says in refused(acc(npu, bench, "-o", tmp_path / "out"), tmp_path / "out")


@pytest.mark.parametrize("side", [0, 1])
def test_a_path_that_is_not_there(tmp_path: Path, side: int) -> None:
    paths: list[Path] = [write(tmp_path / "n"), write(tmp_path / "b")]
    paths[side] = tmp_path / "nowhere"
    assert "nowhere" in refused(acc(*paths, "-o", tmp_path / "out"), tmp_path / "out")


INCOMPARABLE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "two modes": ({"tensors": True}, {}, "was recorded as task tensor"),
    "statistics against digests": ({}, {"md5": ("md5", "a" * 32)}, "was recorded as statistics"),
    "two digests": ({"md5": ("md5", "a" * 32)}, {"md5": ("crc32", "a" * 8)}, "holds md5 digests"),
    "no call at all": ({"calls": 0}, {}, "no call of one side answers"),
}


@pytest.mark.parametrize("case", INCOMPARABLE)
def test_two_dumps_that_cannot_be_laid_side_by_side(tmp_path: Path, case: str) -> None:
    ours, theirs, says = INCOMPARABLE[case]
    done = acc(write(tmp_path / "n", **ours), write(tmp_path / "b", **theirs), "-o", tmp_path / "out")
    assert says in refused(done, tmp_path / "out")


def _renamed(to: str) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "dump.json"
        file.write_bytes(file.read_bytes().replace(b"y1.safetensors", to.encode()))

    return damage


def _first(folder: Path) -> Path:
    return folder / "dump_tensor_data" / "y1.safetensors"


FILES: dict[str, Damage] = {
    "missing": lambda folder: _first(folder).unlink(),
    "short": lambda folder: _first(folder).write_bytes(_first(folder).read_bytes()[:-3]),
    "corrupt": lambda folder: _first(folder).write_bytes(os.urandom(200)),
    "empty": lambda folder: _first(folder).write_bytes(b""),
    "outside": _renamed("../../secret.safetensors"),
    "absolute": _renamed("/etc/passwd"),
    "of an unknown kind": _renamed("y1.exe"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_tensor_file_that_cannot_be_read(tmp_path: Path, case: str) -> None:
    npu, bench = write(tmp_path / "n", tensors=True), write(tmp_path / "b", tensors=True)
    FILES[case](npu)
    refused(acc(npu, bench, "-o", tmp_path / "out"), tmp_path / "out")


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_an_output_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" if place == "a file" else tmp_path / "file" / "deeper"
    refused(acc(write(tmp_path / "n"), write(tmp_path / "b"), "-o", out), tmp_path / "nothing")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("arguments", [["--format", "docx"], ["--nothing"], ["a", "b", "c"]])
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    npu = write(tmp_path / "n")
    refused(acc(npu, npu, *arguments, "-o", tmp_path / "out"), tmp_path / "out")


def test_a_dump_of_ours_that_was_cut_still_compares(tmp_path: Path) -> None:
    npu = write(tmp_path / "n", off=1.5, closed=False)
    file = npu / "dump.json"
    file.write_bytes(file.read_bytes()[:-40])
    done = acc(npu, write(tmp_path / "b"), "-o", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "has no end" in done.stdout


@pytest.mark.skipif(not GPU_DUMP.is_dir(), reason="the shared dump is not here")
def test_a_real_dump_is_the_same_as_itself(tmp_path: Path) -> None:
    done = acc(GPU_DUMP, GPU_DUMP, "-o", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("SAME: 760 calls compared")
