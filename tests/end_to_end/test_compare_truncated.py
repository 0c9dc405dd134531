"""Real dumps cut at many places: each gives a verdict or one clear error, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from acc_compare import compare
from dump.format import encode
from dump.format.errors import DumpError

GPU_DUMP = Path(__file__).parents[3] / "shared" / "data" / "resnet50_gpu_dump" / "step0" / "proc2016"
pytestmark = pytest.mark.skipif(not GPU_DUMP.is_dir(), reason="the shared dump is not here")
CALLS = 40


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The first calls of the real dump, as msprobe lays them out."""
    whole = json.loads((GPU_DUMP / "dump.json").read_bytes())
    whole["data"] = dict(list(whole["data"].items())[:CALLS])
    return _placed(tmp_path / "foreign", json.dumps(whole, indent=1).encode())


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """The same, line by line as we write it."""
    whole = json.loads((GPU_DUMP / "dump.json").read_bytes())
    calls = list(whole.pop("data").items())[:CALLS]
    lines = [encode.record(name, body, first=not index) for index, (name, body) in enumerate(calls)]
    content = [encode.opening({**whole, "format_version": 1}), *lines, encode.closing({"complete": True})]
    return _placed(tmp_path / "ours", b"".join(content))


def _placed(folder: Path, content: bytes) -> Path:
    folder.mkdir()
    (folder / "dump.json").write_bytes(content)
    return folder


def outcome(npu: Path, bench: Path) -> str:
    """The verdict, or the one line that says why there is none."""
    try:
        comparison = compare(npu, bench)
    except DumpError as error:
        return str(error)
    assert comparison.suspects == ()
    return comparison.verdict


def outcomes(whole: Path, copy: Path, places: int) -> set[str]:
    """What came of comparing a copy cut at `places` bytes, from none to all, with the whole."""
    content = (whole / "dump.json").read_bytes()
    shutil.copytree(whole, copy)
    found = set()
    for place in range(places + 1):
        (copy / "dump.json").write_bytes(content[: len(content) * place // places])
        told = outcome(copy, whole)
        assert "\n" not in told
        found.add("refused" if str(copy) in told else told)
    return found


def test_a_foreign_dump_that_was_cut_is_refused(small: Path, tmp_path: Path) -> None:
    assert outcomes(small, tmp_path / "cut", 60) == {"refused", "same"}


def test_a_dump_of_ours_that_was_cut_is_incomplete(ours: Path, tmp_path: Path) -> None:
    assert outcomes(ours, tmp_path / "cut", 60) == {"refused", "incomplete", "same"}


@pytest.mark.parametrize("name", ["construct.json", "stack.json"])
def test_a_neighbour_that_was_cut(name: str, small: Path, tmp_path: Path) -> None:
    whole = (GPU_DUMP / name).read_bytes()
    for place in range(8):
        (small / name).write_bytes(whole[: len(whole) * place // 8])
        told = outcome(small, small)
        assert told == "same" or str(small / name) in told
